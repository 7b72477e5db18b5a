"""NIH ChestX-ray14: 112,120 radiographs of 30,805 patients with 14 labels mined from reports.

Reference:
    Wang et al., "ChestX-ray8: Hospital-scale chest X-ray database and benchmarks", CVPR 2017.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from medimg.datasets.image_cases import ImageCases, Missing, label_value
from medimg.datasets.image_set import ListedImages
from medimg.datasets.image_table import Table, find_table, read_table
from medimg.errors import DataError
from medimg.records import ImageIndex

LABELS = (
    *("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia"),
    *("Pneumothorax", "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia"),
)
ENTRIES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
# A simplified form that courses use: a table a split, a column a label.
SPLIT_TABLES = {"train-small.csv": "train", "valid-small.csv": "val", "test.csv": "test"}
_OFFICIAL_LISTS = {"train_val_list.txt": "train", "test_list.txt": "test"}
_FOLDERS = ("images", *(f"images_{number:03d}/images" for number in range(1, 13)))
_HELD_OUT_FIRST = ("test", "val", "train")

Repeats = Literal["error", "held_out", "separate"]


@dataclass(frozen=True, kw_only=True)
class ChestXray14(ListedImages):
    """NIH ChestX-ray14: 14 findings, from the official table or the simplified ones of one table a split.

    The official lists ``train_val_list.txt`` and ``test_list.txt`` give the split where they are there; the part
    that validates is then dealt by patient. Images lie in ``images`` or in ``images_001/images`` and so on. The
    case id is the image's name without ``.png``.

    Attributes:
        repeats: What to do with an image that stands in several of the simplified tables: ``error``,
            ``held_out`` keeps it in test, else in validation, and never in training; ``separate`` makes two
            cases of it, named by their splits, for an audit to find.

    Reference:
        Wang et al. 2017, "ChestX-ray8", arXiv:1705.02315.
    """

    has_laterality: ClassVar[bool] = True
    repeats: Repeats = "error"

    def index(self, root: Path) -> ImageIndex:
        """List the images of the tables: a multi-label index.

        Raises:
            DataError: If there is no table, a finding is unknown, or a row cannot be used.
        """
        if self.table is None and find_table(root, ENTRIES) is None:
            found = {name: path for name in SPLIT_TABLES if (path := find_table(root, [name]))}
            if "train-small.csv" in found:
                return _index_split_tables(root, list(found.values()), self.missing, self.repeats)
        content = read_table(self._table(root, (*ENTRIES, "train-small.csv")))
        cases = ImageCases(root, content.path, self.missing)
        split_of, folder_of = _official_splits(root), _folders_of_images(cases)
        for line, (image, findings, patient) in content.select(
            ["Image Index", "Finding Labels", "Patient ID"]
        ):
            names = findings.split("|")
            unknown = [name for name in names if name not in LABELS and name != "No Finding"]
            if unknown or not findings:
                cases.fault(line, f"the finding {findings!r} is none of {', '.join(LABELS)} and No Finding")
            elif split_of and image not in split_of:
                cases.fault(line, f"{image} stands in none of the lists {', '.join(_OFFICIAL_LISTS)}")
            elif (owner := _patient(cases, line, image, patient)) is not None:
                labels = {name: float(name in names) for name in LABELS}
                place = [f"{folder_of.get(image, _FOLDERS[0])}/{image}"]
                cases.add(_stem(image), owner, place, where=line, labels=labels, split=split_of.get(image))
        return ImageIndex("ChestX-ray14", root, "multilabel", LABELS, cases.records())


def _index_split_tables(root: Path, paths: Sequence[Path], missing: Missing, repeats: Repeats) -> ImageIndex:
    tables = [read_table(path) for path in paths]
    cases = ImageCases(root, root, missing)
    folder_of = _folders_of_images(cases)
    splits_of: dict[str, list[str]] = {}
    for split, _, (image, *_) in _split_rows(tables):
        splits_of.setdefault(image, []).append(split)
    _check_repeats(root, splits_of, repeats)
    for split, where, (image, patient, *values) in _split_rows(tables):
        splits = splits_of[image]
        if repeats == "held_out" and split != min(splits, key=_HELD_OUT_FIRST.index):
            continue
        try:
            labels = {name: label_value(value) for name, value in zip(LABELS, values, strict=True)}
        except ValueError as error:
            cases.fault(where, f"a label is {error}; expected 1, 0, -1 or blank")
            continue
        if (owner := _patient(cases, where, image, patient)) is not None:
            case_id = _stem(image)
            if repeats == "separate" and len(set(splits)) > 1:
                case_id = f"{case_id}@{split}"
            place = [f"{folder_of.get(image, _FOLDERS[0])}/{image}"]
            cases.add(case_id, owner, place, where=where, labels=labels, split=split)
    return ImageIndex("ChestX-ray14", root, "multilabel", LABELS, cases.records())


def _split_rows(tables: Sequence[Table]) -> Iterator[tuple[str, str, list[str]]]:
    for table in tables:
        split = SPLIT_TABLES[table.path.name.removesuffix(".gz").removesuffix(".zip")]
        for line, row in table.select(["Image", "PatientId", *LABELS]):
            yield split, f"{table.path.name}, line {line}", row


def _check_repeats(root: Path, splits_of: dict[str, list[str]], repeats: Repeats) -> None:
    several = sorted(image for image, splits in splits_of.items() if len(set(splits)) > 1)
    if several and repeats == "error":
        raise DataError(
            f"{root}: {len(several)} images stand in more than one split, such as {several[0]} in "
            f"{' and '.join(splits_of[several[0]])}: scores on them would be too good. Set repeats to held_out "
            "to take them out of training, or mend the tables."
        )


def _official_splits(root: Path) -> dict[str, str]:
    """Split of each image by the official lists; empty if they are not there."""
    found = {name: root / name for name in _OFFICIAL_LISTS if (root / name).is_file()}
    if not found:
        return {}
    if lacking := sorted(set(_OFFICIAL_LISTS) - set(found)):
        raise DataError(f"{root}: has {next(iter(found))} and lacks {lacking[0]}; the split needs both.")
    splits: dict[str, str] = {}
    for name, path in found.items():
        for image in path.read_text(encoding="utf-8").split():
            if splits.setdefault(image, _OFFICIAL_LISTS[name]) != _OFFICIAL_LISTS[name]:
                raise DataError(f"{path}: {image} stands in both official lists. Get them again.")
    return splits


def _patient(cases: ImageCases, where: str | int, image: str, patient: str) -> str | None:
    """The patient in eight digits, as in the image's name, which must agree."""
    if not patient.isdecimal():
        cases.fault(where, f"the patient is {patient!r}; expected a number")
        return None
    owner = f"{int(patient):08d}"
    if not image.startswith(f"{owner}_"):
        cases.fault(
            where, f"the image {image} is not one of patient {patient} by its name; one of them is wrong"
        )
        return None
    return owner


def _stem(image: str) -> str:
    return image.removesuffix(".png")


def _folders_of_images(cases: ImageCases) -> dict[str, str]:
    """Folder of each image that is there."""
    return {name: folder for folder in reversed(_FOLDERS) for name in cases.files.entries(folder)}

"""VinBigData chest X-ray abnormalities: three readers an image, a row for each box of each reader.

Reference:
    Nguyen et al., "VinDr-CXR: An open dataset of chest X-rays with radiologist's annotations",
    Scientific Data 9, 2022.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, get_args

from medimg.datasets.image_cases import ImageCases
from medimg.datasets.image_set import ListedImages
from medimg.datasets.image_table import Table, read_table
from medimg.errors import ConfigError
from medimg.records import ImageIndex

LABELS = (
    *("Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Consolidation", "ILD"),
    *("Infiltration", "Lung Opacity", "Nodule/Mass", "Other lesion", "Pleural effusion"),
    *("Pleural thickening", "Pneumothorax", "Pulmonary fibrosis"),
)
_NO_FINDING = 14

Merge = Literal["any", "majority", "all", "mean"]


@dataclass(frozen=True, kw_only=True)
class VinBigData(ListedImages):
    """VinBigData, ``train.csv`` with ``train/<image_id>.dicom`` or ``.png``: 14 findings, three readers an image.

    No finding is all 14 of them 0. Patients are not published, so that every image is one.

    Attributes:
        merge: A finding counts if ``any`` reader has it, more than half (``majority``), or ``all``; ``mean`` makes
            the share of readers a soft label.

    Reference:
        Nguyen et al. 2022, "VinDr-CXR", arXiv:2012.15029.
    """

    has_laterality: ClassVar[bool] = True
    merge: Merge = "majority"

    def index(self, root: Path) -> ImageIndex:
        """List the images of the table, the readers' findings made one: a multi-label index.

        Raises:
            DataError: If the table is missing or a row cannot be used.
            ConfigError: If ``merge`` is unknown.
        """
        if self.merge not in get_args(Merge):
            raise ConfigError(f"merge: expected {', '.join(get_args(Merge))}, found {self.merge!r}")
        content = read_table(self._table(root, ["train.csv"]))
        cases = ImageCases(root, content.path, self.missing)
        for image, (line, readers) in _readings(cases, content).items():
            path = cases.files.suffix_of(f"train/{image}", (".dicom", ".dcm", ".png", ".jpg"))
            counts = [sum(number in found for found in readers.values()) for number in range(len(LABELS))]
            votes = [merge_votes(count, len(readers), self.merge) for count in counts]
            labels = dict(zip(LABELS, votes, strict=True))
            cases.add(image, image, [path], where=line, labels=labels)
        return ImageIndex("VinBigData", root, "multilabel", LABELS, cases.records())


def merge_votes(votes: int, readers: int, merge: Merge) -> float:
    """Label of an image that some of its readers gave.

    Args:
        votes: Readers who have the finding.
        readers: Readers of the image.
        merge: The rule.

    Example:
        >>> [merge_votes(1, 3, rule) for rule in ("any", "majority", "all")]
        [1.0, 0.0, 0.0]
        >>> round(merge_votes(1, 3, "mean"), 3)
        0.333
    """
    match merge:
        case "any":
            return float(votes > 0)
        case "majority":
            return float(2 * votes > readers)
        case "all":
            return float(votes == readers)
        case "mean":
            return votes / readers


def _readings(cases: ImageCases, table: Table) -> dict[str, tuple[int, dict[str, set[int]]]]:
    """First line of each image, and the findings of each of its readers."""
    readings: dict[str, tuple[int, dict[str, set[int]]]] = {}
    names = (*LABELS, "No finding")
    for line, (image, name, number, reader) in table.select(["image_id", "class_name", "class_id", "rad_id"]):
        if not number.isdecimal() or int(number) >= len(names) or names[int(number)] != name:
            cases.fault(line, f"class {number!r} is named {name!r}, which is not one of VinBigData's 15")
            continue
        _, readers = readings.setdefault(image, (line, {}))
        found = readers.setdefault(reader, set())
        if int(number) != _NO_FINDING:
            found.add(int(number))
    return readings

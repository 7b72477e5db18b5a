"""CheXpert, and MIMIC-CXR, whose labels come from the same labeller: 14 labels, some of them uncertain.

Reference:
    Irvin et al., "CheXpert: A large chest radiograph dataset with uncertainty labels and expert comparison",
    AAAI 2019. Johnson et al., "MIMIC-CXR-JPG", arXiv:1901.07042.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, get_args

from medimg.datasets.image_cases import ImageCases, split_name
from medimg.datasets.image_set import ListedImages
from medimg.datasets.image_table import Table, find_table, need_table, read_table
from medimg.errors import ConfigError
from medimg.records import ImageIndex, Task

LABELS = (
    *("No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema"),
    *("Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other"),
    *("Fracture", "Support Devices"),
)
# The five that the CheXpert competition scored.
COMPETITION_LABELS = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")

Uncertain = Literal["zeros", "ones", "ignore"]

_PATH = re.compile(
    r"(?:(?P<set>[^/]+)/)?(?P<split>train|valid|val|test)/(?P<patient>patient\d+)/(?P<study>[^/]+)/[^/]+"
)
_MIMIC_LABELS = ("mimic-cxr-2.0.0-chexpert.csv", "mimic-cxr-2.0.0-negbio.csv")
_MIMIC_SPLIT = ("mimic-cxr-2.0.0-split.csv",)


@dataclass(frozen=True, kw_only=True)
class _LabelledReports(ListedImages):
    """Radiographs whose 14 labels the CheXpert labeller read from reports, some of them uncertain.

    Attributes:
        uncertain: What an uncertain label counts as, ``zeros``, ``ones`` or ``ignore``: for all, or for each
            label by name; labels not named are ignored.
        blank: What a label that the report does not mention counts as.
        labels: Labels to keep.
    """

    has_laterality: ClassVar[bool] = True
    uncertain: Uncertain | dict[str, Uncertain] = "ignore"
    blank: Literal["ignore", "zeros"] = "ignore"
    labels: tuple[str, ...] = LABELS

    def _made(self, name: str, root: Path, cases: ImageCases) -> ImageIndex:
        task: Task = "binary" if len(self.labels) == 1 else "multilabel"
        return ImageIndex(name, root, task, tuple(self.labels), cases.records())


@dataclass(frozen=True, kw_only=True)
class CheXpert(_LabelledReports):
    """CheXpert, full size or small: ``train.csv`` and ``valid.csv``, 14 labels of reports, some uncertain.

    The root is ``CheXpert-v1.0`` or ``CheXpert-v1.0-small``, or the folder that holds it. The group of a case is
    its study.

    Attributes:
        table: A single table instead of those below the root.

    Reference:
        Irvin et al. 2019, "CheXpert", arXiv:1901.07031.
    """

    def index(self, root: Path) -> ImageIndex:
        """List the images of the tables.

        Raises:
            DataError: If a table is missing, or a row cannot be used.
            ConfigError: If a policy or a label is unknown.
        """
        values = _readings(self.labels, self.uncertain, self.blank)
        tables = [self._table(root, ["train.csv"])]
        if self.table is None:
            others = (find_table(root, [name]) for name in ("valid.csv", "test.csv"))
            tables += [path for path in others if path is not None]
        cases = ImageCases(root, root if self.table is None else tables[0], self.missing)
        for content in map(read_table, tables):
            for line, (path, *fields) in content.select(["Path", *self.labels]):
                where = f"{content.path.name}, line {line}"
                if (found := _read_labels(cases, where, self.labels, fields, values)) is not None:
                    _add_image(cases, where, path, found)
        return self._made("CheXpert", root, cases)


@dataclass(frozen=True, kw_only=True)
class MIMICCXR(_LabelledReports):
    """MIMIC-CXR-JPG: the labels of CheXpert for each study, and the official split, which lists the images.

    The root holds ``mimic-cxr-2.0.0-chexpert.csv``, ``mimic-cxr-2.0.0-split.csv`` and ``files``. The group of a
    case is its study; a study without labels has none known.

    Attributes:
        table: The table of labels if it is not where the publisher puts it.

    Reference:
        Johnson et al. 2019, "MIMIC-CXR-JPG", arXiv:1901.07042.
    """

    def index(self, root: Path) -> ImageIndex:
        """List the images of the split.

        Raises:
            DataError: If a table is missing, or a row cannot be used.
            ConfigError: If a policy or a label is unknown.
        """
        values = _readings(self.labels, self.uncertain, self.blank)
        listed = read_table(need_table(root, _MIMIC_SPLIT, "MIMIC-CXR"))
        cases = ImageCases(root, listed.path, self.missing)
        studies = _study_labels(cases, read_table(self._table(root, _MIMIC_LABELS)), self.labels, values)
        unknown = dict.fromkeys(self.labels, math.nan)
        for line, (image, study, patient, split) in listed.select(
            ["dicom_id", "study_id", "subject_id", "split"]
        ):
            try:
                part = split_name(split)
            except ValueError:
                cases.fault(line, f"the split is {split!r}; expected train, validate or test")
                continue
            stem = f"files/p{patient[:2]}/p{patient}/s{study}/{image}"
            path = cases.files.suffix_of(stem, (".jpg", ".dcm", ".png"))
            known = studies.get(study, unknown)
            cases.add(image, patient, [path], where=line, labels=known, group=study, split=part)
        return self._made("MIMIC-CXR", root, cases)


def _add_image(cases: ImageCases, where: str, path: str, labels: Mapping[str, float]) -> None:
    """Take in a row of CheXpert, whose path says the split, the patient and the study."""
    match = _PATH.fullmatch(path)
    if match is None:
        cases.fault(where, f"the path {path!r} is not as CheXpert-v1.0/train/patient00001/study1/view1.jpg")
        return
    in_root = match["set"] is None or match["set"] in cases.files.entries("")
    below = path if in_root else path.partition("/")[2]
    patient, study = match["patient"], f"{match['patient']}/{match['study']}"
    case_id = f"{study}/{path.rpartition('/')[2].partition('.')[0]}"
    split = split_name(match["split"])
    cases.add(case_id, patient, [below], where=where, labels=labels, group=study, split=split)


def _study_labels(
    cases: ImageCases, table: Table, labels: Sequence[str], values: Sequence[Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    studies = {}
    for line, (study, *fields) in table.select(["study_id", *labels]):
        found = _read_labels(cases, f"{table.path.name}, line {line}", labels, fields, values)
        if study in studies:
            cases.fault(f"{table.path.name}, line {line}", f"the study {study} stands twice; keep one row")
        if found is not None:
            studies[study] = found
    return studies


def _readings(
    labels: Sequence[str], uncertain: Mapping[str, Uncertain] | Uncertain, blank: str
) -> list[dict[str, float]]:
    """What each text in a label's column counts as, a mapping a label."""
    policies = dict.fromkeys(labels, uncertain) if isinstance(uncertain, str) else dict(uncertain)
    unknown = sorted((set(labels) | set(policies)) - set(LABELS))
    if unknown:
        raise ConfigError(f"{unknown[0]!r} is no label of CheXpert; it has {', '.join(LABELS)}")
    for name, policy in policies.items():
        if policy not in get_args(Uncertain):
            raise ConfigError(f"uncertain: expected zeros, ones or ignore for {name}, found {policy!r}")
    if blank not in ("ignore", "zeros"):
        raise ConfigError(f"blank: expected ignore or zeros, found {blank!r}")
    value_of = {"zeros": 0.0, "ones": 1.0, "ignore": math.nan}
    readings = []
    for name in labels:
        doubt = value_of[policies.get(name, "ignore")]
        known = {"1.0": 1.0, "1": 1.0, "0.0": 0.0, "0": 0.0, "-1.0": doubt, "-1": doubt}
        readings.append({**known, "": value_of[blank]})
    return readings


def _read_labels(
    cases: ImageCases,
    where: str,
    labels: Sequence[str],
    fields: Sequence[str],
    values: Sequence[Mapping[str, float]],
) -> dict[str, float] | None:
    try:
        return {name: value[field] for name, value, field in zip(labels, values, fields, strict=True)}
    except KeyError as error:
        cases.fault(where, f"a label is {error}; expected 1.0, 0.0, -1.0 or blank")
        return None

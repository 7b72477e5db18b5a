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

from medimg.datasets.image_cases import ImageCases, Missing, split_name
from medimg.datasets.image_set import ImageSet
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


@dataclass(frozen=True)
class CheXpert(ImageSet):
    """CheXpert, full size or small: 14 labels of reports, some uncertain.

    Attributes:
        uncertain: What an uncertain label counts as, ``zeros``, ``ones`` or ``ignore``: for all, or for each
            label by name; labels not named are ignored.
        blank: What a label that the report does not mention counts as.
        labels: Labels to keep.
        missing: What to do with a case whose image is not there: ``error``, or ``skip`` it and say how many.

    Reference:
        Irvin et al. 2019, "CheXpert", arXiv:1901.07031.
    """

    has_laterality: ClassVar[bool] = True
    uncertain: Uncertain | dict[str, Uncertain] = "ignore"
    blank: Literal["ignore", "zeros"] = "ignore"
    labels: tuple[str, ...] = LABELS
    missing: Missing = "error"

    def index(self, root: Path) -> ImageIndex:
        """List the images of the tables."""
        return index_chexpert(
            root, uncertain=self.uncertain, blank=self.blank, labels=self.labels, missing=self.missing
        )


def index_chexpert(
    root: Path,
    *,
    uncertain: Mapping[str, Uncertain] | Uncertain,
    blank: Literal["ignore", "zeros"] = "ignore",
    labels: Sequence[str] = LABELS,
    table: Path | None = None,
    missing: Missing = "error",
) -> ImageIndex:
    """Index ``train.csv`` and ``valid.csv`` of CheXpert, full size or small.

    Args:
        root: Folder ``CheXpert-v1.0`` or ``CheXpert-v1.0-small``, or the folder that holds it.
        uncertain: What -1 counts as: one policy for all labels, or one a label; labels not named are ignored.
        blank: What a label that the report does not mention counts as.
        labels: Labels to keep.
        table: A single table instead of those below the root.
        missing: What to do with a row whose image is not there: ``error``, ``skip`` or ``keep``.

    Returns:
        A multi-label index; the group of a case is its study.

    Raises:
        DataError: If a table is missing, or a row cannot be used.
        ConfigError: If a policy or a label is unknown.
    """
    root = Path(root)
    values = _readings(labels, uncertain, blank)
    first = need_table(root, ["train.csv"], "CheXpert") if table is None else table
    others = [find_table(root, [name]) for name in ("valid.csv", "test.csv")] if table is None else []
    cases = ImageCases(root, root if table is None else table, missing)
    folders = cases.files.entries("")
    for content in (read_table(path) for path in (first, *others) if path is not None):
        for line, (path, *fields) in content.select(["Path", *labels]):
            where = f"{content.path.name}, line {line}"
            match = _PATH.fullmatch(path)
            found = _read_labels(cases, where, labels, fields, values)
            if match is None:
                cases.fault(
                    where, f"the path {path!r} is not as CheXpert-v1.0/train/patient00001/study1/view1.jpg"
                )
            elif found is not None:
                below = path if match["set"] is None or match["set"] in folders else path.partition("/")[2]
                patient, study = match["patient"], f"{match['patient']}/{match['study']}"
                case_id = f"{study}/{path.rpartition('/')[2].partition('.')[0]}"
                split = split_name(match["split"])
                cases.add(case_id, patient, [below], where=where, labels=found, group=study, split=split)
    task: Task = "binary" if len(labels) == 1 else "multilabel"
    return ImageIndex("CheXpert", root, task, tuple(labels), cases.records())


@dataclass(frozen=True)
class MIMICCXR(ImageSet):
    """MIMIC-CXR-JPG: the labels of CheXpert, official split.

    Attributes:
        uncertain: What an uncertain label counts as, ``zeros``, ``ones`` or ``ignore``: for all, or for each
            label by name; labels not named are ignored.
        blank: What a label that the report does not mention counts as.
        labels: Labels to keep.
        missing: What to do with a case whose image is not there: ``error``, or ``skip`` it and say how many.

    Reference:
        Johnson et al. 2019, "MIMIC-CXR-JPG", arXiv:1901.07042.
    """

    has_laterality: ClassVar[bool] = True
    uncertain: Uncertain | dict[str, Uncertain] = "ignore"
    blank: Literal["ignore", "zeros"] = "ignore"
    labels: tuple[str, ...] = LABELS
    missing: Missing = "error"

    def index(self, root: Path) -> ImageIndex:
        """List the images of the tables."""
        return index_mimic_cxr(
            root, uncertain=self.uncertain, blank=self.blank, labels=self.labels, missing=self.missing
        )


def index_mimic_cxr(
    root: Path,
    *,
    uncertain: Mapping[str, Uncertain] | Uncertain,
    blank: Literal["ignore", "zeros"] = "ignore",
    labels: Sequence[str] = LABELS,
    missing: Missing = "error",
) -> ImageIndex:
    """Index MIMIC-CXR-JPG: labels a study, and the official split, which lists the images.

    Args:
        root: Folder with ``mimic-cxr-2.0.0-chexpert.csv``, ``mimic-cxr-2.0.0-split.csv`` and ``files``.
        uncertain: As for `index_chexpert`.
        blank: As for `index_chexpert`.
        labels: Labels to keep.
        missing: What to do with a row whose image is not there: ``error``, ``skip`` or ``keep``.

    Returns:
        A multi-label index; the group of a case is its study. A study without labels has none known.

    Raises:
        DataError: If a table is missing, or a row cannot be used.
        ConfigError: If a policy or a label is unknown.
    """
    root = Path(root)
    values = _readings(labels, uncertain, blank)
    listed = read_table(need_table(root, _MIMIC_SPLIT, "MIMIC-CXR"))
    cases = ImageCases(root, listed.path, missing)
    studies = _study_labels(cases, read_table(need_table(root, _MIMIC_LABELS, "MIMIC-CXR")), labels, values)
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
        known = studies.get(study, dict.fromkeys(labels, math.nan))
        cases.add(image, patient, [path], where=line, labels=known, group=study, split=part)
    task: Task = "binary" if len(labels) == 1 else "multilabel"
    return ImageIndex("MIMIC-CXR", root, task, tuple(labels), cases.records())


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

"""RSNA Screening Mammography Breast Cancer Detection (2022-23): several views a breast, judged by the breast."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from medimg.datasets.image_cases import Missing
from medimg.datasets.image_set import ImageSet
from medimg.datasets.image_table import need_table, read_table
from medimg.datasets.table import TableColumns, index_table
from medimg.errors import DataError
from medimg.records import ImageIndex

VIEWS = ("CC", "MLO", "AT", "LM", "ML", "LMO")


@dataclass(frozen=True)
class RSNAMammography(ImageSet):
    """RSNA screening mammography: cancer of a breast, seen in two views or more.

    Set ``batch.grouped`` of the data module to judge breasts, as the competition does.

    Attributes:
        missing: What to do with a case whose image is not there: ``error``, or ``skip`` it and say how many.

    Reference:
        RSNA Screening Mammography Breast Cancer Detection, 2022, https://www.rsna.org/rsnai/ai-image-challenge.
    """

    missing: Missing = "error"

    def index(self, root: Path) -> ImageIndex:
        """List the images of ``train.csv``."""
        return index_rsna_mammography(root, missing=self.missing)

    def unlabelled(self, root: Path) -> ImageIndex:
        """List the images of ``test.csv``, or of ``train.csv`` without their labels."""
        part: Literal["train", "test"] = "test" if (root / "test.csv").is_file() else "train"
        index = index_rsna_mammography(root, part=part, missing=self.missing)
        return replace(index, records=tuple(replace(record, labels={}) for record in index.records))


def index_rsna_mammography(
    root: Path,
    *,
    part: Literal["train", "test"] = "train",
    suffix: str = ".dcm",
    missing: Missing = "error",
) -> ImageIndex:
    """Index ``train.csv`` with ``train_images/<patient>/<image>.dcm``, or the same of the test set.

    Args:
        root: Folder of the competition's data.
        part: ``train``, or ``test``, which has no labels.
        suffix: End of the images' names, for sets that were converted.
        missing: What to do with a row whose image is not there: ``error``, ``skip`` or ``keep``.

    Returns:
        A binary index of ``cancer``; the group of a case is its breast, ``<patient>_<L|R>``, as in the
        competition's ``prediction_id``.

    Raises:
        DataError: If the table is missing, a row cannot be used, or images of one breast differ in their label.
    """
    root = Path(root)
    table = need_table(root, [f"{part}.csv"], "RSNA mammography")
    content = read_table(table)
    for line, (side, view) in content.select(["laterality", "view"]):
        if side not in ("L", "R") or view not in VIEWS:
            raise DataError(
                f"{table}, line {line}: found laterality {side!r} and view {view!r}; expected L or R, and one of "
                f"{', '.join(VIEWS)}. Mend the table."
            )
    columns = TableColumns(
        id="{patient_id}_{image_id}",
        patient="patient_id",
        images=(f"{part}_images/{{patient_id}}/{{image_id}}{suffix}",),
        labels=("cancer",) if part == "train" else (),
        group="{patient_id}_{laterality}",
    )
    index = index_table(
        table,
        root,
        columns=columns,
        task="binary",
        classes=("cancer",),
        missing=missing,
        name="RSNA-mammography",
    )
    _check_breasts(table, index)
    return index


def _check_breasts(table: Path, index: ImageIndex) -> None:
    """Cancer is said of a breast, so that two images of one cannot differ."""
    first: dict[str | None, tuple[str, float]] = {}
    for record in index.records:
        if "cancer" not in record.labels:
            continue
        value = record.labels["cancer"]
        case_id, known = first.setdefault(record.group, (record.case_id, value))
        if known != value and not (known != known and value != value):
            raise DataError(
                f"{table}: breast {record.group} has cancer {known:g} in {case_id} and {value:g} in "
                f"{record.case_id}; one of them is wrong. Mend the table."
            )

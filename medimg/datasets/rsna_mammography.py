"""RSNA Screening Mammography Breast Cancer Detection (2022-23): several views a breast, judged by the breast."""

from dataclasses import dataclass
from pathlib import Path

from medimg.datasets.image_set import ListedImages
from medimg.datasets.image_table import find_table, read_table
from medimg.datasets.table import index_table
from medimg.errors import DataError
from medimg.records import ImageIndex, TableColumns

VIEWS = ("CC", "MLO", "AT", "LM", "ML", "LMO")


@dataclass(frozen=True, kw_only=True)
class RSNAMammography(ListedImages):
    """RSNA screening mammography: cancer of a breast, seen in two views or more.

    ``train.csv`` with ``train_images/<patient>/<image>.dcm``, and the same of the test set. The group of a case is
    its breast, ``<patient>_<L|R>``, as in the competition's ``prediction_id``. Set ``batch.grouped`` of the data
    module to judge breasts, as the competition does.

    Attributes:
        suffix: End of the images' names, for sets that were converted.

    Reference:
        RSNA Screening Mammography Breast Cancer Detection, 2022, https://www.rsna.org/rsnai/ai-image-challenge.
    """

    suffix: str = ".dcm"

    def index(self, root: Path) -> ImageIndex:
        """List the images of ``train.csv``: a binary index of ``cancer``.

        Raises:
            DataError: If the table is missing, a row cannot be used, or images of one breast differ in their label.
        """
        table = self._table(root, ["train.csv"])
        index = self._index(table, root, "train", ("cancer",))
        _check_breasts(table, index)
        return index

    def unlabelled(self, root: Path) -> ImageIndex:
        """List the images of ``test.csv``, or of ``train.csv`` without their labels."""
        test = find_table(root, ["test.csv"])
        part, table = ("train", self._table(root, ["train.csv"])) if test is None else ("test", test)
        return self._index(table, root, part, ())

    def _index(self, table: Path, root: Path, part: str, labels: tuple[str, ...]) -> ImageIndex:
        for line, (side, view) in read_table(table).select(["laterality", "view"]):
            if side not in ("L", "R") or view not in VIEWS:
                raise DataError(
                    f"{table}, line {line}: found laterality {side!r} and view {view!r}; expected L or R, and one "
                    f"of {', '.join(VIEWS)}. Mend the table."
                )
        columns = TableColumns(
            id="{patient_id}_{image_id}",
            patient="patient_id",
            images=(f"{part}_images/{{patient_id}}/{{image_id}}{self.suffix}",),
            labels=labels,
            group="{patient_id}_{laterality}",
        )
        return index_table(
            table, root, columns=columns, classes=("cancer",), missing=self.missing, name="RSNA-mammography"
        )


def _check_breasts(table: Path, index: ImageIndex) -> None:
    """Cancer is said of a breast, so that two images of one cannot differ."""
    first: dict[str | None, tuple[str, float]] = {}
    for record in index.records:
        value = record.labels["cancer"]
        case_id, known = first.setdefault(record.group, (record.case_id, value))
        if known != value and not (known != known and value != value):
            raise DataError(
                f"{table}: breast {record.group} has cancer {known:g} in {case_id} and {value:g} in "
                f"{record.case_id}; one of them is wrong. Mend the table."
            )

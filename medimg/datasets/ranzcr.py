"""RANZCR CLiP (2021): where catheters and lines lie on chest radiographs, 11 labels.

Reference:
    Tang et al., "CLiP, catheter and line position dataset", Scientific Data 8, 2021.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from medimg.datasets.image_cases import Missing
from medimg.datasets.image_set import ImageSet
from medimg.datasets.image_table import need_table
from medimg.datasets.table import TableColumns, index_table
from medimg.records import ImageIndex

LABELS = (
    *("ETT - Abnormal", "ETT - Borderline", "ETT - Normal"),
    *("NGT - Abnormal", "NGT - Borderline", "NGT - Incompletely Imaged", "NGT - Normal"),
    *("CVC - Abnormal", "CVC - Borderline", "CVC - Normal", "Swan Ganz Catheter Present"),
)


@dataclass(frozen=True)
class RANZCR(ImageSet):
    """RANZCR CLiP: 11 labels of catheters and tubes.

    Attributes:
        missing: What to do with a case whose image is not there: ``error``, or ``skip`` it and say how many.
    """

    has_laterality: ClassVar[bool] = True
    missing: Missing = "error"

    def index(self, root: Path) -> ImageIndex:
        """List the images of the table."""
        return index_ranzcr(root, missing=self.missing)


def index_ranzcr(root: Path, *, suffix: str = ".jpg", missing: Missing = "error") -> ImageIndex:
    """Index ``train.csv`` with ``train/<StudyInstanceUID>.jpg``.

    Args:
        root: Folder of the competition's data.
        suffix: End of the images' names, for sets that were converted.
        missing: What to do with a row whose image is not there: ``error``, ``skip`` or ``keep``.

    Returns:
        A multi-label index of the 11 labels.

    Raises:
        DataError: If the table is missing or a row cannot be used.
    """
    columns = TableColumns(
        id="StudyInstanceUID",
        patient="PatientID",
        images=(f"train/{{StudyInstanceUID}}{suffix}",),
        labels=LABELS,
    )
    table = need_table(Path(root), ["train.csv"], "RANZCR")
    return index_table(
        table, root, columns=columns, task="multilabel", classes=LABELS, missing=missing, name="RANZCR"
    )

"""RANZCR CLiP (2021): where catheters and lines lie on chest radiographs, 11 labels.

Reference:
    Tang et al., "CLiP, catheter and line position dataset", Scientific Data 8, 2021.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from medimg.datasets.image_set import ListedImages
from medimg.datasets.table import index_table
from medimg.records import ImageIndex, TableColumns
from medimg.scoring.label_forms import RANZCR_LABELS


@dataclass(frozen=True, kw_only=True)
class RANZCR(ListedImages):
    """RANZCR CLiP, ``train.csv`` with ``train/<StudyInstanceUID>.jpg``: 11 labels of catheters and tubes.

    Attributes:
        suffix: End of the images' names, for sets that were converted.
    """

    has_laterality: ClassVar[bool] = True
    suffix: str = ".jpg"

    def index(self, root: Path) -> ImageIndex:
        """List the images of the table: a multi-label index."""
        columns = TableColumns(
            id="StudyInstanceUID",
            patient="PatientID",
            images=(f"train/{{StudyInstanceUID}}{self.suffix}",),
            labels=RANZCR_LABELS,
        )
        return index_table(
            self._table(root, ["train.csv"]),
            root,
            columns=columns,
            task="multilabel",
            classes=RANZCR_LABELS,
            missing=self.missing,
            name="RANZCR",
        )

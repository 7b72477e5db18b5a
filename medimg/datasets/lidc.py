"""LIDC-IDRI: the readers' XML, and the nodules of a converted set as cases.

References:
    Armato et al. 2011, "The Lung Image Database Consortium (LIDC) and Image Database Resource Initiative
    (IDRI)", Medical Physics 38, doi:10.1118/1.3528204.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from medimg.datasets.image_set import ImageSet
from medimg.datasets.image_table import read_table
from medimg.datasets.lidc_xml import Annotation, Contour, Reading, read_xml
from medimg.datasets.table import index_table
from medimg.errors import DataError
from medimg.records import ImageIndex, TableColumns

__all__ = ["LIDC", "Annotation", "Contour", "Reading", "read_xml"]

NODULES = "nodules.csv"


@dataclass(frozen=True)
class LIDC(ImageSet):
    """Nodules of a converted LIDC-IDRI, malignant or benign, a crop each; patients are kept together.

    The root is what the conversion wrote, or nodule phantoms: a folder with ``nodules.csv``.

    Attributes:
        min_readers: Leave out nodules that fewer readers outlined.
        exclude_neither: Leave out nodules of a mean malignancy of 3, which are neither; else they have no label.
    """

    min_readers: int = 3
    exclude_neither: bool = True

    def index(self, root: Path) -> ImageIndex:
        """List the nodules.

        Raises:
            DataError: If the table or a crop is missing, or no nodule is left.
        """
        table = find_nodule_table(Path(root))
        index = index_table(
            table,
            Path(root),
            columns=TableColumns("nodule_id", "patient_id", ("image",), ("malignant",), group="case_id"),
            classes=("malignant",),
            name="LIDC",
        )
        columns = ("nodule_id", "readers", "malignant")
        kept = {
            name
            for _, (name, readers, label) in read_table(table).select(columns)
            if int(readers) >= self.min_readers and (label or not self.exclude_neither)
        }
        if not kept:
            raise DataError(
                f"{table}: none of {len(index.records)} nodules was outlined by {self.min_readers} readers and has a "
                "label. Lower min_readers, or give the whole set."
            )
        return replace(index, records=tuple(record for record in index.records if record.case_id in kept))


def find_nodule_table(root: Path) -> Path:
    """Where the table of nodules lies.

    Args:
        root: What the conversion wrote.

    Raises:
        DataError: If there is no table.
    """
    table = root / NODULES
    if not table.is_file():
        raise DataError(
            f"{root}: expected {NODULES}, as the conversion of LIDC-IDRI writes it, found none. Convert the scans "
            "first (docs/howto-lidc.md), or give the folder that was written then."
        )
    return table

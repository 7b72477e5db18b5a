"""SIIM-ISIC Melanoma Classification (2020): skin lesions, several a patient.

Reference:
    Rotemberg et al., "A patient-centric dataset of images and metadata for identifying melanomas using
    clinical context", Scientific Data 8, 2021.
"""

from dataclasses import dataclass
from pathlib import Path

from medimg.datasets.image_cases import ImageFiles
from medimg.datasets.image_set import ListedImages
from medimg.datasets.image_table import find_table, need_table, read_table
from medimg.datasets.table import index_table
from medimg.records import ImageIndex, TableColumns

_TRUTHS = ("train.csv", "ISIC_2020_Training_GroundTruth_v2.csv", "ISIC_2020_Training_GroundTruth.csv")
_TESTS = ("test.csv", "ISIC_2020_Test_Metadata.csv")


@dataclass(frozen=True, kw_only=True)
class ISIC2020(ListedImages):
    """ISIC 2020: melanoma or not; pictures that the archive lists as copies stay in one fold.

    The table is ``train.csv`` or the archive's own, the images ``jpeg/train/<image_name>.jpg`` or
    ``train/<image_name>.dcm``.

    Reference:
        Rotemberg et al. 2021, "A patient-centric dataset of images and metadata for identifying melanomas",
        doi:10.1038/s41597-021-00815-z.
    """

    def index(self, root: Path) -> ImageIndex:
        """List the images of the table: a binary index of ``target``, melanoma or not."""
        return self._index(self._table(root, _TRUTHS), root, "train", ("target",))

    def unlabelled(self, root: Path) -> ImageIndex:
        """List the images of the test table."""
        return self._index(need_table(root, _TESTS, "ISIC 2020 test"), root, "test", ())

    def known_copies(self, index: ImageIndex) -> list[set[str]]:
        """Copies that the archive lists."""
        return isic_duplicates(index.root)

    def _index(self, table: Path, root: Path, part: str, labels: tuple[str, ...]) -> ImageIndex:
        columns = TableColumns(
            id="image_name",
            patient="patient_id",
            images=(_image_template(root, part),),
            labels=labels,
        )
        return index_table(
            table, root, columns=columns, classes=("target",), missing=self.missing, name="ISIC-2020"
        )


def isic_duplicates(root: Path) -> list[set[str]]:
    """Pictures that the archive itself lists as copies of each other; empty without its list.

    Args:
        root: Folder that may hold ``ISIC_2020_Training_Duplicates.csv``.

    Returns:
        Sets of case ids, to be kept on one side of a split.
    """
    path = find_table(Path(root), ["ISIC_2020_Training_Duplicates.csv"])
    if path is None:
        return []
    return [set(pair) for _, pair in read_table(path).select(["image_name_1", "image_name_2"])]


def _image_template(root: Path, part: str) -> str:
    folder = ImageFiles(root).folder_of((f"jpeg/{part}", part))
    ends = {path.suffix for path in (root / folder).glob("ISIC_*")}
    suffix = next((end for end in (".jpg", ".dcm", ".png") if end in ends), ".jpg")
    return f"{folder}/{{image_name}}{suffix}"

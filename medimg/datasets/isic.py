"""SIIM-ISIC Melanoma Classification (2020): skin lesions, several a patient.

Reference:
    Rotemberg et al., "A patient-centric dataset of images and metadata for identifying melanomas using
    clinical context", Scientific Data 8, 2021.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medimg.datasets.image_cases import ImageFiles, Missing
from medimg.datasets.image_set import ImageSet
from medimg.datasets.image_table import find_table, need_table, read_table
from medimg.datasets.table import TableColumns, index_table
from medimg.records import ImageIndex

_TRUTHS = ("train.csv", "ISIC_2020_Training_GroundTruth_v2.csv", "ISIC_2020_Training_GroundTruth.csv")
_TESTS = ("test.csv", "ISIC_2020_Test_Metadata.csv")


@dataclass(frozen=True)
class ISIC2020(ImageSet):
    """ISIC 2020: melanoma or not; pictures that the archive lists as copies stay in one fold.

    Attributes:
        missing: What to do with a case whose image is not there: ``error``, or ``skip`` it and say how many.

    Reference:
        Rotemberg et al. 2021, "A patient-centric dataset of images and metadata for identifying melanomas",
        doi:10.1038/s41597-021-00815-z.
    """

    missing: Missing = "error"

    def index(self, root: Path) -> ImageIndex:
        """List the images of the table."""
        return index_isic(root, missing=self.missing)

    def unlabelled(self, root: Path) -> ImageIndex:
        """List the images of the test table."""
        return index_isic(root, part="test", missing=self.missing)

    def known_copies(self, index: ImageIndex) -> list[set[str]]:
        """Copies that the archive lists."""
        return isic_duplicates(index.root)


def index_isic(
    root: Path, *, part: Literal["train", "test"] = "train", missing: Missing = "error"
) -> ImageIndex:
    """Index ``train.csv`` with ``jpeg/train/<image_name>.jpg`` or ``train/<image_name>.dcm``, or the test set.

    Args:
        root: Folder of the data.
        part: ``train``, or ``test``, which has no labels.
        missing: What to do with a row whose image is not there: ``error``, ``skip`` or ``keep``.

    Returns:
        A binary index of ``target``: melanoma or not.

    Raises:
        DataError: If the table is missing or a row cannot be used.
    """
    root = Path(root)
    table = need_table(root, _TRUTHS if part == "train" else _TESTS, "ISIC 2020")
    columns = TableColumns(
        id="image_name",
        patient="patient_id",
        images=(_image_template(root, part),),
        labels=("target",) if part == "train" else (),
    )
    return index_table(
        table, root, columns=columns, task="binary", classes=("target",), missing=missing, name="ISIC-2020"
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

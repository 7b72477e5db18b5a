"""Public collections of mammograms and of pictures of the skin."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from medimg.datamodules.images import ImageDataModule
from medimg.datasets.isic import index_isic, isic_duplicates
from medimg.datasets.rsna_mammography import index_rsna_mammography
from medimg.records import ImageIndex


class RSNAMammographyDataModule(ImageDataModule):
    """RSNA screening mammography: cancer of a breast, seen in two views or more.

    Set ``batch.grouped`` to judge breasts, as the competition does. Its arguments are those of
    :class:`medimg.datamodules.images.ImageDataModule`.

    Reference:
        RSNA Screening Mammography Breast Cancer Detection, 2022, https://www.rsna.org/rsnai/ai-image-challenge.
    """

    def read_index(self, root: Path) -> ImageIndex:
        """List the images of ``train.csv``."""
        return index_rsna_mammography(root, missing=self.missing)

    def read_unlabelled(self, root: Path) -> ImageIndex:
        """List the images of ``test.csv``, or of ``train.csv`` without their labels."""
        part: Literal["train", "test"] = "test" if (root / "test.csv").is_file() else "train"
        index = index_rsna_mammography(root, part=part, missing=self.missing)
        return replace(index, records=tuple(replace(record, labels={}) for record in index.records))


class ISICDataModule(ImageDataModule):
    """ISIC 2020: melanoma or not; pictures that the archive lists as copies stay in one fold.

    Its arguments are those of :class:`medimg.datamodules.images.ImageDataModule`.

    Reference:
        Rotemberg et al. 2021, "A patient-centric dataset of images and metadata for identifying melanomas",
        doi:10.1038/s41597-021-00815-z.
    """

    def read_index(self, root: Path) -> ImageIndex:
        """List the images of the table."""
        return index_isic(root, missing=self.missing)

    def read_unlabelled(self, root: Path) -> ImageIndex:
        """List the images of the test table."""
        return index_isic(root, part="test", missing=self.missing)

    def known_copies(self, index: ImageIndex) -> list[set[str]]:
        """Copies that the archive lists."""
        return isic_duplicates(index.root)

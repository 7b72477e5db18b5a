"""Public collections of radiographs of the chest."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medimg.datamodules.base import SplitOptions
from medimg.datamodules.image_cache import CacheOptions
from medimg.datamodules.images import BatchOptions, ImageDataModule
from medimg.datasets.chestxray14 import Repeats, index_chestxray14
from medimg.datasets.chexpert import LABELS, Uncertain, index_chexpert, index_mimic_cxr
from medimg.datasets.image_cases import Missing
from medimg.datasets.ranzcr import index_ranzcr
from medimg.datasets.rsna_pneumonia import index_rsna_pneumonia
from medimg.datasets.siim import index_siim
from medimg.datasets.vinbigdata import Merge, index_vinbigdata
from medimg.preparation.image_pixels import ImageOptions
from medimg.records import ImageIndex
from medimg.transforms.image2d import AlbumentationsTransform


class ChestXray14DataModule(ImageDataModule):
    """NIH ChestX-ray14: 14 findings, official lists where they are there.

    Args:
        root: Folder of tables and images.
        fold: Fold whose cases validate.
        split: Where the folds come from.
        image: What the network sees of an image.
        transform: Augmentation of training images.
        batch: What one training batch is made of.
        cache: Where decoded images are kept.
        missing: What to do with a case whose image is not there: ``error``, or ``skip`` it.
        num_workers: Processes that read images.
        predict_root: What ``predict`` takes; by default every case of ``root``.
        repeats: What to do with an image that stands in several of the simplified tables: ``error``, or
            ``held_out`` keeps it out of training.

    Reference:
        Wang et al. 2017, "ChestX-ray8", arXiv:1705.02315.
    """

    has_laterality = True

    def __init__(
        self,
        root: Path | None = None,
        *,
        fold: int = 0,
        split: SplitOptions = SplitOptions(),  # noqa: B008  (frozen)
        image: ImageOptions = ImageOptions(),  # noqa: B008  (frozen)
        transform: AlbumentationsTransform | None = None,
        batch: BatchOptions = BatchOptions(),  # noqa: B008  (frozen)
        cache: CacheOptions = CacheOptions(),  # noqa: B008  (frozen)
        missing: Missing = "error",
        num_workers: int = 0,
        predict_root: Path | None = None,
        repeats: Repeats = "error",
    ) -> None:
        super().__init__(
            root,
            fold=fold,
            split=split,
            image=image,
            transform=transform,
            batch=batch,
            cache=cache,
            missing=missing,
            num_workers=num_workers,
            predict_root=predict_root,
        )
        self.repeats = repeats

    def read_index(self, root: Path) -> ImageIndex:
        """List the images of the tables."""
        return index_chestxray14(root, missing=self.missing, repeats=self.repeats)


@dataclass(frozen=True)
class ReportOptions:
    """How labels that were read out of reports are taken.

    Attributes:
        uncertain: What an uncertain label counts as, ``zeros``, ``ones`` or ``ignore``: for all, or for each label by
            name; labels not named are ignored.
        blank: What a label that the report does not mention counts as.
        labels: Labels to keep.
    """

    uncertain: Uncertain | dict[str, Uncertain] = "ignore"
    blank: Literal["ignore", "zeros"] = "ignore"
    labels: tuple[str, ...] = LABELS


class CheXpertDataModule(ImageDataModule):
    """CheXpert: 14 labels of reports, some uncertain.

    Args:
        root: Folder ``CheXpert-v1.0`` or ``CheXpert-v1.0-small``.
        fold: Fold whose cases validate.
        split: Where the folds come from.
        image: What the network sees of an image.
        transform: Augmentation of training images.
        batch: What one training batch is made of.
        cache: Where decoded images are kept.
        missing: What to do with a case whose image is not there: ``error``, or ``skip`` it.
        num_workers: Processes that read images.
        predict_root: What ``predict`` takes; by default every case of ``root``.
        reports: How labels that were read out of reports are taken.

    Reference:
        Irvin et al. 2019, "CheXpert", arXiv:1901.07031.
    """

    has_laterality = True

    def __init__(
        self,
        root: Path | None = None,
        *,
        fold: int = 0,
        split: SplitOptions = SplitOptions(),  # noqa: B008  (frozen)
        image: ImageOptions = ImageOptions(),  # noqa: B008  (frozen)
        transform: AlbumentationsTransform | None = None,
        batch: BatchOptions = BatchOptions(),  # noqa: B008  (frozen)
        cache: CacheOptions = CacheOptions(),  # noqa: B008  (frozen)
        missing: Missing = "error",
        num_workers: int = 0,
        predict_root: Path | None = None,
        reports: ReportOptions = ReportOptions(),
    ) -> None:
        super().__init__(
            root,
            fold=fold,
            split=split,
            image=image,
            transform=transform,
            batch=batch,
            cache=cache,
            missing=missing,
            num_workers=num_workers,
            predict_root=predict_root,
        )
        self.reports = reports

    def read_index(self, root: Path) -> ImageIndex:
        """List the images of the tables."""
        how = self.reports
        return index_chexpert(
            root, uncertain=how.uncertain, blank=how.blank, labels=how.labels, missing=self.missing
        )


class MIMICCXRDataModule(ImageDataModule):
    """MIMIC-CXR-JPG: the labels of CheXpert, official split.

    Args:
        root: Folder with the tables and ``files``.
        fold: Fold whose cases validate.
        split: Where the folds come from.
        image: What the network sees of an image.
        transform: Augmentation of training images.
        batch: What one training batch is made of.
        cache: Where decoded images are kept.
        missing: What to do with a case whose image is not there: ``error``, or ``skip`` it.
        num_workers: Processes that read images.
        predict_root: What ``predict`` takes; by default every case of ``root``.
        reports: How labels that were read out of reports are taken.

    Reference:
        Johnson et al. 2019, "MIMIC-CXR-JPG", arXiv:1901.07042.
    """

    has_laterality = True

    def __init__(
        self,
        root: Path | None = None,
        *,
        fold: int = 0,
        split: SplitOptions = SplitOptions(),  # noqa: B008  (frozen)
        image: ImageOptions = ImageOptions(),  # noqa: B008  (frozen)
        transform: AlbumentationsTransform | None = None,
        batch: BatchOptions = BatchOptions(),  # noqa: B008  (frozen)
        cache: CacheOptions = CacheOptions(),  # noqa: B008  (frozen)
        missing: Missing = "error",
        num_workers: int = 0,
        predict_root: Path | None = None,
        reports: ReportOptions = ReportOptions(),
    ) -> None:
        super().__init__(
            root,
            fold=fold,
            split=split,
            image=image,
            transform=transform,
            batch=batch,
            cache=cache,
            missing=missing,
            num_workers=num_workers,
            predict_root=predict_root,
        )
        self.reports = reports

    def read_index(self, root: Path) -> ImageIndex:
        """List the images of the tables."""
        how = self.reports
        return index_mimic_cxr(
            root, uncertain=how.uncertain, blank=how.blank, labels=how.labels, missing=self.missing
        )


class VinBigDataModule(ImageDataModule):
    """VinBigData: 14 findings, three readers an image.

    Args:
        root: Folder with ``train.csv`` and ``train``.
        fold: Fold whose cases validate.
        split: Where the folds come from.
        image: What the network sees of an image.
        transform: Augmentation of training images.
        batch: What one training batch is made of.
        cache: Where decoded images are kept.
        missing: What to do with a case whose image is not there: ``error``, or ``skip`` it.
        num_workers: Processes that read images.
        predict_root: What ``predict`` takes; by default every case of ``root``.
        merge: A finding counts if ``any`` reader has it, more than half (``majority``), or ``all``; ``mean`` makes soft
            labels.

    Reference:
        Nguyen et al. 2022, "VinDr-CXR", arXiv:2012.15029.
    """

    has_laterality = True

    def __init__(
        self,
        root: Path | None = None,
        *,
        fold: int = 0,
        split: SplitOptions = SplitOptions(),  # noqa: B008  (frozen)
        image: ImageOptions = ImageOptions(),  # noqa: B008  (frozen)
        transform: AlbumentationsTransform | None = None,
        batch: BatchOptions = BatchOptions(),  # noqa: B008  (frozen)
        cache: CacheOptions = CacheOptions(),  # noqa: B008  (frozen)
        missing: Missing = "error",
        num_workers: int = 0,
        predict_root: Path | None = None,
        merge: Merge = "majority",
    ) -> None:
        super().__init__(
            root,
            fold=fold,
            split=split,
            image=image,
            transform=transform,
            batch=batch,
            cache=cache,
            missing=missing,
            num_workers=num_workers,
            predict_root=predict_root,
        )
        self.merge = merge

    def read_index(self, root: Path) -> ImageIndex:
        """List the images of the table."""
        return index_vinbigdata(root, merge=self.merge, missing=self.missing)


class RSNAPneumoniaDataModule(ImageDataModule):
    """RSNA pneumonia detection, as one label an image.

    Its arguments are those of :class:`medimg.datamodules.images.ImageDataModule`.
    """

    has_laterality = True

    def read_index(self, root: Path) -> ImageIndex:
        """List the images of the table."""
        return index_rsna_pneumonia(root, missing=self.missing)


class SIIMPneumothoraxDataModule(ImageDataModule):
    """SIIM-ACR pneumothorax, as one label an image.

    Its arguments are those of :class:`medimg.datamodules.images.ImageDataModule`.
    """

    has_laterality = True

    def read_index(self, root: Path) -> ImageIndex:
        """List the images of the table."""
        return index_siim(root, missing=self.missing)


class RANZCRDataModule(ImageDataModule):
    """RANZCR CLiP: 11 labels of catheters and tubes.

    Its arguments are those of :class:`medimg.datamodules.images.ImageDataModule`.
    """

    has_laterality = True

    def read_index(self, root: Path) -> ImageIndex:
        """List the images of the table."""
        return index_ranzcr(root, missing=self.missing)

"""Any labelled 2D images: a table, a folder for each class, or a MedMNIST file."""

from dataclasses import dataclass
from pathlib import Path

from medimg.datamodules.base import SplitOptions
from medimg.datamodules.image_cache import CacheOptions
from medimg.datamodules.images import BatchOptions, ImageDataModule
from medimg.datasets.folder import index_folder
from medimg.datasets.image_cases import Missing
from medimg.datasets.medmnist import index_medmnist
from medimg.datasets.table import TableColumns, index_table
from medimg.errors import ConfigError
from medimg.preparation.image_pixels import ImageOptions
from medimg.records import ImageIndex, Task
from medimg.transforms.image2d import AlbumentationsTransform


class MedMNISTDataModule(ImageDataModule):
    """One 2D set of MedMNIST, any size, with its official splits.

    Args:
        root: Folder with the ``.npz`` files, or one of them.
        fold: Fold whose cases validate; the official split has only one.
        split: Where the folds come from.
        image: What the network sees of an image.
        transform: Augmentation of training images.
        batch: What one training batch is made of.
        cache: Where decoded images are kept.
        num_workers: Processes that read images.
        predict_root: What ``predict`` takes; by default every case of ``root``.
        name: Name of the file without ``.npz``, such as ``chestmnist_224``.

    Reference:
        Yang et al. 2023, "MedMNIST v2", doi:10.1038/s41597-022-01721-8.
    """

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
        num_workers: int = 0,
        predict_root: Path | None = None,
        name: str = "pneumoniamnist",
    ) -> None:
        super().__init__(
            root,
            fold=fold,
            split=split,
            image=image,
            transform=transform,
            batch=batch,
            cache=cache,
            num_workers=num_workers,
            predict_root=predict_root,
        )
        self.name = name

    def read_index(self, root: Path) -> ImageIndex:
        """List the cases of the file."""
        return index_medmnist(root if root.suffix == ".npz" else root / f"{self.name}.npz")

    def read_unlabelled(self, root: Path) -> ImageIndex:
        """List the cases of another file of that kind; its labels are left alone."""
        return self.read_index(root)


class FolderDataModule(ImageDataModule):
    """A folder of images for each class, alone or below ``train``, ``val`` and ``test``; BUSI is one.

    Args:
        root: Folder that holds the classes' folders, or the splits'.
        fold: Fold whose cases validate.
        split: Where the folds come from.
        image: What the network sees of an image.
        transform: Augmentation of training images.
        batch: What one training batch is made of.
        cache: Where decoded images are kept.
        num_workers: Processes that read images.
        predict_root: Folder of images that ``predict`` takes; by default every case of ``root``.
        patient: Regular expression whose group finds the patient in a path; ``None``: every image is one.
        positive: Classes that count as 1 in a binary task; empty keeps all classes apart.
    """

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
        num_workers: int = 0,
        predict_root: Path | None = None,
        patient: str | None = None,
        positive: tuple[str, ...] = (),
    ) -> None:
        super().__init__(
            root,
            fold=fold,
            split=split,
            image=image,
            transform=transform,
            batch=batch,
            cache=cache,
            num_workers=num_workers,
            predict_root=predict_root,
        )
        self.patient, self.positive = patient, positive

    def read_index(self, root: Path) -> ImageIndex:
        """List the images of the classes' folders."""
        return index_folder(root, patient=self.patient, positive=self.positive)


@dataclass(frozen=True)
class TableOptions:
    """A table of cases and what its columns mean.

    Attributes:
        file: The table, ``.csv`` or ``.tsv``, plain, gzipped or zipped; below the root unless it is absolute.
        columns: Which column holds what.
        task: What kind of labels the cases have.
        classes: Names of the labels; by default those of the columns, or the values found.
    """

    file: Path
    columns: TableColumns
    task: Task = "binary"
    classes: tuple[str, ...] = ()


class TableDataModule(ImageDataModule):
    """Images listed in a table: id, patient, group, files, labels, fold and weight.

    Args:
        root: Folder below which all images lie.
        fold: Fold whose cases validate.
        split: Where the folds come from.
        image: What the network sees of an image.
        transform: Augmentation of training images.
        batch: What one training batch is made of.
        cache: Where decoded images are kept.
        missing: What to do with a case whose image is not there: ``error``, or ``skip`` it.
        num_workers: Processes that read images.
        predict_root: What ``predict`` takes; by default every case of ``root``.
        table: The table and what its columns mean.
    """

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
        table: TableOptions | None = None,
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
        self.table = table

    def read_index(self, root: Path) -> ImageIndex:
        """List the rows of the table."""
        if self.table is None:
            raise ConfigError("data.init_args.table: name the table's file and its columns")
        table = self.table
        return index_table(
            root / table.file,
            root,
            columns=table.columns,
            task=table.task,
            classes=table.classes,
            missing=self.missing,
        )

"""Labelled volumes that a table lists, and folders of volumes as ``predict`` takes them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medimg.datasets.image_set import ImageSet
from medimg.datasets.plain import index_plain
from medimg.datasets.table import ImageTable
from medimg.errors import DataError
from medimg.records import DatasetIndex, ImageIndex, Record

logger = logging.getLogger(__name__)

_SHOWN = 10


@dataclass(frozen=True)
class VolumeTable(ImageTable):
    """Volumes listed in a table; the path of an image may be the folder of a DICOM series.

    A file of several channels, or one file a channel, is a case as it stands; ``missing`` may be ``error`` or ``skip``.
    """

    def index(self, root: Path) -> ImageIndex:
        """List the rows of the table; the headers of DICOM series are read.

        Raises:
            DataError: If a volume is not there, or a folder holds no single series; all are named.
        """
        listed = replace(self, missing="keep")
        index = super(VolumeTable, listed).index(root)
        found, faults = [], []
        for record in index.records:
            try:
                found.append(replace(record, images=_files(record)))
            except DataError as error:
                faults.append(str(error))
        if faults and (self.missing == "error" or not found):
            more = f"\n  and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
            lines = "\n".join(f"  {fault}" for fault in faults[:_SHOWN])
            raise DataError(
                f"{root / self.file}: {len(faults)} of {len(index.records)} volumes cannot be used:\n{lines}{more}\n"
                "Mend them or, to go on with the others, set missing to skip."
            )
        if faults:
            logger.warning(
                "%s: %d volumes are left out, the first: %s", root / self.file, len(faults), faults[0]
            )
        kept = {record.case_id for record in found}
        folds = tuple(
            (tuple(i for i in train if i in kept), tuple(i for i in val if i in kept))
            for train, val in index.folds
        )
        return replace(index, records=tuple(found), folds=folds)


def _files(record: Record) -> tuple[Path, ...]:
    """The files of a case, a folder being replaced by those of the series in it."""
    if len(record.images) == 1 and record.images[0].is_dir():
        # pydicom is loaded for those who need it.
        from medimg.io.dicom.grouping import choose_series, find_series

        folder = record.images[0]
        return choose_series(find_series(folder), None, folder).files
    for path in record.images:
        if not path.is_file():
            raise DataError(f"{record.case_id}: there is no file {path}")
    return record.images


def list_volumes(root: Path, channels: Sequence[str]) -> ImageIndex:
    """Every volume of a folder as a case without labels, for prediction.

    Args:
        root: Folder of NIfTI files, ``<case>.nii.gz`` or ``<case>_0000.nii.gz`` with a file a channel, or of DICOM
            series at any depth.
        channels: Name of each channel that the network takes.

    Raises:
        DataError: If there is no volume, or one has other channels.
    """
    found = index_plain(root, like=DatasetIndex(root.resolve().name, root, tuple(channels), {}, ()))
    return ImageIndex(found.name, root, "multilabel", (), found.unlabelled)


def names_own_predictions(dataset: ImageSet) -> bool:
    """Whether a layout says itself what ``predict`` takes below another root."""
    return type(dataset).unlabelled is not ImageSet.unlabelled

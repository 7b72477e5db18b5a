"""Medical Segmentation Decathlon tasks."""

from pathlib import Path

from medimg.datamodules.base import VolumeDataModule
from medimg.datasets.decathlon import index_decathlon
from medimg.records import DatasetIndex


class DecathlonDataModule(VolumeDataModule):
    """A folder ``TaskXX_Name`` of the Medical Segmentation Decathlon.

    Reference:
        Antonelli et al. 2022, "The Medical Segmentation Decathlon", doi:10.1038/s41467-022-30695-9.
    """

    def read_index(self, root: Path) -> DatasetIndex:
        """List the task's cases."""
        return index_decathlon(root)

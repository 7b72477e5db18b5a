"""Data sets in nnU-Net's raw layout."""

from pathlib import Path

from medimg.datamodules.base import VolumeDataModule
from medimg.datasets.nnunet import index_nnunet
from medimg.records import DatasetIndex


class NNUNetDataModule(VolumeDataModule):
    """A folder ``DatasetXXX_Name`` in nnU-Net's raw layout, version 1 or 2, with its regions and splits.

    Reference:
        Isensee et al. 2021, "nnU-Net", doi:10.1038/s41592-020-01008-z.
    """

    def read_index(self, root: Path) -> DatasetIndex:
        """List the data set's cases."""
        return index_nnunet(root)

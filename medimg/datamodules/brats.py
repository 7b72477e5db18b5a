"""Brain tumours: BraTS of every year, the Decathlon's brain-tumour task, and phantoms."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medimg.datamodules.base import Augmentation, PatchOptions, VolumeDataModule
from medimg.datamodules.cases import SplitOptions
from medimg.datamodules.pseudo import PseudoOptions
from medimg.datasets.recognise import index_brain_tumours
from medimg.errors import ConfigError
from medimg.phantoms.brats import write_brats
from medimg.phantoms.set_folder import is_phantom_set
from medimg.preparation.prepare import Preparation
from medimg.records import DatasetIndex


@dataclass(frozen=True)
class BraTSPhantom:
    """Phantoms that are written below ``root`` when they are not there yet.

    Attributes:
        cases: Number of phantoms.
        seed: Same seed, same bytes.
        shape: Shape (D, H, W); real cases have (155, 240, 240).
        spacing_mm: Spacing (D, H, W) in millimetres.
    """

    cases: int = 16
    seed: int = 0
    shape: tuple[int, int, int] = (155, 240, 240)
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)


class BraTSDataModule(VolumeDataModule):
    """BraTS 2018 to 2024, or the Decathlon's Task01, as the regions WT, TC and ET.

    Masks and predictions keep the label values of their own year; the network sees regions.

    Args:
        root: Folder of the data set.
        regions: Regions to train, one channel each.
        fold: Fold whose cases validate.
        split: Where the folds come from.
        preparation: What every case goes through before training sees it.
        store: Folder under which prepared cases are kept.
        patches: What one training batch is made of.
        augmentation: Makes the batched transform for training from the patch size.
        num_workers: Processes that read patches.
        predict_root: Folder whose images ``predict`` takes; by default every image below ``root``.
        pseudo: Pseudo-labelled volumes that train in every fold.
        convention: Label convention where names do not tell it, such as ``brats2024-ped``.
        phantom: Write phantoms to ``root`` when it does not exist.

    Reference:
        Baid et al. 2021, "The RSNA-ASNR-MICCAI BraTS 2021 Benchmark", arXiv:2107.02314.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        regions: Sequence[str] | None = ("WT", "TC", "ET"),
        fold: int = 0,
        split: SplitOptions = SplitOptions(),  # noqa: B008  (frozen)
        preparation: Preparation = Preparation(normalization=("zscore_nonzero",)),  # noqa: B008  (frozen)
        store: Path = Path("prepared"),
        patches: PatchOptions = PatchOptions(),  # noqa: B008  (frozen)
        augmentation: Augmentation | None = None,
        num_workers: int = 0,
        predict_root: Path | None = None,
        pseudo: PseudoOptions = PseudoOptions(),  # noqa: B008  (frozen)
        convention: str | None = None,
        phantom: BraTSPhantom | None = None,
    ) -> None:
        super().__init__(
            root,
            regions=regions,
            fold=fold,
            split=split,
            preparation=preparation,
            store=store,
            patches=patches,
            augmentation=augmentation,
            num_workers=num_workers,
            predict_root=predict_root,
            pseudo=pseudo,
        )
        self.convention, self.phantom = convention, phantom

    def prepare_data(self) -> None:
        """Write the phantoms if they are asked for and missing, then prepare as always."""
        if self.phantom is not None and (not self._root().exists() or is_phantom_set(self._root())):
            phantom = self.phantom
            write_brats(
                self._root(),
                cases=phantom.cases,
                seed=phantom.seed,
                shape=phantom.shape,
                spacing_mm=phantom.spacing_mm,
            )
        super().prepare_data()

    def read_index(self, root: Path) -> DatasetIndex:
        """List the cases, whatever the year, with the channels in the order t1n, t1c, t2w, t2f."""
        return index_brain_tumours(root, convention=self.convention)

    def read_predict_index(self, root: Path) -> DatasetIndex:
        """List the cases by their names, which tell the channels without a ``dataset.json``."""
        return self.read_index(root)

    def _root(self) -> Path:
        if self.root is None:
            raise ConfigError(
                "no data: name the folder of BraTS (any year) or of the Decathlon's Task01_BrainTumour with "
                "--data.root FOLDER. The data are free after registration with the organisers. To see a run on "
                "phantoms first, add --config configs/overlays/demo.yaml"
            )
        return self.root

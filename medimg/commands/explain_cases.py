"""Cases to explain, as the run's own data module reads them, one after the other."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from numpy.typing import NDArray
from torch import Tensor

from medimg import keys
from medimg.commands.export_source import Trained
from medimg.commands.parts import check_parts
from medimg.commands.run import RunParser
from medimg.commands.suggestions import shorten
from medimg.datamodules import ImageDataModule, LabelledVolumeDataModule
from medimg.datamodules.base import VolumeDataModule
from medimg.errors import ConfigError, DataError, MedimgError
from medimg.io.grid import Grid
from medimg.io.nifti import is_nifti, read_grid
from medimg.preparation.image_masks import read_mask_pixels
from medimg.preparation.prepare import prepare_case
from medimg.preparation.source import read_case
from medimg.preparation.volume_back import onto_file
from medimg.preparation.volume_voxels import VolumeOptions, rescale
from medimg.records import DatasetIndex, Record
from medimg.tasks import ImageSegmentationTask

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class CaseInput:
    """One case as the network sees it, and what is known of it.

    Attributes:
        case_id: Its id.
        image: (1, C, ...), or the images of a group (M, C, H, W).
        sizes: M for a group.
        image_ids: Ids of a group's images.
        mask: Reference on the same grid, label values or class numbers; ``None`` without one.
        values: Numbers in the mask of each region.
        spacing_mm: Of a volume's grid.
        turned: Whether a volume lies in RAS order, so that it can be shown as radiologists do.
        to_source: Brings a heat map (D, H, W) to the grid of the file.
    """

    case_id: str
    image: Tensor
    sizes: int | None = None
    image_ids: tuple[str, ...] = ()
    mask: NDArray[Any] | None = None
    values: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    turned: bool = False
    to_source: Callable[[Floats], tuple[Floats, Grid]] | None = None

    def reference(self, label: str) -> NDArray[np.bool_] | None:
        """Where the reference has a region, or anything at all if it knows no region of this name."""
        if self.mask is None:
            return None
        inside = np.isin(self.mask, self.values[label]) if label in self.values else self.mask > 0
        found: NDArray[np.bool_] = inside & (self.mask != keys.IGNORE_INDEX)
        return found


class Cases:
    """The cases below a folder; each is read when its turn comes.

    Args:
        trained: The run.
        root: Folder or file of images, laid out as the run's data set or not.
        only: Ids of the wanted cases; by default all.
        limit: Most cases; 0 takes all.

    Raises:
        ConfigError: If the data module is of another kind, or a wanted case is not there.
        DataError: If there is no case.
    """

    def __init__(self, trained: Trained, root: Path, *, only: Sequence[str] | None, limit: int) -> None:
        if not root.exists():
            raise DataError(f"{root}: there is no such folder or file of cases. Check the path.")
        data = _build(trained.settings)
        self._read: Callable[[int, torch.device], CaseInput]
        if isinstance(data, VolumeDataModule):
            names = self._volumes(data, root)
        elif isinstance(data, ImageDataModule | LabelledVolumeDataModule):
            task = trained.task
            regions = task.label_scheme.values if isinstance(task, ImageSegmentationTask) else {}
            names = self._images(data, root, regions)
        else:
            raise ConfigError(
                f"medimg explain: expected a run on images or volumes, found {type(data).__name__}. Explain the "
                "network that saw the images."
            )
        if not names:
            raise DataError(f"{root}: no case found")
        for wanted in only or ():
            if wanted not in names:
                near = get_close_matches(wanted, names, n=3, cutoff=0.3)
                raise ConfigError(
                    f"--case {wanted}: not below {root}; the nearest are {', '.join(near) or 'none'}"
                )
        self._places = [place for place, name in enumerate(names) if not only or name in only]
        self.left_out = max(len(self._places) - limit, 0) if limit else 0
        self._places = self._places[: limit or None]

    def __len__(self) -> int:
        return len(self._places)

    def read(self, device: torch.device) -> Iterator[CaseInput]:
        """Each case, its image on the device."""
        for place in self._places:
            yield self._read(place, device)

    def _volumes(self, data: VolumeDataModule, root: Path) -> list[str]:
        index = data.read_predict_index(root)
        records = index.all_records
        self._read = lambda place, device: _volume(data, index, records[place], device)
        return [record.case_id for record in records]

    def _images(
        self,
        data: ImageDataModule | LabelledVolumeDataModule,
        root: Path,
        values: Mapping[str, tuple[int, ...]],
    ) -> list[str]:
        try:
            data.dataset.index(root)
            data.root, data.predict_root = root, None
        except MedimgError:  # plain images, without labels or masks
            data.root, data.predict_root = data.root or root, root
        trainer = Trainer(
            accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.state.fn = TrainerFn.PREDICTING  # nothing of the training data is read
        data.trainer = trainer
        data.prepare_data()
        data.setup("predict")
        dataset: Any = data.predict_dataloader().dataset
        records = {record.case_id: record for record in data._predicted_index().records}
        mask_of = _masks(data) if isinstance(data, ImageDataModule) else None
        self._read = partial(_image, data, dataset, records, mask_of, values)
        return [case.case_id for case in dataset.cases]


def _build(settings: dict[str, Any]) -> LightningDataModule:
    parser = RunParser(allow_abbrev=False, default_env=False, prog="medimg explain")
    parser.add_lightning_class_args(LightningDataModule, "data", subclass_mode=True)
    if not isinstance(settings.get("data"), dict):
        raise ConfigError(
            "medimg explain: the run's config.yaml names no data, by which images could be read"
        )
    parsed = parser.parse_object({"data": settings["data"]})
    check_parts(parsed)
    try:
        data: LightningDataModule = parser.instantiate(parsed).data
    except MedimgError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(f"data: a part of the config cannot be built: {shorten(str(error))}") from error
    return data


# ---- volumes with masks -------------------------------------------------------------------------


def _volume(data: VolumeDataModule, index: DatasetIndex, record: Record, device: torch.device) -> CaseInput:
    case = prepare_case(record, index, data.preparation)
    scheme = data.scheme_of(index)
    number_of = {value: number for number, value in enumerate(index.labels.values(), start=1)}
    values = {name: tuple(number_of[v] for v in inside) for name, inside in scheme.values.items()}
    geometry = case.geometry

    def to_source(heat: Floats) -> tuple[Floats, Grid]:
        return geometry.to_source(rescale(heat, geometry.cropped_shape)), _grid_of(record, index)

    return CaseInput(
        record.case_id,
        torch.from_numpy(case.image)[None].float().to(device),
        mask=case.mask,
        values=values,
        spacing_mm=geometry.spacing_mm,
        turned=data.preparation.orientation == "RAS",
        to_source=to_source,
    )


def _grid_of(record: Record, index: DatasetIndex) -> Grid:
    if is_nifti(record.images[0]):
        return read_grid(record.images[0], form="sform")
    return read_case(replace(record, mask=None), index).grid


# ---- labelled images and volumes ----------------------------------------------------------------


def _masks(data: ImageDataModule) -> Callable[[str], NDArray[np.uint8] | None]:
    """Reads the mask of an image on the pixels that the network sees."""
    if data.predict_root is not None:
        return lambda _: None
    index = data.dataset.index(data._root())
    masks = data.dataset.masks(index)
    records = {record.case_id: record for record in index.records}
    height, width = data.image.size

    def read(case_id: str) -> NDArray[np.uint8] | None:
        if case_id not in masks:
            return None
        mask = read_mask_pixels(records[case_id], masks[case_id], data.image)
        top, left = (mask.shape[0] - height) // 2, (mask.shape[1] - width) // 2
        return mask[top : top + height, left : left + width]  # kept larger than it is seen

    return read


def _image(
    data: Any,
    dataset: Any,
    records: dict[str, Record],
    mask_of: Callable[[str], NDArray[np.uint8] | None] | None,
    values: Mapping[str, tuple[int, ...]],
    place: int,
    device: torch.device,
) -> CaseInput:
    sample = dataset[place]
    if mask_of is None:  # a volume
        sample = {**sample, keys.IMAGE: sample[keys.IMAGE][None]}
    batch = data.on_after_batch_transfer({**sample, keys.IMAGE: sample[keys.IMAGE].to(device)}, 0)
    image, case_id = batch[keys.IMAGE], sample[keys.CASE_ID]
    if mask_of is None:
        options: VolumeOptions = data.volume
        return CaseInput(
            case_id,
            image,
            spacing_mm=options.spacing_mm or (1.0, 1.0, 1.0),
            turned=options.orientation == "RAS",
            to_source=partial(onto_file, record=records[case_id], options=options),
        )
    if not data.batch.grouped:
        return CaseInput(case_id, image, mask=mask_of(case_id), values=values)
    ids = tuple(sample.get(keys.IMAGE_ID, ()))
    masks = [mask_of(name) for name in ids]
    whole = None
    if any(mask is not None for mask in masks):
        whole = np.stack([np.zeros(image.shape[-2:], np.uint8) if mask is None else mask for mask in masks])
    return CaseInput(case_id, image, len(image), ids, whole)

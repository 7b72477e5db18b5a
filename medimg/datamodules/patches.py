"""Samples for training and whole cases for scoring, read from the patch store or from files."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from medimg import keys
from medimg.datamodules.pseudo import JoinedStores
from medimg.datamodules.samplers import SampleKey
from medimg.io.nifti import read_mask
from medimg.io.store import PatchStore
from medimg.keys import IGNORE_INDEX
from medimg.preparation.geometry import Geometry
from medimg.preparation.prepare import Preparation, prepare_case
from medimg.records import DatasetIndex, LabelScheme, Record

logger = logging.getLogger(__name__)


class PatchDataset(Dataset[dict[str, Any]]):
    """Random patches of stored cases, a share of them centred on foreground.

    Args:
        store: The patch store, or several as one.
        cases: Case ids, in the order of the sampler's numbers.
        patients: Patient id of each case.
        patch_size: Patch (D, H, W); zero-padded where the case is smaller.
        window: Larger box that the sample of a seed needs, where the augmentation will turn it.
        foreground: Share of samples whose centre is a voxel of a class drawn with equal chance.
        before: Called with the case id before a case is read.
    """

    def __init__(
        self,
        store: PatchStore | JoinedStores,
        cases: Sequence[str],
        patients: Sequence[str],
        patch_size: Sequence[int],
        *,
        window: Callable[[int], Sequence[int]] | None = None,
        foreground: float = 1 / 3,
        before: Callable[[str], None] | None = None,
    ) -> None:
        self.store, self.cases, self.patients = store, cases, patients
        self.patch_size, self.foreground = tuple(patch_size), foreground
        self.window, self.before = window, before

    def __getitem__(self, key: SampleKey) -> dict[str, Any]:
        case_id = self.cases[key.case]
        if self.before is not None:
            self.before(case_id)
        rng = np.random.default_rng(key.seed)
        image, mask = self.store.image(case_id), self.store.mask(case_id)
        start = self._corner(case_id, mask.shape, rng)
        size: Sequence[int] = self.patch_size
        if self.window is not None:  # the same centre, with the margin that turning this sample needs
            size = self.window(key.seed)
            start = start - (np.asarray(size) - np.asarray(self.patch_size)) // 2
        return {
            keys.IMAGE: torch.from_numpy(cut(image, start, size)),
            keys.MASK: torch.from_numpy(cut(mask[None], start, size)),
            keys.CASE_ID: case_id,
            keys.PATIENT_ID: self.patients[key.case],
            keys.SEED: key.seed,
        }

    def _corner(self, case_id: str, shape: Sequence[int], rng: np.random.Generator) -> NDArray[np.int64]:
        """First voxel of the patch; negative where the patch hangs over a small case."""
        size = np.asarray(self.patch_size)
        spare = np.asarray(shape) - size
        low, high = np.minimum(0, -((-spare) // 2)), np.maximum(0, spare)
        # A case smaller than the patch lies in its middle.
        high = np.where(spare < 0, low, high)
        if rng.random() < self.foreground:
            voxels = self.store.foreground(case_id)
            if len(voxels):
                kind = rng.choice(np.unique(voxels[:, 0]))
                bounds = np.searchsorted(voxels[:, 0], [kind, kind + 1])
                centre = np.asarray(voxels[rng.integers(*bounds), 1:], dtype=np.int64)
                corner: NDArray[np.int64] = np.clip(centre - size // 2, low, high)
                return corner
        return np.asarray(rng.integers(low, high + 1), dtype=np.int64)


def cut(array: NDArray[Any], start: Sequence[int] | NDArray[np.int64], size: Sequence[int]) -> NDArray[Any]:
    """Copy a box out of the last three axes, with zeros beyond the edge.

    Args:
        array: Array (C, D, H, W), memory-mapped or not.
        start: First voxel, which may be negative.
        size: Box (d, h, w).

    Returns:
        Private copy (C, d, h, w).

    Example:
        >>> cut(np.arange(4).reshape(1, 1, 1, 4), (0, 0, -1), (1, 1, 3)).tolist()
        [[[[0, 0, 1]]]]
    """
    shape = array.shape[1:]
    low = [max(0, int(first)) for first in start]
    high = [min(n, int(first) + length) for n, first, length in zip(shape, start, size, strict=True)]
    inside = array[(slice(None), *(slice(a, max(a, b)) for a, b in zip(low, high, strict=True)))]
    if inside.shape[1:] == tuple(size):
        return np.array(inside)
    patch = np.zeros((len(array), *size), dtype=array.dtype)
    offset = [a - int(first) for a, first in zip(low, start, strict=True)]
    target = tuple(slice(o, o + n) for o, n in zip(offset, inside.shape[1:], strict=True))
    patch[(slice(None), *target)] = inside
    return patch


class StoredCaseDataset(Dataset[dict[str, Any]]):
    """Whole prepared cases with their masks, for validation on the prepared grid and for scoring.

    Args:
        store: The patch store.
        records: Labelled cases.
        scheme: What the network's channels mean in these masks.
        with_reference: Also read the label map on the grid of its file, for scoring.
        before: Called with the case id before a case is read.
    """

    def __init__(
        self,
        store: PatchStore,
        records: Sequence[Record],
        scheme: LabelScheme,
        *,
        with_reference: bool,
        before: Callable[[str], None] | None = None,
    ) -> None:
        self.store, self.records, self.scheme = store, records, scheme
        self.with_reference, self.before = with_reference, before

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, number: int) -> dict[str, Any]:
        record = self.records[number]
        if self.before is not None:
            self.before(record.case_id)
        sample: dict[str, Any] = {
            keys.IMAGE: torch.from_numpy(np.array(self.store.image(record.case_id), dtype=np.float32)),
            keys.MASK: torch.from_numpy(np.array(self.store.mask(record.case_id))[None]),
            keys.CASE_ID: record.case_id,
            keys.PATIENT_ID: record.patient_id,
            keys.GEOMETRY: Geometry.from_dict(self.store.meta(record.case_id)["geometry"]),
            keys.SCHEME: self.scheme,
            keys.SOURCE: record.images,
        }
        if self.with_reference and record.mask is not None:
            form = self.store.meta(record.case_id)["form"]
            sample[keys.REFERENCE] = read_mask(record.mask, form=form)
        return sample


class RawCaseDataset(Dataset[dict[str, Any]]):
    """Whole cases prepared on the fly from their files, labelled or not, for prediction.

    Args:
        index: The data set.
        records: Cases to read; their masks are left alone.
        preparation: What training did to its cases.
        scheme: What the network's channels mean in this data set's masks.
        before: Called with the case id before a case is read.
    """

    def __init__(
        self,
        index: DatasetIndex,
        records: Sequence[Record],
        preparation: Preparation,
        scheme: LabelScheme,
        *,
        before: Callable[[str], None] | None = None,
    ) -> None:
        self.index, self.records, self.preparation, self.scheme = index, records, preparation, scheme
        self.before = before

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, number: int) -> dict[str, Any]:
        record = self.records[number]
        if self.before is not None:
            self.before(record.case_id)
        bare = Record(record.case_id, record.patient_id, record.images)
        case = prepare_case(bare, self.index, self.preparation)
        for warning in case.warnings:
            logger.warning("%s: %s", record.case_id, warning)
        return {
            keys.IMAGE: torch.from_numpy(case.image),
            keys.CASE_ID: record.case_id,
            keys.PATIENT_ID: record.patient_id,
            keys.GEOMETRY: case.geometry,
            keys.SCHEME: self.scheme,
            keys.SOURCE: record.images,
        }


def collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Stack tensors of one shape, turn seeds into a tensor and keep all else as lists.

    Example:
        >>> collate([{"image": torch.zeros(1, 2), "case_id": "a"}, {"image": torch.ones(1, 2), "case_id": "b"}])
        {'image': tensor([[[0., 0.]],
                [[1., 1.]]]), 'case_id': ['a', 'b']}
    """
    batch: dict[str, Any] = {}
    for key, first in samples[0].items():
        values = [sample[key] for sample in samples]
        match first:
            case Tensor() if all(value.shape == first.shape for value in values):
                batch[key] = torch.stack(values)
            case int():
                batch[key] = torch.tensor(values, dtype=torch.int64)
            case _:
                batch[key] = values
    return batch


def region_table(index: DatasetIndex, scheme: LabelScheme) -> Tensor:
    """Which class indices of a stored mask belong to each channel of the network.

    Args:
        index: The data set, whose label order defines the class indices.
        scheme: Regions by label value.

    Returns:
        Truth table (K, 256).
    """
    table = torch.zeros(len(scheme.values), 256, dtype=torch.bool)
    number_of = {value: number for number, value in enumerate(index.labels.values(), start=1)}
    for channel, values in enumerate(scheme.values.values()):
        table[channel, [number_of[value] for value in values]] = True
    return table


def to_regions(mask: Tensor, table: Tensor) -> Tensor:
    """Turn class indices into one channel a region.

    Args:
        mask: Class indices (B, 1, D, H, W), uint8; 255 is ignored.
        table: What :func:`region_table` gave, (K, 256).

    Returns:
        Regions (B, K, D, H, W), uint8: 1 inside, 0 outside, 255 where the voxel is ignored.

    Example:
        >>> table = torch.zeros(1, 256, dtype=torch.bool); table[0, 2] = True
        >>> to_regions(torch.tensor([[[[[0, 2, 255]]]]], dtype=torch.uint8), table).tolist()
        [[[[[0, 1, 255]]]]]
    """
    regions = torch.stack(
        [table[k].to(mask.device, torch.uint8)[mask[:, 0].int()] for k in range(len(table))], dim=1
    )
    return regions.masked_fill_(mask == IGNORE_INDEX, IGNORE_INDEX)

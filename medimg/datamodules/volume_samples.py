"""Samples of labelled volumes: how one is read, how a batch is put together, and how views are made of it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from medimg import keys
from medimg.datamodules.image_samples import ImageCase
from medimg.datamodules.samplers import SampleKey
from medimg.models.pooling import SIZES
from medimg.transforms.augment3d import Augment3D


class VolumeDataset(Dataset[dict[str, Any]]):
    """Cases with their voxels; what changes them by chance comes later, on the device.

    Args:
        cases: What is judged, one volume each.
        read: Gives the voxels (C, D, H, W), uint8 or float16, of a volume by its case id.
        before: Called with the case id before a case is read.
    """

    def __init__(
        self,
        cases: Sequence[ImageCase],
        read: Callable[[str], NDArray[Any]],
        *,
        before: Callable[[str], None] | None = None,
    ) -> None:
        self.cases, self.read, self.before = cases, read, before

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, key: SampleKey | int) -> dict[str, Any]:
        case = self.cases[key.case if isinstance(key, SampleKey) else key]
        if self.before is not None:
            self.before(case.case_id)
        sample: dict[str, Any] = {
            keys.IMAGE: torch.from_numpy(self.read(case.images[0])),  # (C, D, H, W)
            keys.CASE_ID: case.case_id,
            keys.PATIENT_ID: case.patient_id,
            keys.WEIGHT: case.weight,
        }
        if case.label is not None:
            sample[keys.LABEL] = torch.from_numpy(case.label.copy())
        if isinstance(key, SampleKey):
            sample[keys.SEED] = key.seed
        return sample


def collate_volumes(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Put a batch together.

    Args:
        samples: What :class:`VolumeDataset` gave.

    Returns:
        ``image`` (B, C, D, H, W), ``label`` (B, K), ``weight`` (B,), ``seed`` (B,), and lists of ids.
    """
    batch: dict[str, Any] = {
        keys.IMAGE: torch.stack([sample[keys.IMAGE] for sample in samples]),
        keys.WEIGHT: torch.tensor([sample[keys.WEIGHT] for sample in samples], dtype=torch.float32),
        keys.CASE_ID: [sample[keys.CASE_ID] for sample in samples],
        keys.PATIENT_ID: [sample[keys.PATIENT_ID] for sample in samples],
    }
    if all(keys.LABEL in sample for sample in samples):
        batch[keys.LABEL] = torch.stack([sample[keys.LABEL] for sample in samples])
    if keys.SEED in samples[0]:
        batch[keys.SEED] = torch.tensor([sample[keys.SEED] for sample in samples])
    return batch


def scale_volumes(image: Tensor) -> Tensor:
    """Give volumes as they are kept the values that the network sees.

    Args:
        image: (B, C, D, H, W), uint8 with 0 for -1 and 255 for 1, or floats.

    Returns:
        Float32 (B, C, D, H, W), the input being left as it was.

    Example:
        >>> scale_volumes(torch.tensor([0, 255], dtype=torch.uint8)).tolist()
        [-1.0, 1.0]
    """
    # In place: on a processor a new tensor for each step takes longer than the arithmetic.
    return image.float().mul_(1 / 127.5).sub_(1) if image.dtype == torch.uint8 else image.float()


def augment_volumes(batch: dict[str, Any], augmentation: Augment3D, views: int) -> dict[str, Any]:
    """Change every volume of a training batch by chance, once or in several ways.

    Args:
        batch: ``image`` (B, C, D, H, W) and ``seed`` (B,).
        augmentation: What changes them.
        views: Copies of each case, changed by chance each.

    Returns:
        The batch with ``image`` (B * views, C, D, H, W), the copies of a case one after the other, and with ``sizes``
        (B,) if there are several.
    """
    image, seed = batch[keys.IMAGE], batch[keys.SEED]
    if views > 1:
        image = image.repeat_interleave(views, 0)
        drawn = [np.random.default_rng(one).integers(2**62, size=views) for one in seed.tolist()]
        seed = torch.from_numpy(np.concatenate(drawn))
        batch = {**batch, SIZES: torch.full((len(drawn),), views, device=image.device)}
    changed = augmentation({keys.IMAGE: image, keys.SEED: seed})
    return {**batch, keys.IMAGE: changed[keys.IMAGE]}

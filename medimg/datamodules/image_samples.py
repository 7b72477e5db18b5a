"""Samples of labelled images: which are drawn, how they are changed, and how a batch is put together."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from medimg import keys
from medimg.datamodules.samplers import SampleKey
from medimg.errors import ConfigError, DataError
from medimg.models.pooling import SIZES
from medimg.preparation.image_pixels import ImageOptions
from medimg.records import Record
from medimg.transforms.image2d import AlbumentationsTransform

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class BatchOptions:
    """What one training batch is made of.

    Attributes:
        batch_size: Cases in a batch, on each device.
        balance: 0 draws every case once an epoch; 1 draws rare classes as often as frequent ones; between them in
            part. An epoch has as many samples as there are cases.
        grouped: Judge the images of one group (breast, study) together; the task then needs a pooling. Slices of DICOM
            files come in the order of their position.
        max_images: Most images of one group in training, by default drawn by chance.
        consecutive: Draw neighbours instead: so many images one after the other, from a random start.
        masks: Give the images' masks too.
        views: Copies of each case in training, augmented each by itself; 2 for self-supervision.

    Raises:
        ConfigError: If a value makes no sense.
    """

    batch_size: int = 32
    balance: float = 0.0
    grouped: bool = False
    max_images: int | None = None
    consecutive: bool = False
    masks: bool = False
    views: int = 1

    def __post_init__(self) -> None:
        _expect(
            self.max_images is None or self.max_images >= 1,
            f"max_images: expected 1 or more, found {self.max_images}",
        )
        _expect(
            self.max_images is not None or not self.consecutive,
            "consecutive: how many images come one after the other? Set data.init_args.batch.max_images",
        )
        _expect(self.views >= 1, f"views: expected 1 or more, found {self.views}")
        _expect(
            self.views == 1 or not self.grouped,
            f"views: {self.views} views are of single images, and grouped is true: set it to false",
        )


def _expect(right: bool, fault: str) -> None:
    if not right:
        raise ConfigError(f"data.init_args.batch.{fault}")


@dataclass(frozen=True, slots=True)
class ImageCase:
    """What is judged as one: an image, or the images of a group.

    Attributes:
        case_id: Name of the image, or of the group.
        patient_id: Whom it belongs to.
        images: Case ids of its images.
        label: Value of each label (K,), NaN where it is unknown; ``None`` for a case without labels.
        weight: How much it counts in the loss.
        image_labels: Labels of its single images (n, K), NaN where unknown; ``None`` for a case without labels.
    """

    case_id: str
    patient_id: str
    images: tuple[str, ...]
    label: Floats | None
    weight: float
    image_labels: Floats | None = None


def image_cases(
    records: Sequence[Record],
    classes: Sequence[str],
    *,
    grouped: bool,
    positions: Sequence[float] | NDArray[np.float64] | None = None,
) -> list[ImageCase]:
    """Make the cases that are judged from records.

    Args:
        records: Images.
        classes: Names of the K labels.
        grouped: Judge the images of one ``Record.group`` together; a group has a label if any of its images has it.
        positions: Place of each image along the stack of its group, NaN where it has none: the images of a group come
            in this order, those without a place last. Images of one place, and by default all, come by case id.

    Returns:
        Cases, sorted by id.

    Raises:
        DataError: If a group holds images of several patients.
    """
    members: dict[str, list[tuple[float, str, Record]]] = {}
    places = [math.inf] * len(records) if positions is None else positions
    for record, place in zip(records, places, strict=True):
        name = record.group if grouped and record.group is not None else record.case_id
        known = math.inf if math.isnan(place) else float(place)
        members.setdefault(name, []).append((known, record.case_id, record))
    return [
        _case(name, [record for *_, record in sorted(members[name], key=lambda one: one[:2])], classes)
        for name in sorted(members)
    ]


def _case(name: str, records: Sequence[Record], classes: Sequence[str]) -> ImageCase:
    patients = sorted({record.patient_id for record in records})
    if len(patients) > 1:
        raise DataError(f"the group {name} holds images of several patients: {', '.join(patients[:4])}")
    label = rows = None
    if any(record.labels for record in records):
        rows = np.array([[r.labels.get(c, np.nan) for c in classes] for r in records], np.float32)  # (n, K)
        unknown = np.isnan(rows).all(axis=0)
        label = np.where(unknown, np.nan, np.where(np.isnan(rows), -np.inf, rows).max(axis=0)).astype(
            np.float32
        )
    weight = float(np.mean([record.weight for record in records]))
    return ImageCase(name, patients[0], tuple(record.case_id for record in records), label, weight, rows)


def draw_weights(labels: Floats, balance: float) -> NDArray[np.float64]:
    """How often each case is drawn, so that rare labels are seen more often.

    Exclusive classes are drawn equally often under ``balance`` 1; so are positives and negatives of one label. Of
    several labels, a case is drawn as its rarest one asks for.

    Args:
        labels: Values (N, K), NaN where unknown.
        balance: 0 draws every case alike, 1 evens out the classes, between them in part.

    Returns:
        Probabilities (N,) that sum to 1.

    Example:
        >>> draw_weights(np.float32([[1], [0], [0], [0]]), 1.0).round(3).tolist()
        [0.5, 0.167, 0.167, 0.167]
    """
    known = ~np.isnan(labels)
    positive = np.nan_to_num(labels) >= 0.5
    n_positive = np.maximum(positive.sum(axis=0), 1)
    n_negative = np.maximum((known & ~positive).sum(axis=0), 1)
    need = np.where(positive, 1 / n_positive, 0.0).max(axis=1)
    if labels.shape[1] == 1:
        need = np.where(positive[:, 0], 1 / n_positive, 1 / n_negative)
    # Cases without any positive label share what a label's negatives weigh on average.
    empty = need == 0
    if empty.any():
        need[empty] = 1 / max(int(empty.sum()), 1)
    weights = need**balance
    result: NDArray[np.float64] = weights / weights.sum()
    return result


class ImageDataset(Dataset[dict[str, Any]]):
    """Cases with their pixels: changed by chance when a :class:`SampleKey` asks, as they are when a number asks.

    Args:
        cases: What is judged as one.
        read: Gives the pixels (C, H, W), uint8 or uint16, of an image by its case id.
        options: What the network sees.
        transform: Augmentation.
        batch: What a batch is made of, as far as samples depend on it.
        masks: Gives the label map (H, W) of an image by its case id.
        before: Called with the case id before a case is read.
    """

    def __init__(
        self,
        cases: Sequence[ImageCase],
        read: Callable[[str], NDArray[Any]],
        options: ImageOptions,
        *,
        transform: AlbumentationsTransform | None = None,
        batch: BatchOptions = BatchOptions(),
        masks: Callable[[str], NDArray[np.uint8]] | None = None,
        before: Callable[[str], None] | None = None,
    ) -> None:
        self.cases, self.read, self.options = cases, read, options
        self.transform, self.batch, self.masks, self.before = transform, batch, masks, before

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, key: SampleKey | int) -> dict[str, Any]:
        case = self.cases[key.case if isinstance(key, SampleKey) else key]
        if self.before is not None:
            self.before(case.case_id)
        chosen, seeds = list(range(len(case.images))), None
        if isinstance(key, SampleKey):
            chosen, seeds = self._drawn(len(case.images), key.seed)
        images, masks = self._images([case.images[at] for at in chosen], seeds)
        sample: dict[str, Any] = {
            keys.IMAGE: torch.from_numpy(np.stack(images)),  # (n, C, H, W)
            keys.CASE_ID: case.case_id,
            keys.PATIENT_ID: case.patient_id,
            keys.WEIGHT: case.weight,
        }
        if masks:
            sample[keys.MASK] = torch.from_numpy(np.stack(masks))  # (n, 1, H, W)
        if case.label is not None:
            sample[keys.LABEL] = torch.from_numpy(case.label.copy())
        if self.batch.grouped:
            sample[keys.IMAGE_ID] = [case.images[at] for at in chosen]
            if case.image_labels is not None:
                sample[keys.IMAGE_LABEL] = torch.from_numpy(case.image_labels[chosen])  # (n, K)
        if isinstance(key, SampleKey):
            sample[keys.SEED] = key.seed
        return sample

    def _drawn(self, count: int, seed: int) -> tuple[list[int], NDArray[np.int64]]:
        """The images of a training sample by their place, and a seed for each view of each, (n, views)."""
        rng = np.random.default_rng(seed)
        chosen, most = list(range(count)), self.batch.max_images
        if most is not None and count > most:
            if self.batch.consecutive:
                first = int(rng.integers(count - most + 1))
                chosen = chosen[first : first + most]
            else:
                chosen = sorted(rng.permutation(count)[:most].tolist())
        seeds = rng.integers(2**32, size=(len(chosen), self.batch.views))
        # Neighbours become the channels of one image, so a run is moved and recoloured as one.
        return chosen, np.repeat(seeds[:1], len(seeds), 0) if self.batch.consecutive else seeds

    def _images(
        self, names: Sequence[str], seeds: NDArray[np.int64] | None
    ) -> tuple[list[NDArray[Any]], list[NDArray[np.uint8]]]:
        """Images (C, H, W), the views of one after the other, and masks (1, H, W) if there are any."""
        images, masks = [], []
        for place, name in enumerate(names):
            pixels = self.read(name)
            if pixels.dtype == np.uint16:
                # The whole range of 16 bits, so nothing is cut off.
                pixels = pixels.astype(np.float32) / np.float32(65535)
            mask = None if self.masks is None else self.masks(name)
            # Read once, whatever the number of views.
            for seed in [None] if seeds is None else seeds[place].tolist():
                image, moved = self._changed(pixels, mask, seed)
                images.append(self._sized(image, seed))
                if moved is not None:
                    masks.append(self._sized(moved[None], seed))
        return images, masks

    def _changed(
        self, pixels: NDArray[Any], mask: NDArray[np.uint8] | None, seed: int | None
    ) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
        if self.transform is None:
            return pixels, mask
        if seed is None:
            return self.transform.evaluate(pixels), mask
        return (
            (self.transform(pixels, seed), None)
            if mask is None
            else self.transform.with_mask(pixels, mask, seed)
        )

    def _sized(self, pixels: NDArray[Any], seed: int | None) -> NDArray[Any]:
        wanted = self.options.size
        if pixels.shape[1:] == tuple(wanted):
            return pixels
        if seed is None:
            return _centre(pixels, wanted)
        raise ConfigError(
            f"the augmentation gives images of {pixels.shape[1:]} and data.init_args.image.size is "
            f"{tuple(wanted)}: end the list with a crop of that size, or remove stored_size"
        )


def _centre(pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """The middle of an image (C, H, W) that is kept larger than the network sees it."""
    top, left = (pixels.shape[1] - size[0]) // 2, (pixels.shape[2] - size[1]) // 2
    return np.ascontiguousarray(pixels[:, top : top + size[0], left : left + size[1]])


def scale_images(image: Tensor, mean: Sequence[float] = (0.0,), std: Sequence[float] = (1.0,)) -> Tensor:
    """Bring bytes to [0, 1], and normalise by channel.

    Args:
        image: (B, C, H, W), uint8, or floats that are scaled already.
        mean: Mean of each channel, or of all, on the scale of [0, 1].
        std: Standard deviation likewise.

    Returns:
        Float32 (B, C, H, W), the input being left as it was.

    Example:
        >>> scale_images(torch.tensor([[[[0, 255]]]], dtype=torch.uint8), [0.5], [0.25]).flatten().tolist()
        [-2.0, 2.0]
    """
    means, stds = (torch.tensor(values, device=image.device).view(1, -1, 1, 1) for values in (mean, std))
    if image.dtype == torch.uint8:
        # In place: on a processor a new tensor for each step takes longer than the arithmetic.
        return image.float().mul_(1 / (255 * stds)).sub_(means / stds)
    return (image - means).div_(stds)


def collate_images(samples: Sequence[dict[str, Any]], *, grouped: bool) -> dict[str, Any]:
    """Put a batch together.

    Args:
        samples: What :class:`ImageDataset` gave.
        grouped: Whether a case has several images, or several views of one.

    Returns:
        ``image`` (M, C, H, W) with the images of all cases one after the other, M being B unless ``grouped``;
        ``mask`` (M, 1, H, W) if there are masks; ``label`` (B, K), ``weight`` (B,), ``seed`` (B,), lists of ids; if
        ``grouped``, ``sizes`` (B,), and for groups ``image_id`` (M) and ``image_label`` (M, K).
    """
    batch: dict[str, Any] = {
        keys.IMAGE: torch.cat([sample[keys.IMAGE] for sample in samples]),
        keys.WEIGHT: torch.tensor([sample[keys.WEIGHT] for sample in samples], dtype=torch.float32),
        keys.CASE_ID: [sample[keys.CASE_ID] for sample in samples],
        keys.PATIENT_ID: [sample[keys.PATIENT_ID] for sample in samples],
    }
    if keys.MASK in samples[0]:
        batch[keys.MASK] = torch.cat([sample[keys.MASK] for sample in samples])
    if keys.IMAGE_ID in samples[0]:
        batch[keys.IMAGE_ID] = [name for sample in samples for name in sample[keys.IMAGE_ID]]
    if all(keys.LABEL in sample for sample in samples):
        batch[keys.LABEL] = torch.stack([sample[keys.LABEL] for sample in samples])
        if keys.IMAGE_LABEL in samples[0]:
            batch[keys.IMAGE_LABEL] = torch.cat([sample[keys.IMAGE_LABEL] for sample in samples])
    if keys.SEED in samples[0]:
        batch[keys.SEED] = torch.tensor([sample[keys.SEED] for sample in samples])
    if grouped:
        batch[SIZES] = torch.tensor([len(sample[keys.IMAGE]) for sample in samples])
    return batch

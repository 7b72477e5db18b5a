"""How each input of a case reaches a batch: pictures, volumes, rows of a table and text, blank where it is missing."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from medimg import keys
from medimg.datamodules.image_cache import CacheOptions, ImageCache, kept_folder
from medimg.datamodules.image_samples import ImageCase, ImageDataset, image_cases, scale_images
from medimg.datamodules.kept import KeptArrays
from medimg.datamodules.samplers import SampleKey
from medimg.datamodules.volume_cache import VolumeCache
from medimg.datamodules.volume_samples import VolumeDataset, augment_volumes, scale_volumes
from medimg.models.fusion import INPUTS
from medimg.models.text_encoder import PACKAGE, TextEncoder, Tokens
from medimg.preparation.image_pixels import ImageOptions, read_pixels
from medimg.preparation.volume_voxels import VolumeOptions, read_voxels
from medimg.records import ImageIndex, Record
from medimg.transforms.augment3d import Augment3D
from medimg.transforms.image2d import AlbumentationsTransform

PRESENT = "present"
"""Key of a batch under which stands which inputs each case has, (B, 4) bool, columns as ``INPUTS``."""

TABLE, CATEGORY, TEXT = "table", "category", "text"
_TEXTS_AT_ONCE = 64

Source = ImageCache | VolumeCache
Read = Callable[[str], NDArray[Any]]


class PictureInput(ABC):
    """What the network sees of one picture of a case, and how training changes it."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Channels and size."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Type in which a picture travels to the device."""

    @abstractmethod
    def cache(self, index: ImageIndex, options: CacheOptions) -> Source:
        """Where the pictures of these cases are kept."""

    @abstractmethod
    def read(self, record: Record) -> NDArray[Any]:
        """One picture that is not kept."""

    @abstractmethod
    def samples(self, cases: Sequence[ImageCase], read: Read) -> Dataset[dict[str, Any]]:
        """Pictures by the place of a case, or by a `SampleKey` if they are to be changed by chance."""

    @abstractmethod
    def finish(self, image: Tensor, seed: Tensor | None) -> Tensor:
        """Bring pictures on the device to what the network sees.

        Args:
            image: (B, C, ...).
            seed: (B,) in training.
        """


class ImageInput(PictureInput):
    """An image of two dimensions.

    Args:
        image: What the network sees of it.
        transform: Augmentation of training images; two inputs with the same one are changed alike.
    """

    def __init__(
        self,
        image: ImageOptions = ImageOptions(),  # noqa: B008  (frozen)
        transform: AlbumentationsTransform | None = None,
    ) -> None:
        self.image, self.transform = image, transform

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        return (self.image.channels, *self.image.size)

    @property
    def _normalised(self) -> bool:
        return self.transform is not None and self.transform.normalises

    @property
    def dtype(self) -> torch.dtype:
        """Bytes, or floats where they do not do."""
        return torch.uint8 if self.image.bits == 8 and not self._normalised else torch.float32

    def cache(self, index: ImageIndex, options: CacheOptions) -> ImageCache:
        """See :class:`ImageCache`."""
        return ImageCache(index, self.image, options)

    def read(self, record: Record) -> NDArray[Any]:
        """Pixels (C, H, W)."""
        return read_pixels(record, self.image)

    def samples(self, cases: Sequence[ImageCase], read: Read) -> Dataset[dict[str, Any]]:
        """Images (1, C, H, W)."""
        return ImageDataset(cases, read, self.image, transform=self.transform)

    def finish(self, image: Tensor, seed: Tensor | None) -> Tensor:
        """Scale and normalise; chance was at work before."""
        return (
            scale_images(image) if self._normalised else scale_images(image, self.image.mean, self.image.std)
        )


class VolumeInput(PictureInput):
    """A volume.

    Args:
        volume: What the network sees of it.
        augmentation: Makes the batched transform for training from the size; it runs on the device.
    """

    def __init__(
        self,
        volume: VolumeOptions = VolumeOptions(),  # noqa: B008  (frozen)
        augmentation: Callable[[tuple[int, int, int]], Augment3D] | None = None,
    ) -> None:
        self.volume = volume
        self.augmentation = None if augmentation is None else augmentation(volume.size)

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, D, H, W)."""
        return (self.volume.in_channels, *self.volume.size)

    @property
    def dtype(self) -> torch.dtype:
        """Bytes or half precision."""
        return torch.uint8 if self.volume.bits == 8 else torch.float16

    def cache(self, index: ImageIndex, options: CacheOptions) -> VolumeCache:
        """See :class:`VolumeCache`."""
        return VolumeCache(index, self.volume, options)

    def read(self, record: Record) -> NDArray[Any]:
        """Voxels (C, D, H, W)."""
        return read_voxels(record, self.volume)

    def samples(self, cases: Sequence[ImageCase], read: Read) -> Dataset[dict[str, Any]]:
        """Volumes (C, D, H, W)."""
        return VolumeDataset(cases, read)

    def finish(self, image: Tensor, seed: Tensor | None) -> Tensor:
        """Scale, and change by chance in training."""
        image = scale_volumes(image)
        if seed is None or self.augmentation is None:
            return image
        found: Tensor = augment_volumes({keys.IMAGE: image, keys.SEED: seed}, self.augmentation, 1)[
            keys.IMAGE
        ]
        return found


@dataclass(frozen=True)
class TextOptions:
    """How report text reaches the network.

    Attributes:
        weights: Encoder whose tokens are made, as `medimg.models.TextEncoder` names it.
        limit: Most tokens of a text; of a longer one the first and the last are kept, half each.
        embedded: Run the frozen encoder once over every text and keep what it says, instead of once in every epoch.
    """

    weights: str = PACKAGE
    limit: int = 256
    embedded: bool = False


# ---- what gives an input by case id ------------------------------------------------------------


class Reader(ABC):
    """Gives one input of a case.

    Attributes:
        blank: What stands in a batch where it is missing, by key.
    """

    blank: dict[str, Tensor]

    @abstractmethod
    def __call__(self, case_id: str, seed: int | None) -> dict[str, Tensor]:
        """The input of a case, changed by chance if there is a seed."""


class PictureReader(Reader):
    """Pictures of one input.

    Args:
        name: The input.
        options: What the network sees.
        records: The cases that have it.
        read: Gives a picture by case id.
    """

    def __init__(self, name: str, options: PictureInput, records: Sequence[Record], read: Read) -> None:
        cases = image_cases(records, (), grouped=False)
        self.name, self.samples = name, options.samples(cases, read)
        self.place = {case.case_id: at for at, case in enumerate(cases)}
        self.shape = options.shape
        self.blank = {name: torch.zeros(options.shape, dtype=options.dtype)}

    def __call__(self, case_id: str, seed: int | None) -> dict[str, Tensor]:
        """One picture (C, ...)."""
        at = self.place[case_id]
        found = self.samples[at if seed is None else SampleKey(at, seed)][keys.IMAGE]
        return {self.name: found.reshape(self.shape)}  # images come with a place for several, (1, C, H, W)


class RowReader(Reader):
    """Rows of arrays.

    Args:
        arrays: By key, one row a case.
        case_ids: Cases in the order of the rows.
        blank: What a missing row is filled with, by key.
    """

    def __init__(
        self, arrays: Mapping[str, NDArray[Any]], case_ids: Sequence[str], blank: Mapping[str, float]
    ) -> None:
        self.arrays, self.place = dict(arrays), {case: at for at, case in enumerate(case_ids)}
        self.blank = {
            key: torch.from_numpy(np.full(array.shape[1:], blank[key], array.dtype))
            for key, array in arrays.items()
        }

    def __call__(self, case_id: str, seed: int | None) -> dict[str, Tensor]:
        """Each array's row."""
        return {
            key: torch.from_numpy(np.array(array[self.place[case_id]])) for key, array in self.arrays.items()
        }


class KeptTexts:
    """Tokens or embeddings of all texts, made once and kept on disk.

    Args:
        name: Name of the data set.
        texts: Text of each case.
        options: How text reaches the network.
        cache: Where they are kept.
    """

    def __init__(self, name: str, texts: Sequence[str], options: TextOptions, cache: CacheOptions) -> None:
        self.texts, self.options = texts, options
        digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()
        self._facts = {**asdict(options), "texts": digest, "count": len(texts)}
        self.folder = kept_folder(cache.folder, f"{name}-texts", self._facts)

    def fill(self) -> None:
        """Make what is not there yet.

        Raises:
            ConfigError: If there is no such encoder.
            ResourceError: If the folder cannot be written.
        """
        tokens = Tokens(self.options.weights, self.options.limit)
        encoder = TextEncoder(self.options.weights).eval() if self.options.embedded else None
        width, kind = (
            (self.options.limit, np.int32) if encoder is None else (encoder.num_features, np.float32)
        )
        arrays = {"rows": ((len(self.texts), width), kind), "done": ((1,), np.bool_)}
        kept = KeptArrays(self.folder, arrays).write(self._facts)
        if kept["done"][0]:
            return
        make: Callable[[Sequence[str]], NDArray[Any]] = (
            tokens if encoder is None else partial(_embed, encoder, tokens)
        )
        # Texts of like length together, and each text once: little is computed for what only fills up.
        unique = sorted(set(self.texts), key=lambda text: (len(text), text))
        rows_of: dict[str, list[int]] = {}
        for row, text in enumerate(self.texts):
            rows_of.setdefault(text, []).append(row)
        for start in range(0, len(unique), _TEXTS_AT_ONCE):
            some = unique[start : start + _TEXTS_AT_ONCE]
            for text, found in zip(some, make(some), strict=True):
                kept["rows"][rows_of[text]] = found
        kept["done"][0] = True

    def read(self) -> NDArray[Any]:
        """Tokens (N, T), or embeddings (N, F), memory-mapped."""
        return KeptArrays(self.folder, {"rows": ((0,), np.int32)}).read("rows")


def _embed(encoder: TextEncoder, tokens: Tokens, texts: Sequence[str]) -> NDArray[np.float32]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = encoder.to(device).features(trimmed(torch.from_numpy(tokens(texts)).long()).to(device))
    array: NDArray[np.float32] = found.float().cpu().numpy()
    return array


def trimmed(tokens: Tensor) -> Tensor:
    """Tokens (B, T) without the columns behind the end of the longest text.

    Example:
        >>> trimmed(torch.tensor([[5, 6, 0, 0], [5, 0, 0, 0]])).tolist()
        [[5, 6], [5, 0]]
    """
    used = (tokens != 0).any(0).nonzero()
    return tokens[:, : int(used[-1]) + 1] if len(used) else tokens[:, :1]


# ---- samples and batches --------------------------------------------------------------------------


class FusionDataset(Dataset[dict[str, Any]]):
    """Cases with all that they have: changed by chance when a `SampleKey` asks, as they are when a number asks.

    Args:
        cases: What is judged.
        readers: By input what gives it.
        present: By input the cases that have it.
        before: Called with the case id before a case is read.
    """

    def __init__(
        self,
        cases: Sequence[ImageCase],
        readers: Mapping[str, Reader],
        present: Mapping[str, frozenset[str]],
        *,
        before: Callable[[str], None] | None = None,
    ) -> None:
        self.cases, self.readers, self.present, self.before = cases, readers, present, before

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, key: SampleKey | int) -> dict[str, Any]:
        case = self.cases[key.case if isinstance(key, SampleKey) else key]
        if self.before is not None:
            self.before(case.case_id)
        seed = key.seed if isinstance(key, SampleKey) else None
        here = [name in self.readers and case.case_id in self.present[name] for name in INPUTS]
        sample: dict[str, Any] = {
            keys.CASE_ID: case.case_id,
            keys.PATIENT_ID: case.patient_id,
            keys.WEIGHT: torch.tensor(case.weight, dtype=torch.float32),
            PRESENT: torch.tensor(here),
        }
        for name, reader in self.readers.items():
            sample |= reader(case.case_id, seed) if here[INPUTS.index(name)] else reader.blank
        if case.label is not None:
            sample[keys.LABEL] = torch.from_numpy(case.label.copy())
        if seed is not None:
            sample[keys.SEED] = torch.tensor(seed)
        return sample


def collate_fusion(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Put a batch together.

    Args:
        samples: What :class:`FusionDataset` gave.

    Returns:
        Tensors stacked, (B, ...), text cut to the longest of the batch, and lists of ids.
    """
    batch: dict[str, Any] = {}
    for key, first in samples[0].items():
        values = [sample[key] for sample in samples]
        batch[key] = torch.stack(values) if isinstance(first, Tensor) else values
    if TEXT in batch and not batch[TEXT].is_floating_point():
        batch[TEXT] = trimmed(batch[TEXT].long())
    return batch

"""Features of the slices of studies, kept by a first stage: what a second stage reads instead of images."""

import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.trainer.states import TrainerFn
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from medimg import keys
from medimg.datamodules.cases import SplitOptions
from medimg.datamodules.image_samples import BatchOptions, ImageCase, draw_weights, image_cases
from medimg.datamodules.labelled import LabelledDataModule, LabelledReady, case_labels, has_label
from medimg.datamodules.loader import CurrentCase
from medimg.datamodules.samplers import ImageSampler, SampleKey
from medimg.datasets.image_set import ImageSet
from medimg.errors import ConfigError, DataError
from medimg.io.files import atomic_write, safe_name
from medimg.models.pooling import SIZES
from medimg.preparation.image_splits import official_test
from medimg.preparation.splits import Split

FACTS = "features.json"
_AGAIN = "Let the first stage predict again with medimg.callbacks.FeatureWriter."


def write_features(
    folder: Path, study: str, patient: str, images: Sequence[str], features: NDArray[np.float16]
) -> None:
    """Write the features of one study as ``<study>.npz``, whole or not at all.

    Args:
        folder: Where the file goes.
        study: Case id of the study.
        patient: Whose it is.
        images: Case ids of its n slices in anatomical order.
        features: One row a slice, (n, F).
    """
    if features.shape[0] != len(images):
        raise ValueError(f"study {study}: {len(images)} rows of features expected, found {features.shape}")
    with atomic_write(folder / f"{safe_name(study)}.npz", durable=False) as temporary:
        np.savez(temporary, features=features, images=np.array(images), ids=np.array([study, patient]))


def read_study(path: Path) -> ImageCase:
    """Which study, patient and slices a file is of, without its features and without labels.

    Raises:
        DataError: If the file is missing or damaged.
    """
    (study, patient), images = _arrays(path, "ids", "images")
    return ImageCase(str(study), str(patient), tuple(images.tolist()), None, 1.0)


def read_features(path: Path) -> tuple[tuple[str, ...], NDArray[np.float16]]:
    """Case ids of a study's slices, and their features (n, F).

    Raises:
        DataError: If the file is missing or damaged.
    """
    images, features = _arrays(path, "images", "features")
    return tuple(images.tolist()), features


def _arrays(path: Path, *names: str) -> list[NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return [file[name] for name in names]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path}: no features of a study can be read ({str(error)[:120]}). {_AGAIN}"
        ) from error


class FeatureDataset(Dataset[dict[str, Any]]):
    """Studies with their features: a run of slices when a :class:`SampleKey` asks, whole when a number asks.

    Args:
        cases: Studies.
        folder: Where their features lie.
        max_images: Most slices of a study in training, a run from a place drawn by chance.
        before: Called with the case id before a case is read.
    """

    def __init__(
        self,
        cases: Sequence[ImageCase],
        folder: Path,
        *,
        max_images: int | None = None,
        before: Callable[[str], None] | None = None,
    ) -> None:
        self.cases, self.folder = cases, folder
        self.max_images, self.before = max_images, before

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, key: SampleKey | int) -> dict[str, Any]:
        seed = key.seed if isinstance(key, SampleKey) else None
        case = self.cases[key.case if isinstance(key, SampleKey) else key]
        if self.before is not None:
            self.before(case.case_id)
        path = self.folder / f"{safe_name(case.case_id)}.npz"
        kept, features = read_features(path)
        place_of = {name: place for place, name in enumerate(case.images)}
        if place_of.keys() != set(kept):
            raise DataError(
                f"{path}: features of {len(kept)} slices, and the data list {len(case.images)} of this study, "
                f"or others. {_AGAIN}"
            )
        first, last = 0, len(kept)
        if seed is not None and self.max_images is not None and last > self.max_images:
            first = int(np.random.default_rng(seed).integers(last - self.max_images + 1))
            last = first + self.max_images
        images = kept[first:last]
        sample: dict[str, Any] = {
            keys.IMAGE: torch.from_numpy(features[first:last]),  # (n, F)
            keys.IMAGE_ID: list(images),
            keys.CASE_ID: case.case_id,
            keys.PATIENT_ID: case.patient_id,
            keys.WEIGHT: case.weight,
        }
        if case.label is not None and case.image_labels is not None:
            sample[keys.LABEL] = torch.from_numpy(case.label.copy())
            # The data list slices in an order of their own.
            places = [place_of[name] for name in images]
            sample[keys.IMAGE_LABEL] = torch.from_numpy(case.image_labels[places])
        if seed is not None:
            sample[keys.SEED] = seed
        return sample


def collate_features(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Put studies one after the other, as grouped images are.

    Args:
        samples: What :class:`FeatureDataset` gave.

    Returns:
        ``image`` (M, F) float32, ``sizes`` (B,), ``image_id`` (M), and what else the samples hold.
    """
    batch: dict[str, Any] = {
        keys.IMAGE: torch.cat([sample[keys.IMAGE] for sample in samples]).float(),
        SIZES: torch.tensor([len(sample[keys.IMAGE]) for sample in samples]),
        keys.IMAGE_ID: [name for sample in samples for name in sample[keys.IMAGE_ID]],
        keys.WEIGHT: torch.tensor([sample[keys.WEIGHT] for sample in samples], dtype=torch.float32),
    }
    for key in (keys.CASE_ID, keys.PATIENT_ID):
        batch[key] = [sample[key] for sample in samples]
    if keys.LABEL in samples[0]:
        batch[keys.LABEL] = torch.stack([sample[keys.LABEL] for sample in samples])
        batch[keys.IMAGE_LABEL] = torch.cat([sample[keys.IMAGE_LABEL] for sample in samples])
    if keys.SEED in samples[0]:
        batch[keys.SEED] = torch.tensor([sample[keys.SEED] for sample in samples])
    return batch


class SliceFeatureDataModule(LabelledDataModule[LabelledReady]):
    """Studies of one data set by the features of their slices, which :class:`medimg.callbacks.FeatureWriter` kept.

    Labels and folds are those of the data set. Features come from an encoder that was fitted to one fold's training
    cases, so only that fold can be trained and scored on them.

    Args:
        root: Folder of the data set; no image in it is opened.
        dataset: Which layout the root has.
        features: Folder of the features.
        fold: Fold whose studies validate.
        split: Where the folds come from, as in the first stage.
        batch: Studies in a training batch, their balance, and ``max_images``, the longest run of slices.
        num_workers: Processes that read features; 0 reads in the training process.
        predict_root: Folder of features that ``predict`` takes; by default ``features``.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        dataset: ImageSet,
        features: Path,
        fold: int = 0,
        split: SplitOptions = SplitOptions(),  # noqa: B008  (frozen)
        batch: BatchOptions = BatchOptions(grouped=True),  # noqa: B008  (frozen)
        num_workers: int = 0,
        predict_root: Path | None = None,
    ) -> None:
        super().__init__(root, fold=fold, split=split, num_workers=num_workers, predict_root=predict_root)
        self.dataset, self.features, self.batch = dataset, features, batch
        if not batch.grouped:
            raise ConfigError("features are of whole studies: set data.init_args.batch.grouped to true")

    def prepare_data(self) -> None:
        """Make sure that the table of labels was named; features are there already."""
        if self._fn != TrainerFn.PREDICTING:
            self._root()

    def _read(self) -> LabelledReady:
        index = self.dataset.index(self._root())
        split = self._choose_split(index, tuple)
        self._check_origin(split)
        return LabelledReady(
            index.name, split, list(index.classes), index, official_test(index) or split.test
        )

    def _check_origin(self, split: Split) -> None:
        """The encoder must not have been fitted to what is scored here."""
        path = self.features / FACTS
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path}: cannot be read, so the features are not whole or not there. {_AGAIN}"
            ) from error
        own, made = (split.whole, self.fold), (facts.get("split"), facts.get("fold"))
        if own != made and not self.split_options.allow_leaky:
            raise DataError(
                f"{self.features}: features of an encoder of fold {made[1]} of the split {made[0]}, and this is fold "
                f"{own[1]} of {own[0]}: the encoder may have been fitted to studies that are scored here. Give both "
                "stages the same data.init_args.fold and split, such as a file of `medimg split`."
            )

    # ---- loaders -----------------------------------------------------------------------------

    def _cases(self, case_ids: tuple[str, ...]) -> list[ImageCase]:
        wanted = set(case_ids)
        records = [record for record in self._set_up.index.records if record.case_id in wanted]
        return image_cases(records, self._set_up.index.classes, grouped=True)

    def _training_cases(self) -> list[ImageCase]:
        return self._cases(self._set_up.split.train)

    def train_dataloader(self) -> DataLoader[Any]:
        """Every training study with a known label once an epoch, or as often as its class asks for."""
        cases = [case for case in self._training_cases() if has_label(case)]
        if not cases:
            raise DataError(f"{self._set_up.index.root}: none of the training studies has a label")
        rank, world = self._place()
        sampler = ImageSampler(
            len(cases),
            weights=draw_weights(case_labels(cases), self.batch.balance) if self.batch.balance else None,
            seed=torch.initial_seed() % 2**32,
            rank=rank,
            world=world,
        )
        return self._batches(cases, self.features, sampler, drop_last=len(sampler) >= self.batch.batch_size)

    def val_dataloader(self) -> DataLoader[Any]:
        """The validation studies, each once and whole."""
        return self._whole(self._set_up.split.val)

    def test_dataloader(self) -> DataLoader[Any]:
        """The test studies, each once and whole."""
        return self._whole(self._scored_ids())

    def predict_dataloader(self) -> DataLoader[Any]:
        """Every study whose features were kept."""
        folder = self.predict_root or self.features
        files = sorted(path for path in folder.glob("*.npz") if not path.name.startswith("."))
        if not files:
            raise DataError(f"{folder}: no features of studies (<study>.npz). {_AGAIN}")
        cases = [read_study(path) for path in files]
        self._predicted = tuple(name for case in cases for name in case.images)
        return self._batches(cases, folder, self._case_sampler(len(cases)))

    def _whole(self, case_ids: tuple[str, ...]) -> DataLoader[Any]:
        cases = [case for case in self._cases(case_ids) if case.label is not None]
        return self._batches(cases, self.features, self._case_sampler(len(cases)))

    def _batches(
        self,
        cases: list[ImageCase],
        folder: Path,
        sampler: Sampler[Any],
        *,
        drop_last: bool = False,
    ) -> DataLoader[Any]:
        current = CurrentCase(self.num_workers)
        dataset = FeatureDataset(cases, folder, max_images=self.batch.max_images, before=current.note)
        return self._loader(
            dataset,
            sampler,
            current,
            batch_size=self.batch.batch_size,
            collate=collate_features,
            drop_last=drop_last,
        )

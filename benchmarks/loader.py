"""Seconds from a stored case to an augmented patch on one core, beside nnU-Net 2.8.1.

Both sides read the same make-believe cases from their own stores, draw patches with the same share
of foreground, run the same list of augmentations with the same probabilities, and hand over a
batch of float32 images and masks. Batches alternate, one thread each, page cache warm, deep supervision
off. nnU-Net's side is its own data loader over its own blosc2 data set with its own transforms.

Run: ``uv run --group bench python benchmarks/loader.py``

Predicted for 4 x 128^3 from single operations on an AVX-512 core: 22 ms to read and convert,
0.36 x 250 to resample, 0.4 x 25 for gamma, 20 for the rest: 0.14 s. Measured: 0.15 s of CPU (nnU-Net
0.53), and 2.7 ms for 40 x 56 x 40 (nnU-Net 10.7), a fifth of it spent on opening memory maps.
"""

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from medimg.datamodules.patches import PatchDataset, SampleKey, collate
from medimg.io.store import PatchStore
from medimg.keys import IMAGE, MASK
from medimg.transforms.augment3d import NNUNetAugmentation

FOREGROUND_SHARE = 0.33
Sampler = Callable[[], tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Setting:
    """A kind of case and the patch that is drawn from it."""

    name: str
    channels: int
    size: tuple[int, int, int]
    patch: tuple[int, int, int]
    batch: int
    cases: int
    labels: int
    samples: int
    quick: int


SETTINGS = (
    Setting("BRATS", 4, (155, 240, 240), (128, 128, 128), batch=2, cases=2, labels=3, samples=80, quick=8),
    Setting("HIPPOCAMPUS", 1, (36, 50, 35), (40, 56, 40), batch=8, cases=8, labels=2, samples=800, quick=80),
)


def make_case(setting: Setting, seed: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """A body of smooth tissue on a background of zeros, with nested labels (C, D, H, W), (D, H, W)."""
    rng = np.random.default_rng(seed)
    axes = [np.linspace(-1, 1, n, dtype=np.float32) for n in setting.size]
    d, h, w = np.meshgrid(*axes, indexing="ij", sparse=True)
    body = (d / 0.9) ** 2 + (h / 0.8) ** 2 + (w / 0.65) ** 2 < 1
    centre = rng.uniform(-0.3, 0.3, 3)
    far = np.sqrt((d - centre[0]) ** 2 + (h - centre[1]) ** 2 + (w - centre[2]) ** 2)
    mask = np.zeros(setting.size, np.uint8)
    for label in range(1, setting.labels + 1):
        mask[(far < 0.32 / label) & body] = label
    image = np.zeros((setting.channels, *setting.size), np.float32)
    for channel in image:
        tissue = 8 * gaussian_filter(rng.standard_normal(setting.size, dtype=np.float32), 2.0)
        channel[...] = np.where(body, tissue + rng.normal() * mask + 1, 0)
    return image, mask


def foreground_of(mask: NDArray[np.uint8]) -> dict[int, NDArray[np.int64]]:
    """At most 10,000 voxels (N, 3) of each label, as nnU-Net keeps."""
    rng = np.random.default_rng(0)
    voxels = {int(label): np.argwhere(mask == label) for label in np.unique(mask) if label}
    return {label: v[rng.permutation(len(v))[:10_000]] for label, v in voxels.items()}


def write_cases(setting: Setting, ours: Path, theirs: Path) -> list[str]:
    """Write the same cases into both stores; return their names."""
    store, names = PatchStore(ours), []
    theirs.mkdir(parents=True)
    for index in range(setting.cases):
        image, mask = make_case(setting, index)
        name = f"case_{index:03d}"
        names.append(name)
        voxels = foreground_of(mask)
        table = np.concatenate([np.c_[np.full(len(v), label), v] for label, v in voxels.items()])
        store.write(name, image, mask, table.astype(np.int16), {"key": "", "stamp": []})
        blocks, chunks = comp_blosc2_params(image.shape, setting.patch, image.itemsize)
        seg = mask[None].astype(np.int8)
        seg_blocks, seg_chunks = comp_blosc2_params(seg.shape, setting.patch, seg.itemsize)
        locations = {label: np.c_[np.zeros(len(v), int), v] for label, v in voxels.items()}
        nnUNetDatasetBlosc2.save_case(
            image, seg, {"class_locations": locations}, str(theirs / name),
            chunks=chunks, blocks=blocks, chunks_seg=seg_chunks, blocks_seg=seg_blocks,
        )  # fmt: skip
    return names


def our_sampler(setting: Setting, folder: Path, names: list[str]) -> Sampler:
    """Batches from the patch store: the data set, the collation and the augmentation of a training run."""
    augment = NNUNetAugmentation(setting.patch)
    dataset = PatchDataset(
        PatchStore(folder),
        names,
        names,
        setting.patch,
        window=augment.window,
        foreground=forced_share(setting),
    )
    rng = np.random.default_rng(1)

    def batch() -> tuple[torch.Tensor, torch.Tensor]:
        drawn = [
            SampleKey(int(rng.integers(len(names))), int(rng.integers(2**62))) for _ in range(setting.batch)
        ]
        made = augment(collate([dataset[key] for key in drawn]))
        return made[IMAGE], made[MASK]

    return batch


def forced_share(setting: Setting) -> float:
    """Share of a batch that nnU-Net forces onto foreground when asked for a third."""
    return 1 - round(setting.batch * (1 - FOREGROUND_SHARE)) / setting.batch


def nnunet_sampler(setting: Setting, folder: Path) -> Sampler:
    """Batches from nnU-Net's own data set, data loader and transforms."""
    angle = (-30.0 / 180 * np.pi, 30.0 / 180 * np.pi)
    transforms = nnUNetTrainer.get_training_transforms(setting.patch, angle, None, (0, 1, 2), False)
    blur = next(
        t.transform for t in transforms.transforms
        if isinstance(getattr(t, "transform", None), GaussianBlurTransform)
    )  # fmt: skip
    for _ in range(12):  # it times its two convolutions on first use: not to be counted
        blur(image=torch.rand(4, *setting.patch))
    labels = {"background": 0} | {f"label{i}": i for i in range(1, setting.labels + 1)}
    loader = nnUNetDataLoader(
        nnUNetDatasetBlosc2(str(folder)),
        setting.batch,
        get_patch_size(setting.patch, angle, angle, angle, (0.85, 1.25)),
        setting.patch,
        LabelManager(labels, None),
        oversample_foreground_percent=FOREGROUND_SHARE,
        transforms=transforms,
    )

    def batch() -> tuple[torch.Tensor, torch.Tensor]:
        made = next(loader)
        return made["data"], made["target"]

    return batch


def measure(setting: Setting, samples: int, folder: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Wall and CPU seconds a sample, shape (2 sides, batches), of alternating batches."""
    names = write_cases(setting, folder / "ours", folder / "nnunet")
    sides = [our_sampler(setting, folder / "ours", names), nnunet_sampler(setting, folder / "nnunet")]
    expected = (setting.batch, setting.channels, *setting.patch)
    for side in sides:
        for _ in range(2):
            image, mask = side()
            assert image.shape == expected and image.dtype == torch.float32, image.shape
            assert mask.shape == (setting.batch, 1, *setting.patch), mask.shape
    wall, cpu = [], []
    for _ in range(max(1, samples // setting.batch)):
        for side in sides:
            clock, used = time.perf_counter(), time.process_time()
            side()
            wall.append((time.perf_counter() - clock) / setting.batch)
            cpu.append((time.process_time() - used) / setting.batch)
    return np.array(wall).reshape(-1, 2).T, np.array(cpu).reshape(-1, 2).T


def main() -> None:
    """Measure, print a table, and one line a setting."""
    parser = argparse.ArgumentParser(description="Stored case to augmented patch, beside nnU-Net.")
    parser.add_argument("--samples", type=int, help="samples a side and setting (default 80 and 800)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the samples")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    np.random.seed(0)  # noqa: NPY002  nnU-Net draws from the global generators
    torch.manual_seed(0)
    warnings.filterwarnings("ignore", category=UserWarning)
    lines = []
    print("one core, seconds a sample: mean +- standard error, median, CPU mean")
    for setting in SETTINGS:
        samples = arguments.samples or (setting.quick if arguments.quick else setting.samples)
        with tempfile.TemporaryDirectory() as folder:
            wall, cpu = measure(setting, samples, Path(folder))
        for side, row, used in zip(("medimg", "nnU-Net"), wall, cpu, strict=True):
            error = row.std() / len(row) ** 0.5
            print(
                f"{setting.name:12} {side:8} {row.mean():.4f} +- {error:.4f}  {np.median(row):.4f}"
                f"  {used.mean():.4f}  ({len(row)} batches of {setting.batch})"
            )
        ours, theirs = wall.mean(axis=1)
        lines.append(
            f"LOADER_{setting.name}: ours {ours:.4f} s, nnU-Net {theirs:.4f} s, ratio {ours / theirs:.3f}"
        )
    print("\n".join(lines))


if __name__ == "__main__":
    main()

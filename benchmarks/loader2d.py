"""Augmented images a second on one core, beside torchvision's transforms v2.

Both sides start from the same 256 x 256 grey pictures in memory (phantom mammograms, 8 bits), draw batches of 32
with the same list, probabilities and ranges, and hand over a normalised float32 batch of 224 x 224: random
resized crop, mirroring, a turn with zoom, shift and shear, brightness and contrast, noise, normalisation. Ours is the
data set of the project with its adapter for albumentations; theirs is a list of ``torchvision.transforms.v2``
on uint8 tensors, which its documentation names as the fast form, noise and normalisation on floats. Batches
alternate, one thread each.

Run: ``uv run --group bench python benchmarks/loader2d.py``

Predicted from single operations: 0.1 ms each for the two warps of OpenCV, 0.4 ms for noise where it is drawn, and
0.2 ms to draw numbers: 0.5 ms an image. torchvision's affine samples a grid in float32, 2 ms: a ratio of 4.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import albumentations as A
import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms import InterpolationMode, v2

from medimg.datamodules.image_samples import ImageCase, ImageDataset, collate_images, scale_images
from medimg.datamodules.patches import SampleKey
from medimg.keys import IMAGE
from medimg.phantoms.breast import make_breast, project
from medimg.preparation.image_pixels import ImageOptions
from medimg.transforms.image2d import AlbumentationsTransform

STORED, SEEN, BATCH = 256, 224, 32
MEAN, STD = 0.5, 0.25
Batch = Callable[[], torch.Tensor]


def pictures(count: int) -> NDArray[np.uint8]:
    """Draw phantom mammograms (N, 1, H, W)."""
    drawn = []
    for seed in range(count):
        breast = make_breast(
            np.random.default_rng(seed),
            "LR"[seed % 2],
            density=seed % 4,
            cancer=bool(seed % 2),
            benign=False,
        )
        pixels = project(breast, "CC" if seed % 3 else "MLO", (STORED, STORED))
        drawn.append((pixels / pixels.max() * 255).astype(np.uint8)[None])
    return np.stack(drawn)


def ours(images: NDArray[np.uint8]) -> Batch:
    """Our data set, sampler keys, collation, and the scaling that runs on the device."""
    transform = AlbumentationsTransform(
        [
            A.RandomResizedCrop((SEEN, SEEN), scale=(0.6, 1.0), ratio=(0.9, 1.1)),
            A.HorizontalFlip(p=0.5),
            A.Affine(
                scale=(0.85, 1.15), translate_percent=(-0.08, 0.08), rotate=(-10, 10), shear=(-5, 5), p=0.9
            ),
            A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.7),
            A.GaussNoise(std_range=(0.02, 0.02), p=0.2),
        ]
    )
    cases = [ImageCase(str(n), str(n), (str(n),), np.zeros(1, np.float32), 1.0) for n in range(len(images))]
    dataset = ImageDataset(
        cases, lambda name: images[int(name)], ImageOptions(size=(SEEN, SEEN)), transform=transform
    )
    rng = np.random.default_rng(1)

    def batch() -> torch.Tensor:
        drawn = [SampleKey(int(rng.integers(len(images))), int(rng.integers(2**62))) for _ in range(BATCH)]
        pixels: torch.Tensor = collate_images([dataset[key] for key in drawn], grouped=False)[IMAGE]
        return scale_images(pixels, [MEAN], [STD])

    return batch


def theirs(images: NDArray[np.uint8]) -> Batch:
    """The same list from torchvision."""
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(SEEN, scale=(0.6, 1.0), ratio=(0.9, 1.1), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomApply(
                [
                    v2.RandomAffine(
                        10,
                        translate=(0.08, 0.08),
                        scale=(0.85, 1.15),
                        shear=(-5, 5, -5, 5),
                        interpolation=InterpolationMode.BILINEAR,
                    )
                ],
                p=0.9,
            ),
            v2.RandomApply([v2.ColorJitter(brightness=0.2, contrast=0.2)], p=0.7),
            v2.ToDtype(torch.float32, scale=True),
            v2.RandomApply([v2.GaussianNoise(sigma=0.02)], p=0.2),
            v2.Normalize([MEAN], [STD]),
        ]
    )
    tensors = torch.from_numpy(images)
    rng = np.random.default_rng(1)

    def batch() -> torch.Tensor:
        return torch.stack([transform(tensors[int(rng.integers(len(images)))]) for _ in range(BATCH)])

    return batch


def main() -> None:
    """Measure, print a table and the ratio."""
    parser = argparse.ArgumentParser(description="Augmented images a second, beside torchvision v2.")
    parser.add_argument("--batches", type=int, default=150, help="batches a side")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    images = pictures(64)
    sides: dict[str, Batch] = {"medimg": ours(images), "torchvision": theirs(images)}
    for side in sides.values():
        for _ in range(3):
            made = side()
            assert made.shape == (BATCH, 1, SEEN, SEEN) and made.dtype == torch.float32, made.shape
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(arguments.batches):
        for name, side in sides.items():
            clock = time.perf_counter()
            side()
            seconds[name].append((time.perf_counter() - clock) / BATCH)
    speed: dict[str, Any] = {}
    for name, row in seconds.items():
        mean, error = np.mean(row), np.std(row) / len(row) ** 0.5
        speed[name] = 1 / mean
        print(
            f"{name:12} {1e3 * mean:.3f} +- {1e3 * error:.3f} ms an image, median {1e3 * np.median(row):.3f} ms"
        )
    a, b = speed["medimg"], speed["torchvision"]
    print(f"LOADER2D: ours {a:.0f} images/s, torchvision {b:.0f} images/s, ratio {a / b:.2f}")


if __name__ == "__main__":
    main()

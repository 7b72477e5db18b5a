"""Pictures and tables of fake 2D data sets."""

import csv
import gzip
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def make_picture(seed: int = 0, shape: tuple[int, ...] = (32, 40)) -> np.ndarray:
    """A smooth random picture, uint8 (H, W): its large shapes differ from seed to seed."""
    rng = np.random.default_rng(seed)
    small = rng.uniform(0, 255, (5, 6)).astype(np.float32)
    picture = Image.fromarray(small).resize(shape[::-1], Image.Resampling.BICUBIC)
    return np.clip(np.asarray(picture), 0, 255).astype(np.uint8)


def write_picture(path: Path, pixels: np.ndarray | None = None, *, seed: int = 0) -> Path:
    """Write (H, W) or (H, W, 3) in the format of the suffix, by default a random picture; return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(make_picture(seed) if pixels is None else pixels).save(path)
    return path


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    """Write a CSV, packed if the name ends in ``.gz`` or ``.zip``; return the path."""
    plain = path.with_suffix("") if path.suffix in (".gz", ".zip") else path
    plain.parent.mkdir(parents=True, exist_ok=True)
    with plain.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(plain.read_bytes()))
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(plain, plain.name)
    if path != plain:
        plain.unlink()
    return path


def write_class_folders(root: Path, classes: dict[str, int], *, prefix: str = "") -> Path:
    """Write so many PNGs into a folder for each class, named ``<class> (1).png`` on; return the root."""
    seed = sum(prefix.encode()) * 1000
    for name, count in classes.items():
        for number in range(1, count + 1):
            seed += 1
            write_picture(root / prefix / name / f"{name} ({number}).png", seed=seed)
    return root

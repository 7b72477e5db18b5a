"""2D images decoded once, cropped, shrunk and written as PNG, with a manifest of what came from where."""

import csv
import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medimg.errors import ConfigError, DataError, ResourceError
from medimg.io.files import atomic_write, safe_name
from medimg.io.raster import write_png
from medimg.io.store import source_hash, stamp
from medimg.parallel import Outcome, map_cases
from medimg.preparation.image_crop import Box, contour_box
from medimg.preparation.image_source import SourceImage, grey, read_case_images
from medimg.preparation.image_windows import show_windows
from medimg.records import ImageIndex, Record

logger = logging.getLogger(__name__)

MANIFEST = "manifest.jsonl"
FAILED = "failed.csv"
# Raise when prepared pictures change in meaning.
_VERSION = 1
_SHOWN = 20
_TINY = 1e-30


@dataclass(frozen=True)
class ImagePreparation:
    """What every image goes through once, before training reads it.

    Attributes:
        bits: 8 or 16 of the PNG. DICOM's range [0, 1] fills them, and so do 8-bit files in 16 bits; 16-bit files
            in 8 bits, and floats beyond [0, 1], are spread from their lowest to their highest value.
        longest_side: Pixels that the longer side is shrunk to, the aspect kept; smaller images stay as they are.
        crop: ``contour`` crops to the largest bright part, the breast or the body; ``none`` does not.
        windows_hu: Lower and upper limit of each CT window; each becomes a channel, a file of its own.

    Raises:
        ConfigError: If a value makes no sense.
    """

    bits: Literal[8, 16] = 8
    longest_side: int | None = None
    crop: Literal["none", "contour"] = "none"
    windows_hu: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        _expect(self.bits in (8, 16), f"bits: expected 8 or 16, found {self.bits}")
        side = self.longest_side
        _expect(side is None or side >= 1, f"longest_side: expected pixels above 0, found {side}")
        _expect(self.crop in ("none", "contour"), f"crop: expected none or contour, found {self.crop!r}")
        for window in self.windows_hu:
            fits = len(window) == 2 and window[0] < window[1]
            _expect(fits, f"windows_hu: expected a lower and a higher limit, found {window}")

    def key(self) -> str:
        """Hash of all that decides what a prepared image looks like, its file apart."""
        return hashlib.sha256(json.dumps([_VERSION, asdict(self)]).encode()).hexdigest()[:16]


def _expect(right: bool, fault: str) -> None:
    if not right:
        raise ConfigError(f"preparation.{fault}")


@dataclass(frozen=True)
class Prepared:
    """What became of the cases of one call.

    Attributes:
        index: The data set over the prepared files; failed cases are left out.
        done: Cases prepared now; the others were up to date.
        failed: Why each failed case failed, by case id.
    """

    index: ImageIndex
    done: int
    failed: dict[str, str]


def prepare_images(
    index: ImageIndex,
    preparation: ImagePreparation,
    folder: Path,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    on_bad: Literal["refuse", "skip"] = "refuse",
) -> Prepared:
    """Prepare every case that is missing or stale; what was done before, even by a run that was killed, stays.

    ``manifest.jsonl`` gets a line a case as it is done: files, source, hash of the source, crop and shapes.
    ``failed.csv`` lists the cases that failed.

    Args:
        index: The data set.
        preparation: What to do with each image.
        folder: Where the PNGs and the manifest go.
        workers: Local processes.
        scheduler: Address of a Dask scheduler, instead of local processes.
        on_bad: After all other cases are done, ``refuse`` raises for those that failed; ``skip`` warns.

    Raises:
        DataError: Naming every case that failed; or if no case is left.
        ConfigError: If the cases are members of one file, which needs no preparing.
    """
    if any(record.member is not None for record in index.records):
        raise ConfigError(f"{index.name} is one file of decoded images already; train on it as it is.")
    folder = Path(folder)
    rows = _read_manifest(folder / MANIFEST)
    key = preparation.key()
    todo = [record for record in index.records if not _fresh(folder, rows.get(record.case_id), key, record)]
    failed: dict[str, str] = {}
    with _appending(folder / MANIFEST) as manifest:
        for outcome in _outcomes(todo, preparation, folder, workers, scheduler):
            if outcome.value is None:
                failed[outcome.name] = outcome.error or "unknown"
                rows.pop(outcome.name, None)
            else:
                rows[outcome.name] = outcome.value
                manifest.write(json.dumps(outcome.value) + "\n")
                manifest.flush()
    _write_manifest(folder / MANIFEST, rows)
    _write_failed(folder / FAILED, index, failed)
    if failed:
        _tell(folder, failed, len(index.records), on_bad)
    return Prepared(prepared_index(index, folder, rows), len(todo) - len(failed), failed)


def prepare_image(record: Record, preparation: ImagePreparation) -> tuple[list[NDArray[Any]], dict[str, Any]]:
    """Read, crop, shrink and scale the images of one case.

    Args:
        record: The case.
        preparation: What to do.

    Returns:
        Arrays (1, H, W) or (3, H, W), one a file to write, and what was done, as plain values.

    Raises:
        DataError: If an image cannot be read, or the images of a case that is cropped differ in size.
    """
    images = read_case_images(record, units=bool(preparation.windows_hu))
    arrays = [channel for image in images for channel in _channels(image, preparation)]
    shapes = sorted({array.shape[1:] for array in arrays})
    box: Box | None = None
    if preparation.crop == "contour":
        if len(shapes) > 1:
            raise DataError(f"its images have the sizes {shapes}; one crop needs one size")
        box = contour_box(grey(arrays[0]))
        arrays = [array[:, box[0] : box[1], box[2] : box[3]] for array in arrays]
    done = [
        _scaled(shrink(array, preparation.longest_side), array.dtype, preparation.bits) for array in arrays
    ]
    facts = {
        "source_shape": list(images[0].pixels.shape),
        "shape": list(done[0].shape),
        "box": None if box is None else list(box),
        "laterality": images[0].laterality,
        "view": images[0].view,
        "flags": sorted({flag for image in images for flag in image.flags}),
        "position_mm": images[0].position_mm if record.position_mm is None else record.position_mm,
    }
    return done, facts


def _channels(image: SourceImage, preparation: ImagePreparation) -> list[NDArray[Any]]:
    """The arrays (C, H, W) that one file gives: itself, or one a window, in [0, 1]."""
    if not preparation.windows_hu:
        return [image.pixels]
    return list(show_windows(image.pixels, preparation.windows_hu)[:, None])


def shrink(pixels: NDArray[Any], longest_side: int | None) -> NDArray[Any]:
    """Shrink an image until its longer side fits, averaging over the pixels that fall together.

    Args:
        pixels: (C, H, W).
        longest_side: Pixels; ``None``, or more than the image has, leaves it as it is.

    Returns:
        float32 (C, h, w), or the image itself.
    """
    height, width = pixels.shape[1:]
    if longest_side is None or max(height, width) <= longest_side:
        return pixels
    scale = longest_side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    # Pillow's filter grows with the factor, so that fine lines do not turn into dots.
    small = [
        Image.fromarray(np.ascontiguousarray(channel, dtype=np.float32)).resize(
            size, Image.Resampling.BILINEAR
        )
        for channel in pixels
    ]
    return np.stack([np.asarray(channel, dtype=np.float32) for channel in small])


def _scaled(pixels: NDArray[Any], source: np.dtype[Any], bits: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Values as integers of the PNG: [0, 1] fills the bits, integers are kept where they fit."""
    top = 255 if bits == 8 else 65535
    low, high = float(pixels.min()), float(pixels.max())
    if source == np.uint8:
        values = pixels * np.float32(top // 255)
    elif source == np.uint16 and bits == 16:
        values = pixels
    elif source.kind == "f" and low >= 0 and high <= 1:
        values = pixels * np.float32(top)
    else:
        values = (pixels.astype(np.float32) - low) * (top / max(high - low, _TINY))
    whole = np.rint(values)
    return whole.astype(np.uint8) if bits == 8 else whole.astype(np.uint16)


def prepared_index(index: ImageIndex, folder: Path, rows: dict[str, Any] | None = None) -> ImageIndex:
    """The data set over its prepared files.

    Args:
        index: The data set over its own files.
        folder: Where `prepare_images` wrote to.
        rows: Lines of the manifest by case id, if they are known already.

    Returns:
        The index with the PNGs as images; cases that are not in the manifest are left out.

    Raises:
        DataError: If no case is left.
    """
    rows = _read_manifest(folder / MANIFEST) if rows is None else rows
    records = tuple(
        replace(
            record,
            images=tuple(folder / name for name in row["files"]),
            position_mm=row.get("position_mm", record.position_mm),
        )
        for record in index.records
        if (row := rows.get(record.case_id)) is not None
    )
    if not records:
        raise DataError(f"{folder}: holds no prepared case of {index.name}. Run `medimg prepare` first.")
    kept = {record.case_id for record in records}
    folds = tuple(
        (tuple(i for i in train if i in kept), tuple(i for i in val if i in kept))
        for train, val in index.folds
    )
    return replace(index, root=folder, records=records, folds=folds)


class _Job:
    """Prepares one case; a class, so that worker processes can unpickle it."""

    def __init__(self, preparation: ImagePreparation, folder: Path) -> None:
        self.preparation, self.folder = preparation, folder

    def __call__(self, record: Record) -> dict[str, Any]:
        arrays, facts = prepare_image(record, self.preparation)
        name = safe_name(record.case_id)
        files = [f"{name}.png"] if len(arrays) == 1 else [f"{name}_{n:04d}.png" for n in range(len(arrays))]
        for file, array in zip(files, arrays, strict=True):
            write_png(self.folder / file, array)
        return {
            "case_id": record.case_id,
            "files": files,
            "bytes": [(self.folder / file).stat().st_size for file in files],
            "source": [str(path) for path in record.images],
            "source_hash": source_hash(record.images),
            "stamp": stamp(record.images),
            "key": self.preparation.key(),
            **facts,
        }


def _outcomes(
    todo: Sequence[Record],
    preparation: ImagePreparation,
    folder: Path,
    workers: int,
    scheduler: str | None,
) -> Iterator[Outcome[dict[str, Any]]]:
    names = [record.case_id for record in todo]
    job = _Job(preparation, folder)
    return map_cases(job, todo, names=names, workers=workers, scheduler=scheduler, label="prepare")


def _fresh(folder: Path, row: dict[str, Any] | None, key: str, record: Record) -> bool:
    """Whether a case was prepared whole, in this way, from these very files."""
    if row is None or row["key"] != key:
        return False
    try:
        sizes = [(folder / name).stat().st_size for name in row["files"]]
        if sizes != row["bytes"]:
            return False
        return bool(row["stamp"] == stamp(record.images) or row["source_hash"] == source_hash(record.images))
    except OSError:
        return False


def _read_manifest(path: Path) -> dict[str, dict[str, Any]]:
    """Lines by case id, a later one standing for an earlier one; a line cut off by a kill is passed over."""
    rows: dict[str, dict[str, Any]] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
                rows[row["case_id"]] = row
            except (ValueError, KeyError, TypeError):
                logger.warning("%s: a line is cut off; its case is prepared again", path)
    return rows


@contextmanager
def _appending(path: Path) -> Iterator[TextIO]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = not path.is_file() or path.read_bytes().endswith(b"\n") or not path.stat().st_size
        file = path.open("a", encoding="utf-8")
    except OSError as error:
        raise ResourceError(
            f"{path}: cannot be written ({error.strerror}). Give a folder you may write to."
        ) from error
    with file:
        if not whole:
            file.write("\n")
        yield file


def _write_manifest(path: Path, rows: dict[str, dict[str, Any]]) -> None:
    """Write the manifest anew, a line a case, sorted."""
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for _, row in sorted(rows.items()))


def _write_failed(path: Path, index: ImageIndex, failed: dict[str, str]) -> None:
    """List what failed; no file where nothing did."""
    if not failed:
        path.unlink(missing_ok=True)
        return
    images = {record.case_id: record.images for record in index.records if record.case_id in failed}
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["case_id", "images", "reason"])
        writer.writerows(
            [case, " ".join(map(str, images[case])), why] for case, why in sorted(failed.items())
        )


def _tell(folder: Path, failed: dict[str, str], total: int, on_bad: str) -> None:
    lines = [f"  {case}: {why}" for case, why in sorted(failed.items())[:_SHOWN]]
    if len(failed) > _SHOWN:
        lines.append(f"  ... and {len(failed) - _SHOWN} more")
    text = "\n".join([f"{len(failed)} of {total} cases failed, listed in {folder / FAILED}:", *lines])
    if on_bad == "refuse":
        raise DataError(f"{text}\nMend the files, or leave the cases out by setting on_bad to skip.")
    logger.warning(text)

"""One DICOM file as a float32 image: decoded, windowed, inverted, in colour where it has colours."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from medimg.errors import DataError
from medimg.io.dicom.header import Header, read_header
from medimg.io.dicom.parse import MAX_BYTES, header_warnings, open_dataset, refuse_header
from medimg.io.dicom.slices import stack_position
from medimg.io.dicom.stored import Stored, decode
from medimg.io.dicom.values import Floats, Mapping, Table, Window, map_values, modality_mapping, voi_mappings

WindowChoice = Literal["first", "none"] | int | tuple[float, float]


@dataclass(frozen=True, slots=True)
class DicomImage:
    """An image and what its file says of it.

    Attributes:
        pixels: float32, (C, H, W) for one frame and (F, C, H, W) for several; C is 1, or 3 for RGB.
        value_range: (0, 1) where the pixels are windowed or colours; ``None`` where they are modality units,
            such as Hounsfield units.
        spacing_mm: Distance of rows and of columns, ``None`` where the file does not say.
        position_mm: Place along the normal of the image, which sorts the slices of a series; ``None`` where the file
            does not say.
        laterality: ``L``, ``R``, ``B`` or ``U``; empty where the file does not say.
        view: Such as ``CC``, ``MLO``, ``PA``; empty where the file does not say.
        patient_id: Patient ID as written; not safe as a file name.
        study_uid: Study Instance UID.
        series_uid: Series Instance UID.
        sop_uid: SOP Instance UID.
        photometric: Photometric interpretation as written in the file.
        transfer_syntax: Transfer syntax UID.
        windows: How many windows and VOI tables the file offers.
        flags: Departures from the standard, and choices made for want of an element; one line each.
    """

    pixels: NDArray[np.float32]
    value_range: tuple[float, float] | None
    spacing_mm: tuple[float, float] | None
    position_mm: float | None
    laterality: str
    view: str
    patient_id: str
    study_uid: str
    series_uid: str
    sop_uid: str
    photometric: str
    transfer_syntax: str
    windows: int
    flags: tuple[str, ...]


def read_image(path: Path, *, window: WindowChoice = "first", frame: int | None = None) -> DicomImage:
    """Read a DICOM file as an image whose brightness means the same in every file.

    Stored values pass the modality's slope or table, then the window or VOI table. MONOCHROME1 is inverted,
    so bright is always dense; palettes and YBR become RGB. A monochrome file without any window is spread from
    its lowest to its highest value (8-bit files: from 0 to 255 as stored), and flagged.

    Args:
        path: DICOM file, any transfer syntax that the installed decoders read.
        window: ``first``, or the number of a window of the file: its windows from 0 on, then its VOI tables.
            Or (center, width) in modality units, spread LINEAR. ``none``: modality units, in which
            MONOCHROME1 is inverted within the range that its bits can hold, and colours as stored.
        frame: Number of one frame, from 0; ``None`` for all.

    Raises:
        DataError: If the file is missing, damaged, truncated, holds no image, has no such window or frame,
            needs a decoder that is not there, or would take more than 1 GiB.
    """
    path = Path(path)
    opened = open_dataset(path)
    with header_warnings() as odd:
        stored = decode(opened, frame)
        try:
            header = read_header(opened.dataset, frame or 0)
            position = stack_position(opened.dataset, frame or 0)
            pixels, offered, flags = _show(path, opened.dataset, stored, window, frame or 0)
        except DataError:
            raise
        except Exception as error:
            # Elements are converted when they are first looked at; pydicom then raises as it does on opening.
            refuse_header(path, error)
    return DicomImage(
        pixels=pixels[0] if len(pixels) == 1 else pixels,
        value_range=None if window == "none" else (0.0, 1.0),
        spacing_mm=header.spacing_mm,
        position_mm=position,
        laterality=header.laterality,
        view=header.view,
        patient_id=header.patient_id,
        study_uid=header.study_uid,
        series_uid=header.series_uid,
        sop_uid=header.sop_uid,
        photometric=header.photometric or stored.photometric,
        transfer_syntax=str(opened.syntax),
        windows=offered,
        flags=tuple(dict.fromkeys([*opened.flags, *header.flags, *flags, *odd])),
    )


def _show(
    path: Path, dataset: Dataset, stored: Stored, window: WindowChoice, first: int
) -> tuple[NDArray[np.float32], int, list[str]]:
    """Map all frames; return (F, C, H, W), how many windows the file offers, and flags."""
    if stored.photometric in ("RGB", "PALETTE COLOR"):
        return _colours(path, stored, dataset, scaled=window != "none"), 0, []
    shown = [
        _grey(path, dataset, values[..., 0], stored, window, first + at)
        for at, values in enumerate(stored.values)
    ]
    pixels = shown[0][0][None] if len(shown) == 1 else np.stack([one for one, _, _ in shown])
    return pixels[:, None], shown[0][1], [flag for _, _, flags in shown for flag in flags]


def _grey(
    path: Path,
    dataset: Dataset,
    values: NDArray[np.generic],
    stored: Stored,
    window: WindowChoice,
    frame: int,
) -> tuple[NDArray[np.float32], int, list[str]]:
    """Map one frame (H, W); return it, how many windows the file offers, and flags."""
    modality = modality_mapping(path, dataset, frame)
    offered, flags = voi_mappings(path, dataset, frame)
    inverted = stored.photometric == "MONOCHROME1"
    steps: list[Mapping] = [modality] if modality else []
    if window == "none":
        if inverted:
            total = sum(_range(values, stored.bits, modality))
            steps.append(lambda units: total - units)
    else:
        chosen = _choose(path, offered, window)
        if chosen is None:
            chosen, flag = _own_range(dataset, values, stored.bits, modality)
            flags.append(flag)
        steps.append(chosen)
        if inverted:
            steps.append(lambda shown: 1.0 - shown)
    return map_values(values, _chain(steps)), len(offered), flags


def _choose(path: Path, offered: Sequence[Window | Table], window: WindowChoice) -> Mapping | None:
    """Return the window asked for; ``None`` when the first is asked for and there is none."""
    if isinstance(window, tuple):
        own = Window(float(window[0]), float(window[1]))
        if not own.valid:
            raise DataError(
                f"{path}: expected a window (center, width) of width 1 or more, found {window}. Give both in "
                "modality units, e.g. (40, 400)."
            )
        return own
    if isinstance(window, str) and window != "first":
        raise DataError(f"{path}: expected the window first, none, a number or (center, width): {window!r}.")
    if window == "first" and not offered:
        return None
    number = 0 if window == "first" else int(window)
    if not 0 <= number < len(offered):
        raise DataError(
            f"{path}: window {number} was asked for, but the file has {len(offered)}, counted from 0. Ask for "
            "the first, or give (center, width)."
        )
    found = offered[number]
    return found.spread if isinstance(found, Table) else found


def _own_range(
    dataset: Dataset, values: NDArray[np.generic], bits: int, modality: Mapping | None
) -> tuple[Mapping, str]:
    """Spread a frame without a window: 8 bits over what they hold, others over what the frame holds."""
    if values.dtype.kind in "iu" and bits <= 8:
        low, high = _range(values, bits, modality)
        flag = "no window: the range of the bits is spread"
    else:
        held = values
        padding = dataset.get("PixelPaddingValue")
        if padding is not None and (inside := values != int(padding)).any():
            held = values[inside]
        held = held[np.isfinite(held)] if held.dtype.kind == "f" else held
        ends = np.array([held.min(), held.max()] if held.size else [0.0, 0.0], np.float64)
        ends = modality(ends) if modality else ends
        low, high = float(ends.min()), float(ends.max())
        flag = "no window: the frame's own range is spread"
    width = max(high - low, np.finfo(np.float32).tiny)
    return lambda units: np.clip((units - low) / width, 0.0, 1.0), flag


def _range(values: NDArray[np.generic], bits: int, modality: Mapping | None) -> tuple[float, float]:
    """Return the lowest and the highest modality unit that the stored bits can hold."""
    if values.dtype.kind == "f":
        ends = np.array([values.min(), values.max()], np.float64)
    elif values.dtype.kind == "i":
        ends = np.array([-(1 << (bits - 1)), (1 << (bits - 1)) - 1], np.float64)
    else:
        ends = np.array([0, (1 << bits) - 1], np.float64)
    ends = modality(ends) if modality else ends
    return float(ends.min()), float(ends.max())


def _chain(steps: Sequence[Mapping]) -> Mapping | None:
    if not steps:
        return None

    def chained(values: Floats) -> Floats:
        for step in steps:
            values = step(values)
        return values

    return chained


def _colours(path: Path, stored: Stored, dataset: Dataset, *, scaled: bool) -> NDArray[np.float32]:
    """Return (F, 3, H, W), in [0, 1] or as stored."""
    values, bits = stored.values, stored.bits
    if stored.photometric == "PALETTE COLOR":
        if values.size * 12 > MAX_BYTES:
            raise DataError(f"{path}: the palette image is too large in colour; read one frame at a time.")
        values = apply_color_lut(values[..., 0], dataset)[..., :3]  # a fourth would be opacity
        bits = values.dtype.itemsize * 8
    pixels = np.ascontiguousarray(np.moveaxis(values, -1, 1), dtype=np.float32)
    return pixels / np.float32((1 << bits) - 1) if scaled else pixels


__all__ = ["DicomImage", "Header", "WindowChoice", "read_image"]

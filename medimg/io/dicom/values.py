"""From stored values to numbers with a meaning: modality units, windows, look-up tables, inversion."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from medimg.errors import DataError

Floats = NDArray[np.float64]
Mapping = Callable[[Floats], Floats]
Function = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]
_FUNCTIONS: tuple[Function, ...] = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
# Above this a table of all values costs more than computing each pixel.
_TABLE_BITS = 16


@dataclass(frozen=True, slots=True)
class Window:
    """A range of modality units that is spread over 0 to 1.

    Attributes:
        center: Middle of the range.
        width: Width of the range.
        function: How values are spread, by the names of PS3.3 C.11.2.1.
    """

    center: float
    width: float
    function: Function = "LINEAR"

    @property
    def valid(self) -> bool:
        """Whether the standard gives the window a meaning."""
        least = 1.0 if self.function == "LINEAR" else np.finfo(np.float32).tiny
        return bool(np.isfinite(self.center) and np.isfinite(self.width) and self.width >= least)

    def __call__(self, values: Floats) -> Floats:
        """Spread modality units over [0, 1].

        Args:
            values: Any shape.

        Returns:
            Floats in [0, 1], the same shape.

        Reference:
            DICOM PS3.3 2024, C.11.2.1.2 and C.11.2.1.3.

        Example:
            >>> Window(2048, 4096)(np.array([0.0, 2047.5, 4095.0])).tolist()
            [0.0, 0.5, 1.0]
        """
        match self.function:
            case "SIGMOID":
                # exp overflows to infinity far below the window, and 1 / infinity is the 0 that is meant.
                with np.errstate(over="ignore"):
                    shown: Floats = 1.0 / (1.0 + np.exp(-4.0 * (values - self.center) / self.width))
                    return shown
            case "LINEAR_EXACT":
                return np.asarray(np.clip((values - self.center) / self.width + 0.5, 0.0, 1.0), np.float64)
            case "LINEAR" if self.width == 1:
                return (values > self.center - 0.5).astype(np.float64)
            case _:
                place = (values - (self.center - 0.5)) / (self.width - 1.0) + 0.5
                return np.asarray(np.clip(place, 0.0, 1.0), np.float64)


@dataclass(frozen=True, slots=True)
class Table:
    """A look-up table of a file.

    Attributes:
        entries: Output for each input from ``first`` on; inputs beyond an end get that end's entry.
        first: Input of the first entry.
        bits: Bits of an entry; sets the output's range for a VOI table.
    """

    entries: NDArray[np.uint16]
    first: int
    bits: int

    def __call__(self, values: Floats) -> Floats:
        """Look values up.

        Example:
            >>> Table(np.array([5, 7, 9], np.uint16), first=10, bits=8)(np.array([0.0, 11.0, 99.0])).tolist()
            [5.0, 7.0, 9.0]
        """
        place = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1)
        found: Floats = self.entries[place.astype(np.intp)].astype(np.float64)
        return found

    def spread(self, values: Floats) -> Floats:
        """Look values up and spread the entries' range over [0, 1]."""
        return np.minimum(self(values) / ((1 << self.bits) - 1), 1.0)


def frame_group(dataset: Dataset, frame: int, sequence: str) -> Dataset | None:
    """Return what an enhanced file says of one frame: its own functional group, or the shared one.

    Args:
        dataset: The file.
        frame: Number of the frame, from 0.
        sequence: Keyword of the functional group, such as ``PixelMeasuresSequence``.
    """
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    candidates = [groups[frame]] if groups and frame < len(groups) else []
    if shared := dataset.get("SharedFunctionalGroupsSequence"):
        candidates.append(shared[0])
    for candidate in candidates:
        if found := candidate.get(sequence):
            return found[0]  # type: ignore[no-any-return]
    return None


def modality_mapping(path: Path, dataset: Dataset, frame: int) -> Mapping | None:
    """Return the mapping from stored values to modality units, ``None`` where it changes nothing.

    Raises:
        DataError: If the slope is zero, or a look-up table is damaged.
    """
    if tables := dataset.get("ModalityLUTSequence"):
        return _table(path, "ModalityLUTSequence", tables[0])
    holder = frame_group(dataset, frame, "PixelValueTransformationSequence") or dataset
    slope, intercept = _number(holder, "RescaleSlope", 1.0), _number(holder, "RescaleIntercept", 0.0)
    if slope == 0 or not np.isfinite([slope, intercept]).all():
        raise DataError(
            f"{path}: the rescale slope {slope:g} and intercept {intercept:g} leave no image. Mend the header, "
            "or leave the file out."
        )
    if slope == 1 and intercept == 0:
        return None
    return lambda values: values * slope + intercept


def voi_mappings(path: Path, dataset: Dataset, frame: int) -> tuple[list[Window | Table], list[str]]:
    """Return what the file offers for display, its windows first and then its look-up tables.

    Returns:
        The windows and tables in the order of the file, and a flag for each window that means nothing.

    Raises:
        DataError: If a look-up table is damaged.
    """
    holder = frame_group(dataset, frame, "FrameVOILUTSequence") or dataset
    function = str(holder.get("VOILUTFunction") or "LINEAR").strip().upper()
    flags = []
    if function not in _FUNCTIONS:
        flags.append(f"unknown VOI function {function!r}, read as LINEAR")
        function = "LINEAR"
    centers, widths = _numbers(holder, "WindowCenter"), _numbers(holder, "WindowWidth")
    found: list[Window | Table] = []
    for center, width in zip(centers, widths, strict=False):
        window = Window(center, width, function)  # type: ignore[arg-type]  # it is one of _FUNCTIONS
        if window.valid:
            found.append(window)
        else:
            flags.append(f"window {center:g}/{width:g} means nothing, left out")
    tables = holder.get("VOILUTSequence") or ()
    return found + [_table(path, "VOILUTSequence", table) for table in tables], flags


def map_values(stored: NDArray[np.generic], mapping: Mapping | None) -> NDArray[np.float32]:
    """Apply a mapping to every value, through a table of all values where they are few.

    Args:
        stored: Integers or floats, any shape.
        mapping: Function of float64 values; ``None`` only converts.

    Example:
        >>> map_values(np.array([-1, 3], np.int16), lambda values: 2 * values).tolist()
        [-2.0, 6.0]
    """
    if mapping is None:
        return stored.astype(np.float32)
    kind, bits = stored.dtype.kind, stored.dtype.itemsize * 8
    if kind not in "iu" or bits > _TABLE_BITS or stored.size < 1 << bits:
        return mapping(stored.astype(np.float64)).astype(np.float32)
    # Entry i belongs to the value whose bits, read without a sign, are i.
    inputs = np.arange(1 << bits, dtype=f"u{bits // 8}").view(stored.dtype)
    entries = mapping(inputs.astype(np.float64)).astype(np.float32)
    shown: NDArray[np.float32] = entries[stored.view(f"u{bits // 8}")]
    return shown


def _table(path: Path, name: str, holder: Dataset) -> Table:
    descriptor, data = holder.get("LUTDescriptor"), holder.get("LUTData")
    if descriptor is None or data is None or len(descriptor) != 3:
        raise DataError(f"{path}: a table of {name} lacks its descriptor or data. Mend the header.")
    count, first, bits = (int(value) for value in descriptor)
    count = count or 1 << 16
    # A table of 8-bit entries may be packed two to a word.
    packed = isinstance(data, bytes) and bits <= 8 and len(data) < 2 * count
    if isinstance(data, bytes):
        little = holder.original_encoding[1] is not False
        entries = np.frombuffer(data, "u1" if packed else "<u2" if little else ">u2")
    else:
        entries = np.atleast_1d(np.array(data, np.int64)) & 0xFFFF
    if len(entries) < count or not 1 <= bits <= 16:
        raise DataError(
            f"{path}: a table of {name} declares {count} entries of {bits} bits, found {len(entries)}. "
            "Mend the header."
        )
    return Table(entries[:count].astype(np.uint16), first, bits)


def _number(dataset: Dataset, name: str, default: float) -> float:
    values = _numbers(dataset, name)
    return values[0] if values else default


def _numbers(dataset: Dataset, name: str) -> list[float]:
    """Return the values of an element as floats, none when it is absent, empty or no number."""
    value = dataset.get(name)
    if value is None or value == "":
        return []
    values = list(value) if isinstance(value, MultiValue | list | tuple) else [value]
    try:
        return [float(one) for one in values]
    except (TypeError, ValueError):
        return []

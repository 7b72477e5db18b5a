"""Telling pictures that look the same, although no byte of their files may agree.

Reference:
    Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010, for the hash of DCT
    signs; Norouzi, Punjani and Fleet, "Fast search in Hamming space with multi-index hashing", CVPR 2012.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn

from medimg.preparation.image_source import box_means

_THUMB = 32
# Bits of 64 that a picture's own recompression and rescaling may change.
DIFFERENCE_BITS = 7
COSINE_BITS = 10
# Chest radiographs resemble each other: the small pictures must also agree in brightness, pixel by pixel.
CORRELATION = 0.99
_BANDS = DIFFERENCE_BITS + 1
# Many pictures with one band in common, such as black frames, are compared in blocks of this many.
_BLOCK = 2048


@dataclass(frozen=True)
class Likeness:
    """What two pictures are compared by.

    Attributes:
        difference: 64 bits: whether each of 8 x 8 places is brighter than its left neighbour.
        cosine: 64 bits: whether each of the 8 x 8 lowest frequencies lies above their median.
        thumb: The picture on 32 x 32 pixels, mean 0 and length 1; shape (1024,).
    """

    difference: int
    cosine: int
    thumb: NDArray[np.float32]


def likeness(image: NDArray[np.float32]) -> Likeness | None:
    """Reduce a picture to what it is compared by.

    Args:
        image: (H, W), any unit.

    Returns:
        The hashes, or ``None`` for a constant picture, which resembles nothing.

    Example:
        >>> ramp = np.add.outer(np.arange(64.0), np.arange(64.0) ** 2).astype(np.float32)
        >>> likeness(ramp).difference == likeness(2 * ramp + 5).difference == 2**64 - 1
        True
    """
    thumb = box_means(image, (_THUMB, _THUMB))
    thumb = thumb - thumb.mean()
    length = float(np.linalg.norm(thumb))
    if length <= 1e-6 * max(1.0, float(np.abs(image).max(initial=0))):
        return None
    steps = box_means(image, (8, 9))
    frequencies = dctn(thumb, type=2, norm="ortho")[:8, :8]
    return Likeness(
        _bits(steps[:, 1:] > steps[:, :-1]),
        _bits(frequencies > np.median(frequencies)),
        (thumb / length).ravel().astype(np.float32),
    )


def alike(one: Likeness, other: Likeness) -> bool:
    """Whether two pictures look the same but for compression, scale, brightness and contrast.

    Flipped, rotated or cropped copies are not found.
    """
    return (
        (one.difference ^ other.difference).bit_count() <= DIFFERENCE_BITS
        and (one.cosine ^ other.cosine).bit_count() <= COSINE_BITS
        and float(one.thumb @ other.thumb) >= CORRELATION
    )


def find_alike(pictures: Sequence[Likeness | None]) -> list[tuple[int, int]]:
    """Find all pairs of pictures that look the same.

    Two hashes that differ in at most t bits agree in one of t + 1 bands, so only pictures that share a band
    are compared.

    Args:
        pictures: One entry a picture; ``None`` is passed over.

    Returns:
        Pairs of positions, the lower first, sorted.
    """
    known = [number for number, picture in enumerate(pictures) if picture is not None]
    if len(known) < 2:
        return []
    kept = [picture for picture in pictures if picture is not None]
    difference = np.array([p.difference for p in kept], dtype=np.uint64)
    cosine = np.array([p.cosine for p in kept], dtype=np.uint64)
    pairs: set[tuple[int, int]] = set()
    width = 64 // _BANDS
    for band in range(_BANDS):
        values = (difference >> np.uint64(band * width)) & np.uint64((1 << width) - 1)
        buckets: dict[int, list[int]] = defaultdict(list)
        for place, value in enumerate(values.tolist()):
            buckets[value].append(place)
        for bucket in buckets.values():
            pairs.update(_close(np.array(bucket), difference, cosine))
    same = [(a, b) for a, b in pairs if alike(kept[a], kept[b])]
    return sorted((known[a], known[b]) for a, b in same)


def _close(
    places: NDArray[np.int_], difference: NDArray[np.uint64], cosine: NDArray[np.uint64]
) -> list[tuple[int, int]]:
    """Pairs within one bucket whose hashes are close, block by block so that memory stays flat."""
    found = []
    for start in range(0, len(places), _BLOCK):
        rows = places[start : start + _BLOCK]
        for after in range(start, len(places), _BLOCK):
            columns = places[after : after + _BLOCK]
            near = np.bitwise_count(difference[rows, None] ^ difference[columns]) <= DIFFERENCE_BITS
            near &= np.bitwise_count(cosine[rows, None] ^ cosine[columns]) <= COSINE_BITS
            a, b = np.nonzero(near & (rows[:, None] < columns))
            found += list(zip(rows[a].tolist(), columns[b].tolist(), strict=True))
    return found


def _bits(flags: NDArray[np.bool_]) -> int:
    return int.from_bytes(np.packbits(flags.ravel()).tobytes(), "big")

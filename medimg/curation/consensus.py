"""One answer out of several readers': of labels, and of masks."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from medimg.curation.alpha import Kind
from medimg.curation.dawid_skene import dawid_skene
from medimg.curation.readings import Readings
from medimg.errors import DataError
from medimg.io.files import atomic_write
from medimg.scoring.ranking import FloatArray
from medimg.scoring.table import CASE_COLUMN, PATIENT_COLUMN

LabelConsensus = Literal["majority", "median", "dawid_skene"]


@dataclass(frozen=True, slots=True, eq=False)
class Consensus:
    """The consensus of one label.

    Attributes:
        values: Value of each case, NaN where there is none, shape (N,).
        support: Share of the case's readings that say so, or the probability of the estimate; NaN without a value.
        readings: Number of readings of each case.
    """

    values: FloatArray
    support: FloatArray
    readings: npt.NDArray[np.intp]


def label_consensus(values: npt.ArrayLike, method: LabelConsensus) -> Consensus:
    """Find the value that a label's readers agree on.

    Args:
        values: What each reader said, NaN where nothing, shape (N, R).
        method: ``majority``: what more than half of the readings say, else nothing; ``median``: the middle reading,
            of an even number the lower of the two; ``dawid_skene``: the most probable value by the readers' errors.

    Returns:
        Values and how well they are supported.

    Raises:
        DataError: If Dawid and Skene's estimate does not settle or runs away.

    Example:
        >>> nan = float("nan")
        >>> label_consensus([[1, 1, 0], [1, 0, nan], [nan, nan, nan]], "majority").values
        array([ 1., nan, nan])
    """
    said = np.asarray(values, np.float64)
    n, number = len(said), (~np.isnan(said)).sum(axis=1)
    read = np.flatnonzero(number)
    result, support = np.full(n, np.nan), np.full(n, np.nan)
    known = said[read]
    distinct = np.unique(known[~np.isnan(known)])
    if not len(distinct):
        return Consensus(result, support, number)
    if method == "median":
        middle = (number[read] - 1) // 2
        result[read] = np.sort(known, axis=1)[np.arange(len(read)), middle]  # NaN is sorted last
        support[read] = (known == result[read][:, None]).sum(axis=1) / number[read]
        return Consensus(result, support, number)
    counts = (known[:, :, None] == distinct).astype(np.float64)  # (N, R, V)
    if method == "dawid_skene":
        probs = dawid_skene(counts).probs
        result[read], support[read] = distinct[probs.argmax(axis=1)], probs.max(axis=1)
        return Consensus(result, support, number)
    shares = counts.sum(axis=1) / number[read][:, None]
    clear = shares.max(axis=1) > 0.5
    result[read[clear]] = distinct[shares.argmax(axis=1)][clear]
    support[read[clear]] = shares.max(axis=1)[clear]
    return Consensus(result, support, number)


def consensus_method(method: LabelConsensus | None, kind: Kind) -> LabelConsensus:
    """The method for a label: by default the majority of names and the median of grades and numbers.

    Raises:
        DataError: If the method is not for labels of this kind.

    Example:
        >>> consensus_method(None, "ordinal")
        'median'
    """
    if method is None:
        return "majority" if kind == "nominal" else "median"
    if (method == "median" and kind == "nominal") or (
        method == "dawid_skene" and kind in ("interval", "ratio")
    ):
        raise DataError(
            f"--consensus {method} is not for labels of kind {kind}: names have no middle, and numbers no confusion. "
            "Leave --consensus away for the usual one."
        )
    return method


def write_consensus(path: Path, readings: Readings, found: Mapping[str, Consensus]) -> None:
    """Write a row a case: of each label the value, its support and the number of readings; blank without a consensus.

    Raises:
        ResourceError: If the file cannot be written.
    """
    parts = ("", "_support", "_readings")
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            [CASE_COLUMN, PATIENT_COLUMN, *(f"{label}{part}" for label in found for part in parts)]
        )
        for place, (case, patient) in enumerate(zip(readings.cases, readings.patients, strict=True)):
            row = [case, patient]
            for label, one in found.items():
                support = float(one.support[place])
                row += [
                    readings.text(label, float(one.values[place])),
                    "" if np.isnan(support) else f"{support:.4g}",
                    str(one.readings[place]),
                ]
            writer.writerow(row)


def half_mask(masks: Sequence[npt.NDArray[np.integer]]) -> npt.NDArray[np.int16]:
    """Voxels that at least half of the readers give to a label.

    Where two labels each have half, the higher label value stands: it is most often the inner one.

    Args:
        masks: Label maps of all readers, each (D, H, W).

    Returns:
        Label map of the same shape.

    Raises:
        DataError: If there is no mask, or shapes differ.

    Example:
        >>> half_mask([np.array([[[1, 1, 0, 2]]]), np.array([[[1, 0, 0, 1]]])]).tolist()
        [[[1, 1, 0, 2]]]
    """
    if not masks or len({mask.shape for mask in masks}) != 1:
        raise DataError(f"expected masks of one shape, found {[mask.shape for mask in masks]}.")
    result = np.zeros(masks[0].shape, np.int16)
    for label in sorted({int(value) for mask in masks for value in np.unique(mask)} - {0}):
        votes = np.zeros(result.shape, np.uint16)
        for mask in masks:
            votes += mask == label
        result[2 * votes >= len(masks)] = label
    return result

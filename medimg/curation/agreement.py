"""How far readers agree on labels: all of them together, and two by two, with intervals over patients."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from medimg.curation.alpha import Kind, KrippendorffAlpha
from medimg.curation.kappa import CohenKappa, FleissKappa
from medimg.curation.readings import Readings
from medimg.errors import DataError
from medimg.io.files import atomic_write
from medimg.scoring.label_bootstrap import PatientDraws, interval_of
from medimg.scoring.ranking import FloatArray

Figure = tuple[float, float, float]
"""A value and the ends of its interval; NaN where it is not defined."""

TITLES: Mapping[str, str] = {
    "agreement": "agreement",
    "fleiss_kappa": "Fleiss kappa",
    "kappa": "Cohen kappa",
    "linear_kappa": "linear kappa",
    "quadratic_kappa": "quadratic kappa",
    "alpha": "alpha",
    "dice": "Dice",
    "nsd": "surface Dice",
    "hd95": "HD95 mm",
}
"""What each figure is called in print."""


@dataclass(frozen=True, slots=True)
class AgreementRow:
    """How far some readers agree on one label.

    Attributes:
        label: The label.
        readers: The two readers of a pair; empty for all readers together.
        n_cases: Cases with two readings or more.
        n_readings: Readings in those cases.
        figures: Value and interval by measure, in the order of print.
    """

    label: str
    readers: tuple[str, ...]
    n_cases: int
    n_readings: int
    figures: Mapping[str, Figure]


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """How intervals are made.

    Attributes:
        level: Share of the resampled values inside an interval, in (0, 1).
        resamples: Number of draws of patients.
        seed: Seed of the draws.
    """

    level: float = 0.95
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 < self.level < 1.0 or self.resamples < 1:
            raise DataError(
                f"expected a level in (0, 1) and 1 resample or more, found {self.level:g} and {self.resamples}."
            )


def agreement_of_all(
    readings: Readings, kinds: Mapping[str, Kind], bootstrap: Bootstrap | None = None
) -> list[AgreementRow]:
    """Agreement of all readers on each label.

    Percentage agreement is the mean over cases of the share of agreeing pairs of readings. Of interval and ratio
    values only alpha is given: equal numbers are no category.

    Args:
        readings: What was said.
        kinds: Level of measurement of each label.
        bootstrap: How intervals are made.

    Returns:
        One row a label.

    Raises:
        DataError: If no case has two readings, a label of words is not nominal, or ratio values cannot be used.

    Example:
        >>> said = np.array([[[1], [1]], [[0], [0]], [[1], [0]]], float)
        >>> made = Readings(("a", "b", "c"), ("a", "b", "c"), ("x", "y"), ("mass",), said)
        >>> row = agreement_of_all(made, {"mass": "nominal"}, Bootstrap(resamples=10))[0]
        >>> row.n_cases, [round(row.figures[name][0], 3) for name in ("agreement", "fleiss_kappa", "alpha")]
        (3, [0.667, 0.333, 0.444])
    """
    _check(readings, kinds)
    makers = [
        _OfAll(readings.values[:, :, place], kinds[label]) for place, label in enumerate(readings.labels)
    ]
    drawn = _resampled(readings, makers, bootstrap or Bootstrap())
    return [
        AgreementRow(label, (), *_size(readings.values[:, :, place]), figures)
        for (place, label), figures in zip(enumerate(readings.labels), drawn, strict=True)
    ]


def agreement_of_pairs(
    readings: Readings, kinds: Mapping[str, Kind], bootstrap: Bootstrap | None = None
) -> list[AgreementRow]:
    """Agreement of each two readers who have cases in common, on each label.

    Args:
        readings: What was said.
        kinds: Level of measurement of each label.
        bootstrap: How intervals are made.

    Returns:
        One row a label and pair.

    Raises:
        DataError: As for `agreement_of_all`.
    """
    _check(readings, kinds)
    found: list[tuple[str, tuple[str, str], FloatArray]] = []
    makers: list[_OfAll | _OfPair] = []
    for place, label in enumerate(readings.labels):
        for a, b in combinations(range(len(readings.readers)), 2):
            values = readings.values[:, [a, b], place]
            if not np.isnan(values).any(axis=1).all():
                found.append((label, (readings.readers[a], readings.readers[b]), values))
                makers.append(_OfPair(values, kinds[label]))
    drawn = _resampled(readings, makers, bootstrap or Bootstrap())
    return [
        AgreementRow(label, pair, *_size(values), figures)
        for (label, pair, values), figures in zip(found, drawn, strict=True)
    ]


class _OfAll:
    """Figures of all readers on one label, for any weights of the cases."""

    def __init__(self, values: FloatArray, kind: Kind) -> None:
        self._fleiss = FleissKappa(values) if kind in ("nominal", "ordinal") else None
        self._alpha = KrippendorffAlpha(values, kind)

    def __call__(self, weights: FloatArray) -> dict[str, FloatArray]:
        found = {}
        if self._fleiss is not None:
            found["agreement"], found["fleiss_kappa"] = self._fleiss.figures(weights)
        return {**found, "alpha": self._alpha.figures(weights)}


class _OfPair:
    """Figures of two readers on one label, for any weights of the cases."""

    def __init__(self, values: FloatArray, kind: Kind) -> None:
        self._kind = kind
        # Most pairs share few cases: only those are multiplied.
        self._shared = np.flatnonzero(~np.isnan(values).any(axis=1))
        both = values[self._shared]
        self._cohen = CohenKappa(both[:, 0], both[:, 1]) if kind in ("nominal", "ordinal") else None
        self._alpha = KrippendorffAlpha(both, kind)

    def __call__(self, weights: FloatArray) -> dict[str, FloatArray]:
        chosen, found = weights[self._shared], {}
        if self._cohen is not None:
            matrices = self._cohen.matrices(chosen)
            found["agreement"] = self._cohen.agreement(matrices)
            found["kappa"] = self._cohen.kappa(matrices, "none")
            if self._kind == "ordinal":
                found["linear_kappa"] = self._cohen.kappa(matrices, "linear")
                found["quadratic_kappa"] = self._cohen.kappa(matrices, "quadratic")
        return {**found, "alpha": self._alpha.figures(chosen)}


def _resampled(
    readings: Readings, makers: Sequence[_OfAll | _OfPair], bootstrap: Bootstrap
) -> list[dict[str, Figure]]:
    draws = PatientDraws(readings.patients, resamples=bootstrap.resamples, seed=bootstrap.seed)
    parts: list[dict[str, list[FloatArray]]] = [{} for _ in makers]
    for times in draws.chunks():
        weights = times[draws.patient]  # (N, R)
        for made, part in zip(makers, parts, strict=True):
            for name, values in made(weights).items():
                part.setdefault(name, []).append(values)
    return [
        {name: interval_of(np.concatenate(values), bootstrap.level) for name, values in part.items()}
        for part in parts
    ]


def _size(values: FloatArray) -> tuple[int, int]:
    """Cases with two readings or more, and their readings."""
    known = (~np.isnan(values)).sum(axis=1)
    return int((known > 1).sum()), int(known[known > 1].sum())


def _check(readings: Readings, kinds: Mapping[str, Kind]) -> None:
    several = (~np.isnan(readings.values)).sum(axis=1) > 1  # (N, K)
    if not several.any():
        raise DataError(
            f"expected cases with two readings or more, found none among {len(readings.cases)} cases and readers "
            f"{', '.join(readings.readers[:5])}. Put the readings of all readers into one table, with equal case names."
        )
    for label in readings.labels:
        if label in readings.words and kinds[label] != "nominal":
            raise DataError(
                f"label {label}: expected numbers for --kind {kinds[label]}, found words, such as "
                f"{readings.words[label][0]!r}, whose order is not known. Write grades as numbers."
            )


def write_agreement(path: Path, rows: Sequence[AgreementRow]) -> None:
    """Write rows as CSV: a column a measure and one for each end of its interval; blank where undefined.

    Raises:
        ResourceError: If the file cannot be written.
    """
    names = list(dict.fromkeys(name for row in rows for name in row.figures))
    pairs = any(row.readers for row in rows)
    head = ["label", *(["reader_a", "reader_b"] if pairs else []), "n_cases", "n_readings"]
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*head, *(part for name in names for part in (name, f"{name}_low", f"{name}_high"))])
        for row in rows:
            figures = [value for name in names for value in row.figures.get(name, (np.nan,) * 3)]
            texts = ["" if np.isnan(value) else f"{value:.6g}" for value in figures]
            writer.writerow([row.label, *row.readers, row.n_cases, row.n_readings, *texts])


def format_agreement(rows: Sequence[AgreementRow]) -> str:
    """The rows as a table for a terminal: each value with its interval.

    Example:
        >>> print(format_agreement([AgreementRow("mass", (), 3, 6, {"alpha": (0.4444, 0.1, 0.9)})]))
        label  cases                 alpha
        mass       3  0.444 [0.100, 0.900]
    """
    names = list(dict.fromkeys(name for row in rows for name in row.figures))
    lines = [["label", "cases", *(TITLES[name] for name in names)]]
    for row in rows:
        cells = [_cell(row.figures.get(name, (np.nan,) * 3)) for name in names]
        lines.append([" ".join([row.label, *row.readers]), str(row.n_cases), *cells])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _cell(figure: Figure) -> str:
    value, low, high = figure
    if np.isnan(value):
        return "-"
    return f"{value:.3f}" if np.isnan(low) else f"{value:.3f} [{low:.3f}, {high:.3f}]"

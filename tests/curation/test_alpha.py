from itertools import permutations

import numpy as np
import pytest

from medimg.curation.alpha import KrippendorffAlpha, krippendorff_alpha
from medimg.errors import DataError

NAN = float("nan")


def units(*readers):
    """A row a case from a string a reader, as the published tables are laid out; a dot is a missing reading."""
    return np.array([[NAN if mark == "." else float(mark) for mark in reader] for reader in readers]).T


# Krippendorff 2011, examples A and C.
A = units("0100000010", "1110010000")
C = units("123321412...", "1233224125.3", ".3332342251.", "12332441251.")


def test_binary_data_of_two_readers():
    assert krippendorff_alpha(A) == pytest.approx(0.095, abs=5e-4)


def test_nominal_data_of_two_readers():
    first, second = "aabbdcccedda", "babbbccceddd"
    values = np.array([[ord(a), ord(b)] for a, b in zip(first, second, strict=True)], float)
    assert krippendorff_alpha(values) == pytest.approx(0.692, abs=5e-4)


@pytest.mark.parametrize(
    ("kind", "expected"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849), ("ratio", 0.797)]
)
def test_four_readers_with_missing_readings(kind, expected):
    assert krippendorff_alpha(C, kind) == pytest.approx(expected, abs=5e-4)


def by_the_definition(values, kind):
    """Sums over all ordered pairs of readings, one by one."""
    cases = [[v for v in row if not np.isnan(v)] for row in values]
    cases = [row for row in cases if len(row) > 1]
    every = [v for row in cases for v in row]
    count = {v: every.count(v) for v in set(every)}

    def difference(a, b):
        if kind == "nominal":
            return float(a != b)
        if kind == "interval":
            return (a - b) ** 2
        if kind == "ratio":
            return ((a - b) / (a + b)) ** 2 if a + b else 0.0
        low, high = sorted((a, b))
        between = sum(n for v, n in count.items() if low <= v <= high)
        return (between - (count[a] + count[b]) / 2) ** 2 if a != b else 0.0

    found = sum(difference(a, b) / (len(row) - 1) for row in cases for a, b in permutations(row, 2))
    chance = sum(difference(a, b) for a, b in permutations(every, 2)) / (len(every) - 1)
    return 1 - found / chance


@pytest.mark.parametrize("kind", ["nominal", "ordinal", "interval", "ratio"])
@pytest.mark.parametrize("seed", range(3))
def test_the_definition(kind, seed):
    rng = np.random.default_rng(seed)
    values = np.clip(rng.integers(0, 6, size=(15, 1)) + rng.integers(-1, 2, size=(15, 5)), 0, 6).astype(float)
    values[rng.random(values.shape) < 0.4] = NAN
    assert krippendorff_alpha(values, kind) == pytest.approx(by_the_definition(values, kind))


@pytest.mark.parametrize("kind", ["nominal", "ordinal", "interval", "ratio"])
def test_weights_are_repeated_cases(kind):
    times = np.array([2, 0, 1, 3, 1, 0, 1, 2, 1, 1, 1, 1])
    found = KrippendorffAlpha(C, kind).figures(np.stack([times, np.ones(12)], axis=1))
    assert found[0] == pytest.approx(krippendorff_alpha(np.repeat(C, times, axis=0), kind))
    assert found[1] == pytest.approx(krippendorff_alpha(C, kind))


def test_without_variation_or_pairs_there_is_no_alpha():
    assert np.isnan(krippendorff_alpha([[1, 1], [1, 1]]))
    assert np.isnan(krippendorff_alpha([[1, NAN], [NAN, 2]], "interval"))


def test_numbers_far_from_zero():
    values = np.array([[1, 1], [2, 3], [4, 4]], float)
    assert krippendorff_alpha(values + 1e7, "interval") == pytest.approx(
        krippendorff_alpha(values, "interval")
    )


def test_ratio_values():
    with pytest.raises(DataError, match="expected none below 0, found -1"):
        krippendorff_alpha([[-1, 1], [2, 2]], "ratio")
    many = np.arange(4002.0).reshape(-1, 2)
    with pytest.raises(DataError, match="expected up to 2000 different ones, found 4002"):
        krippendorff_alpha(many, "ratio")

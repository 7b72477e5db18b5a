import csv

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from medimg.curation.agreement import (
    Bootstrap,
    agreement_of_all,
    agreement_of_pairs,
    format_agreement,
    write_agreement,
)
from medimg.curation.alpha import krippendorff_alpha
from medimg.curation.kappa import cohen_kappa
from medimg.curation.readings import Readings
from medimg.errors import DataError

FEW = Bootstrap(resamples=200)


def graded(n=120, readers=3, seed=0, per_patient=1):
    """Grades from 1 to 5 of readers who are right, off by one, or silent."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(1, 6, size=(n, 1))
    values = np.clip(truth + rng.integers(-1, 2, size=(n, readers)), 1, 5).astype(float)
    values[rng.random(values.shape) < 0.1] = np.nan
    cases = tuple(f"c{number}" for number in range(n))
    patients = tuple(f"p{number // per_patient}" for number in range(n))
    return Readings(cases, patients, tuple("abcdefg"[:readers]), ("grade",), values[:, :, None])


@pytest.mark.parametrize("kind", ["nominal", "ordinal", "interval", "ratio"])
def test_all_readers(kind):
    readings = graded()
    (row,) = agreement_of_all(readings, {"grade": kind}, FEW)
    value, low, high = row.figures["alpha"]
    assert value == pytest.approx(krippendorff_alpha(readings.values[:, :, 0], kind))
    assert low < value < high
    assert ("fleiss_kappa" in row.figures) == (kind in ("nominal", "ordinal"))
    known = (~np.isnan(readings.values[:, :, 0])).sum(axis=1)
    assert (row.n_cases, row.n_readings) == ((known > 1).sum(), known[known > 1].sum())


def test_pairs_are_those_of_scikit_learn():
    readings = graded()
    rows = agreement_of_pairs(readings, {"grade": "ordinal"}, FEW)
    assert [row.readers for row in rows] == [("a", "b"), ("a", "c"), ("b", "c")]
    values = readings.values[:, [0, 2], 0]
    both = values[~np.isnan(values).any(axis=1)].astype(int)
    figures = rows[1].figures
    for name, weights in (("kappa", None), ("linear_kappa", "linear"), ("quadratic_kappa", "quadratic")):
        assert figures[name][0] == pytest.approx(cohen_kappa_score(*both.T, weights=weights))
    assert figures["agreement"][0] == pytest.approx(np.mean(both[:, 0] == both[:, 1]))
    assert rows[1].n_cases == len(both)
    assert list(agreement_of_pairs(readings, {"grade": "ratio"}, FEW)[0].figures) == ["alpha"]


def test_an_interval_is_the_bootstrap_of_the_plain_figure():
    readings = graded(n=60)
    row = agreement_of_pairs(readings, {"grade": "nominal"}, Bootstrap(resamples=1000))[0]
    rng = np.random.default_rng(1)
    values = readings.values[:, :2, 0]
    drawn = [cohen_kappa(*values[rng.integers(60, size=60)].T) for _ in range(1000)]
    np.testing.assert_allclose(row.figures["kappa"][1:], np.quantile(drawn, [0.025, 0.975]), atol=0.03)


def test_patients_are_drawn_whole():
    """Four copies of each case tell nothing new: the interval stays, where cases of their own would narrow it."""
    one = graded(n=40)
    values = np.repeat(one.values, 4, axis=0)
    cases = tuple(f"c{number}" for number in range(160))
    grouped = Readings(cases, tuple(np.repeat(one.cases, 4).tolist()), one.readers, one.labels, values)
    alone = Readings(cases, cases, one.readers, one.labels, values)
    widths = []
    for readings in (one, grouped, alone):
        _, low, high = agreement_of_all(readings, {"grade": "nominal"}, Bootstrap())[0].figures["agreement"]
        widths.append(high - low)
    assert widths[1] == pytest.approx(widths[0], rel=0.15)
    assert widths[2] < 0.65 * widths[0]


def test_readers_without_common_cases_are_no_pair():
    values = np.array([[1, 1, np.nan], [0, 1, np.nan], [np.nan, 1, 1]])[:, :, None]
    readings = Readings(tuple("uvw"), tuple("uvw"), tuple("abc"), ("x",), values)
    rows = agreement_of_pairs(readings, {"x": "nominal"}, FEW)
    assert [row.readers for row in rows] == [("a", "b"), ("b", "c")]
    assert np.isnan(rows[1].figures["kappa"][0])


def test_a_label_that_nobody_read_twice_has_no_figures():
    values = np.array([[[1, 1], [1, np.nan]], [[0, np.nan], [1, 1]]])
    readings = Readings(tuple("uv"), tuple("uv"), tuple("ab"), ("x", "y"), values)
    for kind in ("nominal", "interval", "ordinal", "ratio"):
        row = agreement_of_all(readings, dict.fromkeys("xy", kind), FEW)[1]
        assert row.n_cases == 0
        assert all(np.isnan(one[0]) for one in row.figures.values())


def test_what_is_refused():
    lone = Readings(("u",), ("u",), tuple("ab"), ("x",), np.array([[[1], [np.nan]]]))
    with pytest.raises(DataError, match="expected cases with two readings or more, found none among 1 cases"):
        agreement_of_all(lone, {"x": "nominal"})
    words = Readings(("u",), ("u",), tuple("ab"), ("x",), np.ones((1, 2, 1)), {"x": ("no", "yes")})
    with pytest.raises(
        DataError, match="label x: expected numbers for --kind ordinal, found words, such as 'no'"
    ):
        agreement_of_pairs(words, {"x": "ordinal"})
    with pytest.raises(DataError, match="expected a level in"):
        Bootstrap(level=1.0)


def test_tables(tmp_path):
    rows = agreement_of_pairs(graded(), {"grade": "nominal"}, FEW)
    write_agreement(tmp_path / "pairs.csv", rows)
    with (tmp_path / "pairs.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [(row["reader_a"], row["reader_b"]) for row in written] == [row.readers for row in rows]
    assert float(written[0]["kappa_low"]) == pytest.approx(rows[0].figures["kappa"][1], abs=1e-5)
    lines = format_agreement(rows).splitlines()
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1
    assert lines[1].startswith("grade a b")

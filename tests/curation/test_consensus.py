import csv

import numpy as np
import pytest

from medimg.curation.consensus import consensus_method, half_mask, label_consensus, write_consensus
from medimg.curation.readings import Readings
from medimg.errors import DataError

NAN = float("nan")


def test_majority_is_more_than_half():
    found = label_consensus([[1, 1, 0], [1, 0, NAN], [2, NAN, NAN], [NAN] * 3, [0, 1, 2]], "majority")
    np.testing.assert_array_equal(found.values, [1, NAN, 2, NAN, NAN])
    np.testing.assert_allclose(found.support, [2 / 3, NAN, 1, NAN, NAN])
    assert found.readings.tolist() == [3, 2, 1, 0, 3]


def test_the_median_is_a_value_that_was_said():
    found = label_consensus([[1, 5, 2], [1, 4, NAN], [NAN, NAN, NAN]], "median")
    np.testing.assert_array_equal(found.values, [2, 1, NAN])
    np.testing.assert_allclose(found.support, [1 / 3, 1 / 2, NAN])


def test_dawid_skene_skips_cases_that_nobody_read():
    found = label_consensus([[0, 0, 0], [3, 3, 3], [NAN] * 3, [3, 3, 0], [0, 0, NAN]], "dawid_skene")
    np.testing.assert_array_equal(found.values, [0, 3, NAN, 3, 0])
    assert np.nanmin(found.support) > 0.5
    assert np.isnan(label_consensus([[NAN, NAN]], "dawid_skene").values).all()


def test_methods_by_kind():
    assert consensus_method(None, "nominal") == "majority"
    assert consensus_method("dawid_skene", "ordinal") == "dawid_skene"
    with pytest.raises(DataError, match="--consensus median is not for labels of kind nominal"):
        consensus_method("median", "nominal")
    with pytest.raises(DataError, match="--consensus dawid_skene is not for labels of kind ratio"):
        consensus_method("dawid_skene", "ratio")


def test_the_table(tmp_path):
    said = Readings(("a", "b"), ("p", "q"), ("x", "y"), ("m",), np.zeros((2, 2, 1)), {"m": ("no", "yes")})
    write_consensus(tmp_path / "c.csv", said, {"m": label_consensus([[1, 1], [1, 0]], "majority")})
    with (tmp_path / "c.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {"case_id": "a", "patient_id": "p", "m": "yes", "m_support": "1", "m_readings": "2"},
        {"case_id": "b", "patient_id": "q", "m": "", "m_support": "", "m_readings": "2"},
    ]


@pytest.mark.parametrize("readers", [2, 3, 4, 5])
def test_masks_of_half_the_readers(readers):
    rng = np.random.default_rng(readers)
    masks = [rng.integers(0, 2, size=(3, 4, 5)).astype(np.uint8) for _ in range(readers)]
    np.testing.assert_array_equal(half_mask(masks), np.mean(masks, axis=0) >= 0.5)


def test_masks_that_do_not_fit():
    with pytest.raises(DataError, match="expected masks of one shape"):
        half_mask([np.zeros((1, 2, 3), np.uint8), np.zeros((1, 3, 2), np.uint8)])
    with pytest.raises(DataError, match="expected masks of one shape"):
        half_mask([])

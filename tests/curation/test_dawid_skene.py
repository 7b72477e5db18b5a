import numpy as np
import pytest

from medimg.curation.dawid_skene import dawid_skene
from medimg.errors import DataError

# Dawid and Skene 1979, table 1: fitness of 45 patients in four grades; the first anaesthetist looked three times,
# the other four once. Three digits and four.
TABLE_1 = """1111111 3334334 1122122 2223121 2223222 2223322 1222111 3333433 2222223 2322223 4444444 2223343 1111111
2223212 1211111 1112111 1111111 1111111 2222221 2221322 2222222 2222221 2223222 2212222 1111111 1111111 2322222 1111111
1111111 1121121 1111111 3333233 1111111 2222222 2223232 4334343 2212232 2323233 3333432 1111111 1111111 1212111 2322222
1211111 2222222"""


def anaesthetists():
    counts = np.zeros((45, 5, 4))
    for patient, row in enumerate(TABLE_1.split()):
        for reader, mark in zip((0, 0, 0, 1, 2, 3, 4), row, strict=True):
            counts[patient, reader, int(mark) - 1] += 1
    return counts


def test_the_worked_example_of_the_paper():
    found = dawid_skene(anaesthetists())
    np.testing.assert_allclose(found.shares, [0.40, 0.42, 0.11, 0.07], atol=5e-3)
    np.testing.assert_allclose(
        found.confusion[0], [[0.89, 0.11, 0, 0], [0.07, 0.88, 0.05, 0], [0, 0.34, 0.66, 0], [0, 0, 0.56, 0.44]],
        atol=6e-3,
    )  # fmt: skip
    np.testing.assert_allclose(found.probs.sum(axis=1), 1)
    np.testing.assert_allclose(found.confusion.sum(axis=2), 1)


def test_a_good_reader_outweighs_two_careless_ones():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, size=400)
    rates = (0.02, 0.02, 0.4, 0.4, 0.4)
    said = np.stack([truth ^ (rng.random(400) < rate) for rate in rates], axis=1)
    found = dawid_skene(np.eye(2)[said])
    majority = said.mean(axis=1) > 0.5
    right = found.probs.argmax(axis=1) == truth
    assert right.mean() > 0.96 > (majority == truth).mean()
    errors = found.confusion[:, 0, 1]
    assert errors[:2].max() < 0.05 < 0.3 < errors[2:].min()


def test_readers_who_read_other_cases():
    counts = np.eye(2)[[[0, 0, 0], [1, 1, 1], [1, 1, 1], [0, 0, 1]]]
    counts[0, 2] = counts[3, 1] = 0
    counts = np.concatenate([counts, np.zeros((4, 1, 2))], axis=1)  # and one who read none
    assert dawid_skene(counts).probs.argmax(axis=1)[:3].tolist() == [0, 1, 1]


def test_what_is_refused():
    with pytest.raises(DataError, match="one for every case"):
        dawid_skene(np.zeros((2, 2, 2)))


def guesses(cases, seed):
    """Three readers who guess, each value 1 in a third of the cases."""
    return np.eye(2)[(np.random.default_rng(seed).random((cases, 3)) < 0.35).astype(int)]


def test_readers_who_guess_give_no_estimate():
    with pytest.raises(
        DataError, match=r"ran away: of the 11 cases whose majority is value number 0, it keeps \d+%"
    ):
        dawid_skene(guesses(12, seed=16))
    with pytest.raises(DataError, match="did not settle within 2000 steps"):
        dawid_skene(guesses(12, seed=0))

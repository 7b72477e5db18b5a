import numpy as np
import pytest

from medimg.errors import DataError
from medimg.preparation.dealing import deal, expect_folds, hold_out, in_company_of, patient_groups
from medimg.records import Record


def test_groups_join_patients_breasts_and_copies():
    records = [
        Record("c1", "p1", (), group="g1"),
        Record("c2", "p2", (), group="g1"),
        Record("c3", "p2", ()),
        Record("c4", "p4", ()),
        Record("p4", "p5", ()),  # a case named as another's patient is still another
    ]
    assert patient_groups(records) == [("c1", "c2", "c3"), ("c4",), ("p4",)]
    assert patient_groups(records, [("c3", "c4")]) == [("c1", "c2", "c3", "c4"), ("p4",)]


def test_deal_leaves_no_fold_empty():
    counts, sizes = np.zeros((3, 1)), np.array([50, 1, 1])
    assert set(deal(counts, sizes, 3, seed=0).tolist()) == {0, 1, 2}
    assert set(deal(np.array([[9.0], [1.0], [1.0]]), np.array([9, 1, 1]), 3, seed=0).tolist()) == {0, 1, 2}


@pytest.mark.parametrize("bins", [1, 3, 7])
@pytest.mark.parametrize("groups", [11, 40, 97])
def test_each_bin_is_dealt_to_within_one_group(bins, groups):
    counts = np.eye(bins)[np.random.default_rng(groups).integers(0, bins, groups)]
    fold_of = deal(counts, np.ones(groups, int), 5, seed=0)
    dealt = np.array([counts[fold_of == fold].sum(axis=0) for fold in range(5)])
    assert np.ptp(dealt, axis=0).max() <= 1
    assert np.ptp(dealt.sum(axis=1)) <= 1


@pytest.mark.parametrize("share", [0.1, 0.15, 0.3, 0.5])
@pytest.mark.parametrize("bins", [1, 4, 10])
def test_what_is_held_out_has_its_share_of_each_bin_to_within_one_group(bins, share):
    # Ten bins of four: each rounds to none at 0.1, and still four groups of forty are held out.
    counts = np.repeat(np.eye(bins), 40 // bins, axis=0)
    aside = hold_out(counts, share, seed=3)
    assert aside.sum() == round(share * 40)
    assert np.abs(counts[aside].sum(axis=0) - share * counts.sum(axis=0)).max() <= 1
    assert (aside == hold_out(counts, share, seed=3)).all()


def test_more_than_the_share_is_mended_too():
    # Ten bins of seven: each rounds up to one at 0.1, and still only seven of seventy are held out.
    assert hold_out(np.repeat(np.eye(10), 7, axis=0), 0.1, seed=0).sum() == 7


@pytest.mark.parametrize("share", [0.0, 1.0, -0.2, 0.01, 0.99])
def test_a_share_that_comes_to_none_or_all_is_refused(share):
    with pytest.raises(DataError, match=r"holdout .*, found .* of 8 patients\. Set holdout to another share"):
        hold_out(np.ones((8, 1)), share, seed=0)


def test_all_of_a_patient_come_along():
    records = [Record("c1", "p1", ()), Record("c2", "p1", ()), Record("c3", "p3", ()), Record("c4", "p4", ())]
    assert in_company_of({"c1"}, records, [{"c2", "c4"}]) == {"c1", "c2", "c4"}
    assert in_company_of(set(), records) == set()


@pytest.mark.parametrize("folds", [0, 1, 3])
def test_a_number_of_folds_that_cannot_be_dealt_is_refused(folds):
    with pytest.raises(DataError, match=f"{folds} folds: expected at least 2, and no more than the 2 groups"):
        expect_folds(folds, [("a",), ("b",)], "fake")
    expect_folds(2, [("a",), ("b",)], "fake")

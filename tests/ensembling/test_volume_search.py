import numpy as np
import pytest

from medimg.ensembling import volume_search
from medimg.ensembling.volume_search import search_volumes
from medimg.errors import DataError
from medimg.io.nifti import write_image


@pytest.mark.parametrize(("head", "method"), [("softmax", "mean"), ("sigmoid", "geometric")])
@pytest.mark.parametrize("most", [10**9, 4 * 40])
def test_what_is_reported_is_exact_however_few_voxels_are_searched_on(
    labelled, tmp_path, monkeypatch, head, method, most
):
    monkeypatch.setattr(volume_search, "MOST_VOXELS", most)
    cases = labelled.make_cases(tmp_path, head, [0.3, 1.5, 2.5])
    found = search_volumes(
        cases, "ABC", labelled.settings(head, method), "greedy", classes=labelled.about[head][1], split="s"
    )
    by_case = {case: fold.weights for fold in found.folds for case in fold.cases}
    weights = {
        "equal": [[1, 1, 1]] * 4,
        "in_sample": [found.weights] * 4,
        "nested": [by_case[case.files.case_id] for case in cases],
    }
    scores = {name: labelled.full_dice(cases, head, method, each) for name, each in weights.items()}
    for name, each in scores.items():
        assert getattr(found, name) == pytest.approx(np.mean(each))
    assert found.gain.mean == pytest.approx(np.mean(scores["nested"]) - np.mean(scores["equal"]))
    singles = [np.mean(labelled.full_dice(cases, head, method, [one] * 4)) for one in np.eye(3)]
    assert found.singles == pytest.approx(singles)
    assert found.weights[0] > 0.5
    assert (found.best, found.split, found.objective) == (0, "s", "dice")


@pytest.mark.parametrize("members", [2, 6])
def test_what_is_held_does_not_grow_with_members_and_cases(labelled, tmp_path, monkeypatch, members):
    monkeypatch.setattr(volume_search, "MOST_VALUES", 3000)
    sizes, search = [], volume_search.search_nested
    monkeypatch.setattr(
        volume_search, "search_nested", lambda stack, *r: sizes.append(stack.size) or search(stack, *r)
    )
    cases = labelled.make_cases(tmp_path, "softmax", [1.0] * members)
    search_volumes(cases, "ABCDEF"[:members], labelled.settings("softmax", "mean"), "greedy")
    assert 2500 < sizes[0] <= 3000


def test_members_that_agree_everywhere_leave_nothing_to_choose(labelled, tmp_path):
    cases = labelled.make_cases(tmp_path, "softmax", [0.0, 0.0])
    found = search_volumes(cases, "AB", labelled.settings("softmax", "mean"), "simplex")
    assert found.gain.mean == 0
    assert found.nested == found.equal == found.singles[0]


@pytest.mark.slow
def test_two_processes_find_what_one_finds(labelled, tmp_path):
    cases = labelled.make_cases(tmp_path, "softmax", [0.5, 1.5])
    chosen = labelled.settings("softmax", "mean")
    assert search_volumes(cases, "AB", chosen, "greedy") == search_volumes(
        cases, "AB", chosen, "greedy", workers=2
    )


def test_references_that_do_not_fit_are_refused(labelled, tmp_path):
    cases = labelled.make_cases(tmp_path, "softmax", [0.5, 1.5])
    chosen = labelled.settings("softmax", "mean")
    with pytest.raises(DataError, match=r"expected classes of the label values 0, 1, 4, .* found 3"):
        search_volumes(cases, "AB", chosen, "greedy", classes={"ET": (3,)})
    write_image(cases[1].reference, np.full(labelled.shape, 3, np.uint8), np.eye(4))
    with pytest.raises(
        DataError, match=r"c1\.nii\.gz: expected the label values 0, 1, 4 of the members, found 3"
    ):
        search_volumes(cases, "AB", chosen, "greedy")
    write_image(cases[1].reference, np.zeros((2, 2, 2), np.uint8), np.eye(4))
    with pytest.raises(DataError, match="case c1: the prediction has shape"):
        search_volumes(cases, "AB", chosen, "greedy")


def test_a_damaged_member_is_named(labelled, tmp_path):
    cases = labelled.make_cases(tmp_path, "softmax", [0.5, 1.5])
    np.savez(cases[0].files.probs[1], probs=np.full((3, *labelled.shape), np.nan))
    with pytest.raises(DataError, match=r"m1.c0\.npz: expected probabilities in \[0, 1\], found NaN"):
        search_volumes(cases, "AB", labelled.settings("softmax", "mean"), "greedy")

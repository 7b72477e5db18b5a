import numpy as np
import pytest

from medimg.errors import DataError
from medimg.io.nifti import write_image
from medimg.io.raster import write_png
from medimg.postprocessing.rules import Rule
from medimg.postprocessing.search import case_means, judge_case, search_rules

KEEP, DROP, FILL = (
    Rule("keep_largest", "1", (1,)),
    Rule("min_volume", "1", (1,), 5.0),
    Rule("fill_holes", "1", (1,)),
)
PATIENTS = [f"p{number}" for number in range(30)]


def judge_of(gains, calls=None):
    """A judge by which each rule adds its own gain to each case, whatever the others do."""

    def judge(chain, candidates):
        if calls is not None:
            calls.append(chain)
        base = 0.5 + sum((gains[rule] for rule in chain), np.zeros(len(PATIENTS)))
        columns = [base, *(base if rule in chain else base + gains[rule] for rule in candidates)]
        return np.stack(columns, axis=1)[..., None]

    return judge


def test_rules_that_help_are_added_best_first_and_others_left():
    rng = np.random.default_rng(0)
    gains = {KEEP: np.full(30, 0.02), DROP: np.full(30, 0.05), FILL: rng.normal(-0.01, 0.001, 30)}
    calls = []
    found = search_rules(judge_of(gains, calls), [KEEP, DROP, FILL], PATIENTS)
    assert found.rules == (DROP, KEEP)
    assert set(found.picks) == {(DROP, KEEP)}
    for scores, mean in ((found.before, 0.5), (found.after, 0.57), (found.honest, 0.57)):
        assert scores.shape == (30, 1)
        np.testing.assert_allclose(scores, mean)
    assert len(calls) == len(set(calls))  # nothing is judged twice


def test_a_gain_of_one_patient_is_no_gain_for_the_others():
    gain = np.full(30, -0.001)
    gain[3] = 0.5
    found = search_rules(judge_of({KEEP: gain}), [KEEP], PATIENTS)
    # In sample the rule raises the mean; without patient 3 nobody would choose it.
    assert gain.mean() > 0
    assert (case_means(found.honest) - case_means(found.before)).mean() <= 0


def test_noise_is_not_sold_as_a_gain():
    """Over many searches in pure noise the honest gain is not above 0, while the one in sample is."""
    honest, sample = [], []
    rules = [Rule("min_volume", "1", (1,), float(limit)) for limit in range(1, 9)]
    for seed in range(25):
        rng = np.random.default_rng(seed)
        gains = {rule: rng.normal(0, 0.1, 30) for rule in rules}
        found = search_rules(judge_of(gains), rules, PATIENTS)
        honest.append((found.honest - found.before).mean())
        sample.append((found.after - found.before).mean())
    assert np.mean(sample) > 0.005
    assert np.mean(honest) < 0.25 * np.mean(sample)


def test_rules_that_change_nothing_are_tried_once():
    tried = []

    def judge(chain, candidates):
        tried.append(list(candidates))
        return judge_of({KEEP: np.full(30, 0.1), FILL: np.zeros(30)})(chain, candidates)

    assert search_rules(judge, [FILL, KEEP], PATIENTS).rules == (KEEP,)
    assert tried[0] == [FILL, KEEP]
    assert all(later == [KEEP] for later in tried[1:])


def test_cases_that_a_rule_of_empty_masks_leaves_out_do_not_count():
    counted = np.arange(30)[:, None, None] % 2 == 1
    plain = judge_of({KEEP: np.full(30, 0.1)})
    found = search_rules(lambda *words: np.where(counted, plain(*words), np.nan), [KEEP], PATIENTS)
    assert found.rules == (KEEP,)
    assert np.isnan(found.honest[::2]).all()
    np.testing.assert_allclose(found.honest[1::2], 0.6)


def test_patients_of_one_name_stand_together():
    with pytest.raises(DataError, match="a search needs three patients or more, found 2"):
        search_rules(judge_of({KEEP: np.zeros(30)}), [KEEP], ["a", "b"] * 15)


def test_one_case_is_judged_by_hand(tmp_path):
    pred, ref = np.zeros((2, 6, 6), np.uint8)
    pred[0, :4], pred[3, 3], ref[0, :4] = 1, 1, 1
    for name, mask in (("pred", pred), ("ref", ref)):
        write_png(tmp_path / f"{name}.png", mask)
    files = ("a", tmp_path / "pred.png", tmp_path / "ref.png")
    classes = {"one": (1,), "two": (2,)}
    found = judge_case(files, chain=(), candidates=[KEEP, DROP], classes=classes, empty="brats")
    np.testing.assert_allclose(found, [[8 / 9, 1], [1, 1], [0, 1]])
    found = judge_case(files, chain=(KEEP,), candidates=[DROP], classes=classes, empty="skip")
    np.testing.assert_allclose(found, [[1, np.nan], [0, np.nan]])


def test_masks_of_two_grids_are_refused(tmp_path):
    write_png(tmp_path / "a.png", np.zeros((4, 4), np.uint8))
    write_png(tmp_path / "b.png", np.zeros((4, 5), np.uint8))
    write_image(tmp_path / "a.nii.gz", np.zeros((3, 4, 4), np.uint8), np.eye(4))
    write_image(tmp_path / "b.nii.gz", np.zeros((3, 4, 4), np.uint8), np.diag([3.0, 1, 1, 1]))
    for ending, message in (
        (".png", r"shape \(4, 4\), the reference \(4, 5\)"),
        (".nii.gz", "apart at a corner"),
    ):
        files = ("a", tmp_path / f"a{ending}", tmp_path / f"b{ending}")
        with pytest.raises(DataError, match=message):
            judge_case(files, chain=(), candidates=[], classes={"one": (1,)}, empty="brats")

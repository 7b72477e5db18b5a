import math

import pytest

from medimg.scoring.empty import BRATS_WORST_MM, EMPTY_SCORES, METRICS, empty_score

BOTH, ONLY_PRED, ONLY_REF = (True, True), (False, True), (True, False)  # prediction empty, reference empty
LEFT_OUT = (math.nan, math.nan, math.nan)


@pytest.mark.parametrize(
    ("rule", "which", "expected"),
    [
        ("brats", BOTH, (1.0, 0.0, 1.0)),
        ("brats", ONLY_PRED, (0.0, 373.12866, 0.0)),
        ("brats", ONLY_REF, (0.0, 373.12866, 0.0)),
        ("one", BOTH, (1.0, 0.0, 1.0)),
        ("one", ONLY_PRED, (0.0, 17.5, 0.0)),
        ("one", ONLY_REF, (0.0, 17.5, 0.0)),
        ("skip", BOTH, LEFT_OUT),
        ("skip", ONLY_PRED, LEFT_OUT),
        ("skip", ONLY_REF, (0.0, 17.5, 0.0)),
    ],
)
def test_each_cell_of_the_table(rule, which, expected):
    found = [
        empty_score(metric, prediction_empty=which[0], reference_empty=which[1], rule=rule, diagonal_mm=17.5)
        for metric in METRICS
    ]
    assert found == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("rule", EMPTY_SCORES)
def test_no_rule_speaks_where_both_masks_hold_voxels(rule):
    assert (
        empty_score("dice", prediction_empty=False, reference_empty=False, rule=rule, diagonal_mm=1.0) is None
    )


@pytest.mark.parametrize("rule", EMPTY_SCORES)
def test_missing_a_structure_never_raises_the_mean(rule):
    for metric in METRICS:
        assert not math.isnan(EMPTY_SCORES[rule].only_reference[metric])


def test_the_worst_distance_is_the_diagonal_of_a_brats_volume():
    assert math.hypot(240, 240, 155) == pytest.approx(BRATS_WORST_MM, abs=1e-4)

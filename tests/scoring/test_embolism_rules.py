import numpy as np
import pytest

from medimg.scoring.embolism import EXAM_LABELS
from medimg.scoring.embolism_rules import broken_rules


def broken(highest_image, **labels):
    """The rules that one exam breaks; its labels are 0 where not named."""
    prob = np.array([[labels.get(label, 0.0) for label in EXAM_LABELS]])
    return [rule for rule, hit in broken_rules(prob, [highest_image]).items() if hit[0]]


POSITIVE = {"central_pe": 0.9, "rv_lv_ratio_lt_1": 0.8}
NEGATIVE = {"negative_exam_for_pe": 0.9}


@pytest.mark.parametrize(
    ("highest", "labels"),
    [
        (0.9, POSITIVE),
        (0.9, POSITIVE | {"chronic_pe": 0.7, "leftsided_pe": 0.6}),
        (0.9, POSITIVE | {"acute_and_chronic_pe": 0.7, "negative_exam_for_pe": 0.5}),
        (0.5, NEGATIVE),  # 0.5 is not above 0.5
        (0.0, {"indeterminate": 0.51, "negative_exam_for_pe": 0.5, "central_pe": 0.5}),
    ],
)
def test_consistent_exams(highest, labels):
    assert broken(highest, **labels) == []


@pytest.mark.parametrize(
    ("highest", "labels", "rule"),
    [
        (0.9, POSITIVE | {"rv_lv_ratio_gte_1": 0.6}, "positive image: exactly one RV/LV ratio"),
        (0.9, {"central_pe": 0.9}, "positive image: exactly one RV/LV ratio"),
        (0.9, {"rv_lv_ratio_gte_1": 0.9}, "positive image: at least one of central, left and right"),
        (
            0.9,
            POSITIVE | {"chronic_pe": 0.6, "acute_and_chronic_pe": 0.6},
            "positive image: not both chronic and acute-and-chronic",
        ),
        (0.9, POSITIVE | {"indeterminate": 0.6}, "positive image: neither negative nor indeterminate"),
        (0.9, POSITIVE | NEGATIVE, "positive image: neither negative nor indeterminate"),
        (0.1, {}, "no positive image: exactly one of negative and indeterminate"),
        (
            0.1,
            NEGATIVE | {"indeterminate": 0.6},
            "no positive image: exactly one of negative and indeterminate",
        ),
        (0.1, NEGATIVE | {"rightsided_pe": 0.6}, "no positive image: none of the seven other labels"),
        (0.1, NEGATIVE | {"rv_lv_ratio_lt_1": 0.6}, "no positive image: none of the seven other labels"),
    ],
)
def test_each_rule_alone(highest, labels, rule):
    assert broken(highest, **labels) == [rule]


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(N, 9\)"):
        broken_rules(np.zeros((2, 9)), [0.1])

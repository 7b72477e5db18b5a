from itertools import product

import numpy as np
import pytest

from medimg.scoring.embolism import EXAM_LABELS
from medimg.submission.pulmonary_embolism import broken_rules, enforce, read_exams

ABOVE = 0.500001


def consistent(labels, images):
    """The rules as the challenge words them, apart from the module."""
    high = {name: value > 0.5 for name, value in labels.items()}
    calm = [high["negative_exam_for_pe"], high["indeterminate"]]
    ratios = [high["rv_lv_ratio_gte_1"], high["rv_lv_ratio_lt_1"]]
    if max(images) > 0.5:
        return (
            sum(ratios) == 1
            and (high["central_pe"] or high["leftsided_pe"] or high["rightsided_pe"])
            and not (high["chronic_pe"] and high["acute_and_chronic_pe"])
            and not any(calm)
        )
    others = [value for name, value in high.items() if name not in ("negative_exam_for_pe", "indeterminate")]
    return sum(calm) == 1 and not any(others)


def least_change(labels, images):
    """Over all choices of sides, the smallest total change that is consistent."""
    values = np.array([*labels.values(), *images])
    best = np.inf
    for sides in product([False, True], repeat=len(values)):
        moved = np.where(sides, np.maximum(values, ABOVE * (values <= 0.5)), np.minimum(values, 0.5))
        if consistent(dict(zip(EXAM_LABELS, moved[:9], strict=True)), moved[9:]):
            best = min(best, float(np.abs(moved - values).sum()))
    return best


@pytest.mark.parametrize("seed", range(12))
def test_the_result_is_consistent_and_nearest_of_all(seed):
    rng = np.random.default_rng(seed)
    labels = dict(zip(EXAM_LABELS, rng.random(9).tolist(), strict=True))
    images = (rng.random(2) * (0.4 if seed % 3 == 0 else 1)).tolist()
    changed, pictures = enforce(labels, images)
    assert consistent(changed, pictures)
    assert broken_rules(changed, pictures) == []
    total = sum(abs(changed[name] - labels[name]) for name in labels)
    total += sum(abs(a - b) for a, b in zip(pictures, images, strict=True))
    assert total == pytest.approx(least_change(labels, images), abs=1e-12)


def test_rules_and_words_agree_on_random_exams():
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(3000):
        labels = dict(zip(EXAM_LABELS, (rng.random(9) < rng.random()).astype(float).tolist(), strict=True))
        images = (rng.random(2) < 0.5).astype(float).tolist()
        assert (broken_rules(labels, images) == []) is consistent(labels, images)
        seen.add((consistent(labels, images), max(images) > 0.5))
    assert len(seen) == 4


def test_a_consistent_exam_stays_as_it_is():
    labels = dict.fromkeys(EXAM_LABELS, 0.1) | {"negative_exam_for_pe": 0.8}
    assert enforce(labels, [0.5, 0.2]) == (labels, [0.5, 0.2])
    labels = dict.fromkeys(EXAM_LABELS, 0.1) | {"rv_lv_ratio_lt_1": 0.8, "leftsided_pe": 0.7}
    assert enforce(labels, [0.6, 0.2]) == (labels, [0.6, 0.2])


def test_each_contradiction_is_named():
    high = dict.fromkeys(EXAM_LABELS, 0.9)
    assert len(broken_rules(high, [0.9])) == 3  # two ratios, both chronic, negative
    assert "central" in broken_rules(dict.fromkeys(EXAM_LABELS, 0.0), [0.9])[1]
    assert "seven other" in broken_rules(high, [0.1])[1]


def test_exams_are_read_from_the_competitions_table(write_table, tmp_path):
    header = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
    rows = [["s1", "x", "i1"], ["s2", "x", "i3"], ["s1", "x", "i2"]]
    assert read_exams(write_table(tmp_path / "test.csv", header, rows)) == {"s1": ["i1", "i2"], "s2": ["i3"]}

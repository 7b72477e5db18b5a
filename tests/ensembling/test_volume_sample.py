import tracemalloc

import numpy as np
import pytest

from medimg.ensembling.volume_sample import DiceSample, sample_case
from medimg.ensembling.volume_search import dice_rules


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
@pytest.mark.parametrize("method", ["mean", "geometric"])
def test_few_voxels_give_the_dice_of_all(labelled, tmp_path, head, method):
    cases = labelled.make_cases(tmp_path, head, [0.5, 1.0, 1.5])
    chosen, classes = labelled.settings(head, method), labelled.about[head][1]
    rules = dice_rules(cases[0], chosen, classes)
    samples = [sample_case(case, rules=rules, most=10**6) for case in cases]
    assert all(0 < len(sample.truth) < np.prod(labelled.shape) for sample in samples)
    sample = DiceSample(samples, rules)
    assert sample.complete.all()
    for weights in ([1, 0, 0], [0.2, 0.5, 0.3], [1 / 3] * 3):
        expected = labelled.full_dice(cases, head, method, [weights] * 4)
        np.testing.assert_allclose(sample.dice_by(weights), expected, atol=1e-9)


def test_a_part_of_the_voxels_stands_for_the_rest(labelled, tmp_path):
    case = labelled.make_cases(tmp_path, "softmax", [1.0, 1.5, 2.0], cases=1)[0]
    chosen = labelled.settings("softmax", "mean")
    rules = dice_rules(case, chosen, None)
    whole, part = (sample_case(case, rules=rules, most=most) for most in (10**6, 50))
    assert part.values.shape == (3, 3, 50)
    assert part.scale == len(whole.truth) / 50
    np.testing.assert_array_equal(part.fixed, whole.fixed)
    again = sample_case(case, rules=rules, most=50)
    np.testing.assert_array_equal(part.values, again.values)


def test_reading_does_not_grow_with_the_members(labelled, tmp_path):
    peaks = []
    for members in (4, 16):
        case = labelled.make_cases(tmp_path / str(members), "softmax", [1.0] * members, cases=1)[0]
        rules = dice_rules(case, labelled.settings("softmax", "mean"), None)
        for measured in (False, True):  # what is imported and cached at the first call is not counted
            tracemalloc.start()
            sample_case(case, rules=rules, most=160 // members)
            if measured:
                peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] == pytest.approx(peaks[0], rel=0.1)

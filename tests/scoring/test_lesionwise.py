import numpy as np
import pytest
from scipy.ndimage import binary_dilation, gaussian_filter, generate_binary_structure, label

from medimg.scoring.lesionwise import LESION_RULES, LesionRule, lesionwise_scores
from medimg.scoring.surface import hd95

ONE_MM = (1.0, 1.0, 1.0)
SHAPE = (16, 40, 40)


def volume(*boxes):
    mask = np.zeros(SHAPE, bool)
    for d, h, w, size in boxes:
        mask[d : d + size, h : h + size, w : w + size] = True
    return mask


def test_nothing_on_both_sides():
    score = lesionwise_scores(volume(), volume(), ONE_MM)
    assert (score.dice, score.hd95_mm, score.n_lesions, score.n_false_positives) == (1.0, 0.0, 0, 0)


def test_only_the_reference_holds_a_lesion():
    score = lesionwise_scores(volume(), volume((4, 4, 4, 5)), ONE_MM)
    assert (score.dice, score.hd95_mm, score.n_missed, score.n_false_positives) == (0.0, 374.0, 1, 0)


def test_only_the_prediction_holds_a_lesion():
    score = lesionwise_scores(volume((4, 4, 4, 5)), volume(), ONE_MM)
    assert (score.dice, score.hd95_mm, score.n_lesions, score.n_false_positives) == (0.0, 374.0, 0, 1)


def test_a_perfect_case():
    mask = volume((2, 2, 2, 5), (2, 25, 25, 6))
    score = lesionwise_scores(mask, mask, ONE_MM)
    assert (score.dice, score.hd95_mm, score.n_lesions) == (1.0, 0.0, 2)


@pytest.mark.parametrize(
    ("gap", "dilation", "n_lesions"),
    # Dilation by n steps reaches n voxels on each side; parts that come to touch (26) are one lesion.
    [(6, 3, 1), (7, 3, 2), (2, 1, 1), (3, 1, 2)],
)
def test_parts_that_touch_after_dilation_are_one_lesion(gap, dilation, n_lesions):
    target = volume((4, 4, 4, 5), (4, 4, 9 + gap, 5))
    rule = LesionRule(dilation=dilation, min_volume_mm3=50.0)
    score = lesionwise_scores(target, target, ONE_MM, rule=rule)
    assert score.n_lesions == n_lesions
    assert sum(lesion.volume_mm3 for lesion in score.lesions) == 250  # scored without the dilation


@pytest.mark.parametrize(
    ("spacing", "kept"),
    [((2.0, 1.0, 1.0), 1), ((25 / 13.5, 1.0, 1.0), 0), ((1.0, 1.0, 1.0), 0)],  # 27 voxels: 54, 50, 27 mm3
)
def test_lesions_of_at_most_50_mm3_are_dropped(spacing, kept):
    score = lesionwise_scores(volume(), volume((4, 4, 4, 3)), spacing)
    assert score.n_lesions == kept
    assert score.dice == (0.0 if kept else 1.0)
    assert score.hd95_mm == (374.0 if kept else 0.0)


def test_metastases_count_above_2_mm3():
    target = volume((4, 4, 4, 2))
    assert lesionwise_scores(volume(), target, ONE_MM, rule=LESION_RULES["met"]).n_lesions == 1
    assert lesionwise_scores(volume(), target, (0.25, 1, 1), rule=LESION_RULES["met"]).n_lesions == 0


def test_a_prediction_on_a_dropped_lesion_is_no_false_positive():
    small = volume((4, 4, 4, 3))
    score = lesionwise_scores(small, small, ONE_MM)
    assert (score.dice, score.hd95_mm, score.n_lesions, score.n_false_positives) == (1.0, 0.0, 0, 0)


def test_a_false_positive_counts_whatever_its_size():
    target = volume((4, 4, 4, 5))
    pred = target | volume((12, 30, 30, 1))
    score = lesionwise_scores(pred, target, ONE_MM)
    assert score.dice == pytest.approx(1 / 2)
    assert score.hd95_mm == pytest.approx(374 / 2)
    assert score.n_false_positives == 1


def test_a_prediction_beside_a_lesion_touches_it_through_the_dilation():
    target, pred = volume((4, 4, 4, 5)), volume((4, 4, 11, 5))  # a gap of 2 voxels
    score = lesionwise_scores(pred, target, ONE_MM)
    assert (score.n_false_positives, score.lesions[0].found, score.dice) == (0, True, 0.0)
    assert score.hd95_mm == hd95(pred, target, ONE_MM, empty="brats")
    far = lesionwise_scores(volume((4, 4, 12, 5)), target, ONE_MM)
    assert (far.n_false_positives, far.lesions[0].found) == (1, False)
    assert far.hd95_mm == 374.0  # one lesion and one false positive, 374 each


def test_one_prediction_that_touches_two_lesions_serves_both():
    target = volume((4, 4, 4, 5), (4, 4, 20, 5))
    pred = target.copy()
    pred[6, 6, 4:25] = True  # a bridge of 11 voxels joins them: one component
    score = lesionwise_scores(pred, target, ONE_MM)
    # Each lesion of 125 voxels is compared with all 261 voxels of the component.
    assert score.n_lesions == 2
    assert score.dice == pytest.approx(2 * 125 / (125 + 261))
    assert score.n_false_positives == 0


def test_two_predictions_in_one_lesion_are_joined():
    target = volume((4, 4, 4, 8))
    pred = volume((4, 4, 4, 3), (9, 9, 9, 3))
    score = lesionwise_scores(pred, target, ONE_MM)
    assert score.dice == pytest.approx(2 * 54 / (512 + 54))


def test_diagonal_voxels_are_one_component():
    target = volume((4, 4, 4, 5), (9, 9, 9, 5))  # they share a corner only
    rule = LesionRule(dilation=1, min_volume_mm3=0.0)
    assert lesionwise_scores(target, target, ONE_MM, rule=rule).n_lesions == 1
    pred = volume((1, 30, 30, 1), (2, 31, 31, 1))
    assert lesionwise_scores(pred, volume(), ONE_MM).n_false_positives == 1


def whole_volume_reference(pred, target, spacing, rule):
    """The definition word for word, on whole arrays and without shortcuts."""
    steps, touching = generate_binary_structure(3, 2), np.ones((3, 3, 3))
    dilated, _ = label(binary_dilation(target, steps, iterations=rule.dilation), touching)
    components, n = label(pred, touching)
    dices, distances, used = [], [], set()
    for number in range(1, dilated.max() + 1):
        lesion = (dilated == number) & target
        near = binary_dilation(lesion, steps, iterations=rule.dilation)
        hit = set(np.unique(components[near])) - {0}
        used |= hit
        found = np.isin(components, list(hit))
        if lesion.sum() * np.prod(spacing) > rule.min_volume_mm3:
            dices.append(2 * (found & lesion).sum() / (found.sum() + lesion.sum()))
            distances.append(hd95(found, lesion, spacing, empty="brats") if hit else 374.0)
    false_positives = n - len(used)
    counted = len(dices) + false_positives
    if not counted:
        return 1.0, 0.0
    return sum(dices) / counted, (sum(distances) + 374.0 * false_positives) / counted


@pytest.mark.parametrize("challenge", ["gli", "met"])
@pytest.mark.parametrize("seed", range(6))
def test_equal_to_the_definition_on_whole_volumes(challenge, seed):
    generator = np.random.default_rng(seed)
    noise = [gaussian_filter(generator.normal(size=(20, 36, 36)), 2.0) for _ in range(2)]
    target = noise[0] > 0.11 + 0.02 * seed
    pred = 0.8 * noise[0] + 0.5 * noise[1] > 0.12
    spacing = (2.0, 1.0, 1.0)
    rule = LESION_RULES[challenge]
    score = lesionwise_scores(pred, target, spacing, rule=rule)
    assert (score.dice, score.hd95_mm) == pytest.approx(whole_volume_reference(pred, target, spacing, rule))


def test_masks_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match="one grid"):
        lesionwise_scores(volume(), np.zeros((2, 2, 2), bool), ONE_MM)

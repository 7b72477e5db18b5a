import numpy as np
import pytest

from medimg.errors import DataError
from medimg.io.nifti import write_image
from medimg.scoring.files import ScoreSettings, score_pair
from medimg.scoring.lesionwise import LESION_RULES
from medimg.scoring.pairs import Pair

CLASSES = {"WT": (1, 2, 3), "ET": (3,)}
LABELS = frozenset({1, 2, 3})


def affine(shift=0.0):
    matrix = np.diag([-1.0, 1.0, 2.0, 1.0])  # 2 mm along the file's last axis, which is D
    matrix[0, 3] = shift
    return matrix


@pytest.fixture
def mask():
    labels = np.zeros((8, 12, 10), np.uint8)
    labels[2:6, 2:8, 2:8] = 2
    labels[3:5, 3:6, 3:6] = 3
    return labels


@pytest.fixture
def pair_of(tmp_path):
    def write(pred, ref, shift=0.0):
        pair = Pair("c1", "p1", tmp_path / "pred.nii.gz", tmp_path / "ref.nii.gz")
        write_image(pair.pred, pred, affine(shift))
        write_image(pair.ref, ref, affine())
        return pair

    return write


def test_spacing_is_that_of_the_file(mask, pair_of):
    moved = np.roll(mask, 1, axis=0)  # one slice of 2 mm
    row = score_pair(pair_of(moved, mask), ScoreSettings(CLASSES, LABELS)).row
    assert (row["case_id"], row["patient_id"]) == ("c1", "p1")
    assert row["hd95_WT"] == 2.0
    assert row["dice_WT"] == pytest.approx(3 / 4)


def test_lesionwise_columns(mask, pair_of):
    pred = mask.copy()
    pred[0, 0, 0] = 2  # within the lesion's dilation, but a component of its own
    pred[7, 11, 9] = 3
    settings = ScoreSettings(CLASSES, LABELS, lesion_rule=LESION_RULES["met"])
    row = score_pair(pair_of(pred, mask), settings).row
    assert (row["lesions_WT"], row["false_positives_WT"], row["lesions_missed_WT"]) == (1, 2, 0)
    assert row["lesion_dice_WT"] == pytest.approx(1 / 3)
    assert row["lesion_hd95_WT"] == pytest.approx(2 * 374 / 3)
    assert row["lesion_dice_ET"] == pytest.approx(1 / 2)


def test_ignored_voxels_are_in_no_score(mask, pair_of):
    ref = mask.copy()
    ref[6:8] = 9
    pred = mask.copy()
    pred[6:8] = 3
    settings = ScoreSettings(CLASSES, LABELS, ignore_label=9, lesion_rule=LESION_RULES["gli"])
    row = score_pair(pair_of(pred, ref), settings).row
    assert (row["dice_WT"], row["lesion_dice_WT"], row["false_positives_WT"]) == (1.0, 1.0, 0)


@pytest.mark.parametrize(("shift", "warned"), [(0.0, False), (0.04, False), (0.3, True)])
def test_grids_that_differ_by_less_than_half_a_voxel(mask, pair_of, shift, warned):
    scored = score_pair(pair_of(mask, mask, shift), ScoreSettings(CLASSES, LABELS))
    assert (scored.warning is not None) == warned
    assert scored.row["dice_WT"] == 1.0


def test_other_grids_are_refused(mask, pair_of):
    with pytest.raises(DataError, match=r"case c1: prediction and reference lie 0.60 mm apart"):
        score_pair(pair_of(mask, mask, 0.6), ScoreSettings(CLASSES, LABELS))
    with pytest.raises(DataError, match=r"case c1: the prediction has shape \(7, 12, 10\)"):
        score_pair(pair_of(mask[:7], mask), ScoreSettings(CLASSES, LABELS))


def test_labels_outside_the_set_are_refused_by_file_and_value(mask, pair_of):
    odd = mask.copy()
    odd[0, 0, 0] = 4
    with pytest.raises(DataError, match=r"pred.nii.gz: label values \[4\] in the prediction"):
        score_pair(pair_of(odd, mask), ScoreSettings(CLASSES, LABELS))
    with pytest.raises(DataError, match=r"ref.nii.gz: label values \[4\] in the reference"):
        score_pair(pair_of(mask, odd), ScoreSettings(CLASSES, LABELS))
    assert score_pair(pair_of(mask, odd), ScoreSettings(CLASSES, None)).row["dice_WT"] == 1.0

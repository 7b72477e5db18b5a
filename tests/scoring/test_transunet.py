import numpy as np
import pytest

from medimg.errors import DataError
from medimg.io.nifti import write_image
from medimg.scoring.pairs import Pair
from medimg.scoring.transunet import transunet_pair, transunet_scores


def test_two_lines_by_hand():
    pred, target = np.zeros((1, 1, 8), bool), np.zeros((1, 1, 8), bool)
    pred[..., :2], target[..., :5] = True, True
    dice, hd95 = transunet_scores(pred, target)
    assert dice == pytest.approx(2 * 2 / 7)
    # Distances of both surfaces together: 0, 0 and 0, 0, 1, 2, 3; their 95th percentile lies at 5.7 of 6 steps.
    assert hd95 == pytest.approx(2.7)


def test_its_rules_for_empty_masks():
    some, none = np.ones((2, 2, 2), bool), np.zeros((2, 2, 2), bool)
    assert transunet_scores(some, none) == (1.0, 0.0)
    assert transunet_scores(none, some) == (0.0, 0.0)
    assert transunet_scores(none, none) == (0.0, 0.0)


def test_shapes_must_agree(tmp_path):
    with pytest.raises(ValueError, match="one grid"):
        transunet_scores(np.ones((2, 2, 2), bool), np.ones((2, 2, 3), bool))
    for name, width in (("pred", 4), ("ref", 5)):
        write_image(tmp_path / f"{name}.nii.gz", np.ones((4, 4, width), np.uint8), np.eye(4))
    pair = Pair("a", "p", tmp_path / "pred.nii.gz", tmp_path / "ref.nii.gz")
    with pytest.raises(DataError, match="case a: the prediction has shape"):
        transunet_pair(pair, {"organ": [1]})


def test_masks_that_lie_elsewhere_are_refused(tmp_path):
    for name, moved in (("pred", 5.0), ("ref", 0.0)):
        affine = np.eye(4)
        affine[0, 3] = moved
        write_image(tmp_path / f"{name}.nii.gz", np.ones((4, 4, 4), np.uint8), affine)
    with pytest.raises(DataError, match=r"case a: prediction and reference lie 5\.00 mm apart"):
        transunet_pair(Pair("a", "p", tmp_path / "pred.nii.gz", tmp_path / "ref.nii.gz"), {"organ": [1]})


def test_a_row_of_two_files(tmp_path):
    mask = np.zeros((4, 6, 6), np.uint8)
    mask[1:3, 1:4, 1:4] = 1
    write_image(tmp_path / "ref.nii.gz", mask, np.diag([3.0, 3.0, 3.0, 1.0]))
    mask[1, 1, 5] = 2
    write_image(tmp_path / "pred.nii.gz", mask, np.diag([3.0, 3.0, 3.0, 1.0]))
    row = transunet_pair(
        Pair("a", "p", tmp_path / "pred.nii.gz", tmp_path / "ref.nii.gz"),
        {"organ": [1], "stone": [2], "cyst": [3]},
    )
    assert row["dice_organ"] == 1.0
    assert (row["dice_stone"], row["hd95_stone"]) == (1.0, 0.0)  # invented, and rewarded for it
    assert row["dice_cyst"] == 0.0

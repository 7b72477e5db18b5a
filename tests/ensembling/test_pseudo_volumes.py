import numpy as np
import pytest

from medimg.ensembling.description import ChannelScheme
from medimg.ensembling.pseudo_choice import Changes
from medimg.ensembling.pseudo_volumes import VolumeRules, label_case
from medimg.ensembling.volumes import CaseFiles
from medimg.errors import DataError
from medimg.io.nifti import read_mask, write_image

CLASSES = ChannelScheme("softmax", (0, 1, 4))
REGIONS = ChannelScheme("sigmoid", (2, 1), (0, 1))
AFFINE = np.diag([1.0, 1.0, 1.0, 1.0])


@pytest.fixture
def write_member(tmp_path):
    """``write_member(name, channels, labels)``: voxels in a row, as probabilities and as a mask."""

    def write(name, channels, labels):
        folder = tmp_path / name
        write_image(folder / "c.nii.gz", np.uint8(labels).reshape(1, 1, -1), AFFINE)
        np.savez(folder / "c.npz", probs=np.float32(channels).reshape(len(channels), 1, 1, -1))
        return folder

    return write


@pytest.fixture
def label(tmp_path):
    def run(folders, scheme=CLASSES, positive=(0.9, 0.8, 0.8), before=None, **options):
        files = CaseFiles("c", tuple(f / "c.nii.gz" for f in folders), tuple(f / "c.npz" for f in folders))
        (tmp_path / "out").mkdir(exist_ok=True)
        found = label_case((files, before), VolumeRules(scheme, positive, 255, tmp_path / "out", **options))
        mask = tmp_path / "out" / "c.nii.gz"
        return found, read_mask(mask).ravel().tolist() if mask.is_file() else None

    return run


def test_each_class_has_its_own_threshold(write_member, label):
    #       background sure, not; 1 sure, not; 4 sure
    bg, one, four = [0.95, 0.85, 0.1, 0.3, 0.0], [0.05, 0.1, 0.85, 0.7, 0.1], [0.0, 0.05, 0.05, 0.0, 0.9]
    found, mask = label([write_member("m", [bg, one, four], [0, 0, 1, 1, 4])])
    assert mask == [0, 255, 1, 255, 4]
    assert found.confidence == pytest.approx((0.85 + 0.7 + 0.9) / 3)  # of the foreground
    assert found.share == 0.6 and found.taken and np.isnan(found.dice)
    assert found.changes == Changes(0, 3, 0, 0)


def test_members_are_averaged_and_must_agree(write_member, label):
    one = write_member("a", [[0.0, 0.02, 0.02], [1.0, 0.98, 0.98], [0.0, 0.0, 0.0]], [1, 1, 1])
    other = write_member("b", [[0.3, 0.45, 0.55], [0.7, 0.55, 0.45], [0.0, 0.0, 0.0]], [1, 1, 0])
    _, mask = label([one, other], positive=(0.5, 0.7, 0.5))
    assert mask == [1, 1, 255]  # means of 0.85, 0.765 and 0.715; the last one member calls background
    _, mask = label([one, other], positive=(0.5, 0.8, 0.5))
    assert mask == [1, 255, 255]


def test_a_region_may_be_surely_absent(write_member, label):
    #  WT written 2, TC written 1 over it
    wt, tc = [0.95, 0.95, 0.05, 0.5, 0.95], [0.05, 0.95, 0.05, 0.05, 0.5]
    found, mask = label([write_member("m", [wt, tc], [2, 1, 0, 0, 2])], REGIONS, (0.9, 0.9))
    assert mask == [2, 1, 0, 255, 255]
    assert found.confidence == pytest.approx(0.95)


def test_cases_of_little_confidence_or_agreement_are_not_taken(write_member, label):
    one = write_member("a", [[0.1, 0.1, 0.9], [0.9, 0.9, 0.1], [0, 0, 0]], [1, 1, 0])
    other = write_member("b", [[0.1, 0.2, 0.9], [0.9, 0.8, 0.1], [0, 0, 0]], [1, 0, 0])
    assert label([one, other], min_confidence=0.88)[1] is None
    found, mask = label([one, other], min_confidence=0.87)
    assert mask is not None and found.confidence == pytest.approx((0.9 + 0.85) / 2)
    # Dice with the average's 1, 1, 0: 1 and 2/3.
    found, _ = label([one, other], min_dice=0.8)
    assert found.dice == pytest.approx(5 / 6) and found.taken
    assert not label([one, other], min_dice=0.9)[0].taken


def test_a_volume_without_foreground_is_as_sure_as_its_background(write_member, label):
    found, mask = label([write_member("m", [[0.95, 0.91], [0.05, 0.09], [0, 0]], [0, 0])])
    assert mask == [0, 0] and found.confidence == pytest.approx(0.93)
    assert label([write_member("n", [[0.6, 0.6], [0.2, 0.4], [0.2, 0]], [0, 0])])[0].share == 0


def test_the_round_before_stays_where_it_is_not_contradicted(write_member, label, tmp_path):
    before = tmp_path / "before.nii.gz"
    write_image(before, np.uint8([1, 1, 1, 255, 255]).reshape(1, 1, -1), AFFINE)
    one = [0.85, 0.6, 0.3, 0.85, 0.6]
    member = write_member("m", [[1 - p for p in one], one, [0] * 5], [1, 1, 0, 1, 1])
    found, mask = label([member], before=before, min_confidence=0.99)
    assert mask == [1, 1, 255, 1, 255]
    assert found.changes == Changes(kept=2, new=1, dropped=1, flipped=0)
    assert found.earlier and found.taken  # whatever its confidence now


def test_another_grid_is_refused(write_member, label, tmp_path):
    before = tmp_path / "before.nii.gz"
    write_image(before, np.zeros((1, 1, 4), np.uint8), AFFINE)
    with pytest.raises(DataError, match="expected the grid of the other members"):
        label([write_member("m", [[1.0] * 5, [0.0] * 5, [0.0] * 5], [0] * 5)], before=before)

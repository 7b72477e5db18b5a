import numpy as np
import pytest

from medimg.datasets import index_dataset
from medimg.errors import DataError
from medimg.preparation.fingerprint import channel_stats, measure_case, take_fingerprint

SHAPE = (6, 8, 10)


@pytest.fixture
def root(tmp_path, write_decathlon):
    return write_decathlon(tmp_path / "Task99", 3, tests=1, channels=("CT", "PET"), shape=SHAPE)


def measured(root, **options):
    index = index_dataset(root)
    return measure_case(index.records[0], index, **options)


def test_intensities_are_those_of_the_foreground(root, make_case):
    image, mask = make_case(SHAPE, 2)
    facts = measured(root)
    assert facts.intensities.shape == (2, (mask > 0).sum())
    for channel in range(2):
        assert sorted(facts.intensities[channel]) == sorted(image[channel][mask > 0])
    drawn = measured(root, samples=30).intensities
    assert drawn.shape == (2, 30)
    assert set(drawn[0]) <= set(image[0][mask > 0])
    np.testing.assert_array_equal(drawn, measured(root, samples=30).intensities)


def test_sizes_are_those_of_the_crop(root, write_volume):
    image = np.zeros((2, *SHAPE), np.int16)
    image[0, 1:4, 2:7, 3:9] = 5
    write_volume(root / "imagesTr/fake_000.nii.gz", image)
    facts = measured(root)
    assert facts.shape == (3, 5, 6)
    assert facts.kept == pytest.approx(90 / 480)
    np.testing.assert_allclose(facts.spacing_mm, (2.5, 1.0, 0.8), atol=1e-6)


def test_axes_are_those_after_reorienting(root, write_volume):
    # The file's axes run P, S, R: depth, the file's third axis, is left to right.
    affine = np.array([[0, 0, 3.0, 0], [-1.0, 0, 0, 0], [0, 2.0, 0, 0], [0, 0, 0, 1]])
    write_volume(root / "imagesTr/fake_000.nii.gz", np.ones((2, *SHAPE), np.int16), affine)
    write_volume(root / "labelsTr/fake_000.nii.gz", np.ones(SHAPE, np.uint8), affine)
    facts = measured(root)
    assert facts.spacing_mm == (2.0, 1.0, 3.0)
    assert facts.shape == (8, 10, 6)
    assert measured(root, orientation=None).spacing_mm == (3.0, 2.0, 1.0)


def test_ignored_voxels_are_no_foreground(tmp_path, write_nnunet, write_volume):
    root = write_nnunet(tmp_path, 1, labels={"background": 0, "liver": 1, "ignore": 2}, shape=SHAPE)
    mask = np.full(SHAPE, 2, np.uint8)
    mask[0, 0, :4] = 1
    write_volume(root / "labelsTr/case_000.nii.gz", mask)
    assert measured(root).intensities.shape == (1, 4)


def test_the_whole_set(root):
    index = index_dataset(root)
    fingerprint = take_fingerprint(index)
    facts = [measure_case(record, index) for record in index.records]
    assert fingerprint.shapes == tuple(case.shape for case in facts)
    pooled = np.concatenate([case.intensities[1] for case in facts]).astype(float)
    stats = fingerprint.channels[1]
    assert stats.mean == pytest.approx(pooled.mean(), rel=1e-6)
    assert stats.std == pytest.approx(pooled.std(), rel=1e-6)
    assert (stats.low, stats.high) == pytest.approx(np.percentile(pooled, (0.5, 99.5)), rel=1e-6)
    assert take_fingerprint(index, workers=2) == fingerprint


def test_cases_that_cannot_be_used_are_named(root):
    (root / "imagesTr/fake_001.nii.gz").write_bytes(b"")
    with pytest.raises(DataError, match="1 of 3 cases failed:\n  fake_001"):
        take_fingerprint(index_dataset(root))


def test_no_masks_no_plan(tmp_path, write_brats):
    with pytest.raises(DataError, match="no case has a mask"):
        take_fingerprint(index_dataset(write_brats(tmp_path, 1, masks=False)))


def test_no_foreground_at_all():
    stats = channel_stats([np.zeros((1, 0), np.float32)])
    assert stats[0].std == 1.0

import numpy as np
import pytest
from writers.nifti import OBLIQUE

from medimg.datasets import index_dataset
from medimg.errors import DataError
from medimg.keys import IGNORE_INDEX
from medimg.preparation.source import read_case

SHAPE = (6, 8, 10)


@pytest.fixture
def root(tmp_path, write_decathlon):
    return write_decathlon(tmp_path / "Task99", 2, tests=0, shape=SHAPE)


def case_of(root, number=0, **options):
    index = index_dataset(root)
    return read_case(index.records[number], index, **options)


def moved(millimetres):
    affine = OBLIQUE.copy()
    affine[2, 3] += millimetres
    return affine


def test_a_good_case(root):
    case = case_of(root)
    assert case.image.shape == (1, *SHAPE)
    assert case.mask.dtype == np.uint8
    assert np.unique(case.mask).tolist() == [0, 1, 2]
    assert case.warnings == ()


# The smallest spacing is 0.8 mm, so half a voxel is 0.4 mm.
@pytest.mark.parametrize(("shift_mm", "warned"), [(0.0, 0), (0.045, 0), (0.06, 1), (0.38, 1)])
def test_fault_16_grids_up_to_half_a_voxel_apart(root, write_volume, shift_mm, warned):
    write_volume(root / "labelsTr/fake_000.nii.gz", np.ones(SHAPE, np.uint8), moved(shift_mm))
    case = case_of(root)
    assert len(case.warnings) == warned
    if warned:
        assert f"{shift_mm:.2f} mm apart" in case.warnings[0]


def test_fault_16_grids_further_apart_are_refused(root, write_volume):
    write_volume(root / "labelsTr/fake_000.nii.gz", np.ones(SHAPE, np.uint8), moved(0.42))
    with pytest.raises(DataError, match=r"fake_000: .*0\.42 mm apart.*resample"):
        case_of(root)


def test_fault_15_shapes_differ(root, write_volume):
    write_volume(root / "labelsTr/fake_000.nii.gz", np.ones((6, 8, 9), np.uint8))
    with pytest.raises(DataError, match=r"fake_000: .*shape \(6, 8, 9\)"):
        case_of(root)


def test_fault_15_and_16_hold_among_channels(tmp_path, write_nnunet, write_volume):
    root = write_nnunet(tmp_path, 1, channels=("T1", "T2"), shape=(16, 16, 16))
    image = np.ones((16, 16, 16), np.int16)
    write_volume(root / "imagesTr/case_000_0001.nii.gz", image, moved(3))
    with pytest.raises(DataError, match=r"case_000: case_000_0001\.nii\.gz .*3\.00 mm apart"):
        case_of(root)
    write_volume(root / "imagesTr/case_000_0001.nii.gz", image[:8])
    with pytest.raises(DataError, match=r"case_000: case_000_0001\.nii\.gz has shape \(8, 16, 16\)"):
        case_of(root)


def test_fault_20_a_missing_channel_is_named(tmp_path, write_decathlon, write_volume):
    root = write_decathlon(tmp_path, 1, tests=0, channels=("T2", "ADC"), shape=SHAPE)
    write_volume(root / "imagesTr/fake_000.nii.gz", np.ones(SHAPE, np.int16))
    with pytest.raises(DataError, match=r"fake_000: expected 2 channels \(T2, ADC\), found 1 in fake_000"):
        case_of(root)


def test_fault_10_is_refused_or_declared(root, write_volume):
    for folder in ("imagesTr", "labelsTr"):
        array = np.ones(SHAPE, np.uint8)
        write_volume(root / folder / "fake_000.nii.gz", array, qform=np.eye(4))
    with pytest.raises(DataError, match=r"fake_000\.nii\.gz.*(sform|qform)"):
        case_of(root)
    np.testing.assert_allclose(case_of(root, form="sform").grid.spacing_mm, (2.5, 1.0, 0.8), atol=1e-6)
    np.testing.assert_allclose(case_of(root, form="qform").grid.spacing_mm, (1, 1, 1), atol=1e-6)


def test_fault_11_is_warned_of(root, write_volume):
    for folder in ("imagesTr", "labelsTr"):
        array = np.ones(SHAPE, np.uint8)
        write_volume(root / folder / "fake_000.nii.gz", array, sform_code=0, qform_code=0)
    assert "left and right are a guess" in case_of(root).warnings[0]


def test_fault_17_unknown_labels_are_named(root, write_volume):
    mask = np.zeros(SHAPE, np.int16)
    mask[0, 0, :3] = 1, 7, 300
    write_volume(root / "labelsTr/fake_000.nii.gz", mask)
    with pytest.raises(DataError, match=r"fake_000: .* holds the values \[7, 300\].*anterior"):
        case_of(root)


def test_label_values_become_indices_in_order(tmp_path, write_nnunet, write_volume):
    labels = {"background": 0, "liver": 3, "tumour": 7, "ignore": 9}
    root = write_nnunet(tmp_path, 1, labels=labels, shape=(16, 16, 16))
    mask = np.zeros((16, 16, 16), np.uint8)
    mask[0, 0, :3] = 3, 7, 9
    write_volume(root / "labelsTr/case_000.nii.gz", mask)
    assert case_of(root).mask[0, 0, :4].tolist() == [1, 2, IGNORE_INDEX, 0]


def test_channels_are_put_into_the_data_sets_order(root, tmp_path, write_decathlon):
    from dataclasses import replace

    root = write_decathlon(tmp_path / "two", 1, tests=0, channels=("A", "B"), shape=SHAPE)
    index = index_dataset(root)
    plain = read_case(index.records[0], index).image
    turned = read_case(index.records[0], replace(index, channel_order=(1, 0))).image
    np.testing.assert_array_equal(turned, plain[::-1])

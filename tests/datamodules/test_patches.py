from collections import Counter

import numpy as np
import pytest
import torch

from medimg import keys
from medimg.datamodules.patches import (
    PatchDataset,
    RawCaseDataset,
    StoredCaseDataset,
    collate,
    cut,
    region_table,
    to_regions,
)
from medimg.datamodules.samplers import SampleKey
from medimg.datasets.brats import index_brats
from medimg.datasets.decathlon import index_decathlon
from medimg.datasets.nnunet import index_nnunet
from medimg.io.nifti import read_mask
from medimg.io.store import PatchStore
from medimg.preparation.prepare import Preparation, prepare_dataset
from medimg.records import LabelScheme

# ---- training patches -------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path):
    """Case ``a``: every voxel tells its place; foreground of class 1 (one voxel) and 2 (many)."""
    store = PatchStore(tmp_path / "store")
    image = np.arange(10 * 12 * 14, dtype=np.float32).reshape(1, 10, 12, 14)
    mask = np.zeros((10, 12, 14), np.uint8)
    mask[7, 3, 9] = 1
    mask[:, 6:, :4] = 2
    foreground = np.array([[c, *voxel] for c in (1, 2) for voxel in np.argwhere(mask == c)], np.int16)
    store.write("a", image, mask, foreground, {})
    store.write("empty", image, np.zeros_like(mask), np.zeros((0, 4), np.int16), {})
    return store


def patches(store, size, count=200, **options):
    dataset = PatchDataset(store, ["a", "empty"], ["p", "q"], size, **options)
    return [dataset[SampleKey(0, seed)] for seed in range(count)]


def test_a_patch_is_cut_out_of_image_and_mask_alike(store):
    mask = np.array(store.mask("a"))
    for sample in patches(store, (4, 5, 6), 30):
        image = sample[keys.IMAGE]
        assert image.shape == (1, 4, 5, 6)
        d, h, w = np.unravel_index(int(image.min()), mask.shape)
        # float16 holds these numbers exactly up to 2048.
        np.testing.assert_array_equal(sample[keys.MASK][0], mask[d : d + 4, h : h + 5, w : w + 6])
        assert sample[keys.CASE_ID] == "a"
        assert sample[keys.PATIENT_ID] == "p"


def test_foreground_patches_hold_a_class_drawn_with_equal_chance(store):
    found = Counter()
    for sample in patches(store, (3, 3, 3), 300, foreground=1.0):
        # Clipped at the border, the voxel is inside the patch, if not in its middle.
        values = set(sample[keys.MASK].unique().tolist()) - {0}
        assert values
        found.update(values)
    assert 110 < found[1] < 190  # one voxel against hundreds, and still half of the patches


def test_the_share_of_foreground_is_that_of_the_options(store):
    held = sum(1 in sample[keys.MASK] for sample in patches(store, (1, 1, 1), 600, foreground=0.5))
    assert 110 < held < 190  # a quarter


def test_without_foreground_a_case_gives_any_patch(store):
    dataset = PatchDataset(store, ["a", "empty"], ["p", "q"], (4, 4, 4), foreground=1.0)
    assert dataset[SampleKey(1, 0)][keys.MASK].max() == 0


def test_a_small_case_lies_in_the_middle_of_its_patch(store):
    for sample in patches(store, (14, 12, 16), 5):
        image = sample[keys.IMAGE][0]
        assert image.shape == (14, 12, 16)
        np.testing.assert_array_equal(image[2:12, :, 1:15], store.image("a")[0])
        assert image.sum() == image[2:12, :, 1:15].sum()


def test_every_corner_of_a_case_is_reached(store):
    corners = {
        int(sample[keys.IMAGE].flatten()[0]) for sample in patches(store, (9, 11, 13), 200, foreground=0.0)
    }
    size = (10, 12, 14)
    assert corners == {
        int(np.ravel_multi_index((d, h, w), size)) for d in (0, 1) for h in (0, 1) for w in (0, 1)
    }


def test_a_larger_window_has_the_same_centre(store):
    plain = patches(store, (4, 4, 4), 20)
    wide = patches(store, (4, 4, 4), 20, window=lambda seed: (8, 4, 6))
    for small, large in zip(plain, wide, strict=True):
        assert large[keys.IMAGE].shape == (1, 8, 4, 6)
        torch.testing.assert_close(large[keys.IMAGE][:, 2:6, :, 1:5], small[keys.IMAGE])


def test_the_case_is_named_before_it_is_read(store):
    named = []
    dataset = PatchDataset(store, ["a", "missing"], ["p", "q"], (4, 4, 4), before=named.append)
    with pytest.raises(Exception, match="missing"):
        dataset[SampleKey(1, 0)]
    assert named == ["missing"]


def test_cut_beyond_every_side():
    array = np.arange(8).reshape(1, 2, 2, 2)
    found = cut(array, (-1, -1, -1), (4, 4, 4))
    assert found.shape == (1, 4, 4, 4)
    np.testing.assert_array_equal(found[:, 1:3, 1:3, 1:3], array)
    assert found.sum() == array.sum()
    assert cut(array, (5, 5, 5), (2, 2, 2)).sum() == 0
    inside = cut(array, (0, 0, 0), (2, 2, 2))
    inside[:] = 9
    assert array.max() == 7  # a copy


def test_collate_keeps_tensors_of_different_shapes_apart():
    one, two = {"image": torch.ones(1, 2)}, {"image": torch.ones(1, 3)}
    assert isinstance(collate([one, two])["image"], list)
    assert collate([{"seed": 2**61}, {"seed": 1}])["seed"].dtype == torch.int64


# ---- whole cases ------------------------------------------------------------------------------


def test_stored_and_raw_cases_are_the_same_image(tmp_path, write_decathlon):
    index = index_decathlon(write_decathlon(tmp_path / "Task", cases=2))
    preparation = Preparation(spacing_mm=(2.0, 1.0, 1.0))
    store = PatchStore(tmp_path / "store")
    prepare_dataset(index, preparation, store)
    named = []
    stored = StoredCaseDataset(
        store, index.records, index.label_scheme(), with_reference=True, before=named.append
    )
    raw = RawCaseDataset(
        index, [*index.records, *index.unlabelled], preparation, index.label_scheme(), before=named.append
    )
    assert (len(stored), len(raw)) == (2, 3)
    for a, b, record in zip(stored, raw, index.records, strict=False):
        # The store keeps float16.
        torch.testing.assert_close(a[keys.IMAGE], b[keys.IMAGE], rtol=1e-3, atol=1e-3)
        assert a[keys.IMAGE].dtype == torch.float32
        assert a[keys.GEOMETRY] == b[keys.GEOMETRY]
        assert a[keys.SOURCE] == b[keys.SOURCE] == record.images
        np.testing.assert_array_equal(a[keys.REFERENCE], read_mask(record.mask))
        assert keys.MASK not in b
        if record is index.records[-1]:
            break
    assert set(named) == {"fake_000", "fake_001"}


# ---- what channels mean -----------------------------------------------------------------------


def test_regions_of_overlapping_labels_and_ignored_voxels():
    table = torch.zeros(2, 256, dtype=torch.bool)
    table[0, [1, 2]] = True
    table[1, 2] = True
    mask = torch.tensor([0, 1, 2, 255], dtype=torch.uint8).view(1, 1, 1, 1, 4)
    assert to_regions(mask, table)[0, :, 0, 0].tolist() == [[0, 1, 1, 255], [0, 0, 1, 255]]


def inside(index):
    """Which label values each region's channel accepts, read out of the table by value."""
    table = region_table(index, index.region_scheme())
    numbers = dict(enumerate(index.labels.values(), start=1))
    return {
        name: {numbers[number] for number in row.nonzero().flatten().tolist()}
        for name, row in zip(index.regions, table, strict=True)
    }


@pytest.mark.parametrize(("year", "et"), [(2018, 4), (2020, 4), (2021, 4), (2023, 3)])
def test_region_table_of_brats(tmp_path, write_brats, year, et):
    index = index_brats(write_brats(tmp_path, 2, year=year, shape=(6, 6, 6)))
    assert inside(index) == {"WT": {1, 2, et}, "TC": {1, et}, "ET": {et}}


def test_region_table_after_surgery_and_of_children(tmp_path, write_brats):
    index = index_brats(write_brats(tmp_path / "gli", 2, year=2024, shape=(6, 6, 6)))
    assert inside(index) == {"WT": {1, 2, 3}, "TC": {1, 3}, "ET": {3}, "RC": {4}}
    root = write_brats(tmp_path / "ped", ["BraTS-PED-00001-000"], shape=(6, 6, 6))
    assert inside(index_brats(root, convention="brats2024-ped")) == {
        "WT": {1, 2, 3, 4}, "TC": {1, 2, 3}, "ET": {1},
    }  # fmt: skip


def test_region_table_of_the_decathlon(tmp_path, write_decathlon):
    labels = ("edema", "non-enhancing tumor", "enhancing tumour")
    channels = ("FLAIR", "T1w", "t1gd", "T2w")
    index = index_decathlon(write_decathlon(tmp_path, channels=channels, labels=labels))
    assert inside(index) == {"WT": {1, 2, 3}, "TC": {2, 3}, "ET": {3}}


def test_region_table_of_nnunet_regions(tmp_path, write_nnunet):
    labels = {"background": 0, "whole": [1, 2, 5], "inner": [2, 5], "core": 5}
    root = write_nnunet(tmp_path / "Dataset001_X", labels=labels, more={"regions_class_order": [1, 2, 5]})
    assert inside(index_nnunet(root)) == {"whole": {1, 2, 5}, "inner": {2, 5}, "core": {5}}


def test_a_part_of_the_regions_can_be_asked_for(tmp_path, write_brats):
    index = index_brats(write_brats(tmp_path, 2, year=2021, shape=(6, 6, 6)))
    table = region_table(index, LabelScheme({"ET": (4,)}, {"ET": 4}))
    assert table.shape == (1, 256)
    assert table[0].nonzero().flatten().tolist() == [3]  # the third label

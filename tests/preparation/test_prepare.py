import logging
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from writers.nifti import OBLIQUE

from medimg.datasets import index_dataset
from medimg.errors import ConfigError, DataError
from medimg.io.store import PatchStore
from medimg.keys import IGNORE_INDEX
from medimg.preparation.prepare import (
    Preparation,
    check_patch_size,
    prepare_case,
    prepare_dataset,
    sample_foreground,
    stale_cases,
    store_folder,
)

SHAPE = (6, 8, 10)
RAW = Preparation(normalization=("none",), orientation=None, crop_nonzero=False)


@pytest.fixture
def root(tmp_path, write_decathlon):
    return write_decathlon(tmp_path / "Task99", 3, tests=0, shape=SHAPE)


def case_of(root, preparation, number=0):
    index = index_dataset(root)
    return prepare_case(index.records[number], index, preparation)


def test_nothing_asked_for_changes_nothing(root, make_case):
    image, mask = make_case(SHAPE)
    case = case_of(root, RAW)
    np.testing.assert_array_equal(case.image, image)
    np.testing.assert_array_equal(case.mask, mask)
    assert case.geometry.shape == SHAPE


def test_resampled_as_scipy_does(root, make_case):
    image, mask = make_case(SHAPE)
    case = case_of(root, Preparation(spacing_mm=(1.25, 0.5, 0.8), normalization=("none",), orientation=None))
    assert case.image.shape == (1, 12, 16, 10)
    # The slices are 2.5 mm apart and the pixels 0.8 mm: thick, so copied and not blended.
    pixels = ndimage.zoom(image[0].astype(float), (1, 2, 1), order=3, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(case.image[0], np.repeat(pixels, 2, axis=0), rtol=1e-5)
    share = ndimage.zoom((mask == 2).astype(float), (1, 2, 1), order=1, mode="nearest", grid_mode=True)
    clear = np.repeat(np.abs(share - 0.5) > 0.01, 2, axis=0)
    np.testing.assert_array_equal((case.mask == 2)[clear], np.repeat(share > 0.5, 2, axis=0)[clear])


def test_the_mask_goes_back_to_its_file(root, make_case):
    _, mask = make_case(SHAPE)
    case = case_of(root, Preparation())
    np.testing.assert_array_equal(case.geometry.to_source(case.mask), mask)


def test_background_is_cropped_away_and_comes_back(root, write_volume):
    image, mask = np.zeros(SHAPE, np.int16), np.zeros(SHAPE, np.uint8)
    image[2:5, 1:7, 3:8] = np.arange(90).reshape(3, 6, 5) + 1
    mask[3, 2:4, 4:6] = 2
    write_volume(root / "imagesTr/fake_000.nii.gz", image)
    write_volume(root / "labelsTr/fake_000.nii.gz", mask)
    case = case_of(root, Preparation(normalization=("zscore_nonzero",)))
    assert case.image.shape == (1, 3, 6, 5)
    assert abs(case.image.mean()) < 1e-5
    np.testing.assert_array_equal(case.geometry.to_source(case.mask), mask)


def test_fault_13_one_slice_is_prepared_and_3d_patches_refuse_it(root, write_volume, tmp_path):
    write_volume(root / "imagesTr/fake_000.nii.gz", np.arange(80, dtype=np.int16).reshape(1, 8, 10))
    write_volume(root / "labelsTr/fake_000.nii.gz", np.ones((1, 8, 10), np.uint8))
    index, store = index_dataset(root), PatchStore(tmp_path / "store")
    assert prepare_dataset(index, Preparation(), store) == 3
    assert store.image("fake_000").shape == (1, 1, 8, 10)
    check_patch_size(store, ["fake_001"], (6, 8, 8))
    check_patch_size(store, ["fake_000"], (1, 8, 8))
    with pytest.raises(DataError, match=r"fake_000 is one slice .*size to 1 along D"):
        check_patch_size(store, ["fake_001", "fake_000"], (6, 8, 8))


def test_fault_14_slices_ten_times_as_thick(root, write_volume):
    affine = np.diag([0.5, 0.5, 5.0, 1.0])
    image = np.random.default_rng(0).normal(100, 10, (4, 20, 20)).astype(np.float32)
    mask = np.zeros((4, 20, 20), np.uint8)
    mask[1:3, 5:15, 5:15] = 1
    write_volume(root / "imagesTr/fake_000.nii.gz", image, affine)
    write_volume(root / "labelsTr/fake_000.nii.gz", mask, affine)
    kept = case_of(root, RAW)
    assert kept.geometry.spacing_mm == (5.0, 0.5, 0.5)
    finer = case_of(root, Preparation(spacing_mm=(1.0, 1.0, 1.0), orientation=None))
    assert finer.image.shape == (1, 20, 10, 10)
    # A slice becomes five equal ones: nothing is blended across the gap, in the mask neither.
    np.testing.assert_array_equal(finer.image[:, ::5], finer.image[:, 4::5])
    assert (finer.mask == 1).any(axis=(1, 2)).tolist() == [False] * 5 + [True] * 10 + [False] * 5


def test_fault_19_an_empty_mask_is_prepared(root, write_volume, tmp_path):
    write_volume(root / "labelsTr/fake_000.nii.gz", np.zeros(SHAPE, np.uint8))
    store = PatchStore(tmp_path / "store")
    prepare_dataset(index_dataset(root), Preparation(), store)
    assert store.foreground("fake_000").shape == (0, 4)
    assert not store.mask("fake_000").any()


def test_foreground_is_of_each_class_sorted_and_repeatable():
    mask = np.zeros((30, 40, 50), np.uint8)
    mask[:25] = 1
    mask[28, 3, 4] = 2
    mask[29] = IGNORE_INDEX
    rows = sample_foreground(mask, "case")
    np.testing.assert_array_equal(rows, sample_foreground(mask, "case"))
    assert rows[:, 0].tolist() == [1] * 10_000 + [2]
    assert rows[-1].tolist() == [2, 28, 3, 4]
    assert (mask[tuple(rows[:, 1:].T)] == rows[:, 0]).all()
    assert len(np.unique(rows, axis=0)) == len(rows)
    assert sample_foreground(None, "case").shape == (0, 4)


def test_only_what_is_stale_is_prepared(root, tmp_path, write_volume):
    index = index_dataset(root)
    store = PatchStore(store_folder(tmp_path, index, Preparation()))
    assert prepare_dataset(index, Preparation(), store) == 3
    assert prepare_dataset(index, Preparation(), store) == 0
    write_volume(root / "imagesTr/fake_001.nii.gz", np.full(SHAPE, 3, np.int16))
    assert [record.case_id for record in stale_cases(index, Preparation(), store)] == ["fake_001"]
    assert prepare_dataset(index, Preparation(), store) == 1
    assert store.meta("fake_001")["form"] == "agree"
    others = Preparation(spacing_mm=(1.0, 1.0, 1.0))
    assert store_folder(tmp_path, index, others) != store.folder
    assert len(stale_cases(index, others, store)) == 3


def test_runs_that_start_together_prepare_once(root, tmp_path):
    index, store = index_dataset(root), PatchStore(tmp_path / "store")
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as pool:
        runs = [pool.submit(prepare_dataset, index, Preparation(), store) for _ in range(3)]
        # Each sees what it needs once it goes on, and nobody rewrites under another's eyes.
        assert sorted(run.result() for run in runs) == [0, 0, 3]
    assert stale_cases(index, Preparation(), store) == []


def test_two_workers_write_what_one_writes(root, tmp_path):
    index = index_dataset(root)
    for workers in (1, 2):
        prepare_dataset(index, Preparation(), PatchStore(tmp_path / str(workers)), workers=workers)
    names = sorted(path.relative_to(tmp_path / "1") for path in (tmp_path / "1").rglob("*.*"))
    assert len(names) == 12
    for name in names:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_a_failing_case_is_named_and_the_others_are_done(root, tmp_path):
    (root / "imagesTr/fake_001.nii.gz").write_bytes(b"")
    index, store = index_dataset(root), PatchStore(tmp_path / "store")
    with pytest.raises(DataError, match=r"1 of 3 cases failed:\n  fake_001: .*imagesTr/fake_001"):
        prepare_dataset(index, Preparation(), store)
    assert [record.case_id for record in stale_cases(index, Preparation(), store)] == ["fake_001"]


def test_warnings_reach_the_user(root, tmp_path, write_volume, caplog):
    affine = OBLIQUE.copy()
    affine[2, 3] += 0.2
    write_volume(root / "labelsTr/fake_001.nii.gz", np.ones(SHAPE, np.uint8), affine)
    with caplog.at_level(logging.WARNING):
        prepare_dataset(index_dataset(root), Preparation(), PatchStore(tmp_path / "store"))
    assert len(caplog.records) == 1
    assert "fake_001: fake_001.nii.gz and fake_001.nii.gz lie up to 0.20 mm apart" in caplog.text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"spacing_mm": (1.0, 1.0)}, "three lengths"),
        ({"spacing_mm": (1.0, 0.0, 1.0)}, "above 0"),
        ({"normalization": ("z-score",)}, "expected a list of zscore"),
        ({"normalization": ()}, "expected a list"),
        ({"window_hu": (3.0, 1.0)}, "lower and a higher"),
        ({"mean_std": (0.0, 0.0)}, "deviation above 0"),
        ({"normalization": ("ct",)}, "medimg plan"),
        ({"orientation": "RAR"}, "three letters"),
        ({"form": "either"}, "form: expected"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        Preparation(**options)


_MEASURE = """
import resource, sys
from pathlib import Path
import numpy as np
from medimg.io.nifti import write_image, write_mask
from medimg.datasets import index_dataset
from medimg.io.store import PatchStore
from medimg.preparation.fingerprint import take_fingerprint
from medimg.preparation.prepare import Preparation, prepare_dataset
from dataclasses import replace

root, store = Path(sys.argv[1]), PatchStore(Path(sys.argv[1]) / "store")
index = index_dataset(root)

def used():
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 1024

for count in (20, 200):
    part = replace(index, records=index.records[:count])
    take_fingerprint(part)
    prepare_dataset(part, Preparation(), store)
    for _ in range(3):
        for record in part.records:
            int(store.image(record.case_id)[0].astype(np.int32).sum())
    print(used(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads Linux's /proc")
def test_memory_does_not_grow_with_the_number_of_cases(tmp_path, write_decathlon):
    # 64 x 96 x 96 voxels: 2.4 MB a case as float, 450 MB for 200 of them.
    root = write_decathlon(tmp_path / "Task99", 200, tests=0, shape=(64, 96, 96))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(root)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    (few, few_peak), (many, many_peak) = (map(float, line.split()) for line in done.stdout.splitlines())
    # What the store keeps is bounded at 64 MB; of these cases it keeps the masks, 0.6 MB each.
    assert many < few + 80
    assert many_peak < few_peak + 80


@pytest.mark.real
def test_the_hippocampus_is_prepared(tmp_path):
    index = index_dataset(Path(os.environ["MEDIMG_REAL_DATA"]) / "Task04_Hippocampus")
    store = PatchStore(tmp_path / "store")
    assert prepare_dataset(index, Preparation(spacing_mm=(1.0, 1.0, 1.0)), store, workers=2) == 200
    for record in index.records[::40]:
        image = store.image(record.case_id).astype(np.float32)
        assert abs(image.mean()) < 0.01
        assert abs(image.std() - 1) < 0.01
        assert np.unique(store.mask(record.case_id)).tolist() == [0, 1, 2]

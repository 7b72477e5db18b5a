import tracemalloc
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medimg.ensembling.description import ChannelScheme, Description
from medimg.ensembling.members import Member
from medimg.ensembling.volumes import CaseFiles, VolumeSettings, case_files, fuse_case
from medimg.errors import DataError
from medimg.io.nifti import read_grid, read_mask, write_image

SHAPE = (5, 6, 7)
SCHEME = ChannelScheme("softmax", (0, 1, 4))


def make_member(folder: Path, write_volume, seed: int, *, shape=SHAPE, case="c", **grid) -> Path:
    """Probabilities of three classes, and the mask that follows from them."""
    values = np.exp(np.random.default_rng(seed).normal(size=(3, *shape)))
    probs = (values / values.sum(0)).astype(np.float16)
    write_volume(folder / f"{case}.nii.gz", np.array([0, 1, 4], np.uint8)[probs.argmax(0)], **grid)
    np.savez_compressed(folder / f"{case}.npz", probs=probs)
    return folder


@pytest.fixture
def files(tmp_path, write_volume):
    """``files(members)``: the files of a case of so many members."""

    def make(members: int, **kind) -> CaseFiles:
        folders = [make_member(tmp_path / f"m{seed}", write_volume, seed, **kind) for seed in range(members)]
        paths = ([folder / f"c.{end}" for folder in folders] for end in ("nii.gz", "npz"))
        return CaseFiles("c", *(tuple(each) for each in paths))

    return make


def settings(tmp_path, method, members, **more):
    return VolumeSettings(method, (1 / members,) * members, tmp_path / "out", SCHEME, **more)


def probs_of(files):
    return np.array([np.load(path)["probs"] for path in files.probs], np.float64)


def test_the_mean_is_written_with_the_header_of_the_first(files, tmp_path):
    case = files(3)
    row = fuse_case(case, settings(tmp_path, "mean", 3, probabilities=True))
    mean = probs_of(case).mean(0)
    with np.load(tmp_path / "out" / "c.npz") as written:
        assert written["probs"].dtype == np.float16
        np.testing.assert_allclose(written["probs"], mean, atol=1e-3)
    mask = read_mask(tmp_path / "out" / "c.nii.gz")
    np.testing.assert_array_equal(mask, np.array([0, 1, 4])[mean.argmax(0)])
    first, out = nib.load(case.masks[0]).header, nib.load(tmp_path / "out" / "c.nii.gz").header
    for form in ("get_sform", "get_qform"):
        np.testing.assert_array_equal(getattr(out, form)(), getattr(first, form)())
    assert row == {"shape": [5, 6, 7], "spacing_mm": pytest.approx([2.5, 1.0, 0.8])}


def test_the_geometric_mean_weighs_its_members(files, tmp_path):
    case = files(2)
    chosen = VolumeSettings("geometric", (0.75, 0.25), tmp_path / "out", SCHEME, probabilities=True)
    fuse_case(case, chosen)
    one, two = probs_of(case)
    expected = one**0.75 * two**0.25
    with np.load(tmp_path / "out" / "c.npz") as written:
        np.testing.assert_allclose(written["probs"], expected / expected.sum(0), atol=1e-3)


@pytest.mark.parametrize("method", ["mean", "geometric", "majority"])
def test_a_member_that_alone_counts_is_the_ensemble(files, tmp_path, method):
    case = files(2)
    fuse_case(case, VolumeSettings(method, (1.0, 0.0), tmp_path / "out", SCHEME))
    np.testing.assert_array_equal(read_mask(tmp_path / "out" / "c.nii.gz"), read_mask(case.masks[0]))
    assert not (tmp_path / "out" / "c.npz").exists()


def test_masks_vote(files, tmp_path):
    case = files(5)
    fuse_case(case, settings(tmp_path, "majority", 5))
    masks = np.array([read_mask(path) for path in case.masks])
    expected = sum(label * ((masks == label).sum(0) > 2.5) for label in (1, 4))
    np.testing.assert_array_equal(read_mask(tmp_path / "out" / "c.nii.gz"), expected)


def test_another_shape_is_refused(files, tmp_path, write_volume):
    case = files(2)
    make_member(tmp_path / "m1", write_volume, 1, shape=(5, 6, 8))
    for method in ("mean", "majority"):
        with pytest.raises(
            DataError, match=r"m1.*expected the grid of the other members, found shape \(5, 6, 8\)"
        ):
            fuse_case(case, settings(tmp_path, method, 2))


def test_another_place_is_refused(files, tmp_path, write_volume):
    case = files(2)
    make_member(tmp_path / "m1", write_volume, 1, affine=np.eye(4))
    with pytest.raises(DataError, match=r"m1.*corners up to .* mm away"):
        fuse_case(case, settings(tmp_path, "majority", 2))


@pytest.mark.parametrize("shape", [(3, 5, 6, 8), (2, 5, 6, 7)])
def test_probabilities_of_another_grid_or_task_are_refused(files, tmp_path, shape):
    case = files(2)
    np.savez(case.probs[1], probs=np.full(shape, 1 / shape[0], np.float16))
    with pytest.raises(DataError, match=r"m1.*expected shape \(3, 5, 6, 7\)"):
        fuse_case(case, settings(tmp_path, "mean", 2))


def test_a_damaged_member_is_named_and_nothing_is_written(files, tmp_path):
    case = files(2)
    probs = np.load(case.probs[1])["probs"]
    probs[0, 0, 0, 0] = np.nan
    np.savez(case.probs[1], probs=probs)
    with pytest.raises(DataError, match=r"m1.c\.npz: expected probabilities in \[0, 1\], found NaN"):
        fuse_case(case, settings(tmp_path, "mean", 2))
    assert not (tmp_path / "out").exists()


def test_files_are_matched_by_case():
    masks = [
        {"b": Path("A/b.nii.gz"), "a": Path("A/a.nii")},
        {"a": Path("B/a.nii.gz"), "b": Path("B/b.nii.gz")},
    ]
    members = [
        Member(name, Path(name), of_one, {}, None, Description())
        for name, of_one in zip("AB", masks, strict=True)
    ]
    found = case_files(members, "masks")
    assert [one.case_id for one in found] == ["a", "b"]
    assert found[0].masks == (Path("A/a.nii"), Path("B/a.nii.gz"))


def blobs(folder: Path, members: int) -> CaseFiles:
    """Members that each see a box moved a little, of 24 x 48 x 48 voxels."""
    paths = []
    for member in range(members):
        mask = np.zeros((24, 48, 48), np.uint8)
        start = 10 + member % 3
        mask[8:16, start : start + 16, 12:30] = 1
        mask[10:14, start + 4 : start + 9, 16:24] = 4
        here = folder / f"m{member}"
        write_image(here / "c.nii.gz", mask, np.eye(4))
        probs = 0.1 + 0.7 * (mask == np.array([0, 1, 4])[:, None, None, None])
        np.savez_compressed(here / "c.npz", probs=probs.astype(np.float16))
        paths.append(here)
    return CaseFiles("c", tuple(p / "c.nii.gz" for p in paths), tuple(p / "c.npz" for p in paths))


@pytest.mark.parametrize("method", ["mean", "geometric", "majority", "staple"])
def test_memory_does_not_grow_with_the_members(tmp_path, method):
    peaks = []
    for members in (5, 20):
        work = partial(
            fuse_case, blobs(tmp_path / str(members), members), settings(tmp_path, method, members)
        )
        work()  # what is imported and cached at the first call is not counted
        tracemalloc.start()
        work()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] == pytest.approx(peaks[0], rel=0.1)
    # The sum of three classes, or the patterns of one volume, and a few volumes beside them.
    assert max(peaks) < 16 * 4 * 24 * 48 * 48
    assert read_grid(tmp_path / "out" / "c.nii.gz").shape == (24, 48, 48)

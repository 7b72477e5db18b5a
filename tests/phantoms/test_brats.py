import gzip
import hashlib

import nibabel as nib
import numpy as np
import pytest

from medimg.errors import ConfigError
from medimg.phantoms import brats
from medimg.phantoms.brats import draw_case, write_brats

SMALL = (26, 32, 28)


def _digests(root):
    return {
        p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in root.rglob("*.*")
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("phantoms") / "set"
    return root, write_brats(root, cases=2, seed=3, shape=SMALL)


@pytest.fixture(scope="module")
def drawn():
    """Eight cases of the size that the demonstration trains on."""
    return [draw_case(index, seed=0, shape=(72, 80, 80)) for index in range(8)]


def test_files_are_laid_out_as_brats_2023(written):
    root, folders = written
    assert [folder.name for folder in folders] == ["BraTS-GLI-90000-000", "BraTS-GLI-90001-000"]
    assert "phantom" in (root / "README.txt").read_text()
    for folder in folders:
        assert sorted(file.name for file in folder.iterdir()) == [
            f"{folder.name}-{part}.nii.gz" for part in ("seg", "t1c", "t1n", "t2f", "t2w")
        ]


def test_headers_are_those_of_brats_and_say_phantom(written):
    _, folders = written
    for file in folders[0].iterdir():
        image = nib.load(file)
        assert image.shape == SMALL[::-1]
        expected = np.diag([-1.0, -1.0, 1.0, 1.0])
        expected[1, 3] = SMALL[1] - 1
        for affine, code in (image.get_qform(coded=True), image.get_sform(coded=True)):
            np.testing.assert_allclose(affine, expected)
            assert code == 1
        assert b"phantom" in image.header["descrip"].tobytes()
        assert image.header.get_xyzt_units()[0] == "mm"
        assert image.get_data_dtype() == (np.uint8 if "seg" in file.name else np.int16)
        assert nib.aff2axcodes(image.affine) == ("L", "P", "S")


def test_the_full_size_affine_is_the_published_one(tmp_path):
    brats._write_volume(tmp_path / "a.nii.gz", np.zeros((155, 240, 240), np.int16), (1.0, 1.0, 1.0))
    image = nib.load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(image.affine, [[-1, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert image.shape == (240, 240, 155)


def test_spacing_reaches_the_header(tmp_path):
    folder = write_brats(tmp_path / "s", cases=1, shape=SMALL, spacing_mm=(3.0, 1.5, 2.0))[0]
    image = nib.load(folder / f"{folder.name}-t1n.nii.gz")
    np.testing.assert_allclose(image.header.get_zooms(), (2.0, 1.5, 3.0))


def test_the_files_hold_what_was_drawn(written):
    _, folders = written
    scans, labels = draw_case(1, seed=3, shape=SMALL)
    name = folders[1].name
    for scan, part in zip(scans, ("t1n", "t1c", "t2w", "t2f"), strict=True):
        np.testing.assert_array_equal(nib.load(folders[1] / f"{name}-{part}.nii.gz").dataobj, scan.T)
    np.testing.assert_array_equal(nib.load(folders[1] / f"{name}-seg.nii.gz").dataobj, labels.T)


def test_same_seed_same_bytes_whatever_the_number_of_cases_or_workers(written, tmp_path):
    root, _ = written
    write_brats(tmp_path / "more", cases=3, seed=3, shape=SMALL, workers=2)
    more = _digests(tmp_path / "more")
    assert {name: more[name] for name in _digests(root)} == _digests(root)
    other = write_brats(tmp_path / "other", cases=1, seed=4, shape=SMALL)[0]
    assert not set(_digests(other).values()) & set(more.values())


def test_gzip_headers_hold_neither_time_nor_name(written):
    _, folders = written
    for file in folders[0].iterdir():
        head = file.read_bytes()[:10]
        assert head[:3] == b"\x1f\x8b\x08"
        assert head[3] == 0  # no flags: no file name, no comment
        assert head[4:8] == b"\0\0\0\0"
        assert len(gzip.decompress(file.read_bytes())) > 352


def test_a_stopped_run_goes_on_and_changes_nothing_that_stands(written):
    root, folders = written
    before = _digests(root)
    (folders[1] / f"{folders[1].name}-seg.nii.gz").unlink()
    stamp = (folders[0] / f"{folders[0].name}-t1n.nii.gz").stat().st_mtime_ns
    assert write_brats(root, cases=2, seed=3, shape=SMALL) == folders
    assert _digests(root) == before
    assert (folders[0] / f"{folders[0].name}-t1n.nii.gz").stat().st_mtime_ns == stamp


def test_a_whole_set_is_left_alone_without_a_word(written, capfd, caplog):
    root, folders = written
    stamps = {file: file.stat().st_mtime_ns for file in root.rglob("*.*")}
    caplog.set_level("DEBUG")
    assert write_brats(root, cases=2, seed=3, shape=SMALL) == folders
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
    assert {file: file.stat().st_mtime_ns for file in root.rglob("*.*")} == stamps


def test_other_settings_in_the_same_folder_are_refused(written):
    root, _ = written
    with pytest.raises(ConfigError, match=r"seed 3.*than asked for.*seed 4"):
        write_brats(root, cases=2, seed=4, shape=SMALL)


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "scan.nii.gz").write_bytes(b"real")
    with pytest.raises(ConfigError, match=r"other files.*never mix"):
        write_brats(tmp_path, cases=1, shape=SMALL)
    assert [file.name for file in tmp_path.iterdir()] == ["scan.nii.gz"]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(ConfigError, match="found a file"):
        write_brats(tmp_path / "x", cases=1, shape=SMALL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cases": 0}, "cases: expected 1 to 10000, found 0"),
        ({"cases": 10_001}, "found 10001"),
        ({"seed": -1}, "seed"),
        ({"shape": (23, 64, 64)}, "at least 24"),
        ({"spacing_mm": (1.0, 0.0, 1.0)}, "positive"),
        ({"spacing_mm": (1.0, float("nan"), 1.0)}, "positive"),
    ],
)
def test_arguments_out_of_range_are_refused_before_anything_is_written(tmp_path, arguments, message):
    with pytest.raises(ConfigError, match=message):
        write_brats(tmp_path / "set", **arguments)
    assert not (tmp_path / "set").exists()


def test_scans_are_stripped_and_whole(drawn):
    for scans, labels in drawn:
        brain = scans[0] > 0
        for scan in scans:
            np.testing.assert_array_equal(scan > 0, brain)
        assert 0.15 < brain.mean() < 0.4
        assert brain[labels > 0].all()
        assert not brain[0].any()
        assert not brain[:, :, 0].any()


def test_tumours_have_a_size_that_a_small_network_can_learn(drawn):
    for index, (scans, labels) in enumerate(drawn):
        brain = (scans[0] > 0).sum()
        assert 0.025 < (labels > 0).sum() / brain < 0.1
        assert np.isin(labels, (1, 3)).sum() > 800
        kinds = set(np.unique(labels)) - {0}
        assert kinds == {3: {2, 3}, 5: {1, 2}}.get(index, {1, 2, 3})


def test_a_brain_is_the_same_at_every_size():
    large, small = draw_case(0, seed=0, shape=(96, 120, 96))[1], draw_case(0, seed=0, shape=(48, 60, 48))[1]
    halved = np.isin(large, (1, 3)).reshape(48, 2, 60, 2, 48, 2).mean(axis=(1, 3, 5)) > 0.5
    core = np.isin(small, (1, 3))
    assert 2 * (halved & core).sum() / (halved.sum() + core.sum()) > 0.9


def _best_band_dice(scan, target):
    """Best Dice that any band of intensities reaches, the truth being known: 256 edges, all pairs of them."""
    values, truth = scan[scan > 0].astype(float), target[scan > 0]
    edges = np.unique(np.quantile(values, np.linspace(0, 1, 257)))
    bins = np.digitize(values, edges[1:-1])
    size = np.concatenate([[0], np.cumsum(np.bincount(bins, minlength=len(edges) - 1))])
    hits = np.concatenate([[0], np.cumsum(np.bincount(bins[truth], minlength=len(edges) - 1))])
    inside, right = size[None] - size[:, None], hits[None] - hits[:, None]  # band from row to column
    return float(np.triu(2 * right / np.maximum(inside + hits[-1], 1)).max())


def test_the_best_band_is_found():
    scan = np.arange(1, 1001).reshape(10, 10, 10)
    assert _best_band_dice(scan, (scan > 300) & (scan <= 400)) == pytest.approx(1, abs=0.03)
    assert _best_band_dice(scan, scan % 2 == 0) == pytest.approx(2 / 3, abs=0.01)


@pytest.mark.parametrize("modality", range(4))
@pytest.mark.parametrize("region", [(1, 3), (3,)], ids=["TC", "ET"])
def test_no_threshold_in_one_scan_finds_the_core_or_the_enhancing_part(drawn, modality, region):
    """Every case has its own best two-sided band, chosen with the truth at hand, and still fails."""
    scores = [
        _best_band_dice(scans[modality], np.isin(labels, region))
        for scans, labels in drawn
        if np.isin(labels, region).any()
    ]
    assert max(scores) < 0.5
    assert np.mean(scores) < 0.42


def test_the_four_scans_together_tell_the_enhancing_part(drawn):
    """Two thresholds in two scans beat the best band in one: the phantoms ask for all channels."""
    together, alone = [], []
    for scans, labels in drawn:
        target = labels == 3
        if not target.any():
            continue
        white = [np.median(scan[(scan > 0) & (labels == 0)]) for scan in scans]
        rule = (scans[1] > 1.05 * white[1]) & (scans[3] > 1.5 * white[3])
        together.append(2 * (rule & target).sum() / (rule.sum() + target.sum()))
        alone.append(max(_best_band_dice(scan, target) for scan in scans))
    assert np.mean(together) > 0.7 > np.mean(alone) + 0.2

import csv

import numpy as np
import pytest

from medimg.commands.agreement import PARSER, agreement
from medimg.commands.parser import call
from medimg.errors import ConfigError, DataError
from medimg.io.nifti import read_mask, write_image

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])


def run(*words):
    return call(PARSER, agreement, [str(word) for word in words], prog="medimg agreement")


@pytest.fixture
def readers(tmp_path):
    """Three readers of a ball, each with a border of their own."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in (16, 20, 20)), indexing="ij"))
    for reader, radius in (("anna", 5.0), ("ben", 5.6), ("carla", 6.2)):
        for case in range(3):
            centre = np.array([8, 9 + case, 10])[:, None, None, None]
            ball = ((grid - centre) ** 2).sum(axis=0) < radius**2
            write_image(tmp_path / reader / f"c{case}.nii.gz", ball.astype(np.uint8), AFFINE)
    return [tmp_path / name for name in ("anna", "ben", "carla")]


@pytest.mark.parametrize("method", ["half", "majority", "staple"])
def test_folders_of_masks(readers, tmp_path, capsys, method):
    out = tmp_path / "out"
    assert run(*readers, "--labels", "ball=1", "--out", out, "--consensus", method, "--resamples", "20") == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "3 cases, 3 readers"
    assert printed[-1] == f"next: medimg score {readers[0]} {out / 'consensus'} --labels ball=1"
    for case in range(3):
        consensus = read_mask(out / "consensus" / f"c{case}.nii.gz")
        np.testing.assert_array_equal(consensus, read_mask(readers[1] / f"c{case}.nii.gz"))
    with (out / "pairs.csv").open() as file:
        pairs = list(csv.DictReader(file))
    assert [(row["reader_a"], row["reader_b"]) for row in pairs] == [
        ("anna", "ben"),
        ("anna", "carla"),
        ("ben", "carla"),
    ]
    first, last = (read_mask(folder / "c0.nii.gz") > 0 for folder in (readers[0], readers[2]))
    expected = 2 * (first & last).sum() / (first.sum() + last.sum())
    assert float(pairs[1]["dice"]) == pytest.approx(expected, abs=1e-5)
    assert len((out / "cases.csv").read_text().splitlines()) == 10
    assert (out / "agreement.png").is_file()
    assert (out / "pairs.png").is_file()


def test_staple_that_runs_away_is_refused(tmp_path):
    """Two readers who each mark another lump, and one who marks a corner of both: no majority of that size."""
    shape = (12, 24, 24)
    masks = [np.zeros(shape, np.uint8) for _ in range(3)]
    masks[0][2:10, 2:22, 2:12] = 1
    masks[1][2:10, 2:22, 11:22] = 1
    masks[2][2:10, 2:22, 11:12] = 1
    for number, mask in enumerate(masks):
        write_image(tmp_path / f"r{number}" / "c.nii.gz", mask, AFFINE)
    folders = [tmp_path / f"r{number}" for number in range(3)]
    with pytest.raises(DataError, match="STAPLE ran away for label 1"):
        run(*folders, "--labels", "lump=1", "--consensus", "staple", "--out", tmp_path / "out")
    assert not (tmp_path / "out" / "agreement.csv").exists()
    assert not list((tmp_path / "out").rglob("*.nii.gz"))


def test_options_of_masks(readers, tmp_path, capsys):
    words = [*readers, "--out", tmp_path / "out"]
    with pytest.raises(ConfigError, match="say what the masks hold"):
        run(*words)
    with pytest.raises(ConfigError, match="--consensus median is for tables"):
        run(*words, "--labels", "ball=1", "--consensus", "median")
    with pytest.raises(ConfigError, match="--nsd_tolerance_mm: expected millimetres"):
        run(*words, "--labels", "ball=1", "--nsd_tolerance_mm", "-1")
    run(*words, "--labels", "ball=1", "--consensus", "none", "--empty", "one", "--resamples", "10")
    assert capsys.readouterr().out.splitlines()[-1].startswith("next: medimg adjudicate conflicts")
    assert not (tmp_path / "out" / "consensus").exists()

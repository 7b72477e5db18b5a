import csv
import math

import numpy as np
import pytest

from medimg.errors import DataError
from medimg.io.rle import encode
from medimg.scoring.gi_tract import scaled_hausdorff
from medimg.scoring.gi_tract_table import score_uw_madison, slice_sizes
from medimg.scoring.overlap import dice

SHAPE = (3, 6, 8)
CLASSES = ("large_bowel", "stomach")


def write(path, column, volumes, *, sized=True):
    """A table of masks: a row for each slice and class of each day."""
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "class", column, *(["height", "width"] if sized else [])])
        for (day, name), volume in volumes.items():
            for number, mask in enumerate(volume, start=1):
                size = [SHAPE[1], SHAPE[2]] if sized else []
                writer.writerow([f"{day}_slice_{number:04}", name, encode(mask), *size])
    return path


@pytest.fixture
def volumes():
    """Two days of one patient and one of another; the stomach of the last is empty on both sides."""
    generator = np.random.default_rng(7)
    keys = [(day, name) for day in ("case1_day0", "case1_day9", "case22_day3") for name in CLASSES]
    pred, ref = ({key: generator.random(SHAPE) < 0.1 for key in keys} for _ in range(2))
    pred[keys[0]][:] = False  # missed
    pred[keys[1]][0], ref[keys[1]][0] = False, False  # a slice that is empty on both sides
    pred[keys[5]][:], ref[keys[5]][:] = False, False
    return pred, ref


def expected(pred, ref):
    slices = [
        dice(p, r, empty="one")
        for key in ref
        for p, r in zip(pred[key], ref[key], strict=True)
        if (p | r).any()
    ]
    distances = [scaled_hausdorff(pred[key], ref[key]) for key in ref]
    return np.mean(slices), np.nanmean(distances), len(slices)


def test_the_score_and_what_is_left_out(tmp_path, volumes):
    pred, ref = volumes
    score = score_uw_madison(
        write(tmp_path / "sub.csv", "predicted", pred),
        write(tmp_path / "train.csv", "segmentation", ref),
        resamples=50,
    )
    overlap, distance, n_slices = expected(pred, ref)
    total, of_dice, of_hausdorff = score.figures
    assert total.row["mean"] == pytest.approx(0.4 * overlap + 0.6 * (1 - distance), rel=1e-12)
    assert of_dice.row["mean"] == pytest.approx(overlap, rel=1e-12)
    assert of_hausdorff.row["mean"] == pytest.approx(distance, rel=1e-12)
    assert f"{n_slices} of 18 slices" in of_dice.name
    assert "5 of 6 volumes" in of_hausdorff.name
    assert [row["patient_id"] for row in score.rows] == ["case1", "case1", "case22"]
    assert math.isnan(float(score.rows[2]["dice_stomach"]))
    assert score.rows[0]["hausdorff_large_bowel"] == 1.0


def test_sizes_from_the_names_of_the_scans(tmp_path, volumes):
    pred, ref = volumes
    for day in ("case1_day0", "case1_day9", "case22_day3"):
        folder = tmp_path / "train" / day.split("_")[0] / day / "scans"
        folder.mkdir(parents=True)
        for number in range(1, 4):
            (folder / f"slice_{number:04}_8_6_1.50_1.50.png").touch()
    assert slice_sizes(tmp_path / "train")["case1_day9_slice_0002"] == (6, 8)  # the name has the width first
    files = [
        write(tmp_path / f"{name}.csv", name, masks, sized=False)
        for name, masks in (("predicted", pred), ("segmentation", ref))
    ]
    with pytest.raises(DataError, match="Name the folder of the scans with --images"):
        score_uw_madison(*files)
    overlap, distance, _ = expected(pred, ref)
    score = score_uw_madison(*files, images=tmp_path / "train", resamples=10)
    assert score.figures[0].row["mean"] == pytest.approx(0.4 * overlap + 0.6 * (1 - distance))


def test_a_scan_without_one_of_its_rows_is_refused(tmp_path, volumes):
    pred, ref = volumes
    train = write(tmp_path / "train.csv", "segmentation", ref)
    sub = write(tmp_path / "sub.csv", "predicted", pred)
    for path in (train, sub):
        lines = path.read_text().splitlines()
        path.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(DataError, match="expected a row for each slice and class of case22_day3"):
        score_uw_madison(sub, train)


def test_ids_of_another_form_are_refused(tmp_path):
    for name, column in (("sub", "predicted"), ("train", "segmentation")):
        (tmp_path / f"{name}.csv").write_text(f"id,class,{column},height,width\na1,stomach,,6,8\n")
    with pytest.raises(DataError, match="expected ids such as case123_day20_slice_0001, found 'a1'"):
        score_uw_madison(tmp_path / "sub.csv", tmp_path / "train.csv")

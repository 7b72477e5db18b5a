import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from medimg.cli import main
from medimg.commands.score import score
from medimg.errors import ConfigError, DataError
from medimg.io.nifti import write_image

GRID = np.diag([1.0, 1.0, 1.0, 1.0])


@pytest.fixture
def folders(tmp_path):
    """Three cases: a perfect one, one without ET on both sides, one whose ET was missed."""
    pred, ref = tmp_path / "pred", tmp_path / "ref"
    whole = np.zeros((10, 16, 16), np.uint8)
    whole[2:8, 3:12, 3:12] = 2
    with_et = whole.copy()
    with_et[3:7, 4:9, 4:9] = 3
    for number, (prediction, reference) in enumerate([(with_et, with_et), (whole, whole), (whole, with_et)]):
        case = f"BraTS-GLI-0000{number}-000"
        write_image(pred / f"{case}.nii.gz", prediction, GRID)
        write_image(ref / case / f"{case}-seg.nii.gz", reference, GRID)
        write_image(ref / case / f"{case}-t1c.nii.gz", reference.astype(np.float32), GRID)
    return pred, ref


def test_command_line_scores_prints_and_writes(folders, tmp_path, capsys):
    pred, ref = folders
    out = tmp_path / "out"
    words = ["score", str(pred), str(ref), "--regions", "brats2023", "--lesionwise=true", "--out", str(out)]
    assert main(words) == 0
    text = capsys.readouterr().out
    with (out / "per_case.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["patient_id"] for row in rows] == ["BraTS-GLI-00000", "BraTS-GLI-00001", "BraTS-GLI-00002"]
    assert [float(row["dice_ET"]) for row in rows] == [1.0, 1.0, 0.0]
    assert [float(row["hd95_ET"]) for row in rows] == [0.0, 0.0, 374.0]
    assert [float(row["lesion_dice_ET"]) for row in rows] == [1.0, 1.0, 0.0]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["metrics"]["dice"]["ET"]["mean"] == pytest.approx(2 / 3)
    assert summary["settings"]["empty"] == "brats"
    assert "3 cases of 3 patients" in text
    assert text.splitlines()[-1].startswith(
        "next: look at the case with the lowest mean Dice first: BraTS-GLI-00002"
    )


def test_the_rule_for_empty_masks_is_counted(folders, capsys):
    assert score(*folders, regions="brats2023", empty="skip") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["Dice", "ET", "0.5000", "0.0000", "to", "1.0000", "2", "1"] in lines


def test_before_2023_the_worst_distance_is_that_of_the_older_code(folders, tmp_path):
    score(*folders, labels="ET=3,rest=2", out=tmp_path / "out")
    assert "373.12866" in (tmp_path / "out" / "per_case.csv").read_text()


def test_two_processes_give_the_numbers_of_one(folders, tmp_path):
    for workers in (1, 2):
        score(*folders, regions="brats2023", out=tmp_path / str(workers), workers=workers)
    one, two = ((tmp_path / str(n) / "per_case.csv").read_bytes() for n in (1, 2))
    assert one == two


def test_a_label_outside_the_set_names_the_file(folders):
    pred, ref = folders
    with pytest.raises(DataError, match=r"1 of 3 cases failed|2 of 3 cases failed") as fault:
        score(pred, ref, regions="brats2021")
    assert "label values [3]" in str(fault.value)
    assert score(pred, ref, regions="brats2021", other_labels=True) == 0


def test_a_missing_case_is_refused_and_nothing_is_written(folders, tmp_path, capsys):
    pred, ref = folders
    (pred / "BraTS-GLI-00001-000.nii.gz").unlink()
    words = ["score", str(pred), str(ref), "--regions", "brats2023", "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "no prediction for 1 of 3 references: BraTS-GLI-00001-000" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_to_score_must_be_said(folders):
    with pytest.raises(ConfigError, match="say what to score"):
        score(*folders)
    with pytest.raises(ConfigError, match="say what to score"):
        score(*folders, regions="brats2023", labels="1")
    with pytest.raises(ConfigError, match="Did you mean brats2023"):
        score(*folders, regions="brat2023")
    with pytest.raises(ConfigError, match="nsd_tolerance_mm"):
        score(*folders, labels="2,3", nsd_tolerance_mm=-1.0)


def test_masks_need_references_and_no_options_of_tables(folders):
    pred, ref = folders
    with pytest.raises(ConfigError, match="expected masks and their references"):
        score(pred, regions="brats2023")
    with pytest.raises(ConfigError, match="without --task and --images"):
        score(pred, ref, regions="brats2023", task="binary")


def test_a_misspelt_metric_is_refused(folders, capsys):
    assert main(["score", *map(str, folders), "--metric", "hubmab"]) == 2
    assert "hubmap" in capsys.readouterr().err


def test_help_imports_neither_numpy_nor_torch():
    code = (
        "import sys; from medimg.cli import main\n"
        "try: main(['score', '--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(any(name in sys.modules for name in ('numpy', 'torch', 'lightning')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--lesionwise" in done.stdout


@pytest.mark.real
def test_masks_of_five_algorithms(tmp_path, capsys):
    root = Path(os.environ["MEDIMG_REAL_DATA"]) / "BraTS-TCGA-DU-7294"
    masks = sorted((root / "segmentation").glob("*.nii.gz"))
    assert len(masks) == 5
    for mask in masks:
        words = ["score", str(mask), str(root / "fusion" / "simple.nii.gz"), "--regions", "brats2020"]
        assert main([*words, "--lesionwise=true", "--out", str(tmp_path / mask.name)]) == 0
        (row,) = csv.DictReader((tmp_path / mask.name / "per_case.csv").open())
        assert 0.7 < float(row["dice_WT"]) <= 1.0
        assert 0.0 <= float(row["hd95_WT"]) < 30.0
        assert 0.0 <= float(row["nsd_TC"]) <= 1.0
        # One lesion on both sides scores as the whole region does.
        if (float(row["lesions_WT"]), float(row["false_positives_WT"])) == (1.0, 0.0):
            assert float(row["lesion_dice_WT"]) <= float(row["dice_WT"]) + 1e-12
    assert "1 case of 1 patient" in capsys.readouterr().out


def test_the_table_that_is_scored_is_not_replaced(tmp_path, capsys):
    table = tmp_path / "run" / "per_case.csv"
    table.parent.mkdir()
    table.write_text("case_id,target_x,prob_x\na,1,0.75\nb,0,0.25\n")
    before = table.read_text()
    for options in ([], ["--metric", "auroc"]):
        assert main(["score", str(table), "--out", str(table.parent), *options]) == 2
        assert "would replace what is read" in capsys.readouterr().err
    assert table.read_text() == before

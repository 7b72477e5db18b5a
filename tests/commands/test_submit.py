import os
import shutil
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from medimg.cli import main
from medimg.io.nifti import read_mask, write_image
from medimg.scoring.label_table import label_row, write_label_table


@pytest.fixture
def isic(write_table, tmp_path):
    write_table(tmp_path / "s.csv", ["image_name", "target"], [["b", 0], ["a", 0]])
    rows = [label_row(case, "", ["target"], [prob]) for case, prob in (("a", 0.25), ("b", 0.5))]
    write_label_table(tmp_path / "run" / "per_case.csv", rows)
    return tmp_path


def words(*parts):
    return ["submit", *map(str, parts)]


def test_predictions_are_written_and_the_last_line_checks_them(isic, capsys):
    out = isic / "out.csv"
    assert main(words(isic / "run", "--format", "isic2020", "--sample", isic / "s.csv", "--out", out)) == 0
    assert out.read_text() == "image_name,target\nb,0.5\na,0.25\n"
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"next: medimg submit --format isic2020 --validate {out} --sample {isic / 's.csv'}"
    assert main(last.removeprefix("next: medimg ").split()) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "next: upload it"


def test_faults_of_predictions_leave_no_file(isic, capsys):
    sample, out = isic / "s.csv", isic / "out.csv"
    sample.write_text(sample.read_text() + "c,0\n")
    assert main(words(isic / "run", "--format", "isic2020", "--sample", sample, "--out", out)) == 2
    assert "missing rows (1):\n    c\nNothing was written." in capsys.readouterr().err
    assert not out.exists()


def test_faults_of_a_file_from_elsewhere_end_with_one(isic, capsys):
    bad = isic / "bad.csv"
    bad.write_text("image_name,target\na,2\na,0\n")
    assert main(words("--format", "isic2020", "--validate", bad, "--sample", isic / "s.csv")) == 1
    printed = capsys.readouterr().out
    for part in ("3 faults", "a, column target: 2", "a (2 times)", "missing rows (1):\n    b"):
        assert part in printed


def test_a_constant_without_predictions(isic, capsys):
    out = isic / "out.csv"
    assert (
        main(words("--format", "isic2020", "--constant", 0.5, "--sample", isic / "s.csv", "--out", out)) == 0
    )
    assert out.read_text().count("0.5") == 2


def test_options_are_checked_before_anything_is_read(capsys):
    assert main(words("--format", "isic2020")) == 2
    assert "give one of three" in capsys.readouterr().err
    assert main(words("p", "--format", "isic2021", "--out", "x.csv")) == 2
    assert "isic2020" in capsys.readouterr().err


def test_the_help_needs_neither_torch_nor_numpy():
    code = (
        "import sys; from medimg.cli import main; assert main(['submit', '--help']) == 0; "
        "sys.exit(bool({'torch', 'nibabel', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--enforce_consistency" in done.stdout


def test_memory_does_not_grow_with_the_number_of_masks(tmp_path):
    mask = np.zeros((32, 128, 128), np.uint8)
    mask[::3] = 1
    write_image(tmp_path / "masks" / "c0.nii.gz", mask, np.eye(4))
    peaks = []
    for count in (1, 6):
        for number in range(1, count):
            shutil.copy(tmp_path / "masks" / "c0.nii.gz", tmp_path / "masks" / f"c{number}.nii.gz")
        out = tmp_path / f"{count}.zip"
        tracemalloc.start()
        main(words(tmp_path / "masks", "--format", "decathlon", "--out", out))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


@pytest.mark.real
def test_a_glioma_of_2021_is_submitted_as_one_of_2023(tmp_path, capsys):
    root = Path(os.environ["MEDIMG_REAL_DATA"]) / "BraTS-TCGA-DU-7294"
    (tmp_path / "m").mkdir()
    mask = root / "segmentation" / "sanet0-20.nii.gz"
    shutil.copy(mask, tmp_path / "m" / "TCGA-DU-7294.nii.gz")
    (tmp_path / "ids.csv").write_text("case_id,submission_id\nTCGA-DU-7294,BraTS-GLI-07294-000\n")
    options = ("--format", "brats2023", "--id-map", tmp_path / "ids.csv", "--out", tmp_path / "out.zip")
    assert main(words(tmp_path / "m", *options)) == 2
    assert "[4], expected 0 and [1, 2, 3]" in capsys.readouterr().err
    assert main(words(tmp_path / "m", *options, "--labels", "brats2021")) == 0
    assert main(words("--format", "brats2023", "--validate", tmp_path / "out.zip")) == 0
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.namelist() == ["BraTS-GLI-07294-000.nii.gz"]
        archive.extractall(tmp_path / "x")
    found, source = read_mask(tmp_path / "x" / "BraTS-GLI-07294-000.nii.gz"), read_mask(mask)
    np.testing.assert_array_equal(found, np.where(source == 4, 3, source))
    assert set(np.unique(found)) == {0, 1, 2, 3}


@pytest.mark.real
def test_masks_of_hippocampi_are_submitted(tmp_path):
    root = Path(os.environ["MEDIMG_REAL_DATA"]) / "Task04_Hippocampus"
    (tmp_path / "m").mkdir()
    cases = sorted(path.name for path in (root / "labelsTr").glob("[!.]*.nii.gz"))[:6]
    for name in cases:
        shutil.copy(root / "labelsTr" / name, tmp_path / "m" / name)
    (tmp_path / "s.csv").write_text(
        "\n".join(["case", *(name.removesuffix(".nii.gz") for name in cases)]) + "\n"
    )
    sure = ("--format", "decathlon", "--images", root / "imagesTr", "--sample", tmp_path / "s.csv")
    assert main(words(tmp_path / "m", *sure, "--out", tmp_path / "out.zip")) == 0
    assert main(words("--validate", tmp_path / "out.zip", *sure)) == 0

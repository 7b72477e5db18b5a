import shlex
import subprocess
import sys

import numpy as np
import pytest

from medimg.cli import main
from medimg.commands.phantom import phantom


def test_the_command_writes_and_names_the_next_step(tmp_path, capsys):
    out = tmp_path / "two words"
    words = ["phantom", "brats", str(out), "--cases", "2", "--seed", "1", "--shape", "[24,30,26]"]
    assert main(words) == 0
    shown = capsys.readouterr()
    assert "2 phantoms" in shown.out
    assert f"next: medimg fit --config configs/brats.yaml --data.root '{out}'" in shown.out
    assert "2/2" in shown.err
    assert len(list(out.glob("BraTS-GLI-9*/*.nii.gz"))) == 10


CHESTS = [
    (
        "ct",
        ["--cases", "1", "--size", "[24,64,64]"],
        "1 phantoms",
        "next: medimg convert '{out}' --out '{out}-nifti'",
    ),
    (
        "lidc",
        ["--cases", "1", "--size", "[24,64,64]"],
        "LIDC-IDRI-9001 to LIDC-IDRI-9001",
        "next: medimg convert '{out}' --annotations '{out}' --out '{out}-nifti'",
    ),
    (
        "pe",
        ["--studies", "1", "--tests", "0", "--size", "[24,64,64]"],
        "1 phantoms in '{out}'/train, 0 in",
        "next: medimg fit --config configs/pe.yaml --data.root '{out}'",
    ),
    (
        "nodules",
        ["--nodules", "2", "--size", "16"],
        "2 phantoms",
        "next: medimg split '{out}' --table '{out}/nodules.csv' --columns.id ",
    ),
]


@pytest.mark.parametrize(("kind", "words", "told", "following"), CHESTS, ids=[kind for kind, *_ in CHESTS])
def test_chests_are_written_and_the_next_step_named(tmp_path, capsys, kind, words, told, following):
    out = tmp_path / "two words"
    assert main(["phantom", kind, str(out), *words]) == 0
    shown = capsys.readouterr().out
    assert told.format(out=out) in shown
    assert following.format(out=out) in shown
    assert list(out.rglob("*.dcm")) or list(out.rglob("*.nii.gz"))


def test_ultrasound_is_written_and_the_next_step_named(tmp_path, capsys):
    out = tmp_path / "two words"
    assert main(["phantom", "ultrasound", str(out), "--images", "3", "--size", "[64,64]"]) == 0
    shown = capsys.readouterr().out
    assert "3 phantoms" in shown
    assert f"next: medimg fit --config configs/busi_segmentation.yaml --data.root '{out}'" in shown
    assert len(list(out.rglob("*.png"))) == 6


def test_a_folder_of_others_is_refused_without_a_traceback(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["phantom", "brats", str(tmp_path), "--cases", "1"]) == 2
    shown = capsys.readouterr().err
    assert "other files" in shown
    assert "Traceback" not in shown
    assert len(shown.splitlines()) < 10


@pytest.mark.parametrize("words", [["--cases", "many"], ["--shape", "[64,64]"], ["--sed", "1"]])
def test_wrong_words_are_refused_in_a_few_lines(tmp_path, capsys, words):
    assert main(["phantom", "brats", str(tmp_path / "x"), *words]) == 2
    assert len(capsys.readouterr().err.splitlines()) < 10
    assert not (tmp_path / "x").exists()


def test_help_needs_no_numpy():
    check = (
        "import sys, medimg.commands.phantom; sys.exit(bool({'numpy', 'scipy', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_every_phantom_is_explained():
    for make in phantom.values():
        assert make.__doc__ is not None
        assert "Args:" in make.__doc__


def test_the_step_after_nodules_deals_their_patients(tmp_path, capsys):
    assert main(["phantom", "nodules", str(tmp_path / "n"), "--nodules", "12", "--size", "16"]) == 0
    words = shlex.split(capsys.readouterr().out.splitlines()[-1].removeprefix("next: medimg "))
    assert main([*words, "--folds", "2"]) == 0
    assert (tmp_path / "n-folds.csv").is_file()


def test_cubes_as_medmnist_are_written_and_the_next_step_named(tmp_path, capsys, monkeypatch):
    out = tmp_path / "two words"
    # A cube costs a tenth of a second.
    cube = np.zeros((16, 16, 16), np.uint8)
    monkeypatch.setattr("medimg.phantoms.nodule_mnist._draw", lambda index, seed, size: cube)
    assert main(["phantom", "nodulemnist3d", str(out), "--nodules", "30", "--size", "16"]) == 0
    shown = capsys.readouterr().out
    assert f"phantoms in '{out}/nodulemnist3d.npz'" in shown
    configs = "--config configs/nodulemnist3d.yaml --config configs/overlays/nodulemnist3d-small.yaml"
    assert f"next: medimg fit {configs} --data.root '{out}'" in shown


def test_graded_brains_are_written_and_the_next_step_named(tmp_path, capsys):
    out = tmp_path / "two words"
    words = ["--cases", "1", "--shape", "[24,30,26]", "--grades", "[1,4]"]
    assert main(["phantom", "grade", str(out), *words]) == 0
    shown = capsys.readouterr().out
    assert "1 phantoms" in shown
    assert "the grades are in grades.csv" in shown
    configs = "--config configs/glioma_grade.yaml --config configs/overlays/glioma_grade-small.yaml"
    assert f"next: medimg fit {configs} --data.root '{out}'" in shown
    assert (out / "grades.csv").read_text().splitlines()[1].endswith(",1")

import subprocess
import sys

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

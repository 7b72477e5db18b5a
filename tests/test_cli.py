import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from medimg import __version__, cli
from medimg.errors import DataError

VERBS = [
    "phantom",
    "convert",
    "deidentify",
    "agreement",
    "adjudicate",
    "audit",
    "plan",
    "prepare",
    "split",
    "fit",
    "validate",
    "test",
    "predict",
    "crossval",
    "calibrate",
    "ensemble",
    "postprocess",
    "pseudolabel",
    "score",
    "submit",
    "explain",
    "export",
    "leaderboard",
    "report",
]


def cpu_seconds_and_modules(words: list[str]) -> tuple[float, set[str], str]:
    """Run the command in a fresh process: its CPU time, the modules it loaded, and what it printed."""
    code = (
        "import sys, time\n"
        "from medimg.cli import main\n"
        f"status = main({words!r})\n"
        "print('\\n#', time.process_time(), status, *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    text, _, last = done.stdout.rpartition("\n#")
    seconds, status, *modules = last.split()
    assert status == "0", done.stderr
    return float(seconds), set(modules), text


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_lists_every_verb_in_the_order_of_the_work(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 0
    shown = capsys.readouterr().out
    assert re.findall(r"^  (\w+) +\S", shown, re.MULTILINE) == VERBS
    assert len(shown.splitlines()) < 36


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"medimg {__version__}\n"


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], *([verb, "--help"] for verb in VERBS)], ids=" ".join
)
def test_answers_in_under_a_second_of_cpu(words: list[str]) -> None:
    seconds, modules, text = cpu_seconds_and_modules(words)
    for _ in range(2):  # a busy machine makes the same work longer
        if seconds >= 1.0:
            seconds = min(seconds, cpu_seconds_and_modules(words)[0])
    assert seconds < 1.0
    assert not modules & {"torch", "lightning", "monai"}
    assert text.strip()


@pytest.mark.parametrize(
    ("typed", "meant"), [("fti", "fit"), ("tset", "test"), ("phantoms", "phantom"), ("Predict", "predict")]
)
def test_a_misspelt_verb_is_refused_with_the_nearest(
    typed: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([typed]) == 2
    error = capsys.readouterr().err
    assert f"Did you mean {meant!r}?" in error
    assert f"Expected one of: {', '.join(VERBS)}." in error
    assert len(error.splitlines()) < 10


def test_an_option_before_the_verb_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--config", "a.yaml", "fit"]) == 2
    assert "A verb comes first" in capsys.readouterr().err


def test_a_misspelt_option_of_a_file_verb_is_refused_with_the_nearest(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.main(["phantom", "brats", str(tmp_path / "out"), "--case", "2"]) == 2
    error = capsys.readouterr().err
    assert "Did you mean --cases?" in error
    assert len(error.splitlines()) < 10
    assert not (tmp_path / "out").exists()


def test_a_wrong_value_of_a_file_verb_names_what_was_expected(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["phantom", "brats", "out", "--cases", "many"]) == 2
    error = capsys.readouterr().err
    assert "cases: expected int, found 'many'" in error


def test_a_misspelt_sub_verb_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["phantom", "brast", "out"]) == 2
    error = capsys.readouterr().err
    assert "brats" in error
    assert len(error.splitlines()) < 10


def test_a_users_error_is_one_message_without_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(verb: str, words: list[str]) -> int:
        raise DataError(f"{verb} {words}: case 7 has no mask.")

    monkeypatch.setattr(cli, "_file_verb", refuse)
    assert cli.main(["audit", "data"]) == 2
    assert capsys.readouterr().err == "error: audit ['data']: case 7 has no mask.\n"
    for words in (["--debug", "audit", "data"], ["audit", "data", "--debug"]):
        with pytest.raises(DataError, match="case 7"):
            cli.main(words)


def test_the_status_of_a_verb_is_the_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_file_verb", lambda verb, words: 1)
    assert cli.main(["audit", "data"]) == 1


def test_interruption_ends_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(verb: str, words: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_file_verb", stop)
    assert cli.main(["audit", "data"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_every_verb_that_is_listed_exists() -> None:
    for verb in [*cli.FILE_VERBS, *cli.SCORE_VERBS]:
        assert (Path(cli.__file__).parent / "commands" / f"{verb}.py").is_file(), verb


def test_a_missing_config_is_refused_before_lightning_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "brats.yaml").write_text("model: null\n")
    code = (
        "import sys\nfrom medimg.cli import main\n"
        f"status = main(['fit', '--config', {str(tmp_path / 'brast.yaml')!r}])\n"
        "print(status, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False"]
    assert f"Did you mean {tmp_path / 'brats.yaml'}?" in done.stderr


def test_a_reader_who_leaves_early_sees_no_traceback() -> None:
    code = "import sys; from medimg.cli import main; sys.exit(main(['--help']))"
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")

import json
from pathlib import Path

import pytest

from medimg.cli import main
from medimg.commands.leaderboard import leaderboard
from medimg.errors import ConfigError, DataError
from medimg.scoring.label_table import label_row, write_label_table
from medimg.scoring.table import write_per_case


def make(folder, probs):
    rows = [label_row(f"c{n}", f"p{n}", ["x"], [prob], [n % 2]) for n, prob in enumerate(probs)]
    write_label_table(folder / "per_case.csv", rows)
    (folder / "predictions.json").write_text(json.dumps({"task": "binary", "split": "s"}))
    return folder


@pytest.fixture
def logs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "logs" / "a" / "test", [0.1, 0.9, 0.2, 0.8])
    make(tmp_path / "logs" / "b" / "test", [0.9, 0.3, 0.2, 0.8])
    return tmp_path / "logs"


def test_the_command_line_ranks_writes_and_says_what_is_next(logs, capsys):
    assert main(["leaderboard", "logs", "--out", "board.csv", "--metric", "auroc", "--resamples", "50"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "Group 1: 2 runs on the same 4 cases of 4 patients, split s"
    assert out[4].split()[:3] == ["1", "a", "1.0000"]
    assert out[5].split()[:3] == ["2", "b", "0.5000"]
    assert out[-2:] == ["written: board.csv", "next: medimg ensemble logs/a logs/b --out DIR"]
    with pytest.raises(ConfigError, match=r"--out board\.csv: exists already"):
        leaderboard([logs], out=Path("board.csv"))
    assert leaderboard([logs / "a"], resamples=20) == 0
    assert (
        capsys.readouterr().out.splitlines()[-1] == "next: medimg leaderboard with more runs of these cases"
    )


def test_a_metric_chooses_the_kind_of_runs(logs, capsys):
    write_per_case(logs / "v" / "per_case.csv", [{"case_id": "a", "patient_id": "a", "dice_ET": 0.5}])
    leaderboard([logs], metric=["dice_ET"], resamples=20)
    found = capsys.readouterr()
    assert "left out: 2 runs that have no dice_ET, such as a" in found.err
    assert "0.5000" in found.out
    with pytest.raises(ConfigError, match="--metric dice: none of the runs has it"):
        leaderboard([logs / "a"], metric=["dice"])
    with pytest.raises(ConfigError, match="--metric aurroc: expected one of auroc"):
        leaderboard([logs / "a"], metric=["aurroc"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": 1.0}, "--level and"),
        ({"resamples": 0}, "--resamples"),
        ({"out": "a.txt"}, r"ends in \.csv"),
    ],
)
def test_options_out_of_range(logs, tmp_path, options, message):
    if "out" in options:
        options = {"out": tmp_path / options["out"]}
    with pytest.raises(ConfigError, match=message):
        leaderboard([logs], **options)


def test_nothing_to_compare(logs, tmp_path):
    with pytest.raises(DataError, match=r"no per_case\.csv of scored cases"):
        leaderboard([tmp_path / "nowhere"])
    write_label_table(tmp_path / "new" / "per_case.csv", [label_row("a", "a", ["x"], [0.5])])
    with pytest.raises(ConfigError, match="none of the tables holds scores"):
        leaderboard([tmp_path / "new"])

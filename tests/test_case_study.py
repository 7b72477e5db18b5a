"""configs/case_study/run.sh calls the right verbs in the right order, and stops where one fails."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

STUDY = Path(__file__).parents[1] / "configs" / "case_study"
SMALL = STUDY.parent / "overlays" / "cpu-small.yaml"
LOGS = "lightning_logs/case-study"

# Stands in for medimg: notes its words, and leaves behind what the script looks for.
STUB = """\
#!/usr/bin/env -S python3 -I -S
import json, os, sys
from pathlib import Path
words = sys.argv[1:]
with open("calls.jsonl", "a") as file:
    file.write(json.dumps(words) + "\\n")
value = lambda name: words[words.index(name) + 1]
if words[0] == os.environ.get("FAILS"):
    sys.exit(1)
if words[0] == "split":
    Path(value("--out")).parent.mkdir(parents=True)
    Path(value("--out")).write_text("case_id,fold\\n")
"""

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


@pytest.fixture
def study(tmp_path):
    """``study(*arguments, **environment)``: exit status, and the words of every call of medimg."""
    stub = tmp_path / "bin" / "medimg"
    stub.parent.mkdir()
    stub.write_text(STUB)
    stub.chmod(0o755)

    def run(*arguments, **environment):
        path = f"{stub.parent}{os.pathsep}{os.environ['PATH']}"
        words = ["bash", str(STUDY / "run.sh"), *map(str, arguments)]
        done = subprocess.run(
            words, cwd=tmp_path, env={**os.environ, "PATH": path, **environment}, timeout=60
        )
        calls = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
        (tmp_path / "calls.jsonl").unlink()
        return done.returncode, calls

    return run


def value(words, name):
    return words[words.index(name) + 1]


def test_the_script_is_short():
    lines = (STUDY / "run.sh").read_text().splitlines()
    assert sum(not line.startswith("#") for line in lines) < 15


def test_the_chain_from_images_to_a_table(study, tmp_path):
    status, calls = study("data", SMALL)
    assert status == 0
    assert [words[0] for words in calls] == [
        "split", *["crossval"] * 4, "ensemble", "ensemble", "calibrate", "leaderboard",
    ]  # fmt: skip
    for name, (plain, again) in (("lite0", calls[1:3]), ("lite2", calls[3:5])):
        at = plain.index("--config")
        configs = [str(path) for path in (STUDY / "base.yaml", SMALL, STUDY / "cpu-small" / f"{name}.yaml")]
        # The member comes last: the overlay's network must not stand for both.
        assert plain[at + 1 : at + 4] == configs and plain[at + 4] == "--logs"
        assert (value(plain, "--experiment"), value(again, "--experiment")) == (name, f"{name}-ultrasound")
        assert value(plain, "--data.root") == "data"
        assert value(plain, "--data.split.file") == value(calls[0], "--out")
        assert "--tta" not in plain and "--weights_of" not in plain
        assert value(again, "--tta") == "ultrasound" and value(again, "--weights_of") == name
    plain, tta = ([f"{LOGS}/lite{n}{kind}" for n in (0, 2)] for kind in ("", "-ultrasound"))
    assert calls[5][1:3] == plain and calls[6][1:3] == tta
    assert value(calls[7], "calibrate") == value(calls[6], "--out") == f"{LOGS}/vote-ultrasound"
    assert calls[8][1:7] == [*plain, *tta, f"{LOGS}/vote", f"{LOGS}/vote-ultrasound"]


def test_a_second_run_keeps_the_split_and_leaves_it_to_the_verbs_what_else_is_finished(study):
    study("data", TTA="xray")
    status, calls = study("data", TTA="xray")
    assert status == 0
    assert [words[0] for words in calls][:2] == ["crossval", "crossval"]
    names = [value(words, "--experiment") for words in calls[:4]]
    assert names == ["densenet121", "densenet121-xray", "resnet50", "resnet50-xray"]


def test_another_pair_has_a_folder_of_its_own(study):
    status, calls = study("data", SMALL, PAIR="hybrid-cpu-small")
    assert status == 0
    assert [value(words, "--experiment") for words in calls[1:5:2]] == ["lite0", "transunet_lite0"]
    assert {value(words, "--logs") for words in calls[1:5]} == {f"{LOGS}-hybrid-cpu-small"}
    assert value(calls[-1], "--out") == f"{LOGS}-hybrid-cpu-small/leaderboard.csv"


def test_a_pair_that_is_not_there_is_not_replaced_by_another(study):
    _, calls = study("data", PAIR="hybird")
    assert calls[1][calls[1].index("--config") + 2].endswith("hybird/*.yaml")


@pytest.mark.parametrize(("verb", "count"), [("split", 1), ("crossval", 2), ("ensemble", 6)])
def test_a_step_that_fails_ends_it(verb, count, study):
    status, calls = study("data", FAILS=verb)
    assert status == 1
    assert len(calls) == count and calls[-1][0] == verb


def test_without_data_it_says_so(tmp_path):
    done = subprocess.run(["bash", str(STUDY / "run.sh")], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert not list(tmp_path.iterdir())

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from writers.folds import cases_of, write_fold

from medimg.cli import main
from medimg.commands.crossval import split_words
from medimg.crossval.processes import one_at_a_time
from medimg.scoring.table import read_per_case

ROOT = Path(__file__).parents[2]


class FakeRuns:
    """Stands in for the processes: writes what each verb would leave, or dies as it is told."""

    def __init__(self, place, folds=3):
        self.place, self.folds = place, folds
        self.calls = []
        self.statuses = {}

    def capture(self, words):
        self.captured = words
        epochs = int(words[words.index("--trainer.max_epochs") + 1]) if "--trainer.max_epochs" in words else 2
        settings = {"experiment": "e", "trainer": {"max_epochs": epochs}, "data": {"init_args": {"fold": 0}}}
        if "--tta" in words:
            settings["tta"] = words[words.index("--tta") + 1]
        return SimpleNamespace(returncode=0, stdout=yaml.safe_dump(settings), stderr="")

    def run_here(self, verb):
        """Let another function stand in for the processes."""
        self.runs_verb = verb
        self.patch.setattr("medimg.crossval.processes.run_verb", verb)

    def run(self, words, lock):
        verb, number = words[0], self._number(words)
        resumed = "--ckpt_path" in words
        self.calls.append((number, f"{verb} again" if verb == "fit" and resumed else verb))
        status = self.statuses.pop((number, verb), 0)
        fresh = self.place.parent / "fresh" / str(len(self.calls))
        if status == 0 or verb == "fit":
            shutil.rmtree(self.place / f"fold_{number}", ignore_errors=True)
            write_fold(fresh, number, folds=self.folds, upto="test" if verb == "test" else "fit")
            self.place.mkdir(exist_ok=True)
            (fresh / f"fold_{number}").rename(self.place / f"fold_{number}")
        return status

    @staticmethod
    def _number(words):
        own = [word for word in words if word.startswith("--data.init_args.fold=")]
        if own:
            return int(own[0].partition("=")[2])
        return int(Path(words[words.index("--config") + 1]).parent.parent.name.removeprefix("fold_"))


@pytest.fixture
def fake(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("exp.yaml").write_text("data: {}\n")
    runs = FakeRuns(tmp_path / "lightning_logs" / "exp")
    runs.patch = monkeypatch
    runs.run_here(runs.run)
    monkeypatch.setattr("medimg.crossval.processes.capture_verb", runs.capture)
    return runs


def crossval(*words):
    return main(["crossval", "--config", "exp.yaml", *words])


EACH = ["fit", "test"]


def test_every_fold_is_trained_and_tested_and_all_are_gathered(fake, capsys):
    assert crossval("--data.root", "x", "--trust-package", "mypkg") == 0
    assert fake.calls == [(number, verb) for number in range(3) for verb in EACH]
    assert fake.captured == [
        "fit", "--config", "exp.yaml", "--data.root", "x", "--trust-package", "mypkg", "--print_config",
    ]  # fmt: skip
    rows = read_per_case(fake.place / "out_of_fold" / "per_case.csv")
    assert [row["case_id"] for row in rows] == [case for fold in range(3) for case in cases_of(fold)]
    out = capsys.readouterr().out
    assert "--trust-package mypkg" in out  # in the line of each run
    place = "lightning_logs/exp"
    words = f"medimg calibrate {place}/out_of_fold --method temperature --out {place}/calibration.json"
    assert out.splitlines()[-1] == f"next: {words}"


def test_finished_folds_are_kept_and_the_others_go_on(fake, capsys):
    assert crossval("--folds", "0") == 0
    write_fold(fake.place, 1, upto="fitted")
    write_fold(fake.place, 2, upto="fit")
    fake.calls.clear()
    assert crossval() == 0
    assert fake.calls == [(1, "test"), (2, "fit again"), (2, "test")]
    assert "fold 0: finished already" in capsys.readouterr().out
    fake.calls.clear()
    assert crossval() == 0
    assert fake.calls == []


def test_a_stopped_training_can_be_begun_anew(fake):
    write_fold(fake.place, 1, upto="fit")
    assert crossval("--folds", "1", "--resume", "false") == 0
    assert fake.calls == [(1, "fit"), (1, "test")]


def test_some_folds_say_which_are_missing_and_how_to_do_them(fake, capsys):
    assert crossval("--folds", "0,2", "--data.root", "my data") == 0
    out = capsys.readouterr().out
    assert "folds 0, 2 of 3" in out
    assert out.splitlines()[-1] == "next: medimg crossval --config exp.yaml --folds 1 --data.root 'my data'"


def test_a_fold_that_fails_does_not_stop_the_others(fake, capsys):
    fake.statuses = {(1, "fit"): 137}
    assert crossval() == 1
    assert fake.calls == [(0, "fit"), (0, "test"), (1, "fit"), (2, "fit"), (2, "test")]
    shown = capsys.readouterr()
    assert "fold 1: ended with status 137" in shown.err
    assert "fold 1 is not finished and left out" in shown.err
    assert "folds 0, 2 of 3" in shown.out


@pytest.mark.parametrize("status", [2, 130, 143])
def test_a_refusal_or_a_stop_ends_it(fake, status):
    fake.statuses = {(1, "fit"): status}
    assert crossval() == status
    assert fake.calls[-1] == (1, "fit")
    assert not (fake.place / "out_of_fold").exists()


def test_gathering_alone_runs_nothing(fake, capsys):
    write_fold(fake.place, 0)
    write_fold(fake.place, 2, upto="fitted")
    assert crossval("--gather") == 0
    assert fake.calls == []
    shown = capsys.readouterr()
    assert "folds" not in shown.err
    assert "fold 2 is not finished and left out" in shown.err
    assert "fold 0 of 3" in shown.out


def test_nothing_to_gather_is_refused(fake, capsys):
    assert crossval("--gather") == 2
    assert "expected at least one finished fold" in capsys.readouterr().err


def test_other_settings_are_refused_by_name_before_anything_runs(fake, capsys):
    write_fold(fake.place, 1)
    assert crossval("--trainer.max_epochs", "3") == 2
    assert (
        "fold_1/version_0 was trained with other settings: trainer.max_epochs is 2 and 3 now"
        in capsys.readouterr().err
    )
    assert fake.calls == []
    assert not (fake.place / "crossval.yaml").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--folds", "a"], "--folds: expected numbers from 0 such as 0,2,4, found 'a'"),
        (["--folds", "-1"], "--folds"),
        (["--data.fold", "1"], "--data.fold is no option of crossval: --folds chooses the folds"),
        (["--data.init_args.fold=1"], "--folds chooses the folds"),
        (["--ckpt_path", "best"], "each fold finds its own checkpoint"),
        (["--out", "x"], "each fold writes into its own run"),
        (["--experiment", "a/b"], "one plain folder name"),
    ],
)
def test_options_that_cannot_be_are_refused(fake, capsys, words, said):
    assert crossval(*words) == 2
    assert said in capsys.readouterr().err
    assert fake.calls == []


def test_a_config_that_a_run_refuses_is_refused_in_its_words(fake, capsys, monkeypatch):
    refuse = SimpleNamespace(returncode=2, stdout="", stderr="error: no such class\n")
    monkeypatch.setattr("medimg.crossval.processes.capture_verb", lambda words: refuse)
    assert crossval() == 2
    assert capsys.readouterr().err == "error: no such class\n"
    assert main(["crossval", "--config", "none.yaml"]) == 2
    assert "No config file none.yaml" in capsys.readouterr().err


def test_two_at_once_on_one_folder_are_refused(fake, capsys, monkeypatch):
    monkeypatch.setattr("medimg.crossval.processes.PATIENCE_S", 0.05)
    with one_at_a_time(fake.place):
        assert crossval() == 2
    assert "another crossval" in capsys.readouterr().err


def test_the_folder_follows_the_configs_and_what_was_typed(fake, tmp_path):
    Path("two.yaml").write_text("experiment: two\nlogs: elsewhere\n")
    for words, place in (
        (["--config", "two.yaml"], "elsewhere/two"),
        (["--config=two.yaml", "--experiment", "three"], "elsewhere/three"),
        (["--config=two.yaml", "--experiment=three", "--logs=l"], "l/three"),
    ):
        fake.place = tmp_path / place
        assert crossval("--folds", "0", *words) == 0
        assert (tmp_path / place / "out_of_fold" / "predictions.json").is_file()
        assert (tmp_path / place / "crossval.yaml").is_file()


def test_words_of_the_runs_are_told_from_our_own():
    words = [
        "--gather",
        "--seed_everything",
        "3",
        "--resume",
        "false",
        "--trust_package",
        "p",
        "--config",
        "a",
    ]
    assert split_words(words) == (
        ["--gather", "--resume", "false", "--config", "a"],
        ["--seed_everything", "3", "--trust-package", "p"],
    )


def test_what_was_tested_by_hand_before_the_end_of_a_training_does_not_count(fake):
    run = write_fold(fake.place, 1)
    (run / "fitted.json").unlink()  # stopped, looked at by hand, and gone on with
    early = (run / "test" / "predictions.json").read_text()

    def resumed(words, lock):
        fake.calls.append((1, words[0]))
        if words[0] == "test":
            (run / "test" / "predictions.json").write_text(early)
        return 0

    fake.run_here(resumed)
    assert crossval("--folds", "1") == 0
    assert fake.calls == [(1, "fit"), (1, "test")]


def test_a_training_begun_anew_is_the_one_that_is_tested(fake):
    old = write_fold(fake.place, 1)  # stopped, and tested by hand
    (old / "fitted.json").unlink()

    def anew(words, lock):
        fake.calls.append((1, words[0]))
        new = old.with_name("version_1")
        if words[0] == "fit":
            write_fold(fake.place.parent / "fresh", 1, upto="fit").rename(new)
        else:
            assert "lightning_logs/exp/fold_1/version_1/config.yaml" in words
            shutil.copytree(old / "test", new / "test")
        return 0

    fake.run_here(anew)
    assert crossval("--folds", "1", "--resume", "false") == 0
    assert fake.calls == [(1, "fit"), (1, "test")]
    assert not (old / "fitted.json").exists()
    assert (old / "test" / "predictions.json").is_file()


def test_an_epoch_chosen_on_the_cases_that_judge_it_is_told(fake, capsys):
    assert crossval("--folds", "0") == 0
    assert "was chosen by" not in capsys.readouterr().err
    path = fake.place / "fold_0" / "version_0" / "config.yaml"
    settings = yaml.safe_load(path.read_text())
    settings["trainer"]["callbacks"] = [{"class_path": "A", "init_args": {"monitor": "val/auroc"}}]
    path.write_text(yaml.safe_dump(settings))
    assert crossval("--gather") == 0
    assert (
        "the epoch of each fold was chosen by val/auroc of the cases that judge it" in capsys.readouterr().err
    )


# ---- the weights of another experiment -----------------------------------------------------------


@pytest.fixture
def lent(fake, tmp_path):
    """The folds of ``exp`` are trained; what runs from here on tests them once more."""
    assert crossval() == 0
    for fold in range(3):
        (fake.place / f"fold_{fold}" / "version_0" / "checkpoints" / "last.ckpt").write_text(
            f"weights {fold}"
        )
    fake.calls.clear()
    fake.place = tmp_path / "lightning_logs" / "again"

    def test_only(words, lock):
        number = fake._number(words)
        fake.calls.append((number, words[0]))
        run = Path(words[words.index("--config") + 1]).parent
        shutil.copytree(fake.place.parent / "exp" / f"fold_{number}" / "version_0" / "test", run / "test")
        return 0

    fake.run_here(test_only)
    return fake


AGAIN = ("--experiment", "again", "--weights_of", "exp", "--tta", "mirror")


def test_the_weights_of_another_experiment_are_tested_and_never_trained(lent, capsys):
    assert crossval(*AGAIN) == 0
    assert lent.calls == [(fold, "test") for fold in range(3)]
    assert lent.captured[-3:] == ["--tta", "mirror", "--print_config"]
    for fold in range(3):
        first, again = (lent.place.parent / name / f"fold_{fold}" / "version_0" for name in ("exp", "again"))
        assert (again / "checkpoints" / "last.ckpt").samefile(first / "checkpoints" / "last.ckpt")
        assert (again / "split.json").read_text() == (first / "split.json").read_text()
        settings = yaml.safe_load((again / "config.yaml").read_text())
        assert (settings["tta"], settings["data"]["init_args"]["fold"]) == ("mirror", fold)
        assert settings["experiment"] == f"fold_{fold}" and settings["logs"].endswith("again")
        assert json.loads((again / "fitted.json").read_text())["weights_of"] == "exp"
    rows = read_per_case(lent.place / "out_of_fold" / "per_case.csv")
    assert [row["case_id"] for row in rows] == [case for fold in range(3) for case in cases_of(fold)]
    lent.calls.clear()
    assert crossval(*AGAIN) == 0
    assert lent.calls == []
    capsys.readouterr()
    assert crossval(*AGAIN, "--gather") == 0
    assert "all 3 folds" in capsys.readouterr().out


def test_the_last_line_names_the_experiment_again(lent, capsys):
    assert crossval(*AGAIN, "--folds", "0", "--logs", "lightning_logs") == 0
    last = capsys.readouterr().out.splitlines()[-1]
    words = "--folds 1,2 --experiment again --logs lightning_logs --weights_of exp --tta mirror"
    assert last == f"next: medimg crossval --config exp.yaml {words}"


def test_a_borrowed_fold_that_was_killed_goes_on(lent):
    tested = lent.runs_verb
    (lent.place / "fold_0" / "version_0" / "checkpoints").mkdir(parents=True)  # killed while it was laid out
    lent.run_here(lambda words, lock: 143)
    assert crossval(*AGAIN) == 143
    lent.run_here(tested)
    assert crossval(*AGAIN) == 0
    assert lent.calls == [(fold, "test") for fold in range(3)]
    assert not list(lent.place.glob("fold_0/version_2"))


def test_weights_that_cannot_be_tested_are_refused(lent, capsys):
    def said(*words):
        assert crossval(*words) == 2
        return capsys.readouterr().err

    assert "--weights_of again: is the experiment itself" in said(
        "--experiment", "again", "--weights_of", "again"
    )
    assert "fold 0 is not trained in lightning_logs/none" in said(
        "--experiment", "again", "--weights_of", "none"
    )
    assert "named by one plain folder name, not 'a/b'" in said("--experiment", "again", "--weights_of", "a/b")
    assert "trained with other settings: trainer.max_epochs is 2 and 3 now" in said(
        *AGAIN, "--trainer.max_epochs", "3"
    )
    assert "--calibration is no option of crossval" in said(*AGAIN, "--calibration", "c.json")
    assert "was trained itself, found --weights_of none" in said("--weights_of", "none")
    assert lent.calls == []
    assert crossval(*AGAIN) == 0
    assert "has the weights of exp, found no --weights_of" in said("--experiment", "again", "--tta", "mirror")
    (lent.place.parent / "exp" / "fold_1" / "version_0" / "checkpoints" / "last.ckpt").write_text("newer")
    assert "lightning_logs/again/fold_1: was tested with other weights than" in said(*AGAIN)


def test_a_damaged_note_is_named(fake, capsys):
    (write_fold(fake.place, 0) / "fitted.json").write_text("{")
    assert crossval() == 2
    assert "fitted.json: cannot be read" in capsys.readouterr().err


# ---- real runs of tiny networks ------------------------------------------------------------------


def command(config, root, *words):
    return [
        sys.executable, "-m", "medimg", "crossval", "--config", str(ROOT / "tests" / "conf" / config),
        "--data.root", str(root), *words,
    ]  # fmt: skip


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def run(folder, *words):
    done = subprocess.run(
        command(*words), cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_classification_is_cross_validated_and_ensembled(tmp_path, write_class_folders):
    write_class_folders(tmp_path / "data", {"benign": 6, "malignant": 6})
    out = run(tmp_path, "classification.yaml", tmp_path / "data")
    assert out.splitlines()[-1].startswith(
        "next: medimg calibrate lightning_logs/classification/out_of_fold "
    )
    place = tmp_path / "lightning_logs" / "classification"
    rows = read_per_case(place / "out_of_fold" / "per_case.csv")
    assert len({row["case_id"] for row in rows}) == len(rows) == 12
    facts = [
        json.loads((place / f"fold_{k}" / "version_0" / "test" / "predictions.json").read_text())
        for k in (0, 1)
    ]
    assert [(one["fold"], one["part"]) for one in facts] == [(0, "validation"), (1, "validation")]
    assert len({one["split"] for one in facts}) == 1
    with (place / "crossval.csv").open() as stream:
        assert [row["fold"] for row in csv.DictReader(stream)] == ["0", "1", "mean", "std"]
    again = ("--experiment", "again", "--weights_of", "classification", "--tta", "mirror")
    run(tmp_path, "classification.yaml", tmp_path / "data", *again)
    other = place.with_name("again")
    assert not list(other.glob("fold_*/version_*/metrics.csv"))  # nothing was trained
    assert [row["case_id"] for row in read_per_case(other / "out_of_fold" / "per_case.csv")] == [
        row["case_id"] for row in rows
    ]
    assert json.loads((other / "out_of_fold" / "predictions.json").read_text())["tta"] == [
        "FlipTTA(axes=('horizontal',))"
    ]
    copy = tmp_path / "copy"
    shutil.copytree(place / "out_of_fold", copy)
    assert main(["ensemble", str(place / "out_of_fold"), str(copy), "--out", str(tmp_path / "both")]) == 0


@pytest.mark.slow
def test_a_segmentation_killed_at_any_moment_ends_with_every_case_once(tmp_path, write_decathlon):
    root = write_decathlon(tmp_path / "data", cases=4, tests=1)
    root = tmp_path / "data" if root is None else root
    place = tmp_path / "lightning_logs" / "softmax"
    moments = (
        place / "fold_0" / "version_0" / "split.json",
        place / "fold_0" / "version_0" / "checkpoints" / "last.ckpt",
        place / "fold_1" / "version_0" / "split.json",
        place / "fold_1" / "version_0" / "test" / "masks" / "predictions.json",
    )
    for moment in moments:
        process = subprocess.Popen(command("softmax.yaml", root), cwd=tmp_path, env=environment())
        end = time.monotonic() + 240
        while not moment.exists() and process.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
    tested = place / "fold_0" / "version_0" / "test" / "per_case.csv"
    before = {path: path.stat().st_mtime_ns for path in (place / "fold_0").rglob("per_case.csv")}
    out = run(tmp_path, "softmax.yaml", root)
    assert out.splitlines()[-1].startswith(
        "next: medimg postprocess lightning_logs/softmax/out_of_fold --search"
    )
    assert "fold 0: finished already" in out
    assert {path: path.stat().st_mtime_ns for path in (place / "fold_0").rglob("per_case.csv")} == before
    assert tested.is_file() or list(place.glob("fold_0/version_*/test/per_case.csv"))
    folder = place / "out_of_fold"
    cases = [row["case_id"] for row in read_per_case(folder / "per_case.csv")]
    assert len(set(cases)) == len(cases) == 4
    assert sorted(path.name for path in folder.glob("*.nii.gz")) == [f"{case}.nii.gz" for case in cases]
    assert sorted(path.stem for path in folder.glob("*.npz")) == cases

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medimg.cli import main
from medimg.commands.ensemble import ensemble
from medimg.commands.ensemble_search import search_report
from medimg.ensembling.calibration_file import Calibration, write_calibration
from medimg.ensembling.calibrators import Temperature
from medimg.ensembling.weights_file import SearchedWeights
from medimg.errors import ConfigError, DataError
from medimg.io.nifti import read_mask, write_image
from medimg.scoring.bootstrap import Interval
from medimg.scoring.label_table import label_row, write_label_table

VALIDATION = {"split": "s1", "part": "validation", "fold": None}
SCHEME = {"classes": ["a", "b"], "head": "softmax", "labels": {"a": 1, "b": 4}}
LABELS = np.array([0, 1, 4], np.uint8)


def make_table(folder: Path, signal: float, seed: int, cases: int = 60, **facts) -> Path:
    """A member that knows so much of the truth, which is the same for all."""
    target = np.random.default_rng(7).integers(0, 2, cases)
    logits = signal * (2 * target - 1) + np.random.default_rng(seed).normal(size=cases)
    probs = 1 / (1 + np.exp(-logits))
    rows = [
        label_row(f"c{n:02d}", f"p{n // 2}", ["x"], [prob], [truth])
        for n, (prob, truth) in enumerate(zip(probs, target, strict=True))
    ]
    write_label_table(folder / "per_case.csv", rows)
    content = {"classes": ["x"], "task": "binary", **VALIDATION, **facts}
    (folder / "predictions.json").write_text(json.dumps(content))
    return folder


def make_volumes(folder: Path, noise: float, seed: int, **facts) -> Path:
    for number in range(4):
        logits = 2 * np.random.default_rng(number).normal(size=(3, 4, 5, 6))
        truth = LABELS[logits.argmax(0)]
        logits = logits + noise * np.random.default_rng([seed, number]).normal(size=logits.shape)
        probs = (np.exp(logits) / np.exp(logits).sum(0)).astype(np.float32)
        write_image(folder / f"c{number}.nii.gz", LABELS[probs.argmax(0)], np.eye(4))
        np.savez(folder / f"c{number}.npz", probs=probs)
        write_image(folder.parent / "ref" / f"c{number}.nii.gz", truth, np.eye(4))
    (folder / "predictions.json").write_text(json.dumps({**SCHEME, **VALIDATION, **facts}))
    return folder


@pytest.fixture
def tables(tmp_path):
    return [
        make_table(tmp_path / name, *how)
        for name, how in {"a": (0.2, 1), "b": (1.2, 2), "c": (0.0, 3)}.items()
    ]


@pytest.fixture
def volumes(tmp_path):
    return [make_volumes(tmp_path / f"m{seed}", noise, seed) for seed, noise in enumerate((3.0, 0.3))]


def column(folder: Path, name: str) -> list[float]:
    with (folder / "per_case.csv").open() as stream:
        return [float(row[name]) for row in csv.DictReader(stream)]


def test_a_search_prints_what_it_is_worth_and_writes_the_honest_prediction(tables, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["ensemble", *map(str, tables), "--out", str(out), "--weights", "greedy"]) == 0
    printed = capsys.readouterr().out
    for words in (
        "best single member",
        "equal weights",
        "in-sample",
        "nested",
        "gain over equal weights",
        "95 % from",
    ):
        assert words in printed
    content = json.loads((out / "weights.json").read_text())
    scores = content["scores"]
    assert scores["best_single"]["member"] == str(tables[1])
    assert content["weights"][1] > 0.5
    assert (content["split"], content["n_cases"], content["objective"]) == ("s1", 60, "auroc")
    # What is written can be scored: each case is combined with weights that never saw its patient.
    target, probs = column(out, "target_x"), column(out, "prob_x")
    assert scores["searched_nested"] == pytest.approx(roc_auc_score(target, probs))
    gain = scores["searched_nested"] - scores["equal"]
    assert scores["nested_gain_over_equal"]["mean"] == pytest.approx(gain)
    assert gain > 0
    last = printed.splitlines()[-1]
    assert (
        last
        == f"next: medimg ensemble TEST_PREDICTIONS... --method mean --weights_from {out / 'weights.json'} --out DIR"
    )
    facts = json.loads((out / "predictions.json").read_text())
    assert [one["weight"] for one in facts["ensemble"]["members"]] == content["weights"]
    assert facts["part"] == "validation"


def test_a_search_that_does_not_pay_says_so(tmp_path, capsys):
    members = [make_table(tmp_path / f"m{seed}", 0.7, seed) for seed in range(3)]
    shutil.copytree(members[0], tmp_path / "same")
    ensemble([members[0], tmp_path / "same"], out=tmp_path / "out", weights=["simplex"])
    printed = capsys.readouterr().out.splitlines()
    assert any(line.startswith("gain over equal weights") and "+0.0000" in line for line in printed)
    assert (
        "the searched weights cannot be told from equal ones: equal weights are the safer choice" in printed
    )
    assert "--weights equal" in printed[-1]


def test_weights_are_applied_to_other_cases(tables, tmp_path, capsys):
    ensemble(tables, out=tmp_path / "out", weights=["greedy"], objective="log_loss")
    path = tmp_path / "out" / "weights.json"
    weights = json.loads(path.read_text())["weights"]
    test = []
    for number in range(3):
        folder = make_table(tmp_path / "test" / str(number), 1.0, 10 + number, part="test")
        text = (folder / "per_case.csv").read_text()
        (folder / "per_case.csv").write_text(text.replace("\nc", "\nt"))
        test.append(folder)
    capsys.readouterr()
    ensemble(test, out=tmp_path / "applied", weights_from=path)
    shown = capsys.readouterr()
    assert f"for {test[1]}, found for {tables[1]}" in shown.out
    assert "flatters" not in shown.err
    expected = np.average([column(folder, "prob_x") for folder in test], axis=0, weights=weights)
    np.testing.assert_allclose(column(tmp_path / "applied", "prob_x"), expected)
    ensemble(tables, out=tmp_path / "again", weights_from=path)
    assert "60 of 60 cases of" in capsys.readouterr().err
    for options, message in (
        ({"method": "rank"}, "found for --method mean, found --method rank"),
        ({"weights": ["1", "1", "1"]}, "Give one of them"),
    ):
        with pytest.raises(ConfigError, match=message):
            ensemble(test, out=tmp_path / "other", weights_from=path, **options)
    with pytest.raises(ConfigError, match="expected its 3 members"):
        ensemble(test[:2], out=tmp_path / "other", weights_from=path)
    assert not (tmp_path / "other").exists()


def test_cases_that_are_to_judge_are_not_searched_on(tables, tmp_path, capsys):
    for facts, message in (
        ({"part": "test"}, "says that these are test cases.*--weights_from"),
        ({"part": "predict", "in_split": 60}, "these are 60 cases that train or validate in its split"),
    ):
        seen = make_table(tmp_path / "seen", 1.0, 5, **facts)
        with pytest.raises(DataError, match=message):
            ensemble([tables[0], seen], out=tmp_path / "out", weights=["greedy"], mixed_splits=True)
    assert not (tmp_path / "out").exists()
    for folder in tables:
        (folder / "predictions.json").unlink()
    named = make_table(tmp_path / "my_test", 1.0, 5)
    (named / "predictions.json").unlink()
    with pytest.raises(DataError, match=r"its name says that these are test cases.*Weights chosen on them"):
        ensemble([tables[0], named], out=tmp_path / "out", weights=["greedy"])
    ensemble(tables, out=tmp_path / "out", weights=["greedy"])
    assert "nothing says which cases these are" in capsys.readouterr().err


def test_a_search_on_volumes_writes_the_masks_of_its_folds(volumes, tmp_path, capsys):
    out, references = tmp_path / "out", tmp_path / "ref"
    words = ["ensemble", *map(str, volumes), "--out", str(out), "--references", str(references)]
    assert main([*words, "--weights", "greedy", "--probabilities"]) == 0
    content = json.loads((out / "weights.json").read_text())
    assert content["objective"] == "dice"
    assert content["weights"][1] > 0.5
    dice = []
    for fold in content["folds"]:
        for case in fold["cases"]:
            members = [np.load(folder / f"{case}.npz")["probs"] for folder in volumes]
            mean = np.average(members, axis=0, weights=fold["weights"])
            np.testing.assert_allclose(np.load(out / f"{case}.npz")["probs"], mean, atol=1e-3)
            mask, truth = read_mask(out / f"{case}.nii.gz"), read_mask(references / f"{case}.nii.gz")
            dice += [
                2 * ((mask == v) & (truth == v)).sum() / ((mask == v).sum() + (truth == v).sum())
                for v in (1, 4)
            ]
    assert content["scores"]["searched_nested"] == pytest.approx(np.mean(dice))
    assert "--weights_from" in capsys.readouterr().out.splitlines()[-1]
    # And again with numbers: the weights of the earlier search do not stay behind.
    ensemble(volumes, out=out, weights=["1", "1"], overwrite=True)
    assert not (out / "weights.json").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": ["greedy"]}, "needs the reference masks"),
        ({"weights": ["greedy"], "references": Path("ref"), "objective": "auroc"}, "auroc is for tables"),
        ({"weights": ["greedy"], "method": "majority"}, "averages probabilities"),
        ({"weights": ["1", "1"], "references": Path("ref")}, "--references goes with a search"),
        ({"objective": "dice"}, "--objective goes with a search"),
        ({"calibration": Path("c.json")}, "--calibration is for tables"),
        ({"weights": ["gredy"]}, "expected equal, greedy, simplex"),
        ({"weights_from": Path("weights.json"), "method": "majority"}, "averages probabilities"),
        ({"weights_from": Path("weights.json"), "method": "staple"}, "averages probabilities"),
    ],
)
def test_options_that_do_not_fit_volumes_are_refused(volumes, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        ensemble(volumes, out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"references": Path("ref")}, "are for volumes"),
        ({"objective": "dice"}, "dice is for volumes"),
        ({"calibration": Path("c.json")}, "search weights first"),
        ({"method": "rank", "objective": "log_loss"}, "rank gives none"),
    ],
)
def test_options_that_do_not_fit_a_search_on_tables_are_refused(tables, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        ensemble(tables, out=tmp_path / "out", weights=["greedy"], **options)
    assert not (tmp_path / "out").exists()


def test_regions_are_those_of_a_challenge(volumes, tmp_path):
    with pytest.raises(ConfigError, match="--regions: expected one of brats2018"):
        ensemble(volumes, out=tmp_path / "o", weights=["greedy"], references=tmp_path / "ref", regions="x")
    with pytest.raises(DataError, match="which these members write, found 2"):
        ensemble(
            volumes, out=tmp_path / "o", weights=["greedy"], references=tmp_path / "ref", regions="brats2021"
        )


def test_weights_that_were_searched_are_not_lost(tables, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "weights.json").write_text('{"mine": 1}')
    with pytest.raises(ConfigError, match=r"holds weights\.json already. No search wrote it"):
        ensemble(tables, out=out, weights=["greedy"], overwrite=True)
    assert (out / "weights.json").read_text() == '{"mine": 1}'
    (out / "weights.json").write_text('{"search": "greedy"}')
    with pytest.raises(ConfigError, match="or --overwrite"):
        ensemble(tables, out=out, weights=["greedy"])


def test_the_combined_table_is_calibrated(tables, tmp_path, capsys):
    path = tmp_path / "calibration.json"
    maps = {"x": Temperature(2.0)}
    write_calibration(path, Calibration("temperature", "binary", ("x",), maps, {"x": 0.4}))
    ensemble(tables, out=tmp_path / "plain")
    ensemble(tables, out=tmp_path / "out", calibration=path)
    plain, found = (
        np.array(column(tmp_path / "plain", "prob_x")),
        np.array(column(tmp_path / "out", "prob_x")),
    )
    logits = np.log(plain / (1 - plain))
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits / 2)))
    assert column(tmp_path / "out", "pred_x") == list((found > 0.4).astype(float))
    assert json.loads((tmp_path / "out" / "predictions.json").read_text())["calibration"]
    assert not capsys.readouterr().err
    write_calibration(path, Calibration("temperature", "binary", ("x",), maps, split="s1"))
    ensemble(tables, out=tmp_path / "same", calibration=path)
    assert "fitted on out-of-fold predictions of this split" in capsys.readouterr().err
    with pytest.raises(DataError, match="went through the calibration"):
        ensemble([tmp_path / "out", tables[0]], out=tmp_path / "twice", calibration=path)


@pytest.mark.parametrize(("low", "advised"), [(0.001, "--weights_from"), (-0.001, "--weights equal")])
def test_what_is_to_be_run_next_is_what_the_verdict_says(low, advised, tmp_path):
    found = SearchedWeights(
        "greedy", "mean", "auroc", ("A", "B"), (1.0, 0.0), (), (0.8, 0.7), 0.8, 0.82, 0.81,
        Interval(0.01, low, 0.02, 60, 0),
    )  # fmt: skip
    lines = search_report(tmp_path, "mean", found).splitlines()
    assert advised in lines[-1]
    assert any("equal weights are the safer choice" in line for line in lines) == (low < 0)

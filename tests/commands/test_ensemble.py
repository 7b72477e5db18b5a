import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from medimg.cli import main
from medimg.commands.ensemble import ensemble
from medimg.errors import ConfigError, DataError
from medimg.io.nifti import read_mask, write_image
from medimg.scoring.label_table import label_row, write_label_table

FACTS = {
    "classes": ["a", "b"],
    "head": "softmax",
    "labels": {"a": 1, "b": 4},
    "split": "s1",
    "checkpoint": "x.ckpt",
}
LABELS = np.array([0, 1, 4], np.uint8)


def make_volumes(folder: Path, seed: int, cases=("c1", "c2"), **facts) -> Path:
    rng = np.random.default_rng(seed)
    for case in cases:
        values = np.exp(2 * rng.normal(size=(3, 4, 5, 6)))
        probs = (values / values.sum(0)).astype(np.float16)
        write_image(folder / f"{case}.nii.gz", LABELS[probs.argmax(0)], np.diag([1.0, 2.0, 3.0, 1.0]))
        np.savez_compressed(folder / f"{case}.npz", probs=probs)
    (folder / "predictions.json").write_text(json.dumps({**FACTS, **facts}))
    return folder


def make_table(folder: Path, probs, **facts) -> Path:
    rows = [label_row(f"c{n}", f"p{n}", ["x"], [prob], [n % 2]) for n, prob in enumerate(probs)]
    write_label_table(folder / "per_case.csv", rows)
    (folder / "predictions.json").write_text(json.dumps({"classes": ["x"], "task": "binary", **facts}))
    return folder


@pytest.fixture
def volumes(tmp_path):
    return [make_volumes(tmp_path / f"m{seed}", seed) for seed in range(3)]


def test_the_command_line_averages_writes_and_says_what_is_next(volumes, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["ensemble", *map(str, volumes), "--out", str(out), "--weights", "2", "1", "1", "--probabilities"]
    assert main([*words, "--method", "mean"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"next: medimg score {out} REFERENCES --labels a=1,b=4"
    names = ["c1.nii.gz", "c1.npz", "c2.nii.gz", "c2.npz", "predictions.json"]
    assert sorted(path.name for path in out.iterdir()) == names
    members = [np.load(folder / "c2.npz")["probs"].astype(float) for folder in volumes]
    mean = np.average(members, axis=0, weights=[2, 1, 1])
    np.testing.assert_allclose(np.load(out / "c2.npz")["probs"], mean, atol=1e-3)
    np.testing.assert_array_equal(read_mask(out / "c2.nii.gz"), LABELS[mean.argmax(0)])
    content = json.loads((out / "predictions.json").read_text())
    assert content["ensemble"]["method"] == "mean"
    assert [member["weight"] for member in content["ensemble"]["members"]] == [0.5, 0.25, 0.25]
    assert (content["classes"], content["labels"], content["split"]) == (["a", "b"], {"a": 1, "b": 4}, "s1")
    assert content["cases"]["c1"] == {"shape": [4, 5, 6], "spacing_mm": [3.0, 2.0, 1.0]}


def test_two_processes_write_the_bytes_of_one(volumes, tmp_path):
    for workers in (1, 2):
        ensemble(volumes, out=tmp_path / str(workers), method="geometric", workers=workers)
    for name in ("c1.nii.gz", "c2.nii.gz", "predictions.json"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


@pytest.mark.parametrize("method", ["majority", "mean"])
def test_members_need_no_description(volumes, tmp_path, capsys, method):
    for folder in volumes:
        (folder / "predictions.json").unlink()
    assert ensemble(volumes, out=tmp_path / "out", method=method) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("REFERENCES --labels NAME=VALUE")
    # Without labels, channels are written as 0, 1, 2.
    values = {0, 1, 4} if method == "majority" else {0, 1, 2}
    assert set(np.unique(read_mask(tmp_path / "out" / "c1.nii.gz"))) == values


def test_an_ensemble_is_a_member(volumes, tmp_path):
    ensemble(volumes[:2], out=tmp_path / "two", probabilities=True)
    ensemble([tmp_path / "two", volumes[2]], out=tmp_path / "tree", weights=[2, 1])
    ensemble(volumes, out=tmp_path / "flat")
    one, other = (read_mask(tmp_path / name / "c1.nii.gz") for name in ("tree", "flat"))
    assert (one == other).mean() > 0.99  # but for the rounding to float16


def test_regions_are_written_in_the_order_of_their_labels(tmp_path, capsys):
    facts = {"classes": ["ET", "WT"], "head": "sigmoid", "labels": {"WT": 2, "ET": 3}}
    folders = [make_volumes(tmp_path / name, 0, cases=["c"], **facts) for name in "ab"]
    for folder, et in zip(folders, (0.9, 0.3), strict=True):
        probs = np.full((2, 4, 5, 6), 0.9, np.float16)
        probs[0, :2] = et
        probs[0, 2:] = 0.1
        np.savez(folder / "c.npz", probs=probs)
    assert ensemble(folders, out=tmp_path / "out") == 0
    mask = read_mask(tmp_path / "out" / "c.nii.gz")
    assert (mask[:2] == 3).all()
    assert (mask[2:] == 2).all()
    assert capsys.readouterr().out.splitlines()[-1].endswith("--regions CHALLENGE")


def test_tables_become_a_table(tmp_path, capsys):
    folders = [make_table(tmp_path / "a", [0.1, 0.9, 0.5]), make_table(tmp_path / "b", [0.3, 0.5, 0.1])]
    out = tmp_path / "out"
    assert (
        main(["ensemble", *map(str, folders), "--out", str(out), "--method", "mean", "--weights", "3", "1"])
        == 0
    )
    assert capsys.readouterr().out.splitlines()[-1] == f"next: the ensemble's table is {out / 'per_case.csv'}"
    with (out / "per_case.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    np.testing.assert_allclose([float(row["prob_x"]) for row in rows], [0.15, 0.8, 0.4])
    assert [row["target_x"] for row in rows] == ["0.0", "1.0", "0.0"]
    assert json.loads((out / "predictions.json").read_text())["task"] == "binary"


def test_tables_alone_are_enough(tmp_path):
    tables = [make_table(tmp_path / name, [0.1, 0.2]) / "per_case.csv" for name in "ab"]
    for table in tables:
        table.with_name("predictions.json").unlink()
    ensemble(tables, out=tmp_path / "out", method="geometric")
    assert json.loads((tmp_path / "out" / "predictions.json").read_text())["classes"] == ["x"]


def test_tables_are_ranked(tmp_path):
    folders = [make_table(tmp_path / "a", [0.1, 0.9, 0.5]), make_table(tmp_path / "b", [0.003, 0.001, 0.002])]
    ensemble(folders, out=tmp_path / "out", method="rank")
    with (tmp_path / "out" / "per_case.csv").open() as stream:
        found = [float(row["prob_x"]) for row in csv.DictReader(stream)]
    np.testing.assert_allclose(found, [(1 / 3 + 1) / 2, (1 + 1 / 3) / 2, 2 / 3])


def test_run_folders_stand_for_a_part(volumes, tmp_path):
    runs = []
    for number, folder in enumerate(volumes):
        run = tmp_path / "logs" / f"version_{number}"
        for part in ("test/masks", "predict"):
            shutil.copytree(folder, run / part)
        (run / "predict" / "c2.nii.gz").unlink()
        (run / "config.yaml").touch()
        runs.append(run)
    ensemble(runs, out=tmp_path / "test", method="majority")
    ensemble(runs, out=tmp_path / "predict", method="majority", part="predict")
    assert (tmp_path / "test" / "c2.nii.gz").is_file()
    assert not (tmp_path / "predict" / "c2.nii.gz").exists()


def test_members_that_do_not_fit_leave_no_output(volumes, tmp_path):
    fewer = make_volumes(tmp_path / "fewer", 3, cases=["c1"])
    renamed = make_volumes(tmp_path / "renamed", 3, labels={"a": 1, "b": 3})
    resplit = make_volumes(tmp_path / "resplit", 3, split="s2")
    for other, message in (
        (fewer, "fewer lacks 1 of 2: c2"),
        (renamed, "expected the same labels"),
        (resplit, "members of two splits"),
        (make_table(tmp_path / "table", [0.1]), "needs probabilities"),
    ):
        with pytest.raises(DataError, match=message):
            ensemble([*volumes, other], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert ensemble([*volumes, resplit], out=tmp_path / "out", mixed_splits=True) == 0


def test_every_case_that_fails_is_named_and_nothing_is_left(volumes, tmp_path):
    for case in ("c1", "c2"):
        np.savez(volumes[1] / f"{case}.npz", probs=np.full((3, 4, 5, 6), np.nan))
    with pytest.raises(DataError, match=r"2 of 2 cases failed:\n  c1: .*found NaN.*\n  c2: "):
        ensemble(volumes, out=tmp_path / "out")
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]


def test_an_output_that_holds_predictions_is_kept_unless_told(volumes, tmp_path):
    ensemble(volumes, out=tmp_path / "out")
    with pytest.raises(ConfigError, match="--overwrite"):
        ensemble(volumes, out=tmp_path / "out")
    ensemble(volumes, out=tmp_path / "out", method="majority", overwrite=True)
    assert json.loads((tmp_path / "out" / "predictions.json").read_text())["ensemble"]["method"] == "majority"
    with pytest.raises(ConfigError, match="is the member"):
        ensemble(volumes, out=volumes[0], overwrite=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": [1.0]}, "expected one number for each of the 3 members"),
        ({"weights": [1.0, -1.0, 1.0]}, "at least 0"),
        ({"weights": [1.0, 1.0, 1.0], "method": "staple"}, "staple finds out itself"),
        ({"probabilities": True, "method": "majority"}, "majority gives no probabilities"),
    ],
)
def test_options_that_do_not_fit_are_refused(volumes, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        ensemble(volumes, out=tmp_path / "out", **options)


def test_probabilities_of_tables_are_refused(tmp_path):
    folders = [make_table(tmp_path / name, [0.1]) for name in "ab"]
    with pytest.raises(ConfigError, match="is for volumes"):
        ensemble(folders, out=tmp_path / "out", probabilities=True)
    with pytest.raises(ConfigError, match="rank gives no probabilities"):
        ensemble(folders, out=tmp_path / "out", method="rank", probabilities=True)


def test_targets_that_differ_are_told_on_stderr(tmp_path, capsys):
    folders = [make_table(tmp_path / name, [0.1, 0.2]) for name in "ab"]
    text = (folders[1] / "per_case.csv").read_text().replace("p1,1.0", "p1,0.0")
    (folders[1] / "per_case.csv").write_text(text)
    ensemble(folders, out=tmp_path / "out")
    assert "warning: targets are left out" in capsys.readouterr().err
    assert "target_x" not in (tmp_path / "out" / "per_case.csv").read_text()


@pytest.mark.real
def test_the_vote_on_a_glioma_is_the_published_one(tmp_path):
    root = Path(os.environ["MEDIMG_REAL_DATA"]) / "BraTS-TCGA-DU-7294"
    masks = sorted((root / "segmentation").glob("*.nii.gz"))
    assert len(masks) == 5
    members = [tmp_path / f"m{number}" for number in range(5)]
    for folder, mask in zip(members, masks, strict=True):
        folder.mkdir()
        shutil.copy(mask, folder / "case.nii.gz")
    published = read_mask(root / "fusion" / "mav.nii.gz")
    assert ensemble(members, out=tmp_path / "vote", method="majority") == 0
    np.testing.assert_array_equal(read_mask(tmp_path / "vote" / "case.nii.gz"), published)
    weights = ["3", "1", "1", "2", "1"]
    assert ensemble(members, out=tmp_path / "weighted", method="majority", weights=weights) == 0
    weighted = read_mask(tmp_path / "weighted" / "case.nii.gz")
    assert set(np.unique(weighted)) <= {0, 1, 2, 4}
    votes = np.stack([read_mask(mask) for mask in masks])
    shares = np.array([3, 1, 1, 2, 1]) / 8
    for label in (1, 2, 4):
        np.testing.assert_array_equal(weighted == label, np.tensordot(shares, votes == label, axes=1) > 0.5)
    assert (weighted != published).any()
    # Two of the five see an enhancing tumour that the majority does not.
    with pytest.raises(DataError, match="STAPLE ran away for label 4: 250 voxels, where the majority has 0"):
        ensemble(members, out=tmp_path / "staple", method="staple")

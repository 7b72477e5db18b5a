import csv
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from writers.folds import SPLIT, cases_of, write_fold

from medimg.crossval.folds import find_folds
from medimg.crossval.gather import fold_words, gather
from medimg.ensembling.members import find_member
from medimg.errors import DataError
from medimg.scoring.table import read_per_case


def make(experiment, numbers=(0, 1, 2), **options):
    for number in numbers:
        write_fold(experiment, number, **options)
    return experiment


def gathered(experiment):
    return gather(experiment, find_folds(experiment))


def test_every_case_stands_once_in_the_out_of_fold_table(tmp_path):
    result = gathered(make(tmp_path))
    rows = read_per_case(result.folder / "per_case.csv")
    assert [row["case_id"] for row in rows] == sorted(case for fold in range(3) for case in cases_of(fold))
    source = read_per_case(tmp_path / "fold_1" / "version_0" / "test" / "per_case.csv")
    assert [row for row in rows if row["case_id"].startswith("c1")] == source
    assert (result.missing, result.task) == ((), "binary")
    facts = json.loads((result.folder / "predictions.json").read_text())
    assert (facts["split"], facts["fold"], facts["part"], facts["folds"]) == (
        SPLIT,
        None,
        "validation",
        [0, 1, 2],
    )
    assert facts["crossval"][2]["checkpoint"] == "fold_2/best.ckpt"
    summary = json.loads((result.folder / "summary.json").read_text())
    expected = roc_auc_score([row["target_x"] for row in rows], [row["prob_x"] for row in rows])
    assert summary["macro"]["auroc"]["mean"] == pytest.approx(expected)
    assert "out of fold, all 3 folds" in result.text
    with (tmp_path / "crossval.csv").open() as stream:
        assert [row["fold"] for row in csv.DictReader(stream)] == ["0", "1", "2", "mean", "std"]


def test_several_targets_are_scored_each_by_its_kind(tmp_path):
    result = gathered(make(tmp_path, kind="targets"))
    rows = read_per_case(result.folder / "per_case.csv")
    assert len(rows) == 9 and result.task == "targets"
    summary = json.loads((result.folder / "summary.json").read_text())
    error = np.mean([abs(row["target_y"] - row["pred_y"]) for row in rows])
    assert summary["targets"]["place"]["values"]["mae"]["y"]["mean"] == pytest.approx(error)
    with (tmp_path / "crossval.csv").open() as stream:
        table = {line["fold"]: line for line in csv.DictReader(stream)}
    assert float(table["mean"]["mae_y"]) == pytest.approx(error)  # folds of one size
    auroc = roc_auc_score([row["target_big"] for row in rows], [row["prob_big"] for row in rows])
    assert summary["targets"]["big"]["labels"]["macro"]["auroc"]["mean"] == pytest.approx(auroc)
    assert "MAE y, mm" in result.text and "AUROC big" in result.text
    config = tmp_path / "fold_0" / "version_0" / "config.yaml"
    config.write_text(config.read_text().replace("columns", "column"))
    with pytest.raises(DataError, match=r"fold_0.*(config|targets)"):
        gathered(tmp_path)


def test_slices_of_studies_come_along_as_they_were_written(tmp_path):
    result = gathered(make(tmp_path, kind="studies"))
    with (result.folder / "per_image.csv").open() as stream:
        slices = list(csv.DictReader(stream))
    with (tmp_path / "fold_2" / "version_0" / "test" / "per_image.csv").open() as stream:
        assert [row for row in slices if row["study"].startswith("c2")] == list(csv.DictReader(stream))
    assert len(slices) == 18
    (tmp_path / "fold_1" / "version_0" / "test" / "per_image.csv").unlink()
    with pytest.raises(DataError, match=r"fold_1.*per_image\.csv"):
        gathered(tmp_path)


def test_the_result_is_a_member_of_an_ensemble(tmp_path):
    result = gathered(make(tmp_path / "a"))
    member = find_member(result.folder)
    assert member.table is not None
    assert (member.description.split, member.description.part) == (SPLIT, "validation")
    masks = find_member(gathered(make(tmp_path / "b", kind="masks", probs=True)).folder)
    assert masks.table is None
    assert set(masks.masks) == set(masks.probs)
    assert len(masks.masks) == 9
    assert masks.description.labels == {"a": 1}


def test_masks_are_links_and_probabilities_come_along_only_if_all_folds_have_them(tmp_path):
    make(tmp_path, [0, 1], kind="masks", probs=True)
    write_fold(tmp_path, 2, kind="masks")
    result = gathered(tmp_path)
    names = {path.name for path in result.folder.iterdir()}
    assert {f"{case}.nii.gz" for fold in range(3) for case in cases_of(fold)} < names
    assert not any(name.endswith(".npz") for name in names)
    source = tmp_path / "fold_1" / "version_0" / "test" / "masks" / "c1a.nii.gz"
    assert source.samefile(result.folder / "c1a.nii.gz")
    dice = [row["dice_a"] for row in read_per_case(result.folder / "per_case.csv")]
    assert json.loads((result.folder / "summary.json").read_text())["mean_dice"]["mean"] == pytest.approx(
        np.mean(dice)
    )


def test_masks_are_copied_where_links_cannot_be_made(tmp_path, monkeypatch):
    def refuse(source, target):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("medimg.io.files.os.link", refuse)
    folder = gathered(make(tmp_path, kind="masks")).folder
    source = tmp_path / "fold_0" / "version_0" / "test" / "masks" / "c0a.nii.gz"
    assert (folder / "c0a.nii.gz").read_bytes() == source.read_bytes()


def test_some_folds_are_said_to_be_some(tmp_path):
    result = gathered(make(tmp_path, [0, 2], folds=5))
    assert "folds 0, 2 of 5" in result.text
    assert result.missing == (1, 3, 4)
    assert fold_words([3], 5) == "fold 3 of 5"


def test_with_held_out_cases_both_are_in_the_table_and_only_the_folds_own_out_of_fold(tmp_path):
    result = gathered(make(tmp_path, test=["t1", "t2"]))
    assert not any(row["case_id"].startswith("t") for row in read_per_case(result.folder / "per_case.csv"))
    header = (tmp_path / "crossval.csv").read_text().splitlines()[0].split(",")
    assert {"auroc", "test_auroc"} < set(header)
    assert "AUROC, test cases" in result.text


def test_gathering_again_replaces_its_own_files_keeps_others_and_sweeps_up(tmp_path):
    make(tmp_path, [0, 1, 2], kind="masks")
    folder = gathered(tmp_path).folder
    (folder / "notes.txt").write_text("mine")
    left = tmp_path / ".old-1-out_of_fold"  # a kill between two moves
    left.mkdir()
    (left / "calibration.json").write_text("{}")
    (tmp_path / ".tmp-1-out_of_fold").mkdir()
    folds = find_folds(tmp_path)[:2]
    gather(tmp_path, folds)
    names = {path.name for path in folder.iterdir()}
    own = {f"{case}.nii.gz" for fold in range(2) for case in cases_of(fold)}
    assert names == own | {
        "per_case.csv",
        "predictions.json",
        "summary.json",
        "notes.txt",
        "calibration.json",
    }
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def refused(experiment, said):
    with pytest.raises(DataError, match=said):
        gathered(experiment)
    assert not (experiment / "out_of_fold").exists()
    assert not list(experiment.glob(".tmp-*"))


def test_folds_of_two_splits_are_refused(tmp_path):
    write_fold(tmp_path, 1, split="other")
    refused(
        make(tmp_path, [0]),
        rf"folds of two splits: .*fold_0.* has split {SPLIT} of 3 folds, .*fold_1.* other",
    )


def test_folds_of_two_configs_are_refused_by_the_setting(tmp_path):
    write_fold(tmp_path, 1, epochs=7)
    refused(make(tmp_path, [0]), r"folds of two configs: trainer\.max_epochs is 2 and 7")


def test_a_doubled_case_is_refused(tmp_path):
    write_fold(tmp_path, 1, cases=["c0a", "c1b"])
    refused(make(tmp_path, [0]), "case c0a stands in fold 0 and in fold 1")


def test_a_patient_in_two_folds_is_refused_unless_the_config_asked_for_it(tmp_path):
    for place, leaky in ((tmp_path / "a", ()), (tmp_path / "b", ("p",))):
        for fold in range(2):
            write_fold(place, fold, folds=2, patients=["p", f"q{fold}", f"r{fold}"], leaky=leaky)
    refused(tmp_path / "a", r"patient p stands in fold 0 and in fold 1 \(case c1a\)")
    assert "LEAKY" in gathered(tmp_path / "b").text


def test_a_missing_case_is_refused(tmp_path):
    make(tmp_path)
    table = tmp_path / "fold_2" / "version_0" / "test" / "per_case.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-1]) + "\n")
    refused(tmp_path, "lacks the cases of fold 2: c2c")


def test_a_missing_mask_is_refused(tmp_path):
    make(tmp_path, kind="masks")
    mask: Path = tmp_path / "fold_2" / "version_0" / "test" / "masks" / "c2b.nii.gz"
    mask.unlink()
    refused(tmp_path, r"c2b\.nii\.gz: expected the prediction of this case")


def test_folds_of_other_classes_are_refused(tmp_path):
    make(tmp_path)
    path = tmp_path / "fold_2" / "version_0" / "test" / "predictions.json"
    path.write_text(path.read_text().replace('["x"]', '["y"]'))
    refused(tmp_path, "expected the same classes in all members")


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"tta": ["FlipTTA()"]}, r"its test-time augmentation is \['FlipTTA\(\)'\], that of .*fold_0.* None"),
        ({"calibration": "0123"}, "went through the calibration 0123 already"),
    ],
)
def test_a_fold_that_was_tested_by_hand_in_another_way_is_refused(tmp_path, facts, said):
    make(tmp_path)
    path = tmp_path / "fold_1" / "version_0" / "test" / "predictions.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))
    refused(tmp_path, said)
    assert not (tmp_path / "crossval.csv").exists()

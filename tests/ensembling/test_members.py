from pathlib import Path

import numpy as np
import pytest

from medimg.ensembling.members import check_same_cases, find_member, find_members, kind_of
from medimg.errors import ConfigError, DataError
from medimg.io.nifti import write_image

MASK = np.zeros((2, 2, 2), np.uint8)


def make_masks(folder: Path, *cases: str, probs: bool = False) -> Path:
    for case in cases:
        write_image(folder / f"{case}.nii.gz", MASK, np.eye(4))
        if probs:
            np.savez(folder / f"{case}.npz", probs=np.zeros((2, 2, 2, 2), np.float16))
    return folder


def make_table(folder: Path, text: str = "case_id,prob_x\na,0.5\n") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "per_case.csv").write_text(text)
    return folder


def test_a_folder_brings_its_files_by_case(tmp_path):
    folder = make_masks(tmp_path / "m", "b", "a", probs=True)
    (folder / "._a.nii.gz").touch()
    (folder / ".tmp-a.npz").touch()
    member = find_member(folder)
    assert sorted(member.masks) == sorted(member.probs) == ["a", "b"]
    assert member.table is None


def test_a_run_folder_stands_for_its_predictions(tmp_path):
    run = tmp_path / "version_0"
    make_masks(run / "test" / "masks", "a")
    make_table(run / "test", "case_id,dice_x\na,0.5\n")
    make_masks(run / "predict", "b", "c")
    (run / "config.yaml").touch()
    assert list(find_member(run).masks) == ["a"]
    assert list(find_member(run, part="predict").masks) == ["b", "c"]


def test_a_run_of_a_classification_brings_its_table(tmp_path):
    run = tmp_path / "version_0"
    make_table(run / "test")
    (run / "config.yaml").touch()
    assert find_member(run).table == run / "test" / "per_case.csv"
    with pytest.raises(DataError, match=r"no predictions of predict.*medimg predict --config"):
        find_member(run, part="predict")


def test_predictions_inside_a_run_can_be_named_themselves(tmp_path):
    run = tmp_path / "version_0"
    for folder in (run, make_table(run / "predict")):
        (folder / "config.yaml").touch()
    assert find_member(run / "predict").table == run / "predict" / "per_case.csv"
    assert find_member(run, part="predict").folder == run / "predict"


def test_a_cross_validation_stands_for_what_its_folds_predicted_unseen(tmp_path):
    make_masks(tmp_path / "busi" / "out_of_fold", "a", "b")
    make_table(tmp_path / "busi", "case_id,dice_x\na,0.5\n")
    member = find_member(tmp_path / "busi")
    assert (list(member.masks), member.folder) == (["a", "b"], tmp_path / "busi" / "out_of_fold")
    # A run is a run, whatever else lies in it.
    make_masks(tmp_path / "busi" / "test" / "masks", "c")
    (tmp_path / "busi" / "config.yaml").touch()
    assert list(find_member(tmp_path / "busi").masks) == ["c"]


def test_a_table_can_be_named_itself(tmp_path):
    table = make_table(tmp_path) / "per_case.csv"
    assert find_member(table).table == table


def test_a_table_of_scores_is_no_prediction(tmp_path):
    assert find_member(make_table(tmp_path, "case_id,dice_x\na,0.5\n")).table is None


def test_what_is_no_member_is_refused(tmp_path):
    with pytest.raises(DataError, match="there is no such folder"):
        find_member(tmp_path / "nothing")
    (tmp_path / "a.txt").touch()
    with pytest.raises(DataError, match="found another file"):
        find_member(tmp_path / "a.txt")
    folder = make_masks(tmp_path / "m", "a", "a-seg")
    with pytest.raises(DataError, match="case a stands twice"):
        find_member(folder)


def test_one_member_or_one_twice_is_refused(tmp_path):
    folder = make_masks(tmp_path / "m", "a")
    with pytest.raises(ConfigError, match="two members or more, found 1"):
        find_members([folder])
    with pytest.raises(ConfigError, match="the same member"):
        find_members([folder, folder])
    with pytest.raises(ConfigError, match="the same member"):
        find_members([folder, folder / ".." / "m"])


def test_the_method_decides_what_is_combined(tmp_path):
    volumes = find_members([make_masks(tmp_path / name, "a", probs=True) for name in "ab"])
    tables = find_members([make_table(tmp_path / name) for name in "cd"])
    assert kind_of(volumes, "mean") == kind_of(volumes, "geometric") == "probabilities"
    assert kind_of(volumes, "majority") == kind_of(volumes, "staple") == "masks"
    assert kind_of(tables, "mean") == kind_of(tables, "rank") == "table"


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("mean", r"t: mean needs probabilities.*found a per_case.csv"),
        ("rank", r"m: rank needs a per_case.csv.*found 1 masks"),
        ("majority", r"t: majority needs <case>.nii.gz.*found a per_case.csv"),
    ],
)
def test_members_of_two_kinds_are_refused(tmp_path, method, message):
    members = find_members([make_masks(tmp_path / "m", "a", probs=True), make_table(tmp_path / "t")])
    with pytest.raises(DataError, match=message):
        kind_of(members, method)


def test_masks_alone_have_no_mean(tmp_path):
    members = find_members([make_masks(tmp_path / name, "a") for name in "ab"])
    with pytest.raises(DataError, match="--probabilities"):
        kind_of(members, "mean")


def test_a_case_with_only_one_of_its_files_is_refused(tmp_path):
    members = find_members([make_masks(tmp_path / name, "a", "b", probs=True) for name in "xy"])
    (tmp_path / "y" / "b.npz").unlink()
    with pytest.raises(DataError, match=r"y: expected <case>.npz and <case>.nii.gz .* b\."):
        kind_of(find_members([tmp_path / "x", tmp_path / "y"]), "mean")
    assert kind_of(members, "majority") == "masks"


def test_missing_cases_are_named_where_they_are_missing():
    with pytest.raises(DataError) as fault:
        check_same_cases(["A", "B", "C"], [["1", "2"], ["2", "3"], ["1", "2", "3"]])
    assert "A lacks 1 of 3: 3" in str(fault.value)
    assert "B lacks 1 of 3: 1" in str(fault.value)
    assert "C lacks" not in str(fault.value)
    assert "side by side" not in str(fault.value)


def test_folds_on_their_own_cases_are_told_apart():
    with pytest.raises(DataError, match="put side by side"):
        check_same_cases(["A", "B"], [["1"], ["2"]])

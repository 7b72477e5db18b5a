import json

import pytest
from writers.folds import cases_of, write_fold, write_predictions

from medimg.crossval.folds import Fold, find_fold, find_folds, read_fold_split
from medimg.errors import DataError


def test_a_fold_is_found_however_far_it_came(tmp_path):
    assert find_folds(tmp_path / "none") == []
    for number, upto in ((0, "test"), (1, "fit"), (2, "fitted")):
        write_fold(tmp_path, number, upto=upto)
    (tmp_path / "fold_x").mkdir()
    found = find_folds(tmp_path)
    assert [fold.number for fold in found] == [0, 1, 2]
    assert [(fold.fitted, fold.finished, fold.can_resume) for fold in found] == [
        (True, True, True),
        (False, False, True),
        (True, False, True),
    ]
    assert found[0].checkpoint == "last"
    (found[0].run.checkpoints / "best.ckpt").touch()
    assert found[0].checkpoint == "best"


def test_a_finished_run_comes_before_a_newer_one_that_is_not(tmp_path):
    run = write_fold(tmp_path, 0)
    other = write_fold(tmp_path / "b", 0, upto="fit")
    other.rename(run.parent / "version_1")
    assert find_fold(tmp_path, 0).run.version == 0
    (run / "test" / "predictions.json").unlink()
    (run / "fitted.json").unlink()
    assert find_fold(tmp_path, 0).run.version == 1
    (run.parent / "version_2").mkdir()  # killed before it wrote its settings
    assert find_fold(tmp_path, 0).run.version == 1
    assert find_fold(tmp_path, 1) is None


def test_a_trained_run_comes_before_one_that_was_tested_before_its_end(tmp_path):
    early = write_fold(tmp_path, 0)
    (early / "fitted.json").unlink()
    write_fold(tmp_path / "b", 0, upto="fitted").rename(early.with_name("version_1"))
    assert find_fold(tmp_path, 0).run.version == 1


def test_a_test_is_finished_only_for_its_own_split_and_fold(tmp_path):
    run = write_fold(tmp_path, 0)
    path = run / "test" / "predictions.json"
    facts = json.loads(path.read_text())
    for change in ({"split": "other"}, {"fold": 1}, {"part": "test"}):
        path.write_text(json.dumps({**facts, **change}))
        assert not find_fold(tmp_path, 0).finished
    path.write_text(json.dumps(facts))
    (run / "test" / "per_case.csv").unlink()
    assert not find_fold(tmp_path, 0).finished


def test_with_cases_held_out_the_folds_own_cases_are_validated_too(tmp_path):
    write_fold(tmp_path, 0, test=["t1", "t2"])
    fold = find_fold(tmp_path, 0)
    assert fold.verbs == ("test", "validate")
    assert fold.finished
    assert [row["case_id"] for row in fold.rows()] == cases_of(0)
    assert [row["case_id"] for row in fold.test_rows()] == ["t1", "t2"]
    (fold.unseen / "predictions.json").unlink()
    assert not find_fold(tmp_path, 0).finished


def test_marking_and_masks(tmp_path):
    write_fold(tmp_path, 0, kind="masks", upto="fit")
    fold: Fold = find_fold(tmp_path, 0)
    fold.mark_fitted()
    assert fold.fitted
    facts = {"split": fold.split.split, "fold": 0, "part": "validation"}
    write_predictions(fold.run.path / "test", cases_of(0), 0, "masks", facts)
    assert fold.finished
    assert fold.description().labels == {"a": 1}
    assert fold.test_rows() == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: lines[:-1], r"lacks the cases of fold 0: c0c \(1 of 3\)"),
        (lambda lines: [*lines, "c9z,p,1.0,0.5"], "holds what is not one of the cases of fold 0: c9z"),
        (lambda lines: [*lines, lines[-1]], "holds twice the cases of fold 0: c0c"),
    ],
)
def test_cases_missing_foreign_or_doubled_are_refused_by_name(tmp_path, change, said):
    table = write_fold(tmp_path, 0) / "test" / "per_case.csv"
    table.write_text("\n".join(change(table.read_text().splitlines())) + "\n")
    with pytest.raises(DataError, match=said):
        find_fold(tmp_path, 0).rows()


def test_a_run_in_the_folder_of_another_fold_is_refused(tmp_path):
    write_fold(tmp_path, 1)
    (tmp_path / "fold_1").rename(tmp_path / "fold_0")
    with pytest.raises(DataError, match="expected a run of fold 0, found one of fold 1"):
        find_folds(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"split": "a"}', '{"split": "a", "fold": "x"}'])
def test_a_damaged_split_is_refused(tmp_path, text):
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(DataError, match=r"split\.json: expected split, fold, folds"):
        read_fold_split(tmp_path / "split.json")

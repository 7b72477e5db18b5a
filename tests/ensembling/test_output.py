import json
from pathlib import Path

import pytest

from medimg.ensembling.description import Description, read_description
from medimg.ensembling.members import Member
from medimg.ensembling.output import check_out, staged, write_description
from medimg.errors import ConfigError, DataError, ResourceError

COMMON = Description(("a",), "softmax", {"a": 1}, split="s")


@pytest.fixture
def members(tmp_path):
    return [
        Member(name, tmp_path / name, {}, {}, None, Description(checkpoint=f"{name}.ckpt"))
        for name in ("A", "B")
    ]


def write_ensemble(out: Path, members, *cases):
    with staged(out) as folder:
        for case in cases:
            (folder / f"{case}.nii.gz").write_text(case)
        write_description(
            folder, COMMON, members, [0.75, 0.25], method="mean", cases={case: {} for case in cases}
        )


def test_the_description_names_members_method_and_weights(tmp_path, members):
    write_ensemble(tmp_path / "out", members, "b", "a")
    content = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert content["ensemble"]["method"] == "mean"
    assert content["ensemble"]["members"][0] == {
        "folder": str(tmp_path / "A"), "weight": 0.75, "checkpoint": "A.ckpt",
    }  # fmt: skip
    assert list(content["cases"]) == ["a", "b"]
    assert read_description(tmp_path / "out") == COMMON  # an ensemble can be a member


def test_the_split_its_fold_and_its_part_travel_on(tmp_path, members):
    common = Description(("a",), task="binary", split="s", fold=2, part="predict", in_split=0)
    write_description(tmp_path, common, members, [0.5, 0.5], method="rank")
    assert read_description(tmp_path) == common


def test_of_a_table_there_are_no_grids(tmp_path, members):
    write_description(tmp_path, Description(("a",), task="binary"), members, [0.5, 0.5], method="rank")
    content = json.loads((tmp_path / "predictions.json").read_text())
    assert content["task"] == "binary"
    assert "cases" not in content
    assert "head" not in content


def test_no_case_is_no_ensemble(tmp_path, members):
    with pytest.raises(DataError, match="no case was combined"):
        write_description(tmp_path, COMMON, members, [0.5, 0.5], method="mean", cases={})


def test_a_block_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(DataError), staged(tmp_path / "deep" / "out") as folder:
        (folder / "a.nii.gz").write_text("half")
        raise DataError("case b is damaged")
    assert not list((tmp_path / "deep").iterdir())


def test_an_ensemble_is_replaced_whole_and_only_when_asked(tmp_path, members):
    out = tmp_path / "out"
    write_ensemble(out, members, "a", "b")
    (out / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds predictions already"):
        check_out(out, members, overwrite=False)
    check_out(out, members, overwrite=True)
    write_ensemble(out, members, "b", "c")
    assert sorted(path.name for path in out.iterdir()) == [
        "b.nii.gz", "c.nii.gz", "notes.txt", "predictions.json",
    ]  # fmt: skip


def test_a_run_that_fails_keeps_the_old_ensemble(tmp_path, members):
    out = tmp_path / "out"
    write_ensemble(out, members, "a")
    with pytest.raises(DataError), staged(out):
        raise DataError("case b is damaged")
    assert (out / "a.nii.gz").read_text() == "a"


@pytest.mark.parametrize("name", ["x.nii.gz", "x.npz", "per_case.csv", "predictions.json"])
def test_predictions_that_no_ensemble_wrote_are_never_replaced(tmp_path, members, name):
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("{}")
    with pytest.raises(ConfigError, match="holds predictions already"):
        check_out(out, members, overwrite=False)
    with pytest.raises(ConfigError, match="which no ensemble wrote"):
        check_out(out, members, overwrite=True)


def test_a_predictions_file_cannot_point_out_of_its_folder(tmp_path, members):
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "precious.nii.gz").touch()
    (out / "predictions.json").write_text('{"ensemble": {}, "cases": {"../precious": {}}}')
    check_out(out, members, overwrite=True)
    write_ensemble(out, members, "a")
    assert (tmp_path / "precious.nii.gz").exists()


def test_a_member_or_a_file_is_no_place_for_the_ensemble(tmp_path, members):
    with pytest.raises(ConfigError, match="is the member A itself"):
        check_out(tmp_path / "A", members, overwrite=True)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="expected a folder, found a file"):
        check_out(tmp_path / "file", members, overwrite=True)
    with pytest.raises(ResourceError, match="cannot be written"), staged(tmp_path / "file" / "out"):
        pass


def test_killed_while_it_is_replaced_a_folder_no_longer_looks_whole(tmp_path, members, monkeypatch):
    out = tmp_path / "out"
    write_ensemble(out, members, *"abcdefgh")
    unlink = Path.unlink

    def killed_after_one(path, **options):
        unlink(path, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "unlink", killed_after_one)
    with pytest.raises(KeyboardInterrupt), staged(out) as folder:
        (folder / "a.nii.gz").touch()
    assert not (out / "predictions.json").exists()
    assert len(list(out.glob("*.nii.gz"))) == 8

from pathlib import Path

import pytest

from medimg.errors import ConfigError, DataError
from medimg.postprocessing.cases import CaseReport
from medimg.postprocessing.output import check_out, clear_out, read_facts, write_facts

REPORTS = [CaseReport("b", {"shape": [2, 2]}, 3, False), CaseReport("a", {"shape": [2, 2]}, 0, False)]


def test_what_the_source_said_stays(tmp_path):
    source = {
        "classes": ["x"],
        "split": "s",
        "fold": 2,
        "part": "validation",
        "cases": {"z": 1},
        "ensemble": {"m": 1},
    }
    (tmp_path / "a.png").touch()
    write_facts(tmp_path, source, REPORTS, {"rules": []})
    facts = read_facts(tmp_path)
    assert {name: facts[name] for name in ("classes", "split", "fold", "part")} == {
        "classes": ["x"],
        "split": "s",
        "fold": 2,
        "part": "validation",
    }
    assert list(facts["cases"]) == ["a", "b"]
    assert facts["postprocess"] == {
        "rules": [],
        "before": {"ensemble": {"m": 1}},
        "files": ["a.png", "predictions.json"],
    }
    assert "ensemble" not in facts


def test_only_what_was_written_is_replaced(tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(ConfigError, match=r"holds a\.png already"):
        check_out(tmp_path, [], overwrite=False)
    with pytest.raises(ConfigError, match=r"holds a\.png, which no postprocessing wrote"):
        check_out(tmp_path, [], overwrite=True)
    write_facts(tmp_path, {}, REPORTS, {})
    (tmp_path / "notes.txt").touch()
    check_out(tmp_path, [], overwrite=True)
    clear_out(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    check_out(tmp_path, [], overwrite=False)


def test_folders_that_cannot_be_meant_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="is a folder that is read"):
        check_out(tmp_path, [tmp_path / "x" / ".."], overwrite=True)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="expected a folder, found a file"):
        check_out(tmp_path / "file", [], overwrite=True)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "cannot be read"), ("[]", "expected names and values, found list")]
)
def test_a_damaged_description_is_refused(tmp_path, text, message):
    (tmp_path / "predictions.json").write_text(text)
    with pytest.raises(DataError, match=message):
        read_facts(tmp_path)
    assert read_facts(tmp_path / "none") == {}


def test_killed_while_it_is_cleared_a_folder_no_longer_looks_whole(tmp_path, monkeypatch):
    for name in "abcdefgh":
        (tmp_path / f"{name}.png").touch()
    write_facts(tmp_path, {}, REPORTS, {})
    unlink = Path.unlink

    def killed_after_one(path, **options):
        unlink(path, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "unlink", killed_after_one)
    with pytest.raises(KeyboardInterrupt):
        clear_out(tmp_path)
    assert not (tmp_path / "predictions.json").exists()
    assert len(list(tmp_path.glob("*.png"))) == 8

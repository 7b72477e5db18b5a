import pytest

from medimg.errors import ConfigError, DataError
from medimg.phantoms.set_folder import claim, is_phantom_set, write_missing

SETTINGS = ("seed 0", "recipe 1")


def test_the_note_says_what_the_set_is_and_what_it_was_made_with(tmp_path):
    claim(tmp_path / "set", "Brains.\n\nTo try things out.", SETTINGS)
    assert [file.name for file in (tmp_path / "set").iterdir()] == ["README.txt"]
    assert (tmp_path / "set" / "README.txt").read_bytes() == (
        b"These are phantoms, drawn by medimg. They show no patient.\n\n"
        b"Brains.\n\nTo try things out.\n\nseed 0\nrecipe 1\n"
    )


def test_the_same_settings_claim_a_folder_again_and_leave_its_note(tmp_path):
    claim(tmp_path, "Brains.", SETTINGS)
    (tmp_path / "case").mkdir()
    stamp = (tmp_path / "README.txt").stat().st_mtime_ns
    claim(tmp_path, "Brains.", SETTINGS)
    assert (tmp_path / "README.txt").stat().st_mtime_ns == stamp


def test_other_settings_are_refused_with_both(tmp_path):
    claim(tmp_path, "Brains.", SETTINGS)
    with pytest.raises(ConfigError, match=r"\(seed 0, recipe 1\) than asked for \(seed 5, recipe 1\)"):
        claim(tmp_path, "Brains.", ("seed 5", "recipe 1"))
    assert "seed 0" in (tmp_path / "README.txt").read_text()


def test_a_folder_of_others_and_a_file_are_refused_and_left_alone(tmp_path):
    (tmp_path / "README.txt").write_text("my own notes")
    with pytest.raises(ConfigError, match="with other files in it"):
        claim(tmp_path, "Brains.", SETTINGS)
    assert (tmp_path / "README.txt").read_text() == "my own notes"
    with pytest.raises(ConfigError, match="found a file"):
        claim(tmp_path / "README.txt", "Brains.", SETTINGS)


def test_only_a_claimed_folder_is_a_phantom_set(tmp_path):
    assert not is_phantom_set(tmp_path / "missing")
    assert not is_phantom_set(tmp_path)
    (tmp_path / "README.txt").write_bytes(b"\xff\xfe of others")
    assert not is_phantom_set(tmp_path)
    (tmp_path / "README.txt").unlink()
    claim(tmp_path, "Brains.", SETTINGS)
    assert is_phantom_set(tmp_path)


def test_what_is_missing_is_written_and_counted(tmp_path, capsys):
    written = []
    folders = [tmp_path / name for name in "abc"]
    write_missing(written.append, folders, lambda number: number == 1, workers=1)
    assert written == [0, 2]
    assert "phantoms: 2/2 (100 %)" in capsys.readouterr().err


def test_nothing_is_said_where_nothing_is_missing(tmp_path, capfd):
    write_missing(pytest.fail, [tmp_path], lambda number: True, workers=2)
    assert capfd.readouterr() == ("", "")
    with pytest.raises(ConfigError, match="workers"):
        write_missing(pytest.fail, [tmp_path], lambda number: True, workers=0)


def test_a_study_that_cannot_be_made_is_named(tmp_path):
    def write(number):
        raise ValueError("no room")

    with pytest.raises(DataError, match=r"1 of 1 cases failed:\n  b: .*no room"):
        write_missing(write, [tmp_path / "a", tmp_path / "b"], lambda number: number == 0, workers=1)

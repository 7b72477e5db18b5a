import errno

import pytest

from medimg.errors import DataError, ResourceError
from medimg.io.files import atomic_write, inside, safe_name


def test_the_old_file_stays_when_writing_fails(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    with atomic_write(path) as temporary:
        temporary.write_text("old")
        assert temporary.parent == path.parent
        assert temporary.suffix == ".txt"
        assert temporary.name.startswith(".")
    with pytest.raises(ValueError, match="broken"), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise ValueError("broken")
    assert path.read_text() == "old"
    assert [file.name for file in path.parent.iterdir()] == ["a.txt"]


def test_full_disk_is_said_and_leaves_nothing(tmp_path):
    with pytest.raises(ResourceError, match="disk is full"), atomic_write(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="cannot be written"), atomic_write(tmp_path / "file" / "a.txt"):
        pass


def test_missing_input_inside_the_block_keeps_its_error(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "a.txt") as temporary:
        temporary.write_text((tmp_path / "input.txt").read_text())


def test_fault_42_43_nothing_leaves_the_root(tmp_path):
    root = tmp_path / "data"
    (root / "in").mkdir(parents=True)
    (tmp_path / "secret.txt").touch()
    (root / "in" / "a.txt").touch()
    (root / "out").symlink_to(tmp_path / "secret.txt")
    (root / "within").symlink_to(root / "in" / "a.txt")
    assert inside(root, "in/a.txt") == root / "in" / "a.txt"
    assert inside(root, "within").is_file()
    for path in ("../secret.txt", "out", "in/../../secret.txt", "/etc/passwd", tmp_path / "secret.txt"):
        with pytest.raises(DataError, match="outside the data folder"):
            inside(root, path)


def test_the_root_may_be_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.txt").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert inside(tmp_path / "link", "a.txt").is_file()


@pytest.mark.parametrize(
    "case_id", ["../../x", "/etc/passwd", "..", ".", "", "a/b", "a\\b", ".hidden", "a\0b", "ä" * 300]
)
def test_fault_42_names_stay_in_their_folder(tmp_path, case_id):
    name = safe_name(case_id)
    assert (tmp_path / name).resolve().parent == tmp_path.resolve()
    assert name
    assert not name.startswith(".")
    assert len(name) < 230
    (tmp_path / name).touch()


def test_plain_names_stay_and_others_differ():
    assert safe_name("BraTS-GLI-00000-000") == "BraTS-GLI-00000-000"
    assert len({safe_name(name) for name in ("a/b", "a_b", "a b", "a:b")}) == 4

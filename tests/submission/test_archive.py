import stat
import zipfile

import pytest

from medimg.errors import DataError
from medimg.submission import archive as room
from medimg.submission.archive import add_file, open_archive, safe_members, unpack
from medimg.submission.faults import Faults


def make(path, members, **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def members_of(path):
    faults = Faults()
    with open_archive(path, faults) as archive:
        names = [] if archive is None else [info.filename for info in safe_members(archive, faults)]
    return names, faults.text("x") if faults else ""


def test_equal_files_make_equal_archives(tmp_path):
    for number in (1, 2):
        source = tmp_path / f"source{number}"
        source.write_bytes(b"abc")
        with zipfile.ZipFile(tmp_path / f"{number}.zip", "w") as archive:
            add_file(archive, "a.nii.gz", source)
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()
    assert zipfile.ZipFile(tmp_path / "1.zip").read("a.nii.gz") == b"abc"


@pytest.mark.parametrize("name", ["../a", "/etc/a", "x/../../a", "C:/a", "..\\a"])
def test_nothing_of_an_archive_that_leads_out_is_taken(tmp_path, name):
    names, text = members_of(make(tmp_path / "x.zip", {"good.nii.gz": b"", name: b""}))
    assert names == []
    assert "lead out of the archive" in text


def test_links_are_not_followed(tmp_path):
    info = zipfile.ZipInfo("a.nii.gz")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert members_of(tmp_path / "x.zip")[0] == []


def test_folders_are_named_and_good_files_sorted(tmp_path):
    names, text = members_of(make(tmp_path / "x.zip", {"b": b"", "a": b"", "f/c": b""}))
    assert names == ["a", "b"]
    assert "folders; masks lie at the top of the archive (1):\n    f/c" in text


def test_too_large_and_too_many_are_not_read(tmp_path, monkeypatch):
    path = make(tmp_path / "x.zip", {"a": b"0" * 100, "b": b""})
    monkeypatch.setattr(room, "LARGEST_MEMBER", 50)
    assert "a: 100 bytes" in members_of(path)[1]
    monkeypatch.setattr(room, "MOST_MEMBERS", 1)
    assert members_of(path)[0] == []


def test_a_bomb_stops_at_the_size_that_its_entry_states(tmp_path):
    path = make(tmp_path / "x.zip", {"a": b"0" * 5_000_000}, compression=zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("a")
        info.file_size = 1000  # as a forged entry would say
        fault = unpack(archive, info, tmp_path / "out")
    assert fault
    assert (tmp_path / "out").stat().st_size <= 1000


def test_a_damaged_member_and_no_archive_are_faults(tmp_path):
    path = make(tmp_path / "x.zip", {"a": b"0123456789" * 10})
    path.write_bytes(path.read_bytes().replace(b"0123456789", b"9123456789", 1))
    with zipfile.ZipFile(path) as archive:
        assert unpack(archive, archive.getinfo("a"), tmp_path / "out").startswith("damaged")
    (tmp_path / "y.zip").write_bytes(b"no zip")
    assert "no zip archive" in members_of(tmp_path / "y.zip")[1]
    with pytest.raises(DataError, match="no such file"):
        members_of(tmp_path / "none.zip")

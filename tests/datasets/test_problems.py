import pytest

from medimg.datasets.problems import Problems, read_json, read_object
from medimg.errors import DataError


def test_long_lists_are_cut_and_counted(tmp_path):
    problems = Problems(tmp_path, "BraTS")
    for number in range(50):
        problems.add(f"case_{number}", "is odd")
    with pytest.raises(DataError, match="50 faults") as error:
        problems.raise_if_any()
    assert "case_19" in str(error.value)
    assert "case_20" not in str(error.value)
    assert "and 30 more" in str(error.value)


def test_nothing_noted_is_no_error(tmp_path):
    Problems(tmp_path, "BraTS").raise_if_any()


@pytest.mark.parametrize("case_id", ["../../x", "a/b", "", ".hidden"])
def test_ids_that_are_no_plain_names(tmp_path, case_id):
    problems = Problems(tmp_path, "nnU-Net")
    assert not problems.claim(case_id, "here")
    with pytest.raises(DataError, match="rename it"):
        problems.raise_if_any()


def test_json_is_read_strictly(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": 1, "a": 2}')
    with pytest.raises(DataError, match="'a' stands twice"):
        read_json(path)
    path.write_text("{")
    with pytest.raises(DataError, match="cannot be read as JSON"):
        read_json(path)
    path.write_text("[" * 100_000)
    with pytest.raises(DataError, match="cannot be read as JSON"):
        read_json(path)
    path.write_text("[]")
    with pytest.raises(DataError, match="found list"):
        read_object(path)
    with pytest.raises(DataError, match="no such file"):
        read_json(tmp_path / "missing.json")
    path.write_bytes(b"\xef\xbb\xbf{}")
    assert read_object(path) == {}

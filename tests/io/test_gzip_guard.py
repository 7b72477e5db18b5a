import gzip

import numpy as np
import pytest

from medimg.errors import DataError
from medimg.io.gzip_guard import GuardedReader

NIFTI_START = (348).to_bytes(4, "little")


def content(size=1_000_000):
    return NIFTI_START + np.random.default_rng(0).integers(0, 256, size - 4, np.uint8).tobytes()


def write(path, data):
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_parts_join_to_the_whole(tmp_path, name):
    data = content()
    with GuardedReader(write(tmp_path / name, data)) as reader:
        first, second = reader.read(348), reader.read(100)
        rest = reader.read_array(len(data) - 448)
    assert first + second + rest.tobytes() == data
    assert rest.flags.writeable


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_padding_is_allowed_and_more_is_not(tmp_path, name):
    data = content(1000)
    with GuardedReader(write(tmp_path / name, data + bytes(512))) as reader:
        assert reader.read_array(1000).tobytes() == data
    with (
        GuardedReader(write(tmp_path / name, data + bytes(100_000))) as reader,
        pytest.raises(DataError, match="go on past"),
    ):
        reader.read_array(1000)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_reading_past_the_end(tmp_path, name):
    with (
        GuardedReader(write(tmp_path / name, content(1000))) as reader,
        pytest.raises(DataError, match="truncated"),
    ):
        reader.read(1001)


def test_a_bomb_in_a_later_member_is_found(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(content(1000)) + gzip.compress(bytes(10_000_000)))
    with GuardedReader(path) as reader, pytest.raises(DataError, match="go on past"):
        reader.read_array(1000)


def test_waste_after_the_last_member_is_refused(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(content(1000)) + b"waste")
    with GuardedReader(path) as reader, pytest.raises(DataError, match="damaged"):
        reader.read_array(1000)


def test_promises_are_weighed_against_the_file(tmp_path):
    with GuardedReader(write(tmp_path / "a.nii", content(1000))) as reader:
        reader.check_promise(1000)
        with pytest.raises(DataError, match="at most 1,000"):
            reader.check_promise(1001)
    zeros = NIFTI_START + bytes(1_000_000)
    with GuardedReader(write(tmp_path / "b.nii.gz", zeros)) as reader:
        reader.check_promise(len(zeros))  # an honest file of zeros is no lie


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "a.nii").mkdir()
    with pytest.raises(DataError, match="cannot be opened"):
        GuardedReader(tmp_path / "a.nii")

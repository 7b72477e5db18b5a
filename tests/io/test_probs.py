import zipfile

import numpy as np
import pytest

from medimg.errors import DataError
from medimg.io.probs import open_probs, write_probs

PROBS = np.random.default_rng(0).random((3, 4, 5, 6)).astype(np.float16)


def test_what_is_written_is_read_channel_by_channel(tmp_path):
    write_probs(tmp_path / "a.npz", PROBS.astype(np.float32))
    opened = open_probs(tmp_path / "a.npz")
    assert opened.shape == (3, 4, 5, 6)
    assert opened.dtype == np.float16
    np.testing.assert_array_equal(np.stack(list(opened.channels())), PROBS)


@pytest.mark.parametrize("key", ["probs", "probabilities", "softmax"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_other_frameworks_names_and_types(tmp_path, key, save):
    save(tmp_path / "a.npz", **{key: PROBS.astype(np.float64)})
    np.testing.assert_array_equal(np.stack(list(open_probs(tmp_path / "a.npz").channels())), PROBS)


@pytest.mark.parametrize(
    "array",
    [PROBS[0], PROBS.astype(np.uint8), np.asfortranarray(PROBS), np.zeros((0, 2, 2, 2), np.float32)],
    ids=["3D", "integers", "Fortran order", "empty"],
)
def test_another_array_is_refused(tmp_path, array):
    np.savez(tmp_path / "a.npz", probs=array)
    with pytest.raises(DataError, match=r"expected floats of shape \(K, D, H, W\)"):
        open_probs(tmp_path / "a.npz")


def test_an_archive_of_other_things_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", logits=PROBS)
    with pytest.raises(DataError, match=r"expected an array named probs .* found logits\.npy"):
        open_probs(tmp_path / "a.npz")


def test_no_archive_and_no_file_are_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"half a file")
    for name in ("a.npz", "b.npz"):
        with pytest.raises(DataError, match=r"cannot be read as \.npz"):
            open_probs(tmp_path / name)


def test_a_pickled_array_is_not_run(tmp_path):
    np.savez(tmp_path / "a.npz", probs=np.array([{"a": 1}], object))
    with pytest.raises(DataError, match="expected floats"):
        open_probs(tmp_path / "a.npz")


def test_a_flipped_byte_is_found_by_the_checksum(tmp_path):
    np.savez(tmp_path / "a.npz", probs=PROBS)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be read as \.npz"):
        list(open_probs(tmp_path / "a.npz").channels())


@pytest.mark.parametrize(("change", "message"), [(-10, "ends before"), (10, "holds more than")])
def test_an_array_of_another_length_than_promised_is_refused(tmp_path, change, message):
    np.savez(tmp_path / "whole.npz", probs=PROBS)
    with zipfile.ZipFile(tmp_path / "whole.npz") as archive:
        content = archive.read("probs.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("probs.npy", content[:change] if change < 0 else content + bytes(change))
    with pytest.raises(DataError, match=message):
        list(open_probs(tmp_path / "a.npz").channels())

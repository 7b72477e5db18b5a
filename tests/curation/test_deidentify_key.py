import pickle
import stat

import pytest

from medimg.curation.deidentify_key import Secret, make_key, read_key
from medimg.errors import ConfigError


def test_a_new_key_is_private_and_random(tmp_path):
    one, two = make_key(tmp_path / "a"), make_key(tmp_path / "b")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    assert one != two
    assert read_key(tmp_path / "a") == one
    assert len(one.key) == 64
    with pytest.raises(ConfigError, match="is there already"):
        make_key(tmp_path / "a")
    with pytest.raises(ConfigError, match="cannot be written"):
        make_key(tmp_path / "none" / "a")


def test_keys_that_are_none_are_refused(tmp_path):
    path = tmp_path / "key"
    with pytest.raises(ConfigError, match="add --new_key"):
        read_key(path)
    path.write_bytes(b"0123456789abcdef")
    path.chmod(0o640)
    with pytest.raises(ConfigError, match=r"others may read it \(mode 640"):
        read_key(path)
    path.chmod(0o600)
    assert read_key(path).key == b"0123456789abcdef"
    path.write_bytes(b"short\n")
    with pytest.raises(ConfigError, match="found 5"):
        read_key(path)


def test_the_key_is_never_shown():
    assert "cdef" not in repr(Secret(b"0123456789abcdef"))


def test_maps_are_consistent_keyed_and_stable():
    one, two = Secret(b"0" * 16), Secret(b"1" * 16)
    uids = {one.uid(f"1.2.{number}") for number in range(2000)}
    assert len(uids) == 2000
    assert all(len(uid) <= 64 and uid == one.uid(uid) for uid in uids)
    assert all(two.uid(uid) != uid for uid in uids)
    assert pickle.loads(pickle.dumps(one)).uid("1.2.3") == one.uid("1.2.3") != two.uid("1.2.3")
    assert one.uid("2.25.123") != "2.25.123"
    name = one.name("P", "Doe")
    assert one.name("P", name) == name
    assert one.name("N", name) != name
    assert two.name("P", "Doe") != name


def test_shifts_reach_over_ten_years_and_never_forward():
    shifts = [Secret(b"0" * 16).shift_days(f"p{number}") for number in range(3000)]
    assert min(shifts) >= -3650
    assert max(shifts) <= -1
    assert len(set(shifts)) > 1500

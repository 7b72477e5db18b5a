import hashlib
import os

import pytest

from medimg.curation.adjudication_trail import TRAIL, check_evidence, evidence, write_folder, write_json
from medimg.errors import DataError


def test_a_file_is_named_by_what_it_holds(tmp_path):
    path = tmp_path / "readings.csv"
    path.write_text("case,mass\n")
    stated = evidence(path)
    assert stated["sha256"] == hashlib.sha256(b"case,mass\n").hexdigest()
    assert check_evidence(stated) == path
    path.write_text("case,mass\na,1\n")
    with pytest.raises(DataError, match="has changed since conflicts were looked for"):
        check_evidence(stated)
    path.unlink()
    with pytest.raises(DataError, match="Put the file back"):
        check_evidence(stated)


def test_the_same_facts_give_the_same_bytes(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": "é"})
    write_json(tmp_path / "b.json", {"a": "é", "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_folder_is_changed_by_what_it_says_and_not_by_when(tmp_path):
    worklist, out = tmp_path / "worklist.csv", tmp_path / "out"

    def write(said, **more):
        facts = {
            "decisions": evidence(worklist),
            "cases": [{"said": said, "file": evidence(tmp_path / "mask")}],
            **more,
        }
        return write_folder(out, lambda folder: write_json(folder / TRAIL, facts), overwrite=False)

    worklist.write_text("case,mass\na,1\n")
    (tmp_path / "mask").write_bytes(b"1")
    assert write({"saved": "no"}) is True
    before = (out / TRAIL).read_bytes()
    os.utime(worklist, (0, 0))
    os.utime(tmp_path / "mask", (0, 0))
    assert write({"saved": "no"}) is False
    # A spreadsheet writes the same rows in other bytes.
    worklist.write_bytes(b'"case","mass"\r\n"a","1"\r\n')
    assert write({"saved": "no"}) is False
    assert (out / TRAIL).read_bytes() == before
    for other in ({"saved": "yes"}, {}):
        with pytest.raises(DataError, match="holds other decisions"):
            write(other)
    with pytest.raises(DataError, match="holds other decisions"):
        write({"saved": "no"}, rule="differs")
    (tmp_path / "mask").write_bytes(b"2")
    with pytest.raises(DataError, match="holds other decisions"):
        write({"saved": "no"})

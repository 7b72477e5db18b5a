import hashlib

import pytest

from medimg.curation.adjudication_trail import check_evidence, evidence, write_json
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

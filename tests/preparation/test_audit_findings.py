import csv

import pytest

from medimg.errors import ResourceError
from medimg.preparation.audit import Finding
from medimg.preparation.audit_findings import findings_cell, worst_verdict, write_rows
from medimg.preparation.image_audit import ImageFinding

WARNING = Finding("warn", "left and right are a guess")
REFUSAL = ImageFinding("refuse", "labels", "the label x is 2")


@pytest.mark.parametrize(
    ("findings", "verdict"),
    [((), "ok"), ((WARNING,), "warn"), ((WARNING, REFUSAL), "refuse"), ((REFUSAL, WARNING), "refuse")],
)
def test_one_refusal_refuses_the_case(findings, verdict):
    assert worst_verdict(findings) == verdict


def test_findings_of_both_kinds_read_the_same():
    assert findings_cell([WARNING, REFUSAL]) == "warn: left and right are a guess; refuse: the label x is 2"
    assert findings_cell([]) == ""


def test_cells_come_back_as_they_were_written(tmp_path):
    write_rows(
        tmp_path / "new" / "audit.csv", ("case_id", "findings"), [("a", 'one, "two"\nthree'), ("é", "")]
    )
    with (tmp_path / "new" / "audit.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["case_id", "findings"], ["a", 'one, "two"\nthree'], ["é", ""]]


def test_a_table_that_fails_halfway_leaves_the_old_one(tmp_path):
    path = tmp_path / "audit.csv"
    path.write_text("old")

    def rows():
        yield ("a",)
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_rows(path, ("case_id",), rows())
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["audit.csv"]
    with pytest.raises(ResourceError, match="audit"):
        write_rows(path / "below.csv", ("case_id",), [])

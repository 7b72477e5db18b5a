import pytest

from medimg.errors import DataError
from medimg.submission.faults import Faults


def test_kinds_are_counted_and_twenty_of_each_are_shown():
    faults = Faults()
    for number in range(25):
        faults.add("missing rows", f"case_{number}")
    faults.add("blank or NaN", "a, column x")
    lines = faults.text("out.csv").splitlines()
    assert lines[:3] == ["out.csv: 26 faults", "  missing rows (25):", "    case_0"]
    assert lines[21:24] == ["    case_19", "    and 5 more", "  blank or NaN (1):"]
    with pytest.raises(DataError, match="26 faults"):
        faults.raise_if_any("out.csv")


def test_no_fault_is_no_error():
    faults = Faults()
    faults.raise_if_any("out.csv")
    assert not faults

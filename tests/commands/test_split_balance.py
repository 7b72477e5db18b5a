import math
from pathlib import Path

from medimg.commands.split_balance import image_balance, volume_balance
from medimg.preparation.split_table import SplitRow
from medimg.records import ImageIndex, Record

ROWS = [SplitRow("a", "p", 0), SplitRow("b", "p", 0), SplitRow("c", "q", 1), SplitRow("d", "r", None)]


def test_images():
    labels = {"a": (1.0, 0.5), "b": (0.0, math.nan), "c": (1.0, math.nan), "d": (0.0, 1.0)}
    records = [
        Record(case, "p", (), labels=dict(zip(("mass", "other"), values, strict=True)))
        for case, values in labels.items()
    ]
    index = ImageIndex("fake", Path(), "multilabel", ("mass", "other"), tuple(records))
    assert [line.split() for line in image_balance(index, ROWS)] == [
        ["fold", "0", "fold", "1", "test", "all"],
        ["cases", "2", "1", "1", "4"],
        ["patients", "1", "1", "1", "3"],
        ["mass", "1", "50.0%", "1", "100.0%", "0", "0.0%", "2", "50.0%"],
        ["other", "0.5", "50.0%", "unknown", "1", "100.0%", "1.5", "75.0%"],
    ]
    assert len({len(line) for line in image_balance(index, ROWS)}) == 1


def test_volumes():
    lines = volume_balance({"a": 12.345, "b": 0.0, "c": 0.0, "d": 52000.4}, ROWS)
    assert [line.split() for line in lines] == [
        ["fold", "0", "fold", "1", "test", "all"],
        ["cases", "2", "1", "1", "4"],
        ["patients", "1", "1", "1", "3"],
        ["median", "lesion", "mm3", "12.3", "none", "52000", "26006"],
        ["empty", "masks", "1", "1", "0", "2"],
    ]
    assert "test" not in volume_balance({"a": 1.0, "b": 2.0, "c": 3.0}, ROWS[:3])[0]

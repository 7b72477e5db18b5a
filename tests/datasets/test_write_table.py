import math
from dataclasses import replace

import pytest

from medimg.datasets.table import index_table
from medimg.datasets.write_table import write_table
from medimg.errors import DataError
from medimg.records import ImageIndex, Record


@pytest.fixture
def index(tmp_path, write_picture):
    paths = [write_picture(tmp_path / "a" / f"{n}.png", seed=n) for n in range(4)]
    records = (
        Record(
            "a/0, b",
            "p0",
            (paths[0], paths[1]),
            labels={"x": 1.0, "weight": math.nan},
            group="g",
            split="val",
        ),
        Record(
            "c", "p1", (paths[2], paths[3]), labels={"x": 1 / 3, "weight": 0.0}, weight=0.25, position_mm=-0.1
        ),
    )
    return ImageIndex("cases", tmp_path, "multilabel", ("x", "weight"), records)


def test_what_is_written_is_read_again(index, tmp_path):
    columns = write_table(tmp_path / "cases.csv", index)
    again = index_table(
        tmp_path / "cases.csv", tmp_path, columns=columns, task=index.task, classes=index.classes
    )
    for before, after in zip(index.records, again.records, strict=True):
        assert replace(after, labels={}) == replace(before, labels={})
        assert dict(after.labels) == pytest.approx(dict(before.labels), nan_ok=True)


def test_what_no_table_can_hold(index, tmp_path):
    uneven = replace(
        index, records=(index.records[0], replace(index.records[1], images=index.records[1].images[:1]))
    )
    members = replace(index, records=(replace(index.records[0], member=0),))
    for wrong in (uneven, members):
        with pytest.raises(DataError, match="as many image files each"):
            write_table(tmp_path / "cases.csv", wrong)

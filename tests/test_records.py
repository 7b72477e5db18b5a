from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest

from medimg.records import DatasetIndex, LabelScheme, Record

INDEX = DatasetIndex(
    name="Brains", root=Path("brains"), channels=("t1n",), labels={"NCR": 1, "ED": 2, "ET": 4},
    records=(Record("a", "p", (Path("a.nii.gz"),), Path("a-seg.nii.gz")),),
    regions={"WT": (1, 2, 4), "TC": (1, 4), "ET": (4,)}, region_labels={"WT": 2, "TC": 1, "ET": 4}, ignore_label=9,
)  # fmt: skip


def test_classes_and_regions_of_one_data_set():
    assert INDEX.label_scheme() == LabelScheme(
        {"NCR": (1,), "ED": (2,), "ET": (4,)}, {"NCR": 1, "ED": 2, "ET": 4}, ignore=9
    )
    regions = INDEX.region_scheme()
    assert regions.names == ("WT", "TC", "ET")
    assert (regions.values["TC"], regions.written["TC"], regions.ignore) == ((1, 4), 1, 9)


def test_the_order_of_channels_is_that_of_the_values_and_not_of_the_writing():
    scheme = LabelScheme({"ET": (4,), "WT": (1, 2, 4)}, {"WT": 2, "ET": 4})
    assert scheme.names == ("ET", "WT")
    assert list(scheme.written) == ["WT", "ET"]


def test_records_are_values():
    record = INDEX.records[0]
    assert record == Record("a", "p", (Path("a.nii.gz"),), Path("a-seg.nii.gz"))
    assert replace(record, mask=None).mask is None
    with pytest.raises(FrozenInstanceError):
        record.case_id = "b"


def test_a_scheme_is_no_window_onto_the_index():
    scheme = INDEX.region_scheme()
    assert scheme.values is not INDEX.regions

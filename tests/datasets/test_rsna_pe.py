import csv
import logging
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from medimg.datasets.rsna_pe import IMAGE_LABEL, QUALITY_LABELS, RSNAPulmonaryEmbolism
from medimg.errors import DataError
from medimg.phantoms.pe import COLUMNS
from medimg.scoring.embolism import EXAM_LABELS

POSITIVE = {"central_pe": 1, "rv_lv_ratio_gte_1": 1}
NEGATIVE = {"negative_exam_for_pe": 1}


def row(study, image, labels, seen=0):
    values = {"StudyInstanceUID": study, "SeriesInstanceUID": f"{study}s", "SOPInstanceUID": image}
    values |= {IMAGE_LABEL: seen} | labels
    return [values.get(name, 0) for name in COLUMNS]


ROWS = [
    row("p", "i3", POSITIVE, 1),
    row("n", "i1", NEGATIVE | {"qa_motion": 1}),
    row("p", "i2", POSITIVE, 0),
]


def write(root, write_table, rows, part="train"):
    write_table(root / "train.csv", COLUMNS, rows)
    for study, series, image, *_ in rows:
        path = root / part / study / series / f"{image}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_a_slice_is_a_case_and_a_study_its_group(tmp_path, write_table):
    write(tmp_path, write_table, ROWS)
    index = RSNAPulmonaryEmbolism().index(tmp_path)
    assert (index.task, index.classes) == ("multilabel", (*EXAM_LABELS, IMAGE_LABEL))
    assert [record.case_id for record in index.records] == ["i1", "i2", "i3"]
    first, second, third = index.records
    assert second.images == (tmp_path / "train" / "p" / "ps" / "i2.dcm",)
    assert (second.group, second.patient_id, first.group) == ("p", "p", "n")
    assert {name for name, value in third.labels.items() if value} == {*POSITIVE, IMAGE_LABEL}
    assert {name for name, value in second.labels.items() if value} == set(POSITIVE)
    assert {name for name, value in first.labels.items() if value} == set(NEGATIVE)
    assert list(third.labels) == list(index.classes)
    assert RSNAPulmonaryEmbolism().has_laterality  # mirrored, leftsided_pe would be wrong


def test_quality_labels_on_request(tmp_path, write_table):
    write(tmp_path, write_table, ROWS)
    index = RSNAPulmonaryEmbolism(quality=True).index(tmp_path)
    assert index.classes == (*EXAM_LABELS, IMAGE_LABEL, *QUALITY_LABELS)
    assert index.records[0].labels["qa_motion"] == 1


def test_the_test_set_has_no_labels(tmp_path, write_table):
    write(tmp_path, write_table, ROWS)
    assert {record.labels == {} for record in RSNAPulmonaryEmbolism().unlabelled(tmp_path).records} == {True}
    write_table(tmp_path / "test.csv", COLUMNS[:3], [["t", "ts", "x"]])
    (record,) = RSNAPulmonaryEmbolism(missing="keep").unlabelled(tmp_path).records
    assert (record.case_id, record.group, record.images[0]) == (
        "x",
        "t",
        tmp_path / "test" / "t" / "ts" / "x.dcm",
    )


def test_rows_of_one_study_cannot_differ(tmp_path, write_table):
    write(tmp_path, write_table, [*ROWS, row("n", "i4", NEGATIVE | {"chronic_pe": 1})])
    with pytest.raises(DataError, match=r"1 studies .*\n  study n: chronic_pe is 0 and, in line 5, 1"):
        RSNAPulmonaryEmbolism().index(tmp_path)


def test_other_faults_are_named(tmp_path, write_table):
    write(tmp_path, write_table, [*ROWS, row("n", "i1", NEGATIVE)])
    with pytest.raises(DataError, match="line 5: the id i1 is used already in line 3"):
        RSNAPulmonaryEmbolism().index(tmp_path)
    write(tmp_path, write_table, [row("n", "i1", NEGATIVE | {"chronic_pe": "yes"})])
    with pytest.raises(DataError, match="line 2: the label chronic_pe is 'yes'"):
        RSNAPulmonaryEmbolism().index(tmp_path)
    write_table(tmp_path / "train.csv", COLUMNS, [row("n", "i9", NEGATIVE)])
    with pytest.raises(DataError, match="1 of 1 cases have no image"):
        RSNAPulmonaryEmbolism().index(tmp_path)


def test_exams_that_break_the_rules_are_counted_and_kept(tmp_path, write_table, caplog):
    odd = row("o", "i5", NEGATIVE | {"central_pe": 1})
    write(tmp_path, write_table, [*ROWS, odd, row("b", "i6", {"central_pe": "", "indeterminate": 1})])
    with caplog.at_level(logging.WARNING):
        index = RSNAPulmonaryEmbolism().index(tmp_path)
    (said,) = caplog.messages
    assert (
        "1 of 3 exams break a rule of the competition, the first o: no positive image: none of the seven"
        in said
    )
    assert len(index.records) == 5
    assert np.isnan(next(r for r in index.records if r.case_id == "i6").labels["central_pe"])


def write_long(path: Path, studies: int, slices: int) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for study in range(studies):
            labels = POSITIVE if study % 3 == 0 else NEGATIVE
            uid = f"{study:012x}"
            writer.writerows(
                row(uid, f"{study * slices + n:012x}", labels, int(study % 3 == 0 and n == 0))
                for n in range(slices)
            )


def test_memory_is_that_of_the_records(tmp_path):
    write_long(tmp_path / "train.csv", 40, 250)
    tracemalloc.start()
    records = RSNAPulmonaryEmbolism(missing="keep").index(tmp_path).records
    kept, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(records) == 10_000
    # The labels of a study are one mapping, its name one string; 1.8 million slices must fit a workstation.
    assert len({id(record.labels) for record in records}) <= 3
    assert len({id(record.group) for record in records}) == 40
    assert kept < 1200 * len(records) and most < 1800 * len(records)


@pytest.mark.slow
def test_as_many_rows_as_the_real_table(tmp_path):
    write_long(tmp_path / "train.csv", 7279, 246)
    index = RSNAPulmonaryEmbolism(missing="keep").index(tmp_path)
    assert len(index.records) == 7279 * 246
    assert sum(record.labels[IMAGE_LABEL] for record in index.records) == 2427

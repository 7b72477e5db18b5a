import pytest

from medimg.datasets.ranzcr import RANZCR
from medimg.errors import DataError
from medimg.scoring.label_forms import RANZCR_LABELS as LABELS


def test_labels_and_patients(tmp_path, write_table, write_picture):
    rows = [["1.2.3", *[0] * 10, 1, "ec89415d1"], ["1.2.4", *[0] * 11, "ec89415d1"]]
    write_table(tmp_path / "train.csv", ["StudyInstanceUID", *LABELS, "PatientID"], rows)
    for row in rows:
        write_picture(tmp_path / "train" / f"{row[0]}.jpg")
    index = RANZCR().index(tmp_path)
    assert (index.task, index.classes) == ("multilabel", LABELS) and len(LABELS) == 11
    first, second = index.records
    assert first.labels["Swan Ganz Catheter Present"] == 1 and sum(second.labels.values()) == 0
    assert first.patient_id == second.patient_id == "ec89415d1"


def test_no_table(tmp_path):
    with pytest.raises(DataError, match=r"expected the RANZCR table train\.csv"):
        RANZCR().index(tmp_path)

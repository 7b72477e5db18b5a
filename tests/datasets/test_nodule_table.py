import csv
import math

import pytest

from medimg.datasets import Nodules
from medimg.errors import ConfigError, DataError
from medimg.phantoms.nodules import write_nodules
from medimg.preparation.image_splits import image_folds


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("nodules") / "set"
    write_nodules(out, nodules=12, seed=1, size=16)
    return out


@pytest.fixture
def copied(written, tmp_path):
    """``copied(row number, **changes)``: the table with one row changed, beside empty crops."""

    def make(number=0, **changes):
        with (written / "nodules.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        rows[number] |= changes
        (tmp_path / "crops").mkdir()
        for row in rows:
            if row["image"].startswith("crops/"):
                (tmp_path / row["image"]).touch()
        with (tmp_path / "nodules.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        return tmp_path

    return make


def test_every_column_is_a_value_of_its_nodule(written):
    columns = ("malignant", "diameter_mm", "offset_x_mm")
    index = Nodules(columns).index(written)
    assert (index.name, index.task, index.classes, len(index.records)) == ("nodules", "targets", columns, 12)
    with (written / "nodules.csv").open(newline="") as file:
        rows = {row["nodule_id"]: row for row in csv.DictReader(file)}
    for record in index.records:
        row = rows[record.case_id]
        assert record.patient_id == row["patient_id"] and record.images[0].is_file() and record.group is None
        for name in columns:
            value = record.labels[name]
            assert math.isnan(value) if row[name] == "" else value == float(row[name])
    patients = {record.case_id: record.patient_id for record in index.records}
    for split in image_folds(index, 2):
        assert not {patients[case] for case in split.train} & {patients[case] for case in split.val}


def test_a_blank_is_unknown_and_few_readers_are_left_out(copied):
    root = copied(3, malignant="", readers="2")
    assert len(Nodules().index(root).records) == 11
    record = Nodules(("malignant", "diameter_mm"), min_readers=2).index(root).records[3]
    assert math.isnan(record.labels["malignant"]) and record.labels["diameter_mm"] > 0


def test_sides_matter_where_a_place_is_learned():
    assert Nodules(("offset_x_mm",)).has_laterality and not Nodules(("diameter_mm",)).has_laterality
    assert not Nodules.has_laterality


WRONG = [
    ({"diameter_mm": "large"}, "NODULE-00000: expected a number or a blank, found 'large'"),
    ({"diameter_mm": "inf"}, "NODULE-00000: expected a number or a blank, found 'inf'"),
    ({"readers": "some"}, "readers is 'some'; expected a number"),
    ({"image": ""}, "NODULE-00000 has no crop; convert with --crop 48"),
    ({"image": "gone.nii.gz"}, "1 of 12 cases have no image"),
    ({"patient_id": ""}, "the patient is blank"),
]


@pytest.mark.parametrize(("changes", "said"), WRONG, ids=[said for _, said in WRONG])
def test_a_nodule_that_cannot_be_used_is_named(copied, changes, said):
    with pytest.raises(DataError, match=said):
        Nodules().index(copied(**changes))


def test_what_cannot_be_is_refused(written, tmp_path):
    with pytest.raises(DataError, match=r"expected nodules\.csv.*Convert the scans first"):
        Nodules().index(tmp_path)
    with pytest.raises(DataError, match="expected the columns sphericity; found nodule_id"):
        Nodules(("sphericity",)).index(written)
    with pytest.raises(DataError, match="none of 12 nodules was outlined by 5 readers"):
        Nodules(min_readers=5).index(written)
    for columns in ((), ("malignant", "malignant")):
        with pytest.raises(ConfigError, match="targets: expected columns, each once"):
            Nodules(columns)

import pytest

from medimg.datasets.rsna_mammography import RSNAMammography
from medimg.errors import DataError

HEADER = ["site_id", "patient_id", "image_id", "laterality", "view", "age", "cancer", "biopsy"]
ROWS = [
    [1, 10006, 462822612, "L", "CC", 61.0, 0, 0],
    [1, 10006, 1459541791, "L", "MLO", 61.0, 0, 0],
    [1, 10006, 1864590858, "R", "MLO", "", 1, 1],
]


@pytest.fixture
def root(tmp_path, write_table):
    write_table(tmp_path / "train.csv", HEADER, ROWS)
    for row in ROWS:
        path = tmp_path / "train_images" / str(row[1]) / f"{row[2]}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path


def test_the_breast_is_the_group(root):
    index = RSNAMammography().index(root)
    assert (index.task, index.classes, len(index.records)) == ("binary", ("cancer",), 3)
    groups = {record.case_id: (record.group, record.labels["cancer"]) for record in index.records}
    assert groups == {
        "10006_462822612": ("10006_L", 0.0),
        "10006_1459541791": ("10006_L", 0.0),
        "10006_1864590858": ("10006_R", 1.0),
    }
    assert {record.patient_id for record in index.records} == {"10006"}
    assert all(record.images[0].is_file() for record in index.records)


def test_the_test_set_has_no_labels(root, write_table):
    write_table(root / "test.csv", [*HEADER[:6], "prediction_id"], [[1, 10008, 5, "L", "CC", 61, "10008_L"]])
    index = RSNAMammography(missing="keep", suffix=".png").unlabelled(root)
    (record,) = index.records
    assert (record.group, record.labels, record.images[0].name) == ("10008_L", {}, "5.png")


def test_images_of_one_breast_cannot_differ(root, write_table):
    write_table(root / "train.csv", HEADER, [*ROWS[:2], [1, 10006, 7, "L", "AT", 61.0, 1, 0]])
    with pytest.raises(DataError, match=r"breast 10006_L has cancer 0 in .* and 1 in"):
        RSNAMammography(missing="keep").index(root)


def test_unknown_side_or_view(root, write_table):
    write_table(root / "train.csv", HEADER, [[1, 10006, 7, "X", "CC", 61.0, 1, 0]])
    with pytest.raises(DataError, match="line 2: found laterality 'X'"):
        RSNAMammography().index(root)

"""BraTS folders and the tables that grade them."""

import pytest

from medimg.datasets import GliomaGrade
from medimg.errors import ConfigError, DataError


def grades(index):
    return [next((name for name, value in r.labels.items() if value == 1), None) for r in index.records]


@pytest.fixture
def root(tmp_path, write_brats, write_table):
    """Four cases of BraTS 2021 with the metadata of UCSF-PDGM, of which one case has no row."""
    write_brats(tmp_path / "set", 4, year=2021, shape=(6, 6, 6))
    header = ["ID", "Sex", "WHO CNS Grade", "BraTS21 ID"]
    rows = [
        ["UCSF-PDGM-0004", "M", "4", "BraTS2021_00000"],
        ["UCSF-PDGM-0005", "F", "2", "BraTS2021_00001"],
        ["UCSF-PDGM-0007", "F", "3", ""],
        ["UCSF-PDGM-0008", "F", "unknown", "BraTS2021_00003"],
    ]
    write_table(tmp_path / "set" / "UCSF-PDGM-metadata_v2.csv", header, rows)
    return tmp_path / "set"


def test_a_published_table_is_found_and_its_unknown_rows_have_no_label(root, caplog):
    index = GliomaGrade().index(root)
    assert (index.task, index.classes) == ("multiclass", ("2", "3", "4"))
    assert grades(index) == ["4", "2", None, None]
    assert index.records[2].labels == index.records[3].labels == {}
    assert all(record.mask is None and len(record.images) == 4 for record in index.records)
    assert "2 of 4 cases have no grade and no label" in caplog.text


def test_modalities_come_in_the_order_asked_for(root):
    record = GliomaGrade(modalities=("t2f", "t1c")).index(root).records[0]
    assert [path.name for path in record.images] == [
        "BraTS2021_00000_flair.nii.gz", "BraTS2021_00000_t1ce.nii.gz",
    ]  # fmt: skip


def test_high_and_low_grade_of_brats_2020_are_binary(tmp_path, write_brats, write_table):
    write_brats(tmp_path, 2, year=2020, shape=(6, 6, 6))
    rows = [["HGG", "BraTS19_A", "BraTS20_Training_001"], ["LGG", "NA", "BraTS20_Training_002"]]
    write_table(
        tmp_path / "name_mapping.csv", ["Grade", "BraTS_2019_subject_ID", "BraTS_2020_subject_ID"], rows
    )
    index = GliomaGrade(classes=("LGG", "HGG")).index(tmp_path)
    assert (index.task, index.classes) == ("binary", ("HGG",))
    assert [record.labels for record in index.records] == [{"HGG": 1.0}, {"HGG": 0.0}]
    with pytest.raises(
        DataError, match=r"name_mapping\.csv, line 2: the grade is 'HGG'; expected one of 2, 3, 4"
    ):
        GliomaGrade().index(tmp_path)


def test_the_folders_of_brats_2018_grade_too(tmp_path, write_brats):
    write_brats(tmp_path, 3, year=2018, shape=(6, 6, 6))
    index = GliomaGrade(classes=("LGG", "HGG")).index(tmp_path)
    assert {record.images[0].parent.parent.name: record.labels["HGG"] for record in index.records} == {
        "HGG": 1.0, "LGG": 0.0,
    }  # fmt: skip


def test_an_own_table_names_its_columns_and_patients(root, write_table):
    rows = [
        ["BraTS2021_00000", "WHO grade III", "P7"],
        ["BraTS2021_00001", "G2", ""],
        ["BraTS2021_00002", "IV", "P7"],
    ]
    write_table(root / "own.csv", ["scan", "histology", "who"], rows)
    index = GliomaGrade(table="own.csv", id="scan", grade="histology", patient="who").index(root)
    assert grades(index) == ["3", "2", "4", None]
    assert [record.patient_id for record in index.records] == [
        "P7",
        "BraTS2021_00001",
        "P7",
        "BraTS2021_00003",
    ]


def test_faults_say_what_to_do(root, write_table):
    own = {"table": "own.csv", "id": "scan", "grade": "grade"}
    write_table(root / "own.csv", ["scan", "grade"], [["BraTS2021_00000", "2"], ["BraTS2021_00000", "4"]])
    with pytest.raises(
        DataError, match=r"own\.csv, line 3: BraTS2021_00000 stands twice with different grades"
    ):
        GliomaGrade(**own).index(root)
    write_table(root / "own.csv", ["scan", "grade"], [["elsewhere", "2"]])
    with pytest.raises(DataError, match=r"grades none of the 4 cases.*BraTS2021_00000; it names elsewhere\."):
        GliomaGrade(**own).index(root)
    (root / "UCSF-PDGM-metadata_v2.csv").unlink()
    with pytest.raises(
        DataError, match=r"expected a table of grades \(grades\.csv, .*or folders HGG and LGG"
    ):
        GliomaGrade().index(root)
    for options, said in (
        ({"classes": ("4",)}, "classes: expected two grades or more"),
        ({"modalities": ("t1", "t1c")}, "modalities: expected some of"),
        ({"table": "own.csv"}, "table: name its columns too"),
    ):
        with pytest.raises(ConfigError, match=said):
            GliomaGrade(**options)


def test_another_root_is_predicted_with_or_without_a_table(root):
    (root / "UCSF-PDGM-metadata_v2.csv").unlink()
    index = GliomaGrade(modalities=("t1c",)).unlabelled(root)
    assert [record.labels for record in index.records] == [{}] * 4
    assert all(len(record.images) == 1 for record in index.records)

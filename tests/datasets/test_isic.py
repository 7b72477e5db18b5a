from medimg.datasets.isic import ISIC2020, isic_duplicates

HEADER = ["image_name", "patient_id", "sex", "age_approx", "anatom_site_general_challenge"]
END = ["diagnosis", "benign_malignant", "target"]
ROWS = [
    ["ISIC_1", "IP_1", "male", 45, "torso", "unknown", "benign", 0],
    ["ISIC_2", "IP_1", "male", 45, "torso", "melanoma", "malignant", 1],
]


def test_jpeg_folder(tmp_path, write_table, write_picture):
    write_table(tmp_path / "train.csv", [*HEADER, *END], ROWS)
    for row in ROWS:
        write_picture(tmp_path / "jpeg" / "train" / f"{row[0]}.jpg")
    index = ISIC2020().index(tmp_path)
    assert [(r.case_id, r.patient_id, r.labels["target"]) for r in index.records] == [
        ("ISIC_1", "IP_1", 0.0),
        ("ISIC_2", "IP_1", 1.0),
    ]


def test_dicom_of_the_test_set(tmp_path, write_table):
    write_table(tmp_path / "test.csv", HEADER, [["ISIC_9", "IP_9", "male", 45, "torso"]])
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "ISIC_9.dcm").write_bytes(b"")
    (record,) = ISIC2020().unlabelled(tmp_path).records
    assert record.images[0].name == "ISIC_9.dcm" and record.labels == {}


def test_listed_duplicates(tmp_path, write_table):
    assert isic_duplicates(tmp_path) == []
    write_table(
        tmp_path / "ISIC_2020_Training_Duplicates.csv",
        ["image_name_1", "image_name_2"],
        [["ISIC_1", "ISIC_2"]],
    )
    assert isic_duplicates(tmp_path) == [{"ISIC_1", "ISIC_2"}]

from pathlib import Path

import pytest

from medimg.errors import ConfigError, DataError
from medimg.scoring.pairs import case_id_of, find_pairs


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def patient(case_id):
    return case_id[:-4]


@pytest.mark.parametrize(
    ("name", "case_id"),
    [
        ("BraTS-GLI-00001-000-seg.nii.gz", "BraTS-GLI-00001-000"),
        ("BraTS2021_00000_seg.nii.gz", "BraTS2021_00000"),
        ("BraTS20_Training_001_seg.nii", "BraTS20_Training_001"),
        ("hippocampus_001.nii.gz", "hippocampus_001"),
        ("a.b.NII.GZ", "a.b"),
    ],
)
def test_names(name, case_id):
    assert case_id_of(Path(name)) == case_id


def test_brats_folders_hold_images_beside_the_masks(tmp_path):
    for case in ("BraTS-GLI-00002-000", "BraTS-GLI-00001-001"):
        touch(tmp_path / "ref" / case / f"{case}-seg.nii.gz", tmp_path / "ref" / case / f"{case}-t1c.nii.gz")
        touch(tmp_path / "pred" / f"{case}.nii.gz")
    touch(tmp_path / "pred" / "predictions.json", tmp_path / "pred" / "._BraTS-GLI-00002-000.nii.gz")
    pairs = find_pairs(tmp_path / "pred", tmp_path / "ref", patient_id_of=patient)
    assert [pair.case_id for pair in pairs] == ["BraTS-GLI-00001-001", "BraTS-GLI-00002-000"]
    assert pairs[0].patient_id == "BraTS-GLI-00001"
    assert pairs[0].ref == tmp_path / "ref/BraTS-GLI-00001-001/BraTS-GLI-00001-001-seg.nii.gz"
    assert pairs[0].pred == tmp_path / "pred/BraTS-GLI-00001-001.nii.gz"


def test_flat_folders(tmp_path):
    touch(
        tmp_path / "pred/x_1.nii.gz", tmp_path / "labelsTr/x_1.nii.gz", tmp_path / "labelsTr/old/x_1.nii.gz"
    )
    (pair,) = find_pairs(tmp_path / "pred", tmp_path / "labelsTr", patient_id_of=patient)
    assert pair.ref == tmp_path / "labelsTr/x_1.nii.gz"


def test_two_files_are_one_case(tmp_path):
    touch(tmp_path / "anything.nii.gz", tmp_path / "case7-seg.nii.gz")
    (pair,) = find_pairs(tmp_path / "anything.nii.gz", tmp_path / "case7-seg.nii.gz", patient_id_of=str)
    assert pair.case_id == "case7"


def test_missing_and_extra_cases_are_named(tmp_path):
    touch(tmp_path / "pred/a.nii.gz", tmp_path / "pred/x.nii.gz")
    touch(*(tmp_path / f"ref/{name}.nii.gz" for name in ("a", "b", "c")))
    with pytest.raises(DataError) as fault:
        find_pairs(tmp_path / "pred", tmp_path / "ref", patient_id_of=str)
    assert "no prediction for 2 of 3 references: b, c" in str(fault.value)
    assert "no reference for 1 of 2 predictions: x" in str(fault.value)


def test_long_lists_are_cut(tmp_path):
    touch(tmp_path / "pred/a0.nii.gz", *(tmp_path / f"ref/a{i}.nii.gz" for i in range(40)))
    with pytest.raises(DataError, match="and 29 more"):
        find_pairs(tmp_path / "pred", tmp_path / "ref", patient_id_of=str)


def test_what_cannot_be_matched_is_refused(tmp_path):
    touch(tmp_path / "pred/a.nii.gz", tmp_path / "pred/a.nii", tmp_path / "ref/a.nii.gz")
    with pytest.raises(DataError, match="case a stands twice"):
        find_pairs(tmp_path / "pred", tmp_path / "ref", patient_id_of=str)
    with pytest.raises(ConfigError, match="two files or two folders"):
        find_pairs(tmp_path / "pred/a.nii", tmp_path / "ref", patient_id_of=str)
    with pytest.raises(DataError, match="no such file or folder"):
        find_pairs(tmp_path / "nowhere", tmp_path / "ref", patient_id_of=str)
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match="no mask found"):
        find_pairs(tmp_path / "bare", tmp_path / "ref", patient_id_of=str)


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    touch(tmp_path / "secret/a.nii.gz", tmp_path / "ref/a.nii.gz")
    (tmp_path / "pred").mkdir()
    (tmp_path / "pred/a.nii.gz").symlink_to(tmp_path / "secret/a.nii.gz")
    with pytest.raises(DataError, match="outside the data folder"):
        find_pairs(tmp_path / "pred", tmp_path / "ref", patient_id_of=str)

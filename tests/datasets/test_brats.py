import os
import shutil
from pathlib import Path

import pytest

from medimg.datasets.brats import CONVENTIONS, index_brats
from medimg.errors import ConfigError, DataError


@pytest.mark.parametrize("year", [2018, 2019, 2020, 2021, 2022])
def test_until_2022(tmp_path, write_brats, year):
    index = index_brats(write_brats(tmp_path, 2, year=year, shape=(6, 6, 6)))
    assert index.channels == ("t1n", "t1c", "t2w", "t2f")
    assert dict(index.labels) == {"NCR": 1, "ED": 2, "ET": 4}
    assert dict(index.regions) == {"WT": (1, 2, 4), "TC": (1, 4), "ET": (4,)}
    assert dict(index.region_labels) == {"WT": 2, "TC": 1, "ET": 4}
    names = [path.name.split(".")[0].rsplit("_", 1)[1] for path in index.records[0].images]
    assert names == ["t1", "t1ce", "t2", "flair"]
    assert index.records[0].mask.name.split(".")[0].endswith("_seg")
    assert len(index.records) == 2


def test_2023(tmp_path, write_brats):
    index = index_brats(write_brats(tmp_path / "ASNR" / "Training", 2, year=2023, shape=(6, 6, 6)).parent)
    assert dict(index.labels) == {"NCR": 1, "ED": 2, "ET": 3}
    assert dict(index.regions) == {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}
    assert dict(index.region_labels) == {"WT": 2, "TC": 1, "ET": 3}
    record = index.records[1]
    assert (record.case_id, record.patient_id) == ("BraTS-GLI-00001-000", "BraTS-GLI-00001")
    assert [path.name[-10:-7] for path in record.images] == ["t1n", "t1c", "t2w", "t2f"]


@pytest.mark.parametrize("name", ["MEN", "MET", "SSA", "GoAT", "PED"])
def test_sister_challenges_of_2023(tmp_path, write_brats, name):
    index = index_brats(write_brats(tmp_path, [f"BraTS-{name}-00007-001"], shape=(6, 6, 6)))
    assert index.records[0].patient_id == f"BraTS-{name}-00007"
    assert index.labels["ET"] == 3


def test_2024_after_surgery(tmp_path, write_brats):
    index = index_brats(write_brats(tmp_path, 3, year=2024, shape=(6, 6, 6)))
    assert index.labels["RC"] == 4
    assert index.regions["RC"] == (4,)
    assert 4 not in index.regions["WT"]
    patients = [record.patient_id for record in index.records]
    assert patients == ["BraTS-GLI-00000", "BraTS-GLI-00000", "BraTS-GLI-00001"]


def test_2024_children_only_when_asked_for(tmp_path, write_brats, caplog):
    root = write_brats(tmp_path, ["BraTS-PED-00001-000"], shape=(6, 6, 6))
    assert index_brats(root).labels["ET"] == 3
    assert "brats2024-ped" in caplog.text
    index = index_brats(root, convention="brats2024-ped")
    assert dict(index.labels) == {"ET": 1, "NET": 2, "CC": 3, "ED": 4}
    assert dict(index.regions) == {"WT": (1, 2, 3, 4), "TC": (1, 2, 3), "ET": (1,)}
    with pytest.raises(ConfigError, match="expected one of brats2021"):
        index_brats(root, convention="brats")


@pytest.mark.parametrize("convention", CONVENTIONS.values(), ids=CONVENTIONS)
def test_regions_are_nested_and_written_with_their_own_values(convention):
    assert set(convention.regions["ET"]) < set(convention.regions["TC"]) < set(convention.regions["WT"])
    for region, value in convention.region_labels.items():
        assert value in convention.regions[region]
    # Written from the outermost inwards, each tissue that a region adds keeps a value of that region.
    assert list(convention.region_labels) == list(convention.regions)
    assert convention.region_labels["WT"] not in convention.regions["TC"]
    assert convention.region_labels["TC"] not in convention.regions["ET"]


def test_visits_of_2018_share_a_patient(tmp_path, write_brats):
    names = ["HGG/Brats18_TCIA01_150_1", "HGG/Brats18_TCIA01_150_2"]
    index = index_brats(write_brats(tmp_path, names, year=2018, shape=(6, 6, 6)))
    assert {record.patient_id for record in index.records} == {"Brats18_TCIA01_150"}


def test_cases_without_masks_are_unlabelled(tmp_path, write_brats):
    root = write_brats(tmp_path, 2, masks=False, shape=(6, 6, 6))
    index = index_brats(root)
    assert (len(index.records), len(index.unlabelled)) == (0, 2)


def test_faults_are_listed_together(tmp_path, write_brats):
    root = write_brats(tmp_path / "data", 4, year=2021, shape=(6, 6, 6))
    case = "BraTS2021_00000"
    (root / case / f"{case}_t1ce.nii.gz").unlink()
    (root / case / f"{case}_flair.nii.gz").unlink()
    shutil.copytree(root / "BraTS2021_00001", root / "again" / "BraTS2021_00001")
    outside = tmp_path / "outside.nii.gz"
    (root / "BraTS2021_00002" / "BraTS2021_00002_t1.nii.gz").rename(outside)
    (root / "BraTS2021_00002" / "BraTS2021_00002_t1.nii.gz").symlink_to(outside)
    folder = root / "BraTS2021_00003"
    (folder / "BraTS2021_00003_seg.nii.gz").rename(folder / "W39_1998.09.19_Segm.nii.gz")
    (root / "__MACOSX").mkdir()
    (root / "__MACOSX" / "BraTS2021_00009_t1.nii.gz").touch()
    (folder / "._BraTS2021_00003_t1.nii.gz").touch()
    with pytest.raises(DataError) as error:
        index_brats(root)
    for said in (
        "4 faults",
        f"{case}: the modality t1ce (t1c), flair (t2f) is missing",  # 20
        "BraTS2021_00001: the id is used twice",  # 21
        "outside the data folder",  # 43
        "rename it to <case>_seg",
    ):
        assert said in str(error.value)


def test_linked_folders_and_double_files_are_refused(tmp_path, write_brats):
    write_brats(tmp_path / "outside", 1, shape=(6, 6, 6))
    root = write_brats(tmp_path / "data", ["BraTS-GLI-00005-000"], shape=(6, 6, 6))
    (root / "linked").symlink_to(tmp_path / "outside", target_is_directory=True)
    (root / "within").symlink_to(root / "BraTS-GLI-00005-000", target_is_directory=True)
    case = root / "BraTS-GLI-00005-000"
    (case / "BraTS-GLI-00005-000-t1n.nii").touch()
    with pytest.raises(DataError, match="outside the data folder") as error:
        index_brats(root)
    assert "has two files of t1n" in str(error.value)
    assert "2 faults" in str(error.value)


def test_mixed_years_are_refused(tmp_path, write_brats):
    write_brats(tmp_path, 1, year=2023, shape=(6, 6, 6))
    write_brats(tmp_path, 1, year=2021, shape=(6, 6, 6))
    with pytest.raises(DataError, match="mixed"):
        index_brats(tmp_path)


def test_other_files_are_no_cases(tmp_path, write_volume):
    import numpy as np

    write_volume(tmp_path / "liver_seg.nii.gz", np.zeros((3, 3, 3), np.uint8))
    with pytest.raises(DataError, match="no BraTS case found"):
        index_brats(tmp_path)


@pytest.mark.real
def test_real_case():
    index = index_brats(Path(os.environ["MEDIMG_REAL_DATA"]) / "BraTS2023")
    assert [record.case_id for record in index.unlabelled] == ["BraTS-GLI-00001-000"]

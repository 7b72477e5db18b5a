from pathlib import Path

import pytest

from medimg.datasets.decathlon import index_decathlon
from medimg.errors import ConfigError, DataError
from medimg.preparation.pseudo_note import PseudoNote, note_path, write_note
from medimg.preparation.pseudo_volumes import loose_volumes, pseudo_volumes, volumes_by_name
from medimg.records import Record


def test_time_points_are_of_one_patient(tmp_path):
    for name in ("BraTS-GLI-00012-100", "BraTS-GLI-00012-101", "hippocampus_001"):
        (tmp_path / f"{name}.nii.gz").write_bytes(b"")
    patients = [record.patient_id for record in loose_volumes(tmp_path)]
    assert patients == ["BraTS-GLI-00012", "BraTS-GLI-00012", "hippocampus_001"]


def test_files_become_cases_by_their_names(tmp_path):
    for name in (
        "a.nii.gz",
        "deep/b_0000.nii.gz",
        "deep/b_0001.nii.gz",
        ".hidden.nii.gz",
        "_x.nii",
        "note.txt",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [(one.case_id, len(one.images)) for one in loose_volumes(tmp_path)] == [("a", 1), ("b", 2)]


def test_predictions_are_found_by_the_names_of_their_files():
    records = [Record("HGG/x", "x", ()), Record("y", "y", ())]
    assert volumes_by_name(records, ["y"], Path("root"))["y"].case_id == "y"
    with pytest.raises(DataError, match="root: 1 of 2 cases have no image there, such as z"):
        volumes_by_name(records, ["y", "z"], Path("root"))


@pytest.fixture
def task(tmp_path, write_decathlon):
    root = write_decathlon(tmp_path / "Task", 2, tests=2)
    folder = tmp_path / "masks"
    folder.mkdir()
    for name in ("fake_900", "fake_901"):
        (folder / f"{name}.nii.gz").write_bytes((root / "labelsTr" / "fake_000.nii.gz").read_bytes())
    return index_decathlon(root), folder


def note_of(folder, **changes):
    content = {"labels": {"anterior": 1, "posterior": 2}, "ignore": 255, "weights": {"fake_900": 0.5}}
    note = PseudoNote(1, Path("images"), {}, **{**content, **changes})
    write_note(note_path(folder), note)
    return note


def test_masks_and_images_become_records(task):
    index, folder = task
    found = pseudo_volumes(folder, note_of(folder), index, index)
    (record,) = found.records
    assert (record.case_id, record.weight, record.mask) == ("fake_900", 0.5, folder / "fake_900.nii.gz")
    assert record.images == (index.root / "imagesTs" / "fake_900.nii.gz",)
    assert found.ignore_label == 255 and found.labels == index.labels and not found.test
    assert found.name != pseudo_volumes(folder, note_of(folder, weights={"fake_901": 1.0}), index, index).name


def test_other_classes_and_missing_masks_are_refused(task):
    index, folder = task
    with pytest.raises(ConfigError, match="expected pseudo-labels of volumes"):
        pseudo_volumes(folder, note_of(folder, ignore=None), index, index)
    for changes in ({"labels": {"x": 3}}, {"ignore": 2}):
        with pytest.raises(ConfigError, match="Name pseudo-labels of the same classes"):
            pseudo_volumes(folder, note_of(folder, **changes), index, index)
    (folder / "fake_900.nii.gz").unlink()
    with pytest.raises(DataError, match=r"fake_900\.nii\.gz: there is no such file"):
        pseudo_volumes(folder, note_of(folder), index, index)

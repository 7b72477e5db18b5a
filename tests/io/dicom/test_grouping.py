import random

import numpy as np
import pytest
from writers.dicom import write_dicom
from writers.grids import make_grid, make_hu

from medimg.errors import ConfigError, DataError
from medimg.io.dicom.grouping import SeriesFiles, choose_series, find_series, scan_folder, series_names
from medimg.io.dicom.write_series import write_series


def write(folder, number=1, **about):
    return write_series(folder, make_hu(seed=number), make_grid(), series_number=number, **about)


def test_fault_27_several_series_in_one_folder_are_told_apart(tmp_path):
    for number in (2, 1):
        for path in write(tmp_path / str(number), number):
            path.rename(tmp_path / f"{number}-{path.name}")
    found = find_series(tmp_path)
    assert [one.number for one in found] == [1, 2]
    assert [len(one.slices) for one in found] == [5, 5]
    assert {path.name[0] for path in found[1].files} == {"2"}
    with pytest.raises(
        ConfigError, match=r"found 2 series:\n  number 1, 5 slices, CT ''.*\n.*\nName one with --series"
    ):
        choose_series(found, None, tmp_path)
    assert choose_series(found, "2", tmp_path) is found[1]
    assert choose_series(found, found[0].uid, tmp_path) is found[0]
    with pytest.raises(ConfigError, match="found 0 series called '3'"):
        choose_series(found, "3", tmp_path)


def test_fault_28_names_and_folders_say_nothing(tmp_path):
    paths = write(tmp_path)
    names = [path.name for path in paths]
    random.Random(0).shuffle(names)
    (tmp_path / "deep").mkdir()
    for path, name in zip(paths, names, strict=True):
        path.rename(tmp_path / "deep" / f"x{name}.ima")
    (found,) = find_series(tmp_path)
    assert len(found.slices) == 5


def test_other_files_are_set_aside_with_a_reason(tmp_path):
    paths = write(tmp_path)
    uid = find_series(tmp_path)[0].uid
    (tmp_path / "README.txt").write_text("text")
    (tmp_path / ".hidden").write_text("text")
    pixels = np.zeros((6, 7), np.int16)
    write_dicom(
        tmp_path / "scout.dcm", pixels, elements={"SeriesInstanceUID": uid, "ImageType": ["LOCALIZER"]}
    )
    write_dicom(tmp_path / "lost.dcm", pixels, elements={"SeriesInstanceUID": uid})
    scan = scan_folder(tmp_path)
    (series,) = scan.series
    assert series.files == tuple(paths)
    assert {one.path.name: one.reason for one in series.set_aside} == {
        "scout.dcm": "a localizer",
        "lost.dcm": "no position or orientation in the patient",
    }
    assert [(one.path.name, one.reason) for one in scan.set_aside] == [("README.txt", "no DICOM file")]


def test_derived_images_leave_where_originals_are(tmp_path):
    derived = {"ImageType": ["DERIVED", "SECONDARY"]}
    write(tmp_path / "alone", elements=derived)
    (alone,) = find_series(tmp_path / "alone")
    assert (len(alone.slices), alone.set_aside) == (5, ())
    write(tmp_path / "mixed/a")
    write(tmp_path / "mixed/b", elements=derived)
    (mixed,) = find_series(tmp_path / "mixed")
    assert len(mixed.slices) == 5
    assert {one.reason for one in mixed.set_aside} == {"a derived image among original ones"}


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "empty"), (b"\0" * 128 + b"DICM" + b"\x08\0" * 9, "0003.dcm")]
)
def test_a_damaged_file_is_refused_or_skipped(tmp_path, content, words):
    path = write(tmp_path)[2]
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"(?s){words}.*may lack this slice.*--on_bad skip"):
        scan_folder(tmp_path)
    scan = scan_folder(tmp_path, on_bad="skip")
    assert [one.path for one in scan.set_aside] == [path]
    assert len(scan.series[0].slices) == 4


@pytest.mark.parametrize("linked", [lambda path: path, lambda path: path.parent], ids=["file", "folder"])
def test_a_link_out_of_the_folder_is_refused(tmp_path, linked):
    outside = write(tmp_path / "outside")[0]
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a").symlink_to(linked(outside))
    with pytest.raises(DataError, match="outside the data folder"):
        scan_folder(tmp_path / "data", on_bad="skip")


def test_a_folder_without_series_says_what_it_holds(tmp_path):
    write_dicom(tmp_path / "a.dcm", np.zeros((2, 2), np.int16))
    with pytest.raises(DataError, match=r"found none that lies in the patient \(a\.dcm: no position"):
        find_series(tmp_path)
    with pytest.raises(DataError, match="there is none"):
        find_series(tmp_path / "b")


def test_names_are_safe_and_differ(tmp_path):
    def series(uid, patient="P/1", number=3, text="Axial  5.0 (soft)"):
        return SeriesFiles(uid, "", patient, "CT", text, number, (), ())

    names = series_names([series("1.1"), series("1.2"), series("1.3", "P2", None, "")])
    assert len(set(names)) == 3
    assert names[2] == "P2"
    assert all("003_Axial-5-0-soft" in name and "/" not in name for name in names[:2])
    (outside,) = series_names([series("1.4", "../../x")])
    assert "/" not in outside
    assert not outside.startswith(".")

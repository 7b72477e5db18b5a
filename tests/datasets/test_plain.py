import shutil
from pathlib import Path

import pytest

from medimg.datasets.plain import index_plain
from medimg.errors import DataError
from medimg.records import DatasetIndex, Record


def like(*channels, order=()):
    return DatasetIndex(
        name="Trained",
        root=Path("trained"),
        channels=channels,
        labels={"liver": 1, "tumour": 2},
        records=(Record("a", "a", (Path("a.nii.gz"),)),),
        test=(Record("t", "t", (Path("t.nii.gz"),)),),
        regions={"whole": (1, 2)},
        region_labels={"whole": 1},
        folds=((("a",), ("b",)),),
        channel_order=order,
    )


@pytest.fixture
def folder(tmp_path, write_decathlon, write_nnunet):
    """``folder(layout, channels, names)``: images alone, copied from a fake data set."""

    def make(layout, channels, names):
        write = {"single": write_decathlon, "numbered": write_nnunet}[layout]
        source = write(tmp_path / "source", cases=1, channels=channels, shape=(6, 6, 6))
        images = sorted((source / "imagesTr").glob("*.nii.gz"))
        root = tmp_path / "mine"
        root.mkdir()
        for name in names:
            for number, image in enumerate(images):
                ending = "" if layout == "single" else f"_{number:04d}"
                (root / name).parent.mkdir(exist_ok=True)
                shutil.copy(image, root / f"{name}{ending}.nii.gz")
        return root

    return make


@pytest.mark.parametrize("channels", [("CT",), ("T1", "T2")])
def test_one_file_a_case(folder, channels, caplog):
    # Numbers of four digits are names of cases as long as none is 0000.
    names = ["scan_0002", "scan_0001", "_x", ".y", "imagesTs/z", "labelsTr/z", "deep/er"]
    root = folder("single", channels, names)
    (root / "notes.txt").touch()
    trained = like(*channels, order=tuple(reversed(range(len(channels)))))
    index = index_plain(root, like=trained)
    assert [record.case_id for record in index.unlabelled] == ["scan_0001", "scan_0002", "z"]
    assert [record.patient_id for record in index.unlabelled] == ["scan_0001", "scan_0002", "z"]
    assert index.unlabelled[0].images == (root / "scan_0001.nii.gz",)
    assert index.unlabelled[2].images == (root / "imagesTs/z.nii.gz",)
    assert all(record.mask is None for record in index.unlabelled)
    assert (index.name, index.root, index.records, index.test, index.folds) == ("mine", root, (), (), ())
    for kept in ("channels", "labels", "regions", "region_labels", "ignore_label", "channel_order"):
        assert getattr(index, kept) == getattr(trained, kept)
    assert "left out: notes.txt" in caplog.text


def test_one_file_a_channel(folder):
    root = folder("numbered", ("T1", "T2"), ["b", "a", "imagesTr/c", "_d"])
    index = index_plain(root, like=like("T1", "T2"))
    assert [record.case_id for record in index.unlabelled] == ["a", "b", "c"]
    assert index.unlabelled[0].images == (root / "a_0000.nii.gz", root / "a_0001.nii.gz")
    assert index.unlabelled[2].images == (root / "imagesTr/c_0000.nii.gz", root / "imagesTr/c_0001.nii.gz")


def test_faults_of_channel_files_are_listed_together(folder):
    root = folder("numbered", ("T1", "T2"), ["a", "b", "c", "d", "imagesTs/d", "e f"])
    (root / "a_0001.nii.gz").unlink()
    shutil.copy(root / "b_0000.nii.gz", root / "b_0002.nii.gz")
    shutil.copy(root / "b_0000.nii.gz", root / "odd.nii.gz")
    shutil.copy(root / "c_0000.nii.gz", root / "c_0000.nii")
    with pytest.raises(DataError, match="6 faults in this plain data set") as error:
        index_plain(root, like=like("T1", "T2"))
    for said in (
        "a: the channel T2 (a_0001.nii.gz) is missing",
        "b: b_0002.nii.gz is channel 2, and the network knows 2 (T1, T2)",
        "odd.nii.gz: expected a name such as <case>_0000.nii.gz",
        "c: c_0000.nii and c_0000.nii.gz are the same channel",
        "d: the id is used twice, in d_0000.nii.gz and imagesTs/d_0000.nii.gz",
        "'e f': (e f_0000.nii.gz) a case id may hold",
    ):
        assert said in str(error.value)


def test_faults_of_single_files_are_listed_together(folder):
    root = folder("single", ("T1", "T2"), ["a", "b", "imagesTr/b"])
    (root / "c.nii.gz").write_bytes(b"no image")
    with pytest.raises(DataError, match="4 faults") as error:
        index_plain(root, like=like("T1", "T2", "FLAIR"))
    for said in (
        "a: expected 3 channels (T1, T2, FLAIR), found 2 in a.nii.gz",
        "b: the id is used twice, in b.nii.gz and imagesTr/b.nii.gz",
        "c.nii.gz",
    ):
        assert said in str(error.value)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(DataError, match="expected a folder of images"):
        index_plain(tmp_path / "gone", like=like("CT"))
    with pytest.raises(DataError, match="found no file"):
        index_plain(tmp_path, like=like("CT"))
    (tmp_path / "a.nrrd").touch()
    with pytest.raises(DataError, match=r"found a\.nrrd\. Convert"):
        index_plain(tmp_path, like=like("CT"))

import json

import pytest

from medimg.datasets import index_dataset
from medimg.datasets.recognise import index_brain_tumours
from medimg.errors import DataError


def test_each_layout_is_recognised(tmp_path, write_decathlon, write_nnunet, write_brats):
    small = (6, 6, 6)
    decathlon = write_decathlon(tmp_path / "Task1", 1, tests=0, shape=small)
    new = write_nnunet(tmp_path / "Dataset1", 1, shape=small)
    old = write_nnunet(tmp_path / "Task001", 1, version=1, shape=small)
    brats = write_brats(tmp_path / "BraTS", 1, year=2019, shape=small)
    assert index_dataset(decathlon).records[0].case_id == "fake_000"
    assert index_dataset(new).records[0].case_id == "case_000"
    assert index_dataset(old).records[0].case_id == "case_000"
    assert index_dataset(brats).records[0].case_id == "BraTS19_TCIA00_100_1"
    assert index_dataset(brats, convention="brats2023").labels["ET"] == 3


def test_decathlon_cases_that_end_in_four_digits(tmp_path, write_decathlon):
    root = write_decathlon(tmp_path, ["scan_0001", "scan_0002"], tests=0, shape=(6, 6, 6))
    assert [record.case_id for record in index_dataset(root).records] == ["scan_0001", "scan_0002"]


def test_what_was_looked_for_and_found(tmp_path, write_decathlon):
    with pytest.raises(DataError, match="there is none"):
        index_dataset(tmp_path / "missing")
    with pytest.raises(DataError, match="an empty folder"):
        index_dataset(tmp_path)
    (tmp_path / "a_seg.nii.gz").touch()
    write_decathlon(tmp_path / "Task1", 1, shape=(6, 6, 6))
    with pytest.raises(
        DataError, match=r"Decathlon.*nnU-Net.*BraTS.*found Task1, a_seg.*Did you mean .*Task1\?"
    ):
        index_dataset(tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps({"name": "x"}))
    with pytest.raises(DataError, match="found the keys name"):
        index_dataset(tmp_path)


def test_the_decathlons_brain_tumours_come_in_the_same_channel_order(tmp_path, write_decathlon):
    root = write_decathlon(
        tmp_path / "Task01_BrainTumour",
        channels=("FLAIR", "T1w", "t1gd", "T2w"),
        labels={"edema": 1, "non-enhancing tumor": 2, "enhancing tumour": 3},
    )
    index = index_brain_tumours(root)
    assert index.channels == ("t1n", "t1c", "t2w", "t2f")
    assert index.channel_order == (1, 2, 3, 0)
    assert index.regions == {"WT": (1, 2, 3), "TC": (2, 3), "ET": (3,)}

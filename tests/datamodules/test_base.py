import json
import logging
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
import torch

from medimg import keys
from medimg.cli import main
from medimg.datamodules import DecathlonDataModule, NNUNetDataModule, PatchOptions, SplitOptions
from medimg.errors import ConfigError, DataError, ResourceError
from medimg.transforms import NNUNetAugmentation

REGIONS = {"background": 0, "whole": [1, 2], "inner": 2}


def equal(a, b):
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


def same(first, second):
    return len(first) == len(second) and all(
        a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
        for a, b in zip(first, second, strict=True)
    )


def epoch(data, seed=0, number=0):
    torch.manual_seed(seed)
    loader = data.train_dataloader()
    loader.sampler.set_epoch(number)
    return list(loader)


# ---- batches ----------------------------------------------------------------------------------


@pytest.mark.parametrize("augmented", [False, True])
def test_workers_change_nothing_and_the_seed_everything(make_decathlon, stand_in, augmented):
    options = {"augmentation": NNUNetAugmentation} if augmented else {}
    alone, helped = make_decathlon(num_workers=0, **options), make_decathlon(num_workers=2, **options)
    first = epoch(alone)
    assert len(first) == 6
    assert same(first, epoch(alone))
    assert same(first, epoch(helped))
    assert not same(first, epoch(alone, seed=1))
    assert not same(first, epoch(alone, number=1))
    for data in (alone, helped):
        data.trainer = stand_in()
    on_device = [
        [data.on_after_batch_transfer(batch, 0) for batch in epoch(data)] for data in (alone, helped)
    ]
    assert same(*on_device)
    assert on_device[0][0][keys.IMAGE].shape == (2, 1, 8, 8, 8)
    assert on_device[0][0][keys.MASK].dtype == torch.uint8


def test_two_processes_share_the_batches_of_one(make_decathlon, stand_in):
    cases = []
    for rank, world in ((0, 1), (0, 2), (1, 2)):
        data = make_decathlon(patches=PatchOptions((8, 8, 8), batch_size=1, batches_per_epoch=12 // world))
        data.trainer = stand_in(rank=rank, world=world)
        cases.append([seed for batch in epoch(data) for seed in batch[keys.SEED].tolist()])
    whole, first, second = cases
    assert whole[0::2] == first
    assert whole[1::2] == second


def test_a_killed_worker_ends_with_the_case_it_read(make_decathlon):
    data = make_decathlon(num_workers=2, patches=PatchOptions((8, 8, 8), 2, batches_per_epoch=4000))
    before = {child.pid for child in multiprocessing.active_children()}
    batches, begin = iter(data.train_dataloader()), time.monotonic()
    next(batches)
    worker = next(child for child in multiprocessing.active_children() if child.pid not in before)
    with pytest.raises(ResourceError, match="fake_00") as error:
        os.kill(worker.pid, signal.SIGKILL)
        for _ in batches:
            pass
    assert time.monotonic() - begin < 30
    assert any(case in str(error.value) for case in data.split.train)
    assert not any(case in str(error.value) for case in data.split.val)


def test_scored_cases_come_once_each_and_bring_references_where_they_are_scored(make_decathlon, stand_in):
    data = make_decathlon(7)
    for verb, wanted in (("fit", False), ("validate", True)):
        data.trainer = stand_in(verb)
        batches = list(data.val_dataloader())
        assert [batch[keys.CASE_ID][0] for batch in batches] == list(data.split.val)
        assert all((keys.REFERENCE in batch) == wanted for batch in batches)
    seen = []
    for rank in (0, 1):
        data.trainer = stand_in("test", rank, 2)
        batches = list(data.test_dataloader())
        assert all(batch[keys.REFERENCE][0].shape == (16, 16, 16) for batch in batches)
        seen += [batch[keys.CASE_ID][0] for batch in batches]
    assert sorted(seen) == sorted(data.split.val)
    data.trainer = stand_in("test", 0, 20)
    with pytest.raises(ConfigError, match=r"20 processes for 4 cases: lower trainer\.devices"):
        data.test_dataloader()


def test_predict_takes_every_image_and_no_mask(make_decathlon, write_decathlon, tmp_path, stand_in):
    data = make_decathlon(ready=False)
    data.trainer = stand_in("predict")
    data.prepare_data()
    data.setup("predict")
    assert not (tmp_path / "store").exists()
    batches = list(data.predict_dataloader())
    assert [batch[keys.CASE_ID][0] for batch in batches] == [*(f"fake_{n:03d}" for n in range(4)), "fake_900"]
    assert all(keys.MASK not in batch and keys.REFERENCE not in batch for batch in batches)
    other = write_decathlon(tmp_path / "Other", cases=["x"], tests=0)
    data = make_decathlon(ready=False, predict_root=other)
    assert [batch[keys.CASE_ID] for batch in data.predict_dataloader()] == [["x"]]
    # Images alone are enough: channels and labels are those of the data set trained on.
    data = make_decathlon(ready=False, predict_root=other / "imagesTr")
    batch = next(iter(data.predict_dataloader()))
    assert batch[keys.CASE_ID] == ["x"]
    assert keys.MASK not in batch


# ---- preparation, split, schemes --------------------------------------------------------------


def test_only_what_is_missing_is_prepared(make_decathlon, tmp_path):
    make_decathlon()
    files = sorted((tmp_path / "store").rglob("case.json"))
    assert len(files) == 4
    before = [file.stat().st_mtime_ns for file in files]
    files[2].unlink()
    make_decathlon()
    after = [file.stat().st_mtime_ns for file in files]
    assert [a == b for a, b in zip(after, before, strict=True)] == [True, True, False, True]


def test_a_leaky_split_is_refused_or_marked(make_decathlon, write_decathlon, tmp_path, caplog):
    root = write_decathlon(tmp_path / "Parts", cases=["BRATS_009_01", "BRATS_009_02"])
    file = tmp_path / "split.json"
    file.write_text(json.dumps([{"train": ["BRATS_009_01"], "val": ["BRATS_009_02"]}]))
    strict = DecathlonDataModule(root, split=SplitOptions(file=file))
    with pytest.raises(DataError, match="allow_leaky"):
        strict.setup("fit")
    known = DecathlonDataModule(root, split=SplitOptions(file=file, allow_leaky=True), store=tmp_path)
    with caplog.at_level(logging.WARNING):
        known.setup("fit")
    assert "LEAKY SPLIT" in caplog.text
    assert "BRATS_009" in caplog.text
    assert "LEAKY" in known.scored_title
    assert "LEAKY" not in make_decathlon().scored_title


def test_cases_of_one_patient_are_dealt_one_by_one_only_when_asked(write_decathlon, tmp_path):
    root = write_decathlon(tmp_path / "Parts", cases=[f"BRATS_009_{n:02d}" for n in range(4)])
    with pytest.raises(DataError, match=r"split\.by to case"):
        DecathlonDataModule(root, split=SplitOptions(num_folds=2)).setup("fit")
    data = DecathlonDataModule(root, split=SplitOptions(num_folds=2, by="case"), store=tmp_path / "store")
    data.setup("fit")
    assert (len(data.split.train), len(data.split.val)) == (2, 2)
    assert data.split.leaky == ("BRATS_009",)
    assert "LEAKY" in data.scored_title


def test_unknown_regions_are_refused_by_name(make_decathlon):
    with pytest.raises(ConfigError, match=r"regions: \['WT'\] are not regions of"):
        make_decathlon(regions=["WT"])


@pytest.fixture
def overlapping(tmp_path, write_nnunet):
    root = write_nnunet(
        tmp_path / "Dataset003_Parts", cases=4, labels=REGIONS, more={"regions_class_order": [1, 2]}
    )
    data = NNUNetDataModule(
        root, regions=["inner", "whole"], store=tmp_path / "store", patches=PatchOptions((8, 8, 8), 2, 2),
        split=SplitOptions(num_folds=2),
    )  # fmt: skip
    data.prepare_data()
    data.setup("fit")
    return data


def test_regions_stand_in_the_order_asked_for_and_are_written_in_the_data_sets(overlapping, stand_in):
    assert overlapping.scheme.names == ("inner", "whole")
    assert list(overlapping.scheme.written) == ["whole", "inner"]  # the inner one over the outer one
    overlapping.trainer = stand_in(training=False)
    batch = next(iter(overlapping.val_dataloader()))
    regions = overlapping.on_after_batch_transfer(batch, 0)[keys.MASK]
    assert regions.shape == (1, 2, *batch[keys.MASK].shape[2:])
    np.testing.assert_array_equal(regions[:, 0], batch[keys.MASK][:, 0] == 2)
    np.testing.assert_array_equal(regions[:, 1], batch[keys.MASK][:, 0] >= 1)


def test_a_labelled_test_split_is_what_test_scores(overlapping, stand_in, tmp_path, write_nnunet):
    root = write_nnunet(
        tmp_path / "Dataset004_Tests", cases=4, tests=2, labels=REGIONS, more={"regions_class_order": [1, 2]}
    )
    (root / "labelsTs").mkdir()
    for number in range(2):
        mask = (root / f"labelsTr/case_00{number}.nii.gz").read_bytes()
        (root / f"labelsTs/case_90{number}.nii.gz").write_bytes(mask)
    data = NNUNetDataModule(
        root, store=tmp_path / "store", patches=PatchOptions((8, 8, 8), 2, 2), split=SplitOptions(num_folds=2)
    )
    data.prepare_data()
    data.setup("fit")
    data.trainer = stand_in("test")
    batches = list(data.test_dataloader())
    assert [batch[keys.CASE_ID][0] for batch in batches] == ["case_900", "case_901"]
    assert all(batch[keys.REFERENCE][0].any() for batch in batches)
    assert data.scored_title == "labelled test cases of Dataset004_Tests"
    data.trainer = stand_in("validate")
    assert [batch[keys.CASE_ID][0] for batch in data.val_dataloader()] == list(data.split.val)
    assert data.scored_title == "validation cases of fold 0"
    overlapping.trainer = stand_in("test")
    assert overlapping.scored_title == "validation cases of fold 0 (the data set has no labelled test split)"


def test_only_training_batches_are_augmented(make_decathlon, stand_in):
    data = make_decathlon(augmentation=NNUNetAugmentation)
    batch = epoch(data)[0]
    data.trainer = stand_in(training=True)
    assert data.on_after_batch_transfer(batch, 0)[keys.IMAGE].shape == (2, 1, 8, 8, 8)
    case = next(iter(data.val_dataloader()))
    assert not equal(
        data.on_after_batch_transfer({**case, keys.SEED: torch.tensor([5])}, 0)[keys.IMAGE], case[keys.IMAGE]
    )
    data.trainer = stand_in(training=False)
    assert data.on_after_batch_transfer(case, 0)[keys.IMAGE] is case[keys.IMAGE]


def test_the_network_sees_float32_with_and_without_augmentation(make_decathlon, stand_in):
    for options in ({}, {"augmentation": NNUNetAugmentation}):
        data = make_decathlon(**options)
        data.trainer = stand_in()
        batch = epoch(data)[0]
        assert next(iter(batch[keys.IMAGE])).dtype == torch.float16  # as it lies on disk
        assert data.on_after_batch_transfer(batch, 0)[keys.IMAGE].dtype == torch.float32


def test_only_what_the_device_computes_with_is_moved(make_decathlon):
    data = make_decathlon()
    batch = next(iter(data.test_dataloader()))
    moved = data.transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert moved[keys.IMAGE].is_meta
    assert moved[keys.MASK].is_meta
    assert moved.keys() == batch.keys()
    assert moved[keys.REFERENCE] is batch[keys.REFERENCE]


def test_cases_that_a_table_of_folds_holds_out_are_the_test(make_decathlon, tmp_path, stand_in):
    root = make_decathlon(6).root
    assert (
        main(["split", str(root), "--folds", "2", "--holdout", "0.34", "--out", str(tmp_path / "s.csv")]) == 0
    )
    rows = (tmp_path / "s.csv").read_text().splitlines()[1:]
    held = sorted(row.split(",")[0] for row in rows if row.endswith(",test"))
    assert len(held) == 2
    data = make_decathlon(6, split=SplitOptions(file=tmp_path / "s.csv"))
    assert not set(held) & {*data.split.train, *data.split.val}
    data.trainer = stand_in("test")
    assert sorted(batch[keys.CASE_ID][0] for batch in data.test_dataloader()) == held
    assert data.scored_title == f"held-out test cases of {root.name}"
    data.trainer = stand_in("validate")
    assert data.scored_title == "validation cases of fold 0"

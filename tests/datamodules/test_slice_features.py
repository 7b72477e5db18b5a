"""Features of studies: written and read as they are, in order, of the right fold, with the data's labels."""

import json

import numpy as np
import pytest
import torch
from writers.studies import TABLE, WIDTH, sizes_of, write_studies, write_study_features

from medimg.datamodules import BatchOptions, SplitOptions
from medimg.datamodules.image_split import choose_image_split
from medimg.datamodules.samplers import SampleKey
from medimg.datamodules.slice_features import (
    FeatureDataset,
    SliceFeatureDataModule,
    read_features,
    read_study,
    write_features,
)
from medimg.errors import ConfigError, DataError

SIZES = sizes_of(6)


@pytest.fixture
def root(tmp_path):
    return write_studies(tmp_path / "studies", 6)


@pytest.fixture
def folder(root, tmp_path):
    whole = choose_image_split(TABLE.index(root), fold=0, num_folds=2).whole
    return write_study_features(tmp_path / "features", root, json.dumps({"split": whole, "fold": 0}))


def make(root, folder, **options):
    settings = {"split": SplitOptions(num_folds=2), "batch": BatchOptions(batch_size=2, grouped=True)}
    return SliceFeatureDataModule(root, dataset=TABLE, features=folder, **{**settings, **options})


def test_written_and_read_they_are_the_same(tmp_path):
    features = np.arange(6, dtype=np.float16).reshape(3, 2)
    write_features(tmp_path, "1.2/3", "p", ["b", "a", "c"], features)
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("1.2_3")  # a name that stays in its folder
    case, (images, found) = read_study(path), read_features(path)
    assert images == case.images
    assert (case.case_id, case.patient_id, case.images) == ("1.2/3", "p", ("b", "a", "c"))
    assert found.dtype == np.float16 and np.array_equal(found, features)
    with pytest.raises(ValueError, match="3 rows"):
        write_features(tmp_path, "x", "p", ["a", "b", "c"], features[:2])


def test_batches_hold_whole_studies_with_the_labels_of_their_slices(root, folder):
    data = make(root, folder)
    data.setup("test")
    seen = []
    records = {record.case_id: record for record in data.index.records}
    for batch in data.test_dataloader():
        assert batch["image"].dtype == torch.float32
        assert batch["image"].shape == (int(batch["sizes"].sum()), WIDTH)
        assert [int(size) for size in batch["sizes"]] == [SIZES[int(name[1:])] for name in batch["case_id"]]
        expected = [
            [records[name].labels[label] for label in data.index.classes] for name in batch["image_id"]
        ]
        assert batch["image_label"].tolist() == expected
        # The first feature was made from the label, so that an order mixed up would show.
        assert torch.equal(batch["image"][:, 0] > 0.5, batch["image_label"][:, 2] > 0.5)
        assert batch["label"][:, 2].tolist() == [int(name[1:]) % 2 for name in batch["case_id"]]  # any slice
        seen += batch["case_id"]
    assert sorted(seen) == sorted({records[case].group for case in data.split.val})


def test_training_takes_runs_of_a_study_from_the_seed_alone(root, folder):
    case = next(case for case in make_cases(root, folder) if len(case.images) == 5)
    dataset = FeatureDataset([case], folder, max_images=2)
    runs = [dataset[SampleKey(0, seed)]["image_id"] for seed in range(30)]
    assert {len(run) for run in runs} == {2}
    starts = {case.images.index(run[0]) for run in runs}
    assert starts == {0, 1, 2, 3}
    assert all(case.images.index(run[1]) == case.images.index(run[0]) + 1 for run in runs)
    assert runs == [dataset[SampleKey(0, seed)]["image_id"] for seed in range(30)]
    assert len(dataset[0]["image_id"]) == 5


def make_cases(root, folder):
    data = make(root, folder)
    data.setup("fit")
    return data._cases(tuple(record.case_id for record in data.index.records))


def test_training_batches_have_seeds_and_all_studies(root, folder):
    data = make(root, folder, batch=BatchOptions(batch_size=1, grouped=True, balance=0.0))
    data.setup("fit")
    batches = list(data.train_dataloader())
    records = {record.case_id: record for record in data.index.records}
    assert sorted(name for b in batches for name in b["case_id"]) == sorted(
        {records[c].group for c in data.split.train}
    )
    assert all("seed" in batch for batch in batches)
    assert data.train_labels.shape == (len(batches), 3)


def test_what_is_predicted_needs_no_data_set(folder):
    data = SliceFeatureDataModule(None, dataset=TABLE, features=folder, predict_root=folder)
    batches = list(data.predict_dataloader())
    assert sorted(name for batch in batches for name in batch["case_id"]) == [
        f"s{number}" for number in range(6)
    ]
    assert all("label" not in batch and "image_label" not in batch for batch in batches)


def test_features_of_another_fold_are_refused(root, folder):
    with pytest.raises(DataError, match=r"of an encoder of fold 0 of the split .*and this is fold 1 of"):
        make(root, folder, fold=1).setup("fit")
    make(root, folder, fold=1, split=SplitOptions(num_folds=2, allow_leaky=True)).setup("fit")
    with pytest.raises(DataError, match="of an encoder of fold 0"):
        make(root, folder, split=SplitOptions(num_folds=3)).setup("fit")


def test_features_that_are_not_whole_say_so(root, folder, tmp_path):
    with pytest.raises(DataError, match=r"features\.json: cannot be read.*FeatureWriter"):
        make(root, tmp_path / "nowhere").setup("fit")
    with pytest.raises(DataError, match="no features of studies"):
        make(root, folder, predict_root=tmp_path / "nowhere").predict_dataloader()
    cases = make_cases(root, folder)
    (folder / "s1.npz").write_bytes(b"PK nothing")
    with pytest.raises(DataError, match=r"s1\.npz: no features of a study can be read"):
        FeatureDataset(cases, folder)[1]
    write_features(folder, "s1", "s1", ["other"], np.zeros((1, WIDTH), np.float16))
    with pytest.raises(DataError, match="features of 1 slices, and the data list 4 of this study"):
        FeatureDataset(cases, folder)[1]


def test_single_slices_are_refused(root, folder):
    with pytest.raises(ConfigError, match=r"batch\.grouped to true"):
        make(root, folder, batch=BatchOptions())

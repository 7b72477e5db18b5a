import json

import pytest
import torch

from medimg import keys
from medimg.datamodules import NNUNetDataModule, PatchOptions, SplitOptions
from medimg.datasets.nnunet import index_nnunet


@pytest.mark.parametrize("version", [1, 2])
def test_both_versions_are_read(tmp_path, write_nnunet, version):
    root = write_nnunet(tmp_path / "Dataset007_X", cases=5, version=version)
    data = NNUNetDataModule(root, store=tmp_path / "store")
    data.setup("fit")
    assert data.scheme.names == ("liver", "tumour")
    assert data.split.val == ("case_003",) or len(data.split.val) == 1


def test_published_folds_go_before_dealt_ones(tmp_path, write_nnunet):
    root = write_nnunet(tmp_path / "Dataset007_X", cases=3)
    folds = [{"train": ["case_000"], "val": ["case_002"]}, {"train": ["case_002"], "val": ["case_001"]}]
    (root / "splits_final.json").write_text(json.dumps(folds))
    assert len(index_nnunet(root).folds) == 2
    data = NNUNetDataModule(root, fold=1, store=tmp_path / "store")
    data.setup("fit")
    assert (data.split.train, data.split.val) == (("case_002",), ("case_001",))


def test_ignored_voxels_reach_the_batch(tmp_path, write_nnunet):
    labels = {"background": 0, "liver": 1, "tumour": 2, "ignore": 3}
    root = write_nnunet(tmp_path / "Dataset007_X", cases=4, labels=labels)
    data = NNUNetDataModule(
        root,
        store=tmp_path / "store",
        split=SplitOptions(num_folds=2),
        patches=PatchOptions((16, 16, 16), 1, 2),
    )
    data.prepare_data()
    data.setup("fit")
    assert data.scheme.names == ("liver", "tumour")
    assert data.scheme.ignore == 3
    torch.manual_seed(0)
    values = torch.cat([batch[keys.MASK].unique() for batch in data.train_dataloader()]).unique().tolist()
    assert values == [0, 1, 2, 255]

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml

from medimg.datasets import index_dataset
from medimg.preparation.fingerprint import take_fingerprint
from medimg.preparation.plan import make_plan
from medimg.preparation.plan_config import data_module, mirror_axes, output_names, render_config
from medimg.preparation.prepare import Preparation
from medimg.preparation.settings import read_data_settings

SHAPE = (16, 20, 24)


def planned(root, *, outputs=3, **options):
    index = index_dataset(root)
    fingerprint = take_fingerprint(index)
    plan = make_plan(fingerprint, index.channels, outputs)
    return index, plan, render_config(index, fingerprint, plan, memory_gb=8.0, **options)


def test_numbers_stand_where_the_run_reads_them(tmp_path, write_decathlon):
    root = write_decathlon(tmp_path / "Task99_Fake", 3, channels=("CT",), shape=SHAPE)
    index, plan, text = planned(root, max_epochs=20)
    config = yaml.safe_load(text)
    network = config["model"]["init_args"]["network"]["init_args"]
    assert network["out_channels"] == 3
    assert network["strides"] == [list(stride) for stride in plan.network.strides]
    assert network["upsample_kernel_size"] == network["strides"][1:]
    assert network["deep_supr_num"] == len(network["filters"]) - 2
    data = config["data"]["init_args"]
    assert data["root"] == str(root)
    assert data["patches"]["size"] == list(plan.network.patch)
    assert config["model"]["init_args"]["inferer"]["init_args"]["roi_size"] == list(plan.network.patch)
    assert config["trainer"]["max_epochs"] == 20
    assert "experiment" not in config  # the run takes the config's name
    # The preparation that is written is the one that was planned.
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert read_data_settings(path).preparation == Preparation(
        spacing_mm=plan.spacing_mm,
        normalization=("ct",),
        window_hu=plan.window_hu,
        mean_std=plan.mean_std,
    )
    assert read_data_settings(path).index(root) == index


def test_every_number_has_its_reason(tmp_path, write_decathlon):
    _, _, text = planned(write_decathlon(tmp_path / "Task99", 3, shape=SHAPE))
    for key in (
        "out_channels",
        "max_epochs",
        "spacing_mm",
        "normalization",
        "size",
        "batch_size",
        "batch_dice",
    ):
        line = next(
            line for line in text.splitlines() if line.strip().startswith(f"{key}:") or f"{{ {key}:" in line
        )
        assert "#" in line, line


def test_layouts_and_heads(tmp_path, write_decathlon, write_nnunet, write_brats):
    brats = write_brats(tmp_path / "b", 2)
    regions = {"background": 0, "whole": [1, 2], "core": [2]}
    nnunet = write_nnunet(tmp_path / "n", 2, labels=regions, more={"regions_class_order": [1, 2]})
    old = write_nnunet(tmp_path / "o", 2, version=1)
    decathlon = write_decathlon(tmp_path / "d", 2)
    expected = {
        brats: ("BraTSDataModule", ["WT", "TC", "ET"], True),
        nnunet: ("NNUNetDataModule", ["whole", "core"], True),
        old: ("NNUNetDataModule", ["liver", "tumour"], False),
        decathlon: ("DecathlonDataModule", ["anterior", "posterior"], False),
    }
    for root, (module, names, overlap) in expected.items():
        index = index_dataset(root)
        assert data_module(index) == module
        assert output_names(index) == (tuple(names), overlap)
        _, _, text = planned(root, outputs=len(names) + (not overlap))
        config = yaml.safe_load(text)
        model, data = config["model"]["init_args"], config["data"]
        assert model["classes"] == names
        assert model["head"] == ("sigmoid" if overlap else "softmax")
        assert model["loss"]["class_path"].endswith("DiceBCELoss" if overlap else "DiceCELoss")
        assert data["class_path"] == f"medimg.datamodules.{module}"
        assert data["init_args"].get("regions") == (names if overlap else None)


def test_choices_of_the_user_are_written(tmp_path, write_brats):
    root = write_brats(tmp_path / "b", 2)
    _, _, text = planned(root, form="sform", convention="brats2023")
    data = yaml.safe_load(text)["data"]["init_args"]
    assert data["preparation"]["form"] == "sform"
    assert data["convention"] == "brats2023"


@pytest.mark.parametrize(
    ("names", "axes"),
    [
        (["left_atrium"], [0, 1]),
        (["Right ventricle"], [0, 1]),
        (["bright spot", "cleft"], [0, 1, 2]),
        ([], [0, 1, 2]),
    ],
)
def test_sides_are_not_mirrored(names, axes):
    assert mirror_axes(names) == axes


def test_odd_names_stay_yaml(tmp_path, write_decathlon):
    labels = ('a "quoted": one', "no")
    root = write_decathlon(tmp_path / "Täsk: #9", 2, labels=labels, channels=("T1 # not\na comment",))
    index, _, text = planned(root)
    config = yaml.safe_load(text)
    assert tuple(config["model"]["init_args"]["classes"]) == labels
    assert config["data"]["init_args"]["root"] == str(root)
    assert replace(index, root=root) == index_dataset(root)


def test_nnunet_with_its_own_names_of_files_is_told_by_its_channels(tmp_path, write_nnunet, write_volume):
    root = write_nnunet(tmp_path / "n", 2)
    content = json.loads((root / "dataset.json").read_text())
    shape = (6, 6, 6)
    for kind in ("scans", "masks"):
        for case in ("x", "y"):
            write_volume(root / kind / f"{case}.nii.gz", np.ones(shape, np.uint8))
    content["channel_names"] = {"0": "CT"}
    content["dataset"] = {
        case: {"images": [f"scans/{case}.nii.gz"], "label": f"masks/{case}.nii.gz"} for case in ("x", "y")
    }
    (root / "dataset.json").write_text(json.dumps(content))
    assert data_module(index_dataset(root)) == "NNUNetDataModule"

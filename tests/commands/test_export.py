"""``medimg export``: a file that answers as the trained network does, and a JSON that says how to feed it."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from medimg.cli import main
from medimg.commands import export_network
from medimg.commands.export_source import _build, read_trained
from medimg.commands.trust import set_policy

CONF = Path(__file__).parents[1] / "conf"
TRANSUNET = {
    "class_path": "medimg.models.SliceWise",
    "init_args": {
        "neighbours": 1,
        "network": {
            "class_path": "medimg.models.TransUNet",
            "init_args": {
                "in_channels": 3, "num_classes": 3, "image_size": [16, 16], "width": 64, "depth": 1,
                "backbone_layers": [1, 1, 1], "backbone_width": 32, "decoder_channels": [16, 16, 16, 16, 16],
            },
        },
    },
}  # fmt: skip


@pytest.fixture
def make_run(tmp_path):
    """``make_run("softmax", change)``: a run's folder with random weights, as a fit would leave it."""

    def make(name, change=None, classes=None):
        settings = yaml.safe_load((CONF / f"{name}.yaml").read_text())
        if change is not None:
            change(settings)
        run = tmp_path / "lightning_logs" / name / "version_0"
        (run / "checkpoints").mkdir(parents=True)
        (run / "config.yaml").write_text(yaml.safe_dump(settings))
        set_policy([])
        torch.manual_seed(0)
        task = _build(settings, run / "config.yaml")
        # Class weights that a fit counted stand in the checkpoint too.
        state = {**task.state_dict(), "loss.pos_weight": torch.ones(1)}
        checkpoint = {"state_dict": state, "medimg_classes": classes or list(task.classes)}
        torch.save(checkpoint, run / "checkpoints" / "best.ckpt")
        return run

    return make


def answer_of(run, image):
    """Logits of the task itself."""
    task = read_trained(run / "checkpoints" / "best.ckpt", run / "config.yaml").task
    with torch.no_grad():
        return task(torch.from_numpy(image)).numpy()


def point(settings):
    """A network of one convolution, which is traced in no time."""
    options = {"in_channels": 1, "out_channels": 3, "kernel_size": 1}
    settings["model"]["init_args"]["network"] = {"class_path": "torch.nn.Conv3d", "init_args": options}


def slices(settings):
    settings["model"]["init_args"]["network"] = TRANSUNET
    settings["data"]["init_args"]["patches"]["size"] = [4, 16, 16]


@pytest.mark.slow
def test_a_classification_runs_in_onnxruntime_and_the_json_says_how(make_run, capsys):
    onnxruntime = pytest.importorskip("onnxruntime")
    run = make_run("classification")
    assert main(["export", str(run), "--check"]) == 0
    shown = capsys.readouterr().out
    assert "largest difference from the network" in shown
    assert shown.splitlines()[-1].startswith("next: python -c ")
    path = run / "export" / "best.onnx"
    image = np.random.default_rng(0).standard_normal((5, 1, 32, 32)).astype(np.float32)
    found = onnxruntime.InferenceSession(path).run(["logits"], {"image": image})[0]
    np.testing.assert_allclose(found, answer_of(run, image), atol=1e-4)
    facts = json.loads((run / "export" / "best.json").read_text())
    assert facts["inputs"] == {"image": {"shape": ["batch", 1, 32, 32], "dtype": "float32"}}
    assert facts["output"] == {"name": "logits", "shape": ["batch", 1]}
    assert facts["task"] == {"class": "ClassificationTask", "kind": "binary", "activation": "sigmoid"}
    assert facts["classes"] == ["malignant"]
    assert facts["normalisation"]["mean"] == [0.5]
    assert facts["check"]["largest_difference"] <= 1e-4
    weights = run / "checkpoints" / "best.ckpt"
    assert facts["checkpoint"]["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert {path.name for path in (run / "export").iterdir()} == {"best.onnx", "best.json"}


def test_a_segmentation_is_written_for_torch(make_run, tmp_path):
    run, out = make_run("softmax", point), tmp_path / "kept" / "network.pt2"
    checkpoint = run / "checkpoints" / "best.ckpt"
    assert main(["export", str(checkpoint), "--format", "torch-export", "--out", str(out)]) == 0
    image = torch.randn(3, 1, 16, 16, 16)
    found = torch.export.load(out).module()(image=image)
    np.testing.assert_allclose(found.detach().numpy(), answer_of(run, image.numpy()), atol=1e-4)
    facts = json.loads(out.with_suffix(".json").read_text())
    assert facts["classes"] == ["background", "anterior", "posterior"]
    assert facts["inputs"]["image"]["shape"] == ["batch", 1, 16, 16, 16]
    assert facts["output"]["shape"] == ["batch", 3, 16, 16, 16]
    assert facts["task"]["activation"] == "softmax"
    assert facts["normalisation"]["spacing_mm"] == [2.0, 1.0, 1.0]


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "torch-export"])
@pytest.mark.parametrize(("name", "change"), [("softmax", None), ("regions", None), ("softmax", slices)])
def test_every_segmentation_passes_the_check(name, change, format, make_run):
    run = make_run(name, change)
    assert main(["export", str(run), "--format", format]) == 0
    facts = json.loads((run / "export" / "best.json").read_text())
    assert facts["check"]["largest_difference"] <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "torch-export"])
def test_images_of_one_case_are_pooled_in_the_file(format, make_run):
    def pooled(settings):
        pooling = {"class_path": "medimg.models.GatedAttentionPooling", "init_args": {"in_features": 256}}
        settings["model"]["init_args"] |= {"pooling": pooling, "training": {}}

    run = make_run("classification", pooled)
    assert main(["export", str(run), "--format", format]) == 0
    facts = json.loads((run / "export" / "best.json").read_text())
    assert facts["inputs"]["image"]["shape"][0] == "images of one case"
    assert facts["output"]["shape"] == [1, 1]
    assert facts["check"]["largest_difference"] <= 1e-4


def test_a_file_that_answers_otherwise_is_not_written(make_run, monkeypatch, capsys):
    run = make_run("softmax", point)
    plain = export_network.run
    monkeypatch.setattr(export_network, "run", lambda *given: plain(*given) + 2e-4)
    words = ["export", str(run), "--format", "torch-export"]
    assert main(words) == 1
    assert (
        "differs from the network's by 0.0002, more than 0.0001: nothing was written"
        in capsys.readouterr().err
    )
    assert list((run / "export").iterdir()) == []
    assert main([*words, "--check", "false"]) == 0
    assert json.loads((run / "export" / "best.json").read_text())["check"] is None


def test_files_are_replaced_only_where_that_is_asked_for(make_run, capsys):
    run = make_run("softmax", point)
    (run / "export").mkdir()
    (run / "export" / "best.json").write_text("mine")
    words = ["export", str(run), "--format", "torch-export"]
    assert main(words) == 2
    assert "best.json: is there already. Give another --out, or --overwrite." in capsys.readouterr().err
    assert (run / "export" / "best.json").read_text() == "mine"
    assert main([*words, "--overwrite"]) == 0
    assert json.loads((run / "export" / "best.json").read_text())["format"] == "torch-export"


def test_what_cannot_be_exported_is_refused(make_run, tmp_path, monkeypatch, capsys):
    run = make_run("softmax", point)
    refusals = [
        ([str(tmp_path / "absent")], "expected a checkpoint, or the folder of a run that holds one"),
        ([str(run), "--ckpt", "last"], "found no"),
        ([str(run), "--format", "torch-export", "--out", "a.onnx"], "a file of torch-export ends in .pt2"),
        (
            [str(run), "--format", "torch-export", "--shape", "2", "16", "16", "16"],
            "--shape 2 16 16 16: Conv3d does not take it",
        ),
    ]
    for words, said in refusals:
        assert main(["export", *words]) == 2
        assert said in capsys.readouterr().err
    for name in ("onnx", "onnxscript", "onnxruntime"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            assert main(["export", str(run)]) == 2
        assert f"needs the package {name}: pip install 'medimg[export]'" in capsys.readouterr().err
    assert not (run / "export").exists()

"""``medimg explain``: a run and a folder of cases in; pictures, heat maps, a table and a page out."""

import base64
import csv
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from writers.decathlon import write_decathlon
from writers.images import write_class_folders, write_picture, write_table

from medimg.commands.explain import PARSER, explain
from medimg.commands.export_source import _build
from medimg.commands.parser import call
from medimg.commands.trust import set_policy
from medimg.errors import ConfigError, DataError

CONF = Path(__file__).parents[1] / "conf"


@pytest.fixture
def make_run(tmp_path):
    """``make_run("softmax", change)``: a run's folder with random weights, as a fit would leave it."""

    def make(name, change=None, root=None):
        settings = yaml.safe_load((CONF / f"{name}.yaml").read_text())
        if change is not None:
            change(settings)
        settings["data"]["init_args"]["root"] = None if root is None else str(root)
        run = tmp_path / "lightning_logs" / name / "version_0"
        (run / "checkpoints").mkdir(parents=True)
        (run / "config.yaml").write_text(yaml.safe_dump(settings))
        set_policy([])
        torch.manual_seed(0)
        task = _build(settings, run / "config.yaml")
        torch.save({"state_dict": task.state_dict()}, run / "checkpoints" / "best.ckpt")
        return run

    return make


def run_verb(*words):
    return call(PARSER, explain, [str(word) for word in words], prog="medimg explain")


def table(out):
    with (out / "table.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def with_masks(root):
    write_class_folders(root, {"benign": 2, "malignant": 2})
    for path in sorted(root.rglob("*.png")):
        mask = np.zeros((32, 40), np.uint8)
        mask[4:28, 6:34] = 255
        write_picture(path.with_name(f"{path.stem}_mask.png"), mask)
    return root


def test_images_with_masks(make_run, tmp_path, capsys):
    run, root = make_run("classification"), with_masks(tmp_path / "data")
    assert run_verb(run, root, "--limit", 3, "--curve_steps", 4, "--tensorboard", "--sanity") == 0
    out, shown = run / "explain" / "gradcam", capsys.readouterr().out
    rows = table(out)
    assert [row["label"] for row in rows] == ["malignant"] * 3
    assert rows[0]["case_id"] == "benign/benign (1).png" and rows[0]["layer"].startswith("body.")
    assert {row["peak_in_reference"] for row in rows} <= {"0", "1"} and rows[0]["peak_d"] == ""
    assert 0 < float(rows[0]["deletion_area"]) < 1 and -1 <= float(rows[0]["random_correlation"]) <= 1
    page = (out / "index.html").read_text()
    assert "http" not in page.replace("http-equiv", "") and page.count("<img alt=") == 3
    pictures = re.findall(r"base64,([^\"]+)", page)
    assert base64.b64decode(pictures[0]) == (out / rows[0]["picture"]).read_bytes()
    assert Image.open(out / rows[0]["picture"]).size[0] == 1000
    curve = list(csv.DictReader((out / rows[0]["picture"]).with_name("malignant_curves.csv").open()))
    assert [float(line["share"]) for line in curve] == [0, 0.25, 0.5, 0.75, 1]
    # All pixels deleted is the baseline, all inserted is the case.
    assert float(curve[0]["deletion"]) == pytest.approx(float(rows[0]["probability"]), abs=1e-4)
    assert float(curve[-1]["insertion"]) == pytest.approx(float(rows[0]["probability"]), abs=1e-4)
    assert list((out / "tensorboard").glob("events*"))
    assert (
        "3 heat maps of 3 cases; --limit left out 1" in shown
        and "hottest place inside the reference" in shown
    )
    assert shown.splitlines()[-1].startswith("next: open ")


def segmentation(tmp_path, make_run, *words):
    root = write_decathlon(tmp_path / "Task99_Fake", 2, shape=(18, 20, 22))
    run = make_run("softmax", root=root)
    assert run_verb(run, root, "--case", "fake_000", "--curve_steps", 2, *words) == 0
    out = next((run / "explain").iterdir())
    return root, out, table(out)


@pytest.mark.slow
def test_regions_of_volumes_lie_on_the_grid_of_the_file(make_run, tmp_path):
    root, out, rows = segmentation(tmp_path, make_run)
    source = nib.load(root / "imagesTr" / "fake_000.nii.gz")
    assert rows and {row["label"] for row in rows} <= {"anterior", "posterior"}
    for row in rows:
        heat = nib.load(out / row["picture"].replace(".png", ".nii.gz"))
        assert heat.shape == source.shape and np.allclose(heat.affine, source.affine, atol=1e-4)
        assert np.asarray(heat.dataobj).min() >= 0
        assert 0 < float(row["probability"]) <= 1 and row["layer"]


@pytest.mark.slow
def test_the_hottest_parts_as_segments(make_run, tmp_path):
    _, out, rows = segmentation(tmp_path, make_run, "--save_as", "seg.nrrd", "--method", "gradcam++")
    text = (out / rows[0]["picture"].replace(".png", ".seg.nrrd")).read_bytes()[:4000].decode("latin-1")
    assert out.name == "gradcampp" and "hottest 10 %" in text and "hottest 1 %" in text


@pytest.mark.slow
def test_regions_of_images_are_judged_against_their_own_part_of_the_mask(make_run, tmp_path):
    def change(settings):
        settings["model"] = {
            "class_path": "medimg.tasks.ImageSegmentationTask",
            "init_args": {
                "classes": ["lesion"],
                "network": {
                    "class_path": "medimg.models.SMPSegmenter",
                    "init_args": {
                        "architecture": "Unet", "encoder": "test_efficientnet", "num_classes": 2,
                        "in_channels": 1, "decoder_channels": [16, 16, 8, 8, 8],
                    },
                },
            },
        }  # fmt: skip
        settings["data"]["init_args"]["batch"] = {"batch_size": 2, "masks": True}

    run, root = make_run("classification", change), with_masks(tmp_path / "data")
    assert run_verb(run, root, "--limit", 2, "--curve_steps", 2, "--labels", "lesion") == 0
    out = run / "explain" / "gradcam"
    rows = table(out)
    assert [row["label"] for row in rows] == ["lesion"] * 2
    assert {row["peak_in_reference"] for row in rows} <= {"0", "1"} and rows[0]["peak_d"] == ""
    assert (out / rows[0]["picture"]).is_file() and 0 < float(rows[0]["deletion_area"]) < 1


@pytest.mark.slow
@pytest.mark.parametrize("over", ["features", "logits"])
def test_the_images_of_a_group_have_weights(make_run, tmp_path, over):
    root = tmp_path / "views"
    for number in range(6):
        write_picture(root / f"{number}.png", seed=number)
    lines = [(f"i{n}", f"p{n // 3}", f"{n}.png", n // 3) for n in range(6)]
    write_table(root / "images.csv", ("id", "case", "file", "cancer"), lines)
    attention = {"class_path": "medimg.models.GatedAttentionPooling", "init_args": {"in_features": 256}}

    def change(settings):
        model, data = settings["model"]["init_args"], settings["data"]["init_args"]
        model["classes"] = ["cancer"]
        model["training"] = {}
        model["pooling"] = attention if over == "features" else {"class_path": "medimg.models.MeanPooling"}
        data["dataset"] = {
            "class_path": "medimg.datasets.ImageTable",
            "init_args": {
                "file": "images.csv", "task": "binary",
                "columns": {
                    "id": "id", "patient": "case", "images": ["{file}"], "labels": ["cancer"], "group": "case",
                },
            },
        }  # fmt: skip
        data["batch"] = {"batch_size": 2, "grouped": True}

    run = make_run("classification", change)
    assert run_verb(run, root, "--curve_steps", 2) == 0
    out = run / "explain" / "gradcam"
    rows = table(out)
    assert [row["case_id"] for row in rows] == ["p0", "p1"] and rows[0]["peak_d"] in {"0", "1", "2"}
    images = list(csv.DictReader((out / "p1" / "cancer_images.csv").open()))
    assert [line["image_id"] for line in images] == ["i3", "i4", "i5"]
    if over == "features":
        assert sum(float(line["weight"]) for line in images) == pytest.approx(1, abs=1e-4)
    else:
        assert {line["weight"] for line in images} == {""}


@pytest.mark.slow
def test_studies_of_slices(make_run, tmp_path):
    root = tmp_path / "studies"
    for number in range(12):
        write_picture(root / f"{number}.png", seed=number)
    lines = [(f"s{n:02}", f"p{n // 6}", f"{n}.png", n // 6, 0, n % 2) for n in range(12)]
    write_table(root / "slices.csv", ("id", "study", "file", "sick", "left", "seen"), lines)
    run = make_run("study")
    assert run_verb(run, root, "--labels", "sick", "left", "--method", "hirescam", "--curve_steps", 0) == 0
    rows = table(run / "explain" / "hirescam")
    assert [(row["case_id"], row["label"]) for row in rows] == [
        ("p0", "sick"), ("p0", "left"), ("p1", "sick"), ("p1", "left"),
    ]  # fmt: skip
    assert rows[0]["deletion_area"] == ""
    assert len((run / "explain" / "hirescam" / "p0" / "sick_images.csv").read_text().splitlines()) == 7


@pytest.mark.slow
def test_labelled_volumes_come_back_to_the_files_grid(make_run, tmp_path):
    root = write_decathlon(tmp_path / "Task99_Fake", 2, shape=(18, 20, 22))

    def change(settings):
        model, data = settings["model"]["init_args"], settings["data"]
        network = {"depth": 10, "in_channels": 1, "num_classes": 1, "widen": 0.125, "stem_stride": 1}
        model["network"] = {"class_path": "medimg.models.ResNet3D", "init_args": network}
        model["scoring"], model["training"], model["channels_last"] = {"resamples": 20}, {}, False
        data["class_path"] = "medimg.datamodules.LabelledVolumeDataModule"
        keep = {"dataset": data["init_args"]["dataset"], "batch": {"batch_size": 2}}
        data["init_args"] = {**keep, "volume": {"size": [16, 24, 16], "spacing_mm": [1.5, 1.0, 1.0]}}

    run = make_run("classification", change)
    assert run_verb(run, root / "imagesTr", "--curve_steps", 2, "--limit", 1) == 0
    out = run / "explain" / "gradcam"
    row = table(out)[0]
    heat = nib.load(out / row["picture"].replace(".png", ".nii.gz"))
    source = nib.load(next((root / "imagesTr").glob("*.nii.gz")))
    assert heat.shape == source.shape and np.allclose(heat.affine, source.affine, atol=1e-4)


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (
            ["--labels", "malignnt"],
            ConfigError,
            "--labels malignnt: the run has malignant; the nearest are malignant",
        ),
        (
            ["--case", "benign/benign"],
            ConfigError,
            r"--case benign/benign: not below .*the nearest are benign/benign",
        ),
        (["--limit", "-1"], ConfigError, "--limit: expected 0 or more, found -1"),
        (["--samples", "0"], ConfigError, "--samples: expected 1 or more, found 0"),
        (["--layer", "body.bn3"], ConfigError, "--layer body.bn3: .*the nearest are .*body.bn2"),
    ],
)
def test_refusals(make_run, tmp_path, words, error, message):
    run, root = make_run("classification"), with_masks(tmp_path / "data")
    with pytest.raises(error, match=message):
        run_verb(run, root, *words)
    assert not (run / "explain" / "gradcam" / "table.csv").exists()


def test_a_missing_folder_and_one_that_is_full(make_run, tmp_path):
    run = make_run("classification")
    with pytest.raises(DataError, match="there is no such folder or file of cases"):
        run_verb(run, tmp_path / "nowhere")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"is there already\. Give another --out, or --overwrite"):
        run_verb(run, tmp_path, "--out", tmp_path / "full")
    assert (tmp_path / "full" / "a.txt").read_text() == "mine"

"""Masks of images: scored and written on the pixels of the files, whatever size the network saw."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule
from sklearn.metrics import f1_score, jaccard_score
from torch import nn
from torch.optim import SGD
from torch.utils.data import DataLoader

from medimg import keys
from medimg.callbacks import PredictionWriter
from medimg.cli import main
from medimg.commands.run_tta import choose_tta
from medimg.errors import CheckpointError, ConfigError, DataError
from medimg.inference import FlipTTA
from medimg.io.files import safe_name
from medimg.io.raster import read_raster, write_png
from medimg.models import SMPSegmenter
from medimg.phantoms.ultrasound import write_ultrasound
from medimg.preparation.image_grid import FileGrid
from medimg.preparation.image_pixels import ImageOptions, read_pixels, resize
from medimg.records import Record
from medimg.scoring.surface import hd95, nsd
from medimg.tasks import ImageScoring, ImageSegmentationTask

ROOT = Path(__file__).parents[2]
IMAGE = ImageOptions(size=(48, 64), channels=1, mean=(0.0,), std=(1.0,))
SHAPES = {"wide": (40, 96), "tall": (130, 50), "same": (48, 64), "bare": (33, 44)}


class Threshold(nn.Module):
    """Calls what is bright the one class, so that masks drawn from the images must come back."""

    def __init__(self, classes=1):
        super().__init__()
        self.scale, self.classes = nn.Parameter(torch.tensor(20.0)), classes

    def forward(self, image):
        # Class n at brightness n / classes: each logit peaks there.
        levels = torch.arange(self.classes + 1).view(1, -1, 1, 1) / self.classes
        return -self.scale * (image - levels).square()


def ellipse(shape):
    rows, columns = np.indices(shape)
    middle = (shape[0] * 0.45, shape[1] * 0.6)
    return np.hypot((rows - middle[0]) / shape[0], (columns - middle[1]) / shape[1]) < 0.28


class Files(LightningDataModule):
    """What the task asks of its data: batches, and the files behind them."""

    def __init__(self, folder, image=IMAGE, values=(255,), masked=("wide", "tall", "same")):
        super().__init__()
        self.image, self.masks, self.records = image, {}, {}
        for name, shape in SHAPES.items():
            # The last class, and left of its middle the others.
            mask = np.where(ellipse(shape), len(values), 0).astype(np.uint8)
            mask[(mask > 0) & (np.indices(shape)[1] < shape[1] * 0.6)] = 1
            path = folder / f"{name}.png"
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                write_png(path, np.array([0, *values], np.uint8)[mask])
            self.records[name] = Record(name, f"patient of {name}", (path,))
            self.masks[name] = mask if name in masked else None

    def record(self, case_id):
        return self.records[case_id]

    def reference(self, case_id):
        return self.masks[case_id]

    def sample(self, name):
        mask, size = self.masks[name], self.image.size
        if mask is None:
            prepared = np.full((1, *size), 255, np.float32)
        else:
            prepared = resize(mask[None].astype(np.float32), size, keep_aspect=self.image.keep_aspect).round()
        return {
            keys.IMAGE: torch.from_numpy(read_pixels(self.records[name], self.image)).float() / 255,
            keys.MASK: torch.from_numpy(prepared).to(torch.uint8),
            keys.CASE_ID: name,
            keys.PATIENT_ID: f"patient of {name}",
        }

    def loader(self):
        return DataLoader([self.sample(name) for name in self.records], batch_size=3)

    train_dataloader = val_dataloader = test_dataloader = predict_dataloader = loader


def make_task(network=None, **options):
    settings = {"classes": ["lesion"], "optimizer": lambda params: SGD(params, lr=0.01)}
    return ImageSegmentationTask(network or Threshold(), **{**settings, **options})


def rows_of(path):
    with path.open(newline="") as file:
        return {row["case_id"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize("keep_aspect", [True, False])
def test_scores_are_those_of_the_masks_that_are_written(keep_aspect, tmp_path, make_trainer):
    image = ImageOptions(size=(48, 64), channels=1, mean=(0.0,), std=(1.0,), keep_aspect=keep_aspect)
    data, writer = Files(tmp_path / "files", image), PredictionWriter()
    make_trainer(callbacks=[writer]).test(make_task(), data, verbose=False)
    folder = tmp_path / "run" / "test"
    rows = rows_of(folder / "per_case.csv")
    assert list(rows) == ["same", "tall", "wide"]  # the one without a mask is not scored
    assert list(rows["same"]) == [
        "case_id", "patient_id", "dice_lesion", "iou_lesion", "hd95px_lesion", "nsd_lesion",
    ]  # fmt: skip
    for name, row in rows.items():
        (found,), target = read_raster(folder / "masks" / f"{name}.png"), data.masks[name]
        assert found.shape == SHAPES[name]
        assert set(np.unique(found)) == {0, 1}
        found, target = found > 0, target > 0
        assert float(row["dice_lesion"]) == pytest.approx(f1_score(target.ravel(), found.ravel()))
        assert float(row["iou_lesion"]) == pytest.approx(jaccard_score(target.ravel(), found.ravel()))
        assert float(row["hd95px_lesion"]) == hd95(found, target, (1, 1), empty="one")
        assert float(row["nsd_lesion"]) == nsd(found, target, (1, 1), 2.0, empty="one")
        assert float(row["dice_lesion"]) > 0.93
    assert float(rows["same"]["dice_lesion"]) == 1.0  # nothing was resized
    assert len(list((folder / "masks").glob("*.png"))) == 4  # but a mask is written for every image
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["settings"]["unit"] == "px"
    assert set(summary["metrics"]) == {"dice", "iou", "hd95px", "nsd"}
    described = json.loads((folder / "masks" / "predictions.json").read_text())
    assert described["labels"] == {"lesion": 1}
    assert described["cases"]["wide"]["shape"] == [1, 40, 96]


def test_two_classes_are_told_apart_by_their_values(tmp_path, make_trainer):
    data = Files(tmp_path / "files", values=(128, 255))
    task = make_task(Threshold(2), classes=["rim", "core"])
    make_trainer(callbacks=[PredictionWriter()]).validate(task, data, verbose=False)
    rows = rows_of(tmp_path / "run" / "validate" / "per_case.csv")
    assert float(rows["same"]["dice_rim"]) == float(rows["same"]["dice_core"]) == 1.0
    (found,) = read_raster(tmp_path / "run" / "validate" / "masks" / "same.png")
    np.testing.assert_array_equal(found, data.masks["same"])


def test_predictions_have_the_size_of_the_files_and_probabilities_too(tmp_path, make_trainer):
    data = Files(tmp_path / "files")
    make_trainer(callbacks=[PredictionWriter(probabilities=True)]).predict(make_task(), data)
    folder = tmp_path / "run" / "predict"
    for name, shape in SHAPES.items():
        probs = np.load(folder / f"{name}.npz")["probs"].astype(np.float32)
        assert probs.shape == (2, 1, *shape)
        np.testing.assert_allclose(probs.sum(0), 1, atol=2e-3)
        (mask,) = read_raster(folder / f"{name}.png")
        sure = np.abs(probs[1, 0] - 0.5) > 1e-2
        np.testing.assert_array_equal((probs[1, 0] > 0.5)[sure], (mask == 1)[sure])
    assert not (tmp_path / "run" / "predict" / "per_case.csv").exists()


def test_it_learns_and_watches_the_dice(tmp_path, make_trainer):
    torch.manual_seed(0)
    network = SMPSegmenter("Unet", "test_efficientnet", 2, in_channels=1, decoder_channels=(16, 16, 8, 8, 8))
    task = make_task(network, optimizer=lambda params: torch.optim.AdamW(params, lr=0.01))
    data = Files(tmp_path / "files", masked=("wide", "tall", "same"))
    trainer = make_trainer(max_epochs=12)
    trainer.fit(task, datamodule=data)
    assert float(trainer.callback_metrics["val/dice"]) > 0.8
    assert float(trainer.callback_metrics["train/loss"]) < 0.7


def test_images_without_a_mask_teach_nothing(tmp_path, monkeypatch):
    task, data = make_task(), Files(tmp_path / "files", masked=())
    monkeypatch.setattr(task, "log", lambda *args, **options: None)
    loss = task.training_step(next(iter(data.loader())), 0)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert float(task.network.scale.grad) == 0


def test_views_are_averaged_and_turned_back(tmp_path, make_trainer):
    data = Files(tmp_path / "files")
    task = make_task(final_inferer=FlipTTA(axes=("horizontal", "vertical")))
    make_trainer().test(task, data, verbose=False)
    assert float(rows_of(tmp_path / "run" / "test" / "per_case.csv")["same"]["dice_lesion"]) == 1.0
    choose_tta(task, data, "mirror")
    assert task.final_inferer.axes == ("horizontal",)


def test_an_image_called_empty_rightly_scores_one_or_is_left_out(tmp_path, make_trainer):
    for empty, expected in (("one", "1.0"), ("skip", "nan")):
        data = Files(tmp_path / "files")
        data.masks["bare"] = np.zeros(SHAPES["bare"], np.uint8)
        network = Threshold()
        nn.init.constant_(network.scale, 0)  # equal logits: all is background
        make_trainer().test(make_task(network, scoring=ImageScoring(empty=empty)), data, verbose=False)
        rows = rows_of(tmp_path / "run" / "test" / "per_case.csv")
        assert rows["bare"]["dice_lesion"] == expected
        assert float(rows["same"]["dice_lesion"]) == 0
        assert float(rows["same"]["hd95px_lesion"]) == pytest.approx(np.hypot(48, 64))


def test_millimetres_come_from_the_file(tmp_path, make_trainer, monkeypatch):
    data, task = Files(tmp_path / "files"), make_task(scoring=ImageScoring(unit="mm"))
    with pytest.raises(DataError, match=r"wide\.png: tells no spacing .*scoring\.unit is mm: set it to px"):
        make_trainer().test(task, data, verbose=False)
    monkeypatch.setattr(
        "medimg.tasks.image_segmentation.file_grid",
        lambda record: FileGrid(SHAPES[record.case_id], (0.5, 0.25)),
    )
    network = Threshold()
    nn.init.constant_(network.scale, 0)
    make_trainer().test(make_task(network, scoring=ImageScoring(unit="mm")), data, verbose=False)
    row = rows_of(tmp_path / "run" / "test" / "per_case.csv")["same"]
    assert float(row["hd95_lesion"]) == pytest.approx(np.hypot(48 * 0.5, 64 * 0.25))


def test_what_does_not_fit_is_refused(tmp_path, make_trainer):
    folder = tmp_path / "files"
    larger = ImageOptions(size=(32, 32), stored_size=(48, 64), channels=1, mean=(0.0,), std=(1.0,))
    with pytest.raises(ConfigError, match=r"stored_size: .*would leave the rim of an image without a mask"):
        make_trainer().test(make_task(), Files(folder, larger), verbose=False)
    with pytest.raises(DataError, match="the mask of wide holds the value 2, and the network has 2 channels"):
        make_trainer().fit(make_task(), datamodule=Files(folder, values=(128, 255)))
    with pytest.raises(ConfigError, match=r"save_as: seg\.nrrd is for volumes; masks of images are PNG"):
        make_trainer(callbacks=[PredictionWriter(save_as="seg.nrrd")]).predict(make_task(), Files(folder))
    with pytest.raises(ConfigError, match="the network gives 3 channels and 1 classes under softmax need 2"):
        make_trainer().fit(make_task(Threshold(2)), datamodule=Files(folder))
    wrong = Files(folder)
    wrong.masks["tall"] = wrong.masks["tall"].T
    with pytest.raises(
        DataError, match=r"case tall: the prediction has shape \(130, 50\), the reference \(50, 130\)"
    ):
        make_trainer().test(make_task(), wrong, verbose=False)
    with pytest.raises(CheckpointError, match=r"trained for the classes \['other'\]"):
        make_task().on_load_checkpoint({"medimg_classes": ["other"]})


# ---- from the configs that are shipped, on phantoms ------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["busi_segmentation", "busi_aux"])
def test_a_shipped_config_fits_tests_and_predicts(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = write_ultrasound(tmp_path / "set", images=20, size=(64, 64))
    files[0].with_name(f"{files[0].stem}_mask.png").unlink()  # one image without a mask
    configs = [ROOT / "configs" / f"{name}.yaml", ROOT / "configs" / "overlays" / "busi-small.yaml"]
    words = [word for config in configs for word in ("--config", str(config))]
    weights = "model.network" if name == "busi_segmentation" else "model.network.init_args.classifier"
    settings = {
        "trainer.max_epochs": 2, "trainer.check_val_every_n_epoch": 1, "data.image.size": "[64,64]",
        "data.batch.batch_size": 4, "data.split.num_folds": 2, f"{weights}.init_args.weights": "random",
    }  # fmt: skip
    words += [word for key, value in settings.items() for word in (f"--{key}", str(value))]
    assert main(["fit", *words, "--data.root", str(tmp_path / "set")]) == 0
    (run,) = (tmp_path / "lightning_logs").glob("*/version_0")
    again = ["--config", str(run / "config.yaml"), "--ckpt_path", "last"]
    assert main(["test", *again]) == 0
    assert main(["predict", *again]) == 0
    rows = rows_of(run / "test" / "per_case.csv")
    assert len(rows) in (9, 10)
    if name == "busi_aux":
        assert "train/mask_loss" in (run / "metrics.csv").read_text().splitlines()[0]
        assert {"prob_malignant", "target_malignant"} <= set(next(iter(rows.values())))
        return
    masks = {path.name: read_raster(path) for path in (run / "predict").glob("*.png")}
    assert len(masks) == 20
    for path in files:
        case = path.relative_to(tmp_path / "set").as_posix()
        assert masks[f"{safe_name(case)}.png"].shape == read_raster(path).shape
    assert files[0].relative_to(tmp_path / "set").as_posix() not in rows
    assert {"dice_lesion", "iou_lesion", "hd95px_lesion", "nsd_lesion"} <= set(next(iter(rows.values())))

import json
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch

from medimg import keys
from medimg.callbacks import PredictionWriter
from medimg.ensembling.calibration_file import Calibration
from medimg.inference import FlipTTA
from medimg.io.files import safe_name
from medimg.preparation.geometry import Geometry
from medimg.records import LabelScheme
from medimg.tasks import ClassificationTask

SOURCE = (6, 8, 10)
BOX = ((1, 2, 3), (5, 7, 9))
GEOMETRY = Geometry(
    source_shape=SOURCE, source_spacing_mm=(2.5, 1.0, 0.8), axes=(0, 1, 2), flips=(), box=BOX,
    shape=(4, 5, 6), spacing_mm=(2.5, 1.0, 0.8),
)  # fmt: skip
CROP = (slice(1, 5), slice(2, 7), slice(3, 9))


@pytest.fixture
def batch(tmp_path, write_volume):
    source = write_volume(tmp_path / "image.nii.gz", np.zeros(SOURCE, np.int16))
    scheme = LabelScheme({"a": (1,), "b": (2,)}, {"a": 1, "b": 2})
    return {
        keys.CASE_ID: ["case/../1"],
        keys.GEOMETRY: [GEOMETRY],
        keys.SOURCE: [(source,)],
        keys.SCHEME: [scheme],
    }


def task(head, classes=("a", "b")):
    return SimpleNamespace(head=head, classes=classes, final_inferer=FlipTTA())


def trainer(tmp_path, rank=0, fn="predict"):
    facts = {"split": "abc", "fold": 1, "part": "validation" if fn == "validate" else fn}
    data = SimpleNamespace(prediction_facts=lambda: facts)
    return SimpleNamespace(
        state=SimpleNamespace(fn=fn), log_dir=str(tmp_path / "run"), is_global_zero=rank == 0, ckpt_path="best.ckpt",
        datamodule=data,
    )  # fmt: skip


def outputs(channels):
    labels = np.zeros(SOURCE, np.uint8)
    labels[CROP] = 2
    torch.manual_seed(0)
    return {"labels": [labels], "logits": torch.randn(1, channels, 4, 5, 6)}


def predict(writer, tmp_path, head, found, batch):
    writer.on_predict_start(trainer(tmp_path), task(head))
    writer.on_predict_batch_end(trainer(tmp_path), task(head), found, batch, 0)


def test_a_mask_takes_over_the_images_grid_and_header(batch, tmp_path):
    found = outputs(3)
    predict(PredictionWriter(), tmp_path, "softmax", found, batch)
    files = list((tmp_path / "run" / "predict").iterdir())
    assert len(files) == 1
    assert files[0].parent == tmp_path / "run" / "predict"  # 42: the name leads nowhere else
    mask, image = nib.load(files[0]), nib.load(batch[keys.SOURCE][0][0])
    np.testing.assert_array_equal(np.asarray(mask.dataobj).transpose(2, 1, 0), found["labels"][0])
    np.testing.assert_allclose(mask.affine, image.affine)
    assert mask.header["qform_code"] == image.header["qform_code"]
    assert mask.get_data_dtype() == np.uint8


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_probabilities_lie_on_the_grid_of_the_file(batch, tmp_path, head):
    found = outputs(3)
    writer = PredictionWriter(probabilities=True, folder=tmp_path / "out")
    predict(writer, tmp_path, head, found, batch)
    (file,) = (tmp_path / "out").glob("*.npz")
    probs = np.load(file)["probs"]
    assert (probs.dtype, probs.shape) == (np.float16, (3, *SOURCE))
    logits = found["logits"][0]
    expected = logits.softmax(0) if head == "softmax" else logits.sigmoid()
    np.testing.assert_allclose(probs[(slice(None), *CROP)], expected, atol=1e-3)
    outside = np.ones(SOURCE, bool)
    outside[CROP] = False
    # Outside the crop all is background.
    assert (([1, 0, 0] if head == "softmax" else [0, 0, 0]) == probs[:, outside].T).all()


PARTS = {"test": "test", "predict": "predict", "validation": "validation"}


def run_hooks(writer, stage, tmp_path, module, found, batch):
    """Start, batch and end of a stage; Lightning calls that of validate ``validation``."""
    fn = "validate" if stage == "validation" else stage
    getattr(writer, f"on_{stage}_start")(trainer(tmp_path, fn=fn), module)
    getattr(writer, f"on_{stage}_batch_end")(trainer(tmp_path, fn=fn), module, found, batch, 0)
    getattr(writer, f"on_{stage}_end")(trainer(tmp_path, fn=fn), module)


def test_each_verb_has_its_own_folder_and_says_how_the_files_came_about(batch, tmp_path):
    places = {"test": "test/masks", "predict": "predict", "validation": "validate/masks"}
    for stage, folder in places.items():
        run_hooks(PredictionWriter(), stage, tmp_path, task("softmax"), outputs(3), batch)
        facts = json.loads((tmp_path / "run" / folder / "predictions.json").read_text())
        assert facts == {
            "classes": ["a", "b"], "head": "softmax", "labels": {"a": 1, "b": 2},
            "checkpoint": "best.ckpt", "split": "abc", "fold": 1, "part": PARTS[stage],
            "tta": ["FlipTTA(axes=('horizontal',))"],
            "cases": {safe_name("case/../1"): {"shape": list(SOURCE), "spacing_mm": [2.5, 1.0, 0.8]}},
        }  # fmt: skip


def test_between_epochs_nothing_is_written(batch, tmp_path):
    state, writer = trainer(tmp_path, fn="fit"), PredictionWriter()
    writer.on_validation_start(state, task("softmax"))
    writer.on_validation_batch_end(state, task("softmax"), {"labels": None}, batch, 0)
    writer.on_validation_end(state, task("softmax"))
    assert not (tmp_path / "run").exists()


def test_data_that_know_no_split_say_so(batch, tmp_path):
    state = trainer(tmp_path)
    state.datamodule = None
    writer = PredictionWriter()
    writer.on_predict_start(state, task("softmax"))
    writer.on_predict_batch_end(state, task("softmax"), outputs(3), batch, 0)
    writer.on_predict_end(state, task("softmax"))
    facts = json.loads((tmp_path / "run" / "predict" / "predictions.json").read_text())
    assert facts["split"] is None
    assert "part" not in facts


def test_a_classification_writes_its_rows_itself_into_the_folder_it_is_given(tmp_path):
    writer = PredictionWriter()
    module = ClassificationTask(torch.nn.Linear(2, 1), task="binary", classes=("cancer",))
    for stage, folder in (("test", "test"), ("predict", "predict"), ("validation", "validate")):
        fn = "validate" if stage == "validation" else stage
        getattr(writer, f"on_{stage}_start")(trainer(tmp_path, fn=fn), module)
        assert module.predictions_folder == tmp_path / "run" / folder
        getattr(writer, f"on_{stage}_batch_end")(trainer(tmp_path, fn=fn), module, {"probs": None}, {}, 0)
        assert not module.predictions_folder.exists()
        module.predictions_folder.mkdir(parents=True)  # as its table does
        getattr(writer, f"on_{stage}_end")(trainer(tmp_path, fn=fn), module)
        facts = json.loads((tmp_path / "run" / folder / "predictions.json").read_text())
        assert facts == {
            "classes": ["cancer"], "task": "binary", "checkpoint": "best.ckpt",
            "split": "abc", "fold": 1, "part": PARTS[stage], "tta": [],
        }  # fmt: skip


def test_only_one_process_describes_and_nothing_is_made_for_nothing(tmp_path):
    writer = PredictionWriter()
    writer.on_predict_start(trainer(tmp_path), task("softmax"))
    writer.on_predict_end(trainer(tmp_path), task("softmax"))
    assert not (tmp_path / "run").exists()
    (tmp_path / "run" / "predict").mkdir(parents=True)
    writer.on_predict_end(trainer(tmp_path, rank=1), task("softmax"))
    assert not list((tmp_path / "run" / "predict").iterdir())


def test_the_folder_is_asked_for_once_and_not_batch_by_batch(batch, tmp_path):
    """With several processes the question is a collective call, and one process may have a batch more."""
    asked = []

    class Counting(SimpleNamespace):
        @property
        def log_dir(self):
            asked.append(1)
            return str(tmp_path / "run")

    writer, state = PredictionWriter(), Counting(is_global_zero=True)
    writer.on_test_start(state, task("softmax"))
    for _ in range(3):
        writer.on_test_batch_end(state, task("softmax"), outputs(3), batch, 0)
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("part", "split", "warned"), [("validation", "s", True), ("validation", "t", False), ("test", "s", False)]
)
def test_calibrated_predictions_have_their_own_folder_and_name_the_calibration(
    tmp_path, caplog, part, split, warned
):
    module = ClassificationTask(torch.nn.Linear(2, 1), task="binary", classes=("cancer",))
    writer = PredictionWriter()
    writer.calibration = Calibration("platt", "binary", ("cancer",), split="s", digest="12ab")
    state = trainer(tmp_path, fn="test")
    state.datamodule.prediction_facts = lambda: {"split": split, "fold": 0, "part": part}
    writer.on_test_start(state, module)
    assert module.predictions_folder == tmp_path / "run" / "test_calibrated"
    assert module.sheet.calibration is writer.calibration
    module.predictions_folder.mkdir(parents=True)
    writer.on_test_end(state, module)
    facts = json.loads((module.predictions_folder / "predictions.json").read_text())
    assert (facts["calibration"], facts["part"]) == ("12ab", part)
    assert ("fitted on the validation cases of this split" in caplog.text) == warned

import pytest

from medimg.reports.config_parts import Part
from medimg.reports.run_words import aim_words, inference_words, kept_words, scoring_words, training_words


def task(name, **args):
    return Part(f"medimg.tasks.{name}", args)


def inferer(name, **args):
    return {"class_path": f"medimg.inference.{name}", "init_args": args}


def test_training():
    training = {
        "cutmix_alpha": 1,
        "mixup_alpha": 0.0,
        "mask_weight": 0.5,
        "rates": {"backbone_lr_scale": 0.1},
    }
    trainer = {
        "max_epochs": -1,
        "max_steps": 500,
        "limit_train_batches": 0.5,
        "accumulate_grad_batches": 4,
        "gradient_clip_val": 0.5,
        "gradient_clip_algorithm": "value",
        "precision": "bf16-mixed",
        "devices": [0, 1],
    }
    assert training_words(task("Other", training=training), trainer, 1234) == (
        "Training ran for at most 500 steps and with 50 % of the batches of each epoch. The layers before the head "
        "learned at 0.1 times that rate. Images were mixed by CutMix (alpha 1) and a second loss of masks had the "
        "weight 0.5. Gradients were clipped by value at 0.5 and accumulated over four batches. Training ran in "
        "bfloat16 mixed precision and on two devices, with seed 1234."
    )
    assert training_words(task("Other"), {"max_steps": -1, "devices": "auto", "num_nodes": 1}, True) == ""
    assert training_words(task("Other"), {"precision": "auto", "limit_train_batches": 10}, None) == (
        "Training ran with the first 10 batches of each epoch. Training ran in bfloat16 mixed precision where the "
        "device has it, else in single."
    )


def test_kept_weights():
    callbacks = [
        {
            "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
            "init_args": {"monitor": None, "mode": "min"},
        },
        {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"monitor": "val/macro_f1"}},
        {"class_path": "lightning.pytorch.callbacks.EMAWeightAveraging", "init_args": {"decay": 0.997}},
        {"class_path": "mylab.Noise"},
    ]
    assert kept_words({"callbacks": callbacks}) == (
        "The weights of the last epoch were kept. Training stopped early once the validation macro f1 no longer "
        "improved. An exponential moving average of the weights (decay 0.997) was kept."
    )
    assert kept_words({"callbacks": None}) == kept_words({}) == ""


@pytest.mark.parametrize(
    ("model", "tta", "words"),
    [
        (task("T", inferer=inferer("SlidingWindowInferer", roi_size=[8, 8, 8], overlap=0.5, mode="gaussian")), None,
         "The network was applied in a sliding window of 8 x 8 x 8 voxels (overlap 0.5 and Gaussian weights)."),
        (task("T", final_inferer=inferer("MirrorTTA", axes=[]), inferer=None), None, ""),
        (task("T", scoring={"inferer": inferer("ScaleTTA", factors=[0.9, 1.0], inferer=inferer("Rot90TTA"))}), None,
         "At test time the outputs were averaged over the input and its rescalings by 0.9 and 1 and quarter turns."),
        (task("T", scoring={"inferer": inferer("FlipTTA")}), "xray",
         'At test time the outputs were averaged over the views of the preset "xray".'),
        (task("T", scoring={"inferer": inferer("FlipTTA")}), "none", ""),
        (task("T", final_inferer=inferer("Own")), None,
         "At test time the outputs were averaged over the input and its views of Own."),
    ],
)  # fmt: skip
def test_inference(model, tta, words):
    assert inference_words(model, tta) == words


def test_scoring():
    words = scoring_words(
        task("ImageSegmentationTask", scoring={"unit": "px", "nsd_tolerance": 2.0, "empty": "one"})
    )
    assert "(tolerance 2 px) on the grid of the source files; a class empty in both" in words
    scoring = {"resamples": 1000, "threshold": "youden", "ordinal": True}
    assert scoring_words(task("ClassificationTask", task="multiclass", scoring=scoring)) == (
        "Cases were scored by AUROC, average precision, accuracy and quadratic kappa, among others, with 95 % "
        "intervals from 1,000 bootstrap resamples of patients."
    )
    assert scoring_words(task("FusionTask", task="binary", scoring=scoring)).endswith(
        "; beside 0.5, thresholds were chosen on validation by the Youden index."
    )
    assert scoring_words(task("MultiTargetTask")) == "Targets were scored each by its kind."
    assert scoring_words(Part("mylab.SegmentationTask")) == ""


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (task("SegmentationTask", classes=["WT", "ET"], head="sigmoid"),
         "The model was trained to segment the regions WT and ET, which may overlap."),
        (task("SegmentationTask", classes=["a", "b"], head="softmax"),
         "The model was trained to segment the classes a and b."),
        (task("ImageSegmentationTask", classes=["lesion"]), "The model was trained to segment the class lesion."),
        (task("ClassificationTask", classes=["2", "3"], task="multiclass"),
         "The model was trained to assign each case to one of the classes 2 or 3."),
        (task("MultiTargetTask", targets=[{"name": "size", "kind": "regression", "unit": "mm"}]),
         "The model was trained to predict size (regression, mm) of each case."),
        (task("MoCoTask"), "An encoder was pretrained without labels by MoCo."),
        (Part("mylab.Own", {"classes": ["a"]}), "The model was trained as a Own for a."),
    ],
)  # fmt: skip
def test_aims(model, words):
    assert aim_words(model) == words

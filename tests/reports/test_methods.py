import re
from pathlib import Path

import pytest
import yaml

from medimg.errors import ConfigError
from medimg.reports.config_parts import all_parts, as_part
from medimg.reports.loss_words import default_loss
from medimg.reports.methods import bibtex, methods_paragraph

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
# Tasks whose loss has no part of its own.
LOSSES = {"SimCLRTask": "NT-Xent", "MoCoTask": "InfoNCE", "MultiTargetTask": "TargetLoss"}
NUMBERS = {6: "six"}


def read(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def titles(network):
    """What stands for a network: its class, or the names of what it is built from."""
    inner = [part for part in all_parts(dict(network.args)) if part.name in ("TimmClassifier", "TransUNet")]
    return {
        name
        for part in (network, *inner)
        for name in (part.name, part.text("architecture"), part.text("encoder"))
        if name
    }


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_makes_a_paragraph(path):
    config = read(path)
    said = methods_paragraph(config)
    model, epochs = as_part(config["model"]), config["trainer"]["max_epochs"]
    network = model.part("network") or model.part("encoder")
    assert any(title in said for title in titles(network))
    loss = model.part("loss") or default_loss(model)
    assert (loss.name if loss else LOSSES[model.name]) in said
    assert f"for {NUMBERS.get(epochs, f'{epochs:,}')} epochs" in said
    assert "seed 0" in said
    assert not re.search(r"None|[\[\]{}]|\n|  | ,|\.\.|\(\)|nan\b", said)
    assert not re.search(r"\b[a-z_]+\.[a-z_]+(\.\w+)*\b", said), "a class path or a file's address"
    assert all(one[0].isupper() for one in re.split(r"(?<=[a-z)0-9])\. ", said))
    assert "DIR" not in said


def test_the_paragraph_of_a_run_reads_as_a_person_wrote_it():
    assert methods_paragraph(read(ROOT / "configs" / "busi.yaml")) == (
        "The model was trained to tell whether a case is labelled malignant. The data were 2D images from a set with a "
        "folder for each class. Fold 0 of five was held out for validation; folds were dealt by patient, unless the "
        "data name a split of their own. Images were scaled to 160 x 160 pixels in one channel and normalised by mean "
        "0.5 and standard deviation 0.5. "
        'Training cases were augmented by the preset "ultrasound" of medimg (Albumentations). The '
        "network was tf_efficientnet_lite0 (EfficientNet, from timm), initialised with ImageNet weights. Training "
        "minimised binary cross-entropy (MaskedBCELoss, label smoothing 0.1) using AdamW (learning rate 0.0006, weight "
        "decay 0.05) for 30 epochs. The learning rate followed half a cosine after a linear warm-up over the first 10 "
        "% of the steps. Images were mixed by mixup (alpha 0.2). Gradients were clipped to a norm of 1. Training ran "
        "in single precision, with seed 0. Each batch held 16 cases, rare classes drawn more often. The weights of "
        "the last epoch were kept. An exponential moving average of the weights (decay 0.99) was kept. At test time "
        "the outputs were averaged over the input and its flips. Cases were scored by AUROC, average precision and "
        "F1, among others. The software was medimg, which builds on PyTorch and Lightning."
    )


def test_what_a_config_does_not_say_is_not_said():
    assert methods_paragraph({"model": {"class_path": "mylab.tasks.OwnTask"}}) == (
        "The model was trained as a OwnTask. The software was medimg, which builds on PyTorch and Lightning."
    )


def test_classes_of_others_go_by_their_names():
    own = {
        "class_path": "mylab.SegmentationTask",
        "init_args": {"network": "mylab.nets.TinyNet", "loss": "mylab.Own"},
    }
    said = methods_paragraph({"model": own, "data": {"class_path": "mylab.Cases"}})
    assert "The data were the cases of Cases." in said
    assert "The network was TinyNet." in said
    assert "Training minimised Own." in said
    assert "scored" not in said
    assert "mylab" not in said


@pytest.mark.parametrize("config", [{}, {"model": None}, {"model": {"init_args": {}}}])
def test_a_config_without_a_model_is_refused(config):
    for make in (methods_paragraph, bibtex):
        with pytest.raises(
            ConfigError, match=r"expected model\.class_path in it, found .*Give the folder of a run"
        ):
            make(config)


def test_phantoms_are_called_so():
    config = read(ROOT / "configs" / "overlays" / "demo.yaml")
    assert (
        "The data were phantoms of brain tumours, made by a computer and of no patient."
        in methods_paragraph(config)
    )


# ---- references ------------------------------------------------------------------------------------


def entries(text):
    """A small BibTeX parser: kind, key and fields of each entry; braces must balance."""
    found, at = {}, 0
    while (start := text.find("@", at)) >= 0:
        depth, end = 0, text.index("{", start)
        while True:
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
            if depth == 0:
                break
        kind, body = text[start + 1 : end].split("{", 1)
        key, rest = body[:-1].split(",", 1)
        assert key not in found
        fields = dict(re.findall(r"^ {2}(\w+) = \{(.*)\},?$", rest, flags=re.M))
        assert len(fields) == len(rest.strip().splitlines())
        assert all(value.count("{") == value.count("}") for value in fields.values())
        found[key], at = (kind, fields), end
        assert text[end : end + 2] in ("\n\n", "\n")
    return found


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_references_of_every_config(path):
    found = entries(bibtex(read(path)))
    assert list(found)[:3] == ["medimg", "paszke2019pytorch", "falcon2019lightning"]
    assert len(found) > 4
    for key, (kind, fields) in found.items():
        assert {"author", "title"} <= set(fields)
        if key != "medimg":
            assert re.fullmatch(r"(19|20)\d\d", fields["year"])
        assert kind in ("article", "inproceedings", "misc")
        assert kind != "article" or "journal" in fields
        assert kind != "inproceedings" or "booktitle" in fields


def test_the_methods_that_a_config_uses_are_cited():
    def keys(name):
        return set(entries(bibtex(read(ROOT / "configs" / f"{name}.yaml"))))

    assert keys("simclr") == {
        *("medimg", "paszke2019pytorch", "falcon2019lightning", "chen2020simclr", "susmelj2020lightly"),
        *("wightman2019timm", "he2016resnet", "loshchilov2019adamw", "loshchilov2017sgdr"),
        *("buslaev2020albumentations", "wu2018discrimination"),
    }
    assert {
        "isensee2021nnunet",
        "cardoso2022monai",
        "milletari2016vnet",
        "chen2018deeplab",
        "menze2015brats",
    } <= keys("brats")
    assert {
        "zhang2018mixup",
        "russakovsky2015imagenet",
        "tan2019efficientnet",
        "szegedy2016inception",
    } <= keys("busi")
    assert {"arevalo2017gated", "neverova2016moddrop"} <= keys("fusion")
    assert {"chen2021transunet", "antonelli2022decathlon"} <= keys("transunet")
    assert "kendall2018uncertainty" in keys("nodules")

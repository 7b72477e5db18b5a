import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from medimg.reports.model_card import model_card

ROOT = Path(__file__).parents[2]
SCORES = {
    "auroc": {"mean": 0.91234567, "low": 0.88, "high": 0.94},
    "average_precision": {"mean": 0.8},
    "f1_mass": {"mean": math.nan, "low": math.nan, "high": math.nan},
}
DATA = {"name": "BUSI", "split": "test", "scored": "156 cases | 150 patients"}


@pytest.fixture(scope="module")
def card():
    config = yaml.safe_load((ROOT / "configs" / "busi.yaml").read_text(encoding="utf-8"))
    return model_card("busi-0", config, SCORES, DATA, {"energy": "0.21 kWh of the GPUs"})


def test_the_hub_reads_the_head(card):
    hub = pytest.importorskip("huggingface_hub")
    read = hub.ModelCard(card)
    facts = read.data
    assert (facts.license, facts.library_name, facts.model_name) == ("unknown", "medimg", "busi-0")
    assert (facts.pipeline_tag, facts.metrics) == ("image-classification", ["roc_auc", "average_precision"])
    first, second = facts.eval_results
    assert (first.task_type, first.dataset_type, first.dataset_name, first.dataset_split) == (
        *("image-classification", "busi", "BUSI", "test"),
    )
    assert (first.metric_type, first.metric_name, first.metric_value) == ("roc_auc", "AUROC", 0.912346)
    assert (second.metric_type, second.metric_value) == ("average_precision", 0.8)
    assert read.text.lstrip().startswith("# busi-0")


def test_the_sections(card):
    assert re.findall(r"^## (.*)$", card, flags=re.M) == [
        *("Model details", "Intended use and limits", "Training data", "Evaluation", "Environmental impact"),
        "Citation",
    ]
    assert "The network was tf_efficientnet_lite0" in card
    assert "| AUROC | 0.912 | 0.880 to 0.940 |" in card
    assert "| AP | 0.800 | not known |" in card
    assert "| F1 mass | undefined | not known |" in card
    assert r"| scored | 156 cases \| 150 patients |" in card
    assert "Energy: 0.21 kWh of the GPUs. Time: not measured. Emissions: not measured." in card
    assert "```bibtex\n@misc{medimg," in card
    assert card.count("```") == 2


def test_no_word_says_that_patients_may_be_treated_by_it(card):
    said = card.partition("## Citation")[0].lower()
    for word in (
        "clinical",
        "safe",
        "approved",
        "certified",
        "suitable",
        "reliable",
        "recommended",
        "accurate",
    ):
        assert word not in said
    assert "it is no medical device" in said
    assert "must not be used to diagnose" in said


def test_what_is_not_known_is_said_to_be_so():
    card = model_card("lost", {}, {}, {})
    head = yaml.safe_load(card.split("---")[1])
    assert head == {
        "license": "unknown",
        "library_name": "medimg",
        "tags": ["medical-imaging", "pytorch", "lightning"],
    }
    for words in ("settings of the run are not known", "licence of the weights was not stated", "was not scored",
                  "Nothing is known of the training data"):  # fmt: skip
        assert words in card


def test_a_licence_and_a_data_set_that_are_named():
    data = {"class_path": "medimg.datamodules.BraTSDataModule"}
    model = {"class_path": "medimg.tasks.SegmentationTask", "init_args": {"classes": ["ET"]}}
    config = {"model": model, "data": data}
    card = model_card("brats", config, {"dice_ET": {"mean": 0.9}}, {"weights_license": "cc-by-4.0"})
    head = yaml.safe_load(card.split("---")[1])
    [result] = head["model-index"][0]["results"]
    assert head["license"] == "cc-by-4.0"
    assert "The weights are under cc-by-4.0." in card
    assert result["dataset"] == {"name": "BraTSDataModule", "type": "bratsdatamodule"}
    assert result["metrics"] == [{"type": "dice", "name": "Dice ET", "value": 0.9}]


def test_neither_torch_nor_lightning_is_imported():
    code = "import sys, medimg.reports.model_card; print({'torch', 'lightning', 'monai'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"

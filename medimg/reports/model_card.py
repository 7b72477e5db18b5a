"""A model card in the form of the Hugging Face Hub, made from a run's config and scores."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from medimg import __version__
from medimg.reports.blocks import NOT_MEASURED
from medimg.reports.config_parts import Part, as_part
from medimg.reports.methods import bibtex, methods_paragraph
from medimg.scoring.label_text import LABEL_METRIC_TITLES
from medimg.scoring.table import METRIC_TITLES

_TASKS = {
    "ClassificationTask": "image-classification",
    "FusionTask": "other",
    "ImageSegmentationTask": "image-segmentation",
    "MoCoTask": "image-feature-extraction",
    "MultiTargetTask": "other",
    "SegmentationTask": "image-segmentation",
    "SimCLRTask": "image-feature-extraction",
    "StudyTask": "other",
}
# The Hub's names of metrics, where they are not our own.
_METRICS = {"auroc": "roc_auc", "hd95px": "hd95", "brier": "brier_score", "iou": "mean_iou"}
_TITLES: Mapping[str, str] = {**METRIC_TITLES, **LABEL_METRIC_TITLES}
_LIMITS = """\
The model is meant for research: to reproduce its scores, and to compare methods on the same cases and the same split.

It is no medical device. It was not validated on patients, and it must not be used to diagnose, to treat, or to decide \
who is seen first. Its scores hold for data like those named below: other scanners, protocols, hospitals and patients \
were not examined, and neither was whether it errs more often for some groups of patients than for others."""


def model_card(
    name: str,
    config: Mapping[str, Any],
    scores: Mapping[str, Mapping[str, float]],
    data: Mapping[str, str],
    cost: Mapping[str, str] | None = None,
) -> str:
    """Write a model card: a YAML head that the Hub reads, and the sections that its guide asks for.

    Args:
        name: What the model is called.
        config: The run's ``config.yaml``, as it was read; empty where it is lost.
        scores: By metric (``auroc``, ``dice_ET``) its ``mean``, and the ends ``low`` and ``high`` of its interval where
            they are known.
        data: What is known of the data and the split, by what it is. ``name`` and ``split``, the data set's name and
            the part that was scored, also go into the head, as does ``weights_license``, an identifier of the Hub.
        cost: What the training took, by what it is, such as ``energy``.

    Returns:
        Markdown. A licence that nobody named is ``unknown``: that of medimg says nothing of trained weights.

    Example:
        >>> card = model_card("brats", {}, {"dice": {"mean": 0.912, "low": 0.9, "high": 0.92}}, {"name": "BraTS 2021"})
        >>> card.splitlines()[:2], "| Dice | 0.912 | 0.900 to 0.920 |" in card
        (['---', 'license: unknown'], True)
    """
    model = as_part(config.get("model"))
    told = methods_paragraph(config) if model is not None else "The settings of the run are not known."
    head = yaml.safe_dump(_head(name, config, scores, data), sort_keys=False, allow_unicode=True, width=120)
    licence = data.get("weights_license", "")
    terms = f"The weights are under {licence}." if licence else "The licence of the weights was not stated."
    sections = {
        "Model details": f"{told}\n\n{terms} This card was written by medimg {__version__} from the run's own files.",
        "Intended use and limits": _LIMITS,
        "Training data": _facts(data),
        "Evaluation": _evaluation(scores),
        "Environmental impact": _impact(cost or {}),
        "Citation": f"```bibtex\n{bibtex(config)}```" if model is not None else "The settings are not known.",
    }
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())
    return f"---\n{head}---\n\n# {name}\n\n{body}\n"


def _impact(cost: Mapping[str, str]) -> str:
    energy, time = (cost.get(name, NOT_MEASURED) for name in ("energy", "time"))
    return f"Energy: {energy}. Time: {time}. Emissions: {NOT_MEASURED}."


def _head(
    name: str, config: Mapping[str, Any], scores: Mapping[str, Mapping[str, float]], data: Mapping[str, str]
) -> dict[str, Any]:
    model = as_part(config.get("model"))
    task = _TASKS.get(model.name, "other") if model is not None else "other"
    known = {
        metric: row["mean"] for metric, row in scores.items() if math.isfinite(row.get("mean", math.nan))
    }
    head: dict[str, Any] = {
        "license": data.get("weights_license") or "unknown",
        "library_name": "medimg",
        "tags": ["medical-imaging", "pytorch", "lightning", *([] if task == "other" else [task])],
    }
    if task != "other":
        head["pipeline_tag"] = task
    if known:
        head["metrics"] = list(dict.fromkeys(_hub_name(metric) for metric in known))
        result = {
            "task": {"type": task},
            "dataset": _dataset(config, data),
            "metrics": list(map(_metric, known.items())),
        }
        head["model-index"] = [{"name": name, "results": [result]}]
    return head


def _dataset(config: Mapping[str, Any], data: Mapping[str, str]) -> dict[str, str]:
    """The data set, by the name that was given, or else by its reader's."""
    module = as_part(config.get("data")) or Part("")
    reader = module.part("dataset") or module
    title = data.get("name") or reader.name or "not named"
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    return {"name": title, "type": slug or "unknown"} | (
        {"split": data["split"]} if data.get("split") else {}
    )


def _metric(item: tuple[str, float]) -> dict[str, Any]:
    metric, value = item
    return {"type": _hub_name(metric), "name": _title(metric), "value": round(float(value), 6)}


def _split(metric: str) -> tuple[str, str]:
    """A metric and its class, the class empty for a mean over classes."""
    known = sorted((key for key in _TITLES if metric == key or metric.startswith(f"{key}_")), key=len)
    return (known[-1], metric[len(known[-1]) + 1 :]) if known else (metric, "")


def _hub_name(metric: str) -> str:
    key, _ = _split(metric)
    return _METRICS.get(key, key)


def _title(metric: str) -> str:
    key, of = _split(metric)
    return f"{_TITLES.get(key, key)}{f' {of}' if of else ''}"


def _facts(data: Mapping[str, str]) -> str:
    if not data:
        return "Nothing is known of the training data but what the model details say."
    return _table(("what", "value"), [(key, str(value)) for key, value in data.items()])


def _evaluation(scores: Mapping[str, Mapping[str, float]]) -> str:
    if not scores:
        return "The model was not scored."
    rows = []
    for metric, row in scores.items():
        low, high = row.get("low", math.nan), row.get("high", math.nan)
        between = f"{low:.3f} to {high:.3f}" if math.isfinite(low) and math.isfinite(high) else "not known"
        mean = row.get("mean", math.nan)
        rows.append((_title(metric), f"{mean:.3f}" if math.isfinite(mean) else "undefined", between))
    return _table(("metric", "value", "interval"), rows)


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)

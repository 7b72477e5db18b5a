"""What of a trained task's answer is explained: a label of a case or a group, a region of a segmentation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import torch
from lightning.pytorch import LightningModule
from numpy.typing import NDArray
from torch import Tensor, nn

from medimg.errors import ConfigError
from medimg.explain.methods import Explanation, Settings, explain_score, make_explanation
from medimg.tasks import ClassificationTask, SegmentationTask, StudyTask


@dataclass(frozen=True)
class Subject:
    """One answer about one case.

    Attributes:
        label: Name of the label or region.
        case: What the network sees: (1, C, ...), or a group (1, M, C, H, W).
        dims: 2 for images and groups, 3 for volumes.
        probability: Of the label, or the mean over the voxels of the predicted region.
        probs: Gives that probability for changed cases (B, ...), (B,).
        explain: Makes the heat map, of this or of another task with the same layout.
        region: Predicted region (H, W) or (D, H, W); ``None`` for a label.
    """

    label: str
    case: Tensor
    dims: int
    probability: float
    probs: Callable[[Tensor], Tensor]
    explain: Callable[[Any, Settings], Explanation]
    region: NDArray[Any] | None = None


def check_task(task: LightningModule, labels: Sequence[str] | None) -> None:
    """Refuse what cannot be explained, before any case is read.

    Raises:
        ConfigError: If the task is another kind, or a label is none of its.
    """
    if not isinstance(task, ClassificationTask | SegmentationTask):
        raise ConfigError(
            f"medimg explain: {type(task).__name__} has no labels or regions to explain; expected a run of "
            "ClassificationTask, StudyTask, SegmentationTask or ImageSegmentationTask"
        )
    for name in labels or ():
        if name not in task.classes:
            near = get_close_matches(name, task.classes, n=3, cutoff=0.3)
            raise ConfigError(
                f"--labels {name}: the run has {', '.join(task.classes)}; the nearest are {', '.join(near) or 'none'}"
            )


def subjects_of(task: Any, image: Tensor, sizes: int | None, labels: Sequence[str] | None) -> list[Subject]:
    """The answers to explain about one case.

    Args:
        task: A task that :func:`check_task` let pass.
        image: (1, C, ...), or the M images of a group.
        sizes: M for a group.
        labels: Which labels or regions; by default the label of the highest probability and all above 0.5, and every
            region that is found.
    """
    if isinstance(task, SegmentationTask):
        return _regions(task, image, labels)
    return _labels(task, image if sizes is None else image[None], labels)


def _logits(task: Any, case: Tensor) -> Tensor:
    """Logits (B, K) of cases (B, C, ...) or groups (B, M, C, H, W)."""
    if not (isinstance(task, StudyTask) or task.pooling is not None):
        logits: Tensor = task(case)
        return logits
    sizes = torch.full((len(case),), case.shape[1], device=case.device)
    grouped: Tensor = task(case.flatten(0, 1), sizes)
    return grouped


def _labels(task: Any, case: Tensor, labels: Sequence[str] | None) -> list[Subject]:
    grouped = isinstance(task, StudyTask) or task.pooling is not None
    dims = 2 if grouped else case.ndim - 2
    with torch.no_grad():
        probs = task.probabilities(_logits(task, case))[0].tolist()
    best = max(range(len(probs)), key=probs.__getitem__)
    subjects = []
    for number, name in enumerate(task.classes):
        wanted = name in labels if labels else number == best or probs[number] > 0.5
        if wanted:

            def column(cases: Tensor, number: int = number) -> Tensor:
                found: Tensor = task.probabilities(_logits(task, cases))[:, number]
                return found

            def explain(other: Any, settings: Settings, number: int = number) -> Explanation:
                return explain_score(
                    other.network, lambda cases: _logits(other, cases)[:, number], case, dims, settings
                )

            subjects.append(Subject(name, case, dims, probs[number], column, explain))
    return subjects


def _regions(task: SegmentationTask, image: Tensor, labels: Sequence[str] | None) -> list[Subject]:
    background = int(task.head == "softmax")
    logits = task.inferer(image, task.forward)
    subjects = []
    for number, name in enumerate(task.classes):
        channel = number + background
        region = logits.argmax(1) == channel if background else logits[:, channel] > 0  # (1, ...)
        if (labels and name not in labels) or not region.any():
            continue

        def probs(cases: Tensor, channel: int = channel, region: Tensor = region) -> Tensor:
            return torch.stack([_mean_probability(task, case[None], channel, region) for case in cases])

        def explain(
            other: Any, settings: Settings, channel: int = channel, region: Tensor = region
        ) -> Explanation:
            return _explain_region(other, image, channel, region, settings)

        inside = logits.softmax(1) if background else logits.sigmoid()
        probability = float(inside[:, channel][region].mean())
        drawn = region[0].cpu().numpy()
        subjects.append(Subject(name, image, image.ndim - 2, probability, probs, explain, drawn))
    return subjects


@torch.no_grad()
def _mean_probability(task: SegmentationTask, case: Tensor, channel: int, region: Tensor) -> Tensor:
    logits = task.inferer(case, task.forward)
    probs = logits.softmax(1) if task.head == "softmax" else logits.sigmoid()
    mean: Tensor = probs[:, channel][region].mean()
    return mean


def _explain_region(
    task: SegmentationTask, image: Tensor, channel: int, region: Tensor, settings: Settings
) -> Explanation:
    """Heat of the sum of a region's logits, tile by tile as the network sees them, averaged where tiles meet.

    The region goes through the inferer as one more channel, so that each tile has its part of it.

    Reference:
        Vinogradova et al. 2020, "Towards interpretable semantic segmentation via gradient-weighted class activation
        mapping", arXiv:2002.11434.
    """
    dims, notes = image.ndim - 2, []
    # One tile at a time, of many voxels each; a segmentation's own last map would be its answer.
    each = replace(settings, which="deepest", batch=1 if dims == 3 else settings.batch)

    def heat(tiles: Tensor) -> Tensor:
        signed = []
        for tile in tiles:
            seen, inside = tile[None, :-1], tile[None, -1:]
            if not inside.any():
                signed.append(torch.zeros_like(inside[0]))
                continue

            def score(cases: Tensor, inside: Tensor = inside) -> Tensor:
                return (task.forward(cases)[:, channel : channel + 1] * inside).flatten(1).sum(1)

            found = explain_score(task.network, score, seen, dims, each)
            notes.append(found)
            signed.append(torch.from_numpy(found.signed).to(tile))
        return torch.stack(signed)

    signed = task.inferer(torch.cat([image, region[:, None].to(image)], 1), heat)[0]
    worst = max((one.completeness for one in notes if one.completeness is not None), default=None)
    steps = max((one.steps for one in notes if one.steps is not None), default=None)
    return make_explanation(
        signed, settings.method, dims, layer=notes[0].layer, completeness=worst, steps=steps
    )


def image_weights(task: Any, image: Tensor) -> list[float] | None:
    """Weight of each image in its group, for poolings that learn one; ``None`` for others.

    Args:
        task: The task.
        image: Images of one group (M, C, H, W).
    """
    pooling = getattr(task, "pooling", None)
    if not isinstance(pooling, nn.Module) or not hasattr(pooling, "attention"):
        return None
    with torch.no_grad():
        features = task.apply_network(image, task.network.features)
        attention: Any = pooling.attention
        weights = attention(features, torch.tensor([len(image)], device=image.device))
    return [float(value) for value in weights[:, 0]]

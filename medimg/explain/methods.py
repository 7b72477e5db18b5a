"""One door to all methods: a score and a case in, a heat map out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from medimg.explain.cam import CAMS, cam
from medimg.explain.layers import Layer, find_layer, named_layer
from medimg.explain.pixels import (
    TOLERANCE,
    Attribution,
    Baseline,
    gradient_shap,
    integrated_gradients,
    kernel_shap,
    make_baseline,
    occlusion,
)
from medimg.explain.rollout import attention_rollout

Method = Literal[
    "gradcam", "gradcam++", "hirescam", "integrated_gradients", "gradient_shap", "kernel_shap", "occlusion",
    "attention_rollout",
]  # fmt: skip
METHODS: tuple[Method, ...] = get_args(Method)

_GRAINY = ("integrated_gradients", "gradient_shap")
_GRAIN = 1 / 48  # standard deviation that joins single pixels into spots, as a share of a side
_LEAST_GRAIN = {
    2: 1.0,
    3: 2.5,
}  # pixels; of volumes' phantoms, 1 puts no peak into the lesion, 2 most, 2.5 all


@dataclass(frozen=True)
class Settings:
    """How cases are explained.

    Attributes:
        method: Which method.
        layer: Layer of a CAM by its name in the network; ``None`` finds it.
        which: Which map is found: the last, or the deepest for segmentations.
        baseline: What stands in for removed pixels.
        samples: Samples of kernel_shap and gradient_shap.
        batch: Changed copies of a case that go through the network at once.
    """

    method: Method = "gradcam"
    layer: str | None = None
    which: Literal["last", "deepest"] = "last"
    baseline: Baseline = "blur"
    samples: int = 256
    batch: int = 8


@dataclass(frozen=True)
class Explanation:
    """What one method says of one answer.

    Attributes:
        signed: What speaks for the answer (above 0) and against it, float32 (M, H, W) or (1, D, H, W).
        heat: What speaks for it, the same shape, not negative; grain of single pixels is smoothed.
        layer: Name of the layer whose map was weighed; empty where there is none.
        completeness: Share of the answer's change that the values miss, of integrated gradients.
        steps: Steps that integrated gradients took.
    """

    signed: NDArray[np.float32]
    heat: NDArray[np.float32]
    layer: str = ""
    completeness: float | None = None
    steps: int | None = None

    @property
    def warning(self) -> str:
        """What a reader of the map must know; empty if there is nothing."""
        faults = []
        if not self.heat.any():
            faults.append("nothing speaks for this answer")
        if self.completeness is not None and self.completeness > TOLERANCE:
            faults.append(
                f"integrated gradients miss {self.completeness:.1%} of the answer after {self.steps} steps"
            )
        return "; ".join(faults)


def explain_score(
    network: nn.Module, score: Callable[[Tensor], Tensor], case: Tensor, dims: int, settings: Settings
) -> Explanation:
    """Heat map of one answer for one case.

    Args:
        network: The network that the score runs, in evaluation mode.
        score: Maps cases (B, ...) to the answer in question, a logit most often, (B,).
        case: One case: (1, C, H, W), (1, C, D, H, W), or a group of images (1, M, C, H, W).
        dims: 2 for images and groups, 3 for volumes.
        settings: How.

    Raises:
        ConfigError: If the network does not suit the method, or its package is not installed.
    """
    method = settings.method
    if method in CAMS:
        layer = choose_layer(network, score, case, settings)
        return make_explanation(cam(score, case, dims, layer, CAMS[method]), method, dims, layer=layer.name)
    if method == "attention_rollout":
        return make_explanation(attention_rollout(network, score, case, dims), method, dims)
    found = _attributed(score, case, dims, settings)
    signed = found.values[0] if case.ndim == dims + 3 else found.values  # of a group, (M, H, W)
    return make_explanation(signed, method, dims, completeness=found.completeness, steps=found.steps)


def choose_layer(
    network: nn.Module, score: Callable[[Tensor], Tensor], case: Tensor, settings: Settings
) -> Layer:
    """The named layer, or the one that is found."""
    if settings.layer is not None:
        return named_layer(network, settings.layer)
    return find_layer(network, lambda: score(case), which=settings.which)


def _attributed(
    score: Callable[[Tensor], Tensor], case: Tensor, dims: int, settings: Settings
) -> Attribution:
    baseline = make_baseline(case, dims, settings.baseline)
    match settings.method:
        case "integrated_gradients":
            return integrated_gradients(score, case, baseline, dims, batch=settings.batch)
        case "gradient_shap":
            return gradient_shap(score, case, baseline, dims, samples=settings.samples)
        case "kernel_shap":
            return kernel_shap(score, case, baseline, dims, samples=settings.samples, batch=settings.batch)
    return occlusion(score, case, baseline, dims, batch=settings.batch)


def make_explanation(
    signed: Tensor,
    method: Method,
    dims: int,
    *,
    layer: str = "",
    completeness: float | None = None,
    steps: int | None = None,
) -> Explanation:
    """Add the heat to signed values (M, H, W) or (1, D, H, W)."""
    values = np.nan_to_num(signed.detach().float().cpu().numpy())
    smooth = values
    if method in _GRAINY:
        least = _LEAST_GRAIN[dims]
        sigma = [0.0, *(max(least, side * _GRAIN) for side in values.shape[1:])]
        smooth = ndimage.gaussian_filter(values, sigma)
    return Explanation(values, np.maximum(smooth, 0), layer, completeness, steps)

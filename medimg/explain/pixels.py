"""Attributions to the pixels themselves, by captum and shap: no layer is chosen, and any network will do."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from medimg.errors import ConfigError

Score = Callable[[Tensor], Tensor]
Baseline = Literal["blur", "zero", "min"]

TOLERANCE = 0.01
"""Largest share of the answer's change that integrated gradients may leave unexplained."""

_FIRST_STEPS, _MOST_STEPS = 32, 1024
_BLUR = 1 / 4  # standard deviation as a share of a side: no lesion is left, light and dark sides are


@dataclass(frozen=True)
class Attribution:
    """What each pixel adds to the answer.

    Attributes:
        values: (1, M, H, W), (1, H, W) or (1, D, H, W), summed over channels.
        completeness: Share of the answer's change that the values miss; ``None`` where nothing is promised.
        steps: Steps along the path; ``None`` where there is none.
    """

    values: Tensor
    completeness: float | None = None
    steps: int | None = None


def make_baseline(case: Tensor, dims: int, kind: Baseline) -> Tensor:
    """The case without what is to be explained.

    Args:
        case: One case, (1, C, ...) or (1, M, C, H, W).
        dims: 2 for images and groups, 3 for volumes.
        kind: ``blur``, heavily; ``zero``, the mean after most normalisations; ``min``, each channel's darkest value.

    Example:
        >>> make_baseline(torch.tensor([[[[1.0, 3.0]]]]), 2, "min").tolist()
        [[[[1.0, 1.0]]]]
    """
    axes = tuple(range(case.ndim - dims, case.ndim))
    match kind:
        case "zero":
            return torch.zeros_like(case)
        case "min":
            return case.amin(axes, keepdim=True).expand_as(case).contiguous()
    sigma = [0.0] * (case.ndim - dims) + [max(1.0, side * _BLUR) for side in case.shape[-dims:]]
    blurred = ndimage.gaussian_filter(case.detach().cpu().float().numpy(), sigma, mode="nearest")
    return torch.from_numpy(blurred).to(case.device)


def integrated_gradients(
    score: Score, case: Tensor, baseline: Tensor, dims: int, *, batch: int
) -> Attribution:
    """Gradients summed up along the straight way from the baseline to the case.

    The values sum to the change of the answer; steps are doubled until they do so to 1 %, up to 1024.

    Args:
        score: Maps cases (B, ...) to answers (B,).
        case: One case.
        baseline: Of the same shape.
        dims: 2 for images and groups, 3 for volumes.
        batch: Steps computed at once.

    Reference:
        Sundararajan et al. 2017, "Axiomatic attribution for deep networks", arXiv:1703.01365.
    """
    method = _captum().IntegratedGradients(score)
    with torch.no_grad():
        change = float(score(case) - score(baseline))
    steps = _FIRST_STEPS
    while True:
        values = method.attribute(
            case, baseline, n_steps=steps, method="riemann_middle", internal_batch_size=batch
        ).detach()
        missed = abs(float(values.double().sum()) - change) / max(abs(change), 1e-6)
        if missed <= TOLERANCE or steps >= _MOST_STEPS:
            return Attribution(_joined(values, dims), missed, steps)
        steps *= 2


def gradient_shap(score: Score, case: Tensor, baseline: Tensor, dims: int, *, samples: int) -> Attribution:
    """Expected gradients: points drawn on the way from a baseline, with noise of a twentieth of the case's spread.

    Reference:
        Lundberg and Lee 2017, arXiv:1705.07874; Erion et al. 2021, arXiv:1906.10670.
    """
    method = _captum().GradientShap(score)
    total = torch.zeros_like(case)
    with torch.random.fork_rng(devices=[case.device] if case.is_cuda else []):
        torch.manual_seed(0)
        np_state = np.random.get_state()  # noqa: NPY002  (captum draws from the global generator)
        np.random.seed(0)  # noqa: NPY002
        try:
            for _ in range(samples):  # one by one: memory stays that of one case
                total += method.attribute(
                    case, baseline, n_samples=1, stdevs=0.05 * float(case.std())
                ).detach()
        finally:
            np.random.set_state(np_state)  # noqa: NPY002
    return Attribution(_joined(total / samples, dims))


def occlusion(score: Score, case: Tensor, baseline: Tensor, dims: int, *, batch: int) -> Attribution:
    """How far the answer falls where a window is replaced by the baseline.

    Windows are an eighth of each side, of volumes a quarter, and move by half of themselves.

    Reference:
        Zeiler and Fergus 2014, "Visualizing and understanding convolutional networks", arXiv:1311.2901.
    """
    window = [max(1, side // (8 if dims == 2 else 4)) for side in case.shape[-dims:]]
    step = [max(1, side // 2) for side in window]
    lead = [1] * (case.ndim - dims - 2) + [case.shape[-dims - 1]]  # one image at a time, all channels
    with torch.no_grad():
        values = (
            _captum()
            .Occlusion(score)
            .attribute(
                case,
                sliding_window_shapes=(*lead, *window),
                strides=(*lead, *step),
                baselines=baseline,
                perturbations_per_eval=batch,
            )
        )
    return Attribution(
        _joined(values, dims) / lead[-1]
    )  # captum gives each channel the window's whole effect


def kernel_shap(
    score: Score, case: Tensor, baseline: Tensor, dims: int, *, samples: int, batch: int
) -> Attribution:
    """Shapley values of cells of the image, from random sets of cells left as they are.

    Reference:
        Lundberg and Lee 2017, "A unified approach to interpreting model predictions", arXiv:1705.07874.
    """
    shap = _shap()
    cells = cells_of(case, dims)
    number = int(cells.max()) + 1
    places = torch.from_numpy(cells).to(case.device)

    def answers(kept: NDArray[Any]) -> NDArray[np.float64]:
        found: list[NDArray[np.float64]] = []
        with torch.no_grad():
            for start in range(0, len(kept), batch):
                rows = torch.from_numpy(kept[start : start + batch]).to(case)
                mask = rows[:, places].unsqueeze(case.ndim - dims - 1)  # (b, 1, ...), or (b, M, 1, H, W)
                found.append(score(case * mask + baseline * (1 - mask)).double().cpu().numpy())
        return np.concatenate(found)

    state = np.random.get_state()  # noqa: NPY002  (shap draws from the global generator)
    np.random.seed(0)  # noqa: NPY002
    try:
        explainer = shap.KernelExplainer(answers, np.zeros((1, number)))
        values = explainer.shap_values(np.ones((1, number)), nsamples=samples, l1_reg=0, silent=True)
    finally:
        np.random.set_state(state)  # noqa: NPY002
    painted = torch.from_numpy(np.asarray(values, np.float32).reshape(number)).to(case.device)[places]
    return Attribution(painted[None])


def cells_of(case: Tensor, dims: int) -> NDArray[np.int64]:
    """Number of the cell that each pixel belongs to: 8 x 8 in an image, 4 x 4 x 4 in a volume.

    In groups each image has 4 x 4, or is one cell where there are more than 16.

    Args:
        case: One case.
        dims: 2 for images and groups, 3 for volumes.

    Returns:
        (H, W), (D, H, W), or (M, H, W) for groups.

    Example:
        >>> cells_of(torch.zeros(1, 1, 8, 8), 2)[0].tolist()
        [0, 1, 2, 3, 4, 5, 6, 7]
    """
    sides = tuple(case.shape[-dims:])
    images = case.shape[1] if case.ndim == dims + 3 else None
    along = 4 if dims == 3 or images is not None else 8
    if images is not None and images > 16:
        along = 1
    counts = [min(along, side) for side in sides]
    lines = [np.arange(side) * count // side for side, count in zip(sides, counts, strict=True)]
    cells = np.ravel_multi_index(np.meshgrid(*lines, indexing="ij"), counts)
    if images is None:
        return np.asarray(cells, np.int64)
    return np.stack([cells + number * int(np.prod(counts)) for number in range(images)]).astype(np.int64)


def _joined(values: Tensor, dims: int) -> Tensor:
    """Sum over the channels."""
    return values.float().sum(values.ndim - dims - 1)


def _captum() -> Any:
    try:
        from captum import attr
    except ImportError as error:
        raise ConfigError(_missing("captum")) from error
    return attr


def _shap() -> Any:
    try:
        import shap
    except ImportError as error:
        raise ConfigError(_missing("shap")) from error
    return shap


def _missing(package: str) -> str:
    return (
        f"this method needs the package {package}, which is not installed: install medimg[explain], or take --method "
        "gradcam, gradcam++, hirescam or attention_rollout"
    )

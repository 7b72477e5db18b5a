"""Class activation maps: the channels of one layer's map, weighed by how the answer depends on them.

Own code, because the library pytorch-grad-cam scales each map to [0, 1], which loses the sign and the
common scale of the tiles of a volume and the images of a group.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from medimg.errors import ConfigError
from medimg.explain.layers import Layer, captured

Weigh = Callable[[Tensor, Tensor], Tensor]


def gradcam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Channels weighed by their mean gradient.

    Args:
        activations: Map (n, C, ...).
        gradients: Of the answer by the map, (n, C, ...).

    Returns:
        Signed map (n, ...).

    Reference:
        Selvaraju et al. 2017, "Grad-CAM", arXiv:1610.02391.
    """
    return (activations * _places_mean(gradients)).sum(1)


def hirescam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Activation times gradient, place by place; before a linear head it says exactly what each place adds.

    Reference:
        Draelos and Carin 2020, "Use HiResCAM instead of Grad-CAM", arXiv:2011.08891.
    """
    return (activations * gradients).sum(1)


def gradcam_plus_plus(activations: Tensor, gradients: Tensor) -> Tensor:
    """Channels weighed by their positive gradients, so that several lesions of unlike size all show.

    Reference:
        Chattopadhay et al. 2018, "Grad-CAM++", arXiv:1710.11063, equation 19.
    """
    axes = tuple(range(2, activations.ndim))
    squares = gradients.square()
    below = 2 * squares + activations.sum(axes, keepdim=True) * squares * gradients
    shares = torch.where(below != 0, squares / torch.where(below != 0, below, 1.0), 0.0)
    weights = (shares * gradients.relu()).sum(axes, keepdim=True)
    return (activations * weights).sum(1)


def _places_mean(values: Tensor) -> Tensor:
    return values.mean(tuple(range(2, values.ndim)), keepdim=True)


CAMS: dict[str, Weigh] = {"gradcam": gradcam, "gradcam++": gradcam_plus_plus, "hirescam": hirescam}


def cam(score: Callable[[Tensor], Tensor], case: Tensor, dims: int, layer: Layer, weigh: Weigh) -> Tensor:
    """Map of one case on the pixels that the network sees.

    Args:
        score: Maps cases (B, ...) to the answer in question (B,).
        case: One case: (1, C, H, W), (1, C, D, H, W), or a group (1, M, C, H, W).
        dims: 2 for images and groups, 3 for volumes.
        layer: Whose map is weighed.
        weigh: One of :data:`CAMS`.

    Returns:
        Signed maps (M, H, W) or (1, D, H, W), M being 1 but for groups.

    Raises:
        ConfigError: If the layer takes no part in the answer, or its maps are those of no image.
    """
    size = case.shape[-dims:]
    with torch.enable_grad(), captured(layer.module) as outputs:
        # The image asks for a gradient, so that frozen layers have one too.
        answer = score(case.detach().clone().requires_grad_()).sum()
    used = [output for output in outputs if output.requires_grad]
    gradients = torch.autograd.grad(answer, used, allow_unused=True) if used else ()
    pairs = [(a.detach(), g) for a, g in zip(used, gradients, strict=True) if g is not None]
    if not pairs:
        raise ConfigError(
            f"--layer {layer.name}: takes no part in the answer. Name another, or leave it out."
        )
    maps = torch.cat([weigh(layer.as_map(a, size), layer.as_map(g, size)).float() for a, g in pairs])
    if len(pairs) > 1 and len(maps) != _units(case, dims):
        maps = maps[-len(pairs[-1][0]) :]  # a module used more than once: its last use counts
    return enlarge(maps, case, dims)


def _units(case: Tensor, dims: int) -> int:
    """Images of the case."""
    return case.shape[1] if case.ndim == dims + 3 else 1


def enlarge(maps: Tensor, case: Tensor, dims: int) -> Tensor:
    """Bring maps (n, ...) to the pixels of the case.

    Raises:
        ConfigError: If there are neither as many as images nor as many as slices.
    """
    units, size = _units(case, dims), case.shape[-dims:]
    if dims == 3 and maps.ndim == 3 and len(maps) == size[0]:
        maps = maps[None]  # a network for images that saw every slice: (1, D, h, w)
    if maps.ndim != dims + 1 or len(maps) != units:
        raise ConfigError(
            f"the layer gives maps {tuple(maps.shape)} for {units} images of {tuple(size)}: name another --layer"
        )
    return _resized(maps, size)


def _resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    mode = "bilinear" if len(size) == 2 else "trilinear"
    return functional.interpolate(maps[:, None], tuple(size), mode=mode)[:, 0]

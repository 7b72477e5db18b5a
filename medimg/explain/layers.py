"""The layer whose map a CAM weighs: found by running the network once, or named by the user."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import product
from math import log, prod
from typing import Any, Literal

import torch
from torch import Tensor, nn

from medimg.errors import ConfigError


@dataclass(frozen=True)
class Layer:
    """A layer and how its output becomes a map.

    Attributes:
        name: Dotted name in the network.
        module: The layer.
        prefix: Tokens before those of the places, such as a class token.
        channels_last: Whether a map comes as (n, h, w, C), as in swin.
    """

    name: str
    module: nn.Module
    prefix: int = 0
    channels_last: bool = False

    def as_map(self, output: Tensor, size: Sequence[int]) -> Tensor:
        """Output of the layer as a map (n, C, ...).

        Args:
            output: Map (n, C, ...), map (n, ..., C), or tokens (n, T, C).
            size: Height and width, or depth, height and width, of what the network sees.

        Raises:
            ConfigError: If the output is no map.
        """
        if output.ndim == 3:
            grid = token_grid(output.shape[1] - self.prefix, size)
            places = output[:, self.prefix :].transpose(1, 2)
            return places.reshape(*places.shape[:2], *grid)  # (n, C, h, w)
        if output.ndim not in (4, 5) or prod(output.shape[2:]) == 1:
            raise ConfigError(
                f"--layer {self.name}: gives {tuple(output.shape)}, which is no map of places. Name a layer before "
                "the pooling, or leave --layer out."
            )
        return output.movedim(-1, 1) if self.channels_last else output


def token_grid(count: int, size: Sequence[int]) -> tuple[int, ...]:
    """The grid of so many tokens whose proportions are nearest to the image's.

    Args:
        count: Tokens of places.
        size: Sides of the image.

    Raises:
        ConfigError: If there is no token.

    Example:
        >>> token_grid(196, (224, 224)), token_grid(8, (32, 64))
        ((14, 14), (2, 4))
    """
    if count < 1:
        raise ConfigError(
            f"expected a token for each place of the image, found {count}: name another --layer"
        )
    divisors = [n for n in range(1, count + 1) if count % n == 0]
    grids = [
        (*lead, count // prod(lead))
        for lead in product(divisors, repeat=len(size) - 1)
        if count % prod(lead) == 0
    ]
    return min(grids, key=lambda grid: sum(log(n / m * grid[0] / size[0]) ** 2 for n, m in zip(size, grid)))  # noqa: B905


def find_layer(
    network: nn.Module, run: Callable[[], Any], *, which: Literal["last", "deepest"] = "last"
) -> Layer:
    """The layer whose map says most: the last one before places are pooled.

    Of a CNN, TransUNet and hybrids this is the last map, of a vision transformer the norm before the last attention,
    because behind it only the class token reaches the answer. A segmentation's last map is its answer itself, so there
    the last of the smallest maps is taken, the bottleneck (Vinogradova et al. 2020, arXiv:2002.11434).

    Args:
        network: The network.
        run: Runs it once.
        which: ``last`` of all maps, or ``deepest``, the last of the smallest.

    Raises:
        ConfigError: If no layer gives a map.
    """
    last = any(getattr(module, "output_fmt", None) == "NHWC" for module in network.modules())
    maps: list[tuple[int, str, nn.Module]] = []  # size of the map
    blocks: list[tuple[int, str, nn.Module]] = []  # maps that came before it

    def note(name: str, module: nn.Module) -> Callable[[Any, Any, Any], None]:
        def hook(_: Any, __: Any, output: Any) -> None:
            if not isinstance(output, Tensor):
                return
            places = prod(output.shape[1:-1] if last else output.shape[2:])
            if output.ndim in (4, 5) and places > 1:
                maps.append((places, name, module))
            elif output.ndim == 3 and hasattr(module, "norm1") and hasattr(module, "attn"):
                blocks.append((len(maps), name, module))

        return hook

    hooks = [
        module.register_forward_hook(note(name, module)) for name, module in network.named_modules() if name
    ]
    try:
        with torch.no_grad():
            run()
    finally:
        for hook in hooks:
            hook.remove()
    if blocks and blocks[-1][0] == len(maps):
        _, name, block = blocks[-1]
        norm: nn.Module = block.norm1  # type: ignore[assignment]
        return Layer(f"{name}.norm1", norm, prefix_tokens(network))
    if not maps:
        raise ConfigError(
            f"{type(network).__name__}: none of its layers gives a map of places. Take --method occlusion, "
            "integrated_gradients or kernel_shap, which need none."
        )
    smallest = min(places for places, *_ in maps) if which == "deepest" else None
    _, name, module = [one for one in maps if smallest in (None, one[0])][-1]
    return Layer(name, module, channels_last=last)


def named_layer(network: nn.Module, name: str) -> Layer:
    """The layer of this name.

    Raises:
        ConfigError: If there is none; the message names the nearest.
    """
    modules = dict(network.named_modules())
    if name not in modules or not name:
        near = get_close_matches(name, modules, n=3, cutoff=0.3)
        raise ConfigError(
            f"--layer {name}: {type(network).__name__} has no such layer; the nearest are {', '.join(near) or 'none'}. "
            "Leave --layer out to take the last map."
        )
    last = any(getattr(module, "output_fmt", None) == "NHWC" for module in modules.values())
    return Layer(name, modules[name], prefix_tokens(network), last)


def prefix_tokens(network: nn.Module) -> int:
    """Tokens that stand before those of the places, such as a class token."""
    found = [getattr(module, "num_prefix_tokens", None) for module in network.modules()]
    return next((number for number in found if isinstance(number, int)), 0)


@contextmanager
def captured(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what a layer gives while the block runs."""
    outputs: list[Tensor] = []

    def keep(_: Any, __: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            outputs.append(output)

    hook = module.register_forward_hook(keep)
    try:
        yield outputs
    finally:
        hook.remove()

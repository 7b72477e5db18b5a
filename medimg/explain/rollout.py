"""Attention rollout: which places the answer of a vision transformer attends to, through all blocks."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from medimg.errors import ConfigError
from medimg.explain.cam import enlarge
from medimg.explain.layers import captured, prefix_tokens, token_grid


def attention_rollout(
    network: nn.Module, score: Callable[[Tensor], Tensor], case: Tensor, dims: int
) -> Tensor:
    """Attention multiplied through the blocks, half of each place staying with itself; it knows no class.

    Args:
        network: A network with attention blocks of timm: a ViT, TransUNet, or the hybrid.
        score: Runs it.
        case: One case, as for :func:`medimg.explain.cam.cam`.
        dims: 2 for images and groups, 3 for volumes.

    Returns:
        Maps (M, H, W) or (1, D, H, W), not negative.

    Raises:
        ConfigError: If the network has no attention over all places.

    Reference:
        Abnar and Zuidema 2020, "Quantifying attention flow in transformers", arXiv:2005.00928.
    """
    blocks = [module for module in network.modules() if _is_attention(module)]
    if not blocks:
        raise ConfigError(
            f"--method attention_rollout: {type(network).__name__} has no attention over all places, which a ViT, "
            "TransUNet and the hybrid have. Take --method gradcam."
        )
    with ExitStack() as stack:
        weights = [stack.enter_context(_weights_of(block)) for block in blocks]
        with torch.no_grad():
            score(case)
    flow: Tensor | None = None
    for one in (one for one in weights if one):
        flow = _through(torch.cat(one).float().mean(1), flow)  # (n, T, T)
    assert flow is not None
    prefix = prefix_tokens(network)
    # What the answer reads: the class token, or the mean of all places.
    rows = flow[:, 0, prefix:] if prefix else flow.mean(1)
    size: Sequence[int] = case.shape[-dims:]
    sliced = dims == 3 and len(rows) == case.shape[-3]
    grid = token_grid(rows.shape[1], size[1:] if sliced else size)
    return enlarge(rows.reshape(len(rows), *grid), case, dims)


def _through(attention: Tensor, before: Tensor | None) -> Tensor:
    identity = torch.eye(attention.shape[-1], device=attention.device)
    mixed = (attention + identity) / 2
    return mixed if before is None else mixed @ before


def _is_attention(module: nn.Module) -> bool:
    return all(hasattr(module, name) for name in ("qkv", "attn_drop", "fused_attn")) and not hasattr(
        module,
        "relative_position_bias_table",  # of swin's windows
    )


@contextmanager
def _weights_of(block: Any) -> Iterator[list[Tensor]]:
    """Attention (n, heads, T, T), which a fused kernel would keep to itself."""
    fused, block.fused_attn = block.fused_attn, False
    try:
        with captured(block.attn_drop) as weights:
            yield weights
    finally:
        block.fused_attn = fused

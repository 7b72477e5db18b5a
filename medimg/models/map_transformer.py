"""A vision transformer over the places of a feature map, and its answer as a map again."""

from functools import partial

import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from medimg.errors import ConfigError

HEAD_WIDTH = 64
"""Channels of an attention head, as in all ViTs from S to H."""


class MapTransformer(nn.Module):
    """Projection of a map to tokens, learned positions, blocks and a norm, without class token.

    Args:
        in_channels: Channels C of the map.
        grid: Height and width of the map that the positions are made for; for other maps they are interpolated.
        width: Length of a token, a multiple of 64.
        depth: Blocks.
        drop_rate: Share of values dropped after positions, attention and in each MLP while training, in [0, 1).

    Raises:
        ConfigError: If the width is no multiple of 64.

    Reference:
        Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", arXiv:2010.11929.
    """

    def __init__(
        self, in_channels: int, grid: tuple[int, int], *, width: int, depth: int, drop_rate: float = 0.0
    ) -> None:
        super().__init__()
        if width < HEAD_WIDTH or width % HEAD_WIDTH:
            near = max(HEAD_WIDTH, round(width / HEAD_WIDTH) * HEAD_WIDTH)
            raise ConfigError(
                f"width: expected a multiple of {HEAD_WIDTH}, the width of an attention head, found {width}: "
                f"take {near}"
            )
        self.grid, self.width = grid, width
        self.projection = nn.Conv2d(in_channels, width, 1)
        self.positions = nn.Parameter(torch.empty(1, grid[0] * grid[1], width))
        self.drop = nn.Dropout(drop_rate)
        blocks = [Block(width, width // HEAD_WIDTH, qkv_bias=True, proj_drop=drop_rate) for _ in range(depth)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        nn.init.trunc_normal_(self.positions, std=0.02)
        self.blocks.apply(partial(_initialise, std=0.02))

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, width, h, w) of a map (B, C, h, w)."""
        size = features.shape[2:]
        tokens = self.projection(features).flatten(2).transpose(1, 2)  # (B, h*w, width)
        tokens = self.drop(tokens + self.positions_of(size[0], size[1]))
        for block in self.blocks:
            tokens = block(tokens)
        map_: Tensor = self.norm(tokens).transpose(1, 2).unflatten(2, size)
        return map_

    def positions_of(self, height: int, width: int) -> Tensor:
        """Positions (1, h*w, width) of a map of another size, by bicubic interpolation."""
        if (height, width) == self.grid:
            return self.positions
        positions: Tensor = resample_abs_pos_embed(
            self.positions, [height, width], list(self.grid), num_prefix_tokens=0
        )
        return positions


def _initialise(module: nn.Module, std: float) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=std)
        nn.init.zeros_(module.bias)

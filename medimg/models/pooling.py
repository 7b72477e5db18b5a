"""Several images of one case become one answer: the views of a breast, the tiles of a slide.

The images of all cases of a batch lie one after the other, (M, ...), and ``sizes`` says how many belong to each
of the B cases; they sum to M.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medimg.errors import ConfigError

SIZES = "sizes"
"""Key of a batch under which the number of images of each case stands, (B,)."""


class Pooling(nn.Module):
    """Joins what the network says of each image.

    Attributes:
        over: Whether it joins the ``logits`` of the images, or their ``features`` before the head.
    """

    over: Literal["logits", "features"] = "logits"

    def forward(self, values: Tensor, sizes: Tensor) -> Tensor:
        """Join the values of each case.

        Args:
            values: One row an image, (M, K) or (M, F).
            sizes: Images of each case, (B,), int64, at least 1.

        Returns:
            One row a case, (B, K) or (B, F).
        """
        raise NotImplementedError


class MeanPooling(Pooling):
    """Mean of the logits.

    Example:
        >>> MeanPooling()(torch.tensor([[0.0], [2.0], [5.0]]), torch.tensor([2, 1])).tolist()
        [[1.0], [5.0]]
    """

    def forward(self, values: Tensor, sizes: Tensor) -> Tensor:
        """Mean of each case's rows."""
        return segment_sum(values, sizes) / sizes[:, None]


class MaxPooling(Pooling):
    """The most suspicious image of a case decides.

    Example:
        >>> MaxPooling()(torch.tensor([[0.0], [2.0], [5.0]]), torch.tensor([2, 1])).tolist()
        [[2.0], [5.0]]
    """

    def forward(self, values: Tensor, sizes: Tensor) -> Tensor:
        """Largest of each case's rows, for each class on its own."""
        owner = owners(sizes)[:, None].expand_as(values)
        start = values.new_full((len(sizes), values.shape[1]), -torch.inf)
        return start.scatter_reduce(0, owner, values, "amax")


class NoisyOrPooling(Pooling):
    """A case is positive if any of its images is: 1 - prod(1 - p), as a logit.

    Not for exclusive classes.

    Example:
        >>> logits = NoisyOrPooling()(torch.zeros(2, 1), torch.tensor([2]))  # 1 - 0.5 * 0.5
        >>> round(logits.sigmoid().item(), 6)
        0.75

    Reference:
        Maron and Lozano-Perez, "A framework for multiple-instance learning", NeurIPS 1997.
    """

    def forward(self, values: Tensor, sizes: Tensor) -> Tensor:
        """Logit of the probability that at least one image is positive."""
        # float32: half precision cannot tell 1 - p from 1.
        none = segment_sum(-F.softplus(values.float()), sizes)  # log prod(1 - p)
        none = none.clamp(max=-1e-7)
        return torch.log(-torch.expm1(none)) - none


class GatedAttentionPooling(Pooling):
    """A learned weighted mean of the images' features.

    Args:
        in_features: Length F of the features: ``num_features`` of the network, such as 1024 for densenet121,
            1280 for tf_efficientnet_lite0, 2048 for resnet50.
        hidden: Width of the attention.

    Reference:
        Ilse et al. 2018, "Attention-based Deep Multiple Instance Learning", arXiv:1802.04712.
    """

    over = "features"

    def __init__(self, in_features: int, hidden: int = 128) -> None:
        super().__init__()
        self.in_features = in_features
        self.content = nn.Linear(in_features, hidden)
        self.gate = nn.Linear(in_features, hidden)
        self.score = nn.Linear(hidden, 1)

    def attention(self, values: Tensor, sizes: Tensor) -> Tensor:
        """Weight of each image in its case, (M, 1); the weights of a case sum to one.

        Raises:
            ConfigError: If the features have another length than ``in_features``.
        """
        if values.shape[1] != self.in_features:
            raise ConfigError(
                f"the network's features have length {values.shape[1]}: set in_features of the pooling to it, "
                f"found {self.in_features}"
            )
        score = self.score(self.content(values).tanh() * self.gate(values).sigmoid()).float()
        # The largest score of each case is taken off, so that no exponential overflows.
        score = score - MaxPooling()(score, sizes)[owners(sizes)]
        weight = score.exp()
        shares: Tensor = weight / segment_sum(weight, sizes)[owners(sizes)]
        return shares

    def forward(self, values: Tensor, sizes: Tensor) -> Tensor:
        """Attended features of each case."""
        return segment_sum(values * self.attention(values, sizes).to(values.dtype), sizes)


def owners(sizes: Tensor) -> Tensor:
    """Number of the case that each image belongs to.

    Example:
        >>> owners(torch.tensor([2, 1])).tolist()
        [0, 0, 1]
    """
    return torch.repeat_interleave(torch.arange(len(sizes), device=sizes.device), sizes)


def segment_sum(values: Tensor, sizes: Tensor) -> Tensor:
    """Sum of each case's rows.

    Args:
        values: Rows of all images (M, F).
        sizes: Images of each case (B,).

    Returns:
        Sums (B, F).
    """
    return values.new_zeros(len(sizes), values.shape[1]).index_add(0, owners(sizes), values)

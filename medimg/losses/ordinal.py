"""A loss of exclusive classes that have an order, such as tumour grades."""

from torch import Tensor

from medimg.errors import ConfigError
from medimg.losses.classification import WeightedCrossEntropyLoss, _known, _mean


class OrdinalLoss(WeightedCrossEntropyLoss):
    """Cross-entropy and squared earth mover's distance of classes in ascending order.

    Cross-entropy finds all wrong classes alike; the distance grows with how far the probability has to be moved. For
    K classes it is the mean over the K - 1 thresholds between them of (P(class above it) - truth)^2, in [0, 1]. The
    head stays a softmax, so probabilities and thresholds are used as for any exclusive classes.

    Args:
        emd_weight: Weight of the distance.
        ce_weight: Weight of the cross-entropy; 0 leaves the distance alone, whose gradient is weak far off.
        class_weights: Weight of each class in both; see :class:`WeightedCrossEntropyLoss`.
        label_smoothing: Share of the target spread over all classes in the cross-entropy.

    Raises:
        ConfigError: If a weight is negative, or both are 0.

    Reference:
        Hou et al. 2016, "Squared earth mover's distance-based loss for training deep neural networks",
        arXiv:1611.05916.

    Example:
        >>> import torch
        >>> loss = OrdinalLoss(ce_weight=0.0)
        >>> sure = torch.tensor([[99.0, 0.0, 0.0]])  # class 0, and the truth is class 1, then class 2
        >>> [loss(sure, torch.eye(3)[[truth]]).item() for truth in (0, 1, 2)]
        [0.0, 0.5, 1.0]
    """

    def __init__(
        self,
        *,
        emd_weight: float = 1.0,
        ce_weight: float = 1.0,
        class_weights: list[float] | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(class_weights=class_weights, label_smoothing=label_smoothing)
        if min(emd_weight, ce_weight) < 0 or emd_weight + ce_weight == 0:
            raise ConfigError(
                f"OrdinalLoss: emd_weight and ce_weight of 0 or more, one of them above 0, expected; found "
                f"{emd_weight} and {ce_weight}"
            )
        self.emd_weight, self.ce_weight = emd_weight, ce_weight

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Mean over the cases with a known class; logits and target (B, K) in ascending order, weight (B,).

        Raises:
            ConfigError: If there is one class only.
        """
        if logits.ndim == 2 and logits.shape[1] < 2:
            raise ConfigError("OrdinalLoss: two classes or more expected, found one output")
        cross_entropy = super().forward(logits, target, weight)
        logits, target, known = _known(logits, target, exclusive=True)
        gaps = (logits.softmax(1) - target).cumsum(1)[
            :, :-1
        ]  # of the chance to lie at or below each threshold
        size = target if self.class_weights is None else target * self.class_weights
        size = size.sum(1, keepdim=True)  # (B, 1), 0 where unknown
        distance = _mean(gaps.square().mean(1, keepdim=True) * size * known, size, weight)
        return self.ce_weight * cross_entropy + self.emd_weight * distance

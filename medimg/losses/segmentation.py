"""Dice with cross-entropy, binary cross-entropy or focal loss, over voxels that count.

MONAI's counterparts know no ignored voxels and build the one-hot target on the way; these do both
terms in float32, whatever the precision of the network.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medimg.keys import IGNORE_INDEX


def soft_dice_loss(
    probs: Tensor, target: Tensor, counts: Tensor, *, batch: bool, smooth: float = 1e-5
) -> Tensor:
    """One minus the soft Dice, averaged over channels.

    Args:
        probs: Probabilities (B, K, D, H, W).
        target: 0 or 1, (B, K, D, H, W).
        counts: 1 where a voxel counts, (B, 1 or K, D, H, W).
        batch: Sum over the batch before dividing, as if its patches were one image: steadier for
            small structures that many patches lack.
        smooth: Keeps the quotient defined; small, so that an empty pair scores one.

    Returns:
        Scalar in [0, 1].

    Reference:
        Milletari et al. 2016, "V-Net", arXiv:1606.04797; batch Dice as in Isensee et al. 2021.

    Example:
        >>> x = torch.tensor([[[[[1.0, 0.0]]]]])
        >>> round(soft_dice_loss(x, x, torch.ones_like(x), batch=False).item(), 4)
        0.0
    """
    axes = [0, *range(2, probs.ndim)] if batch else list(range(2, probs.ndim))
    overlap = (probs * target * counts).sum(axes)
    total = ((probs + target) * counts).sum(axes)
    return 1 - ((2 * overlap + smooth) / (total + smooth)).mean()


def _mean_where(values: Tensor, counts: Tensor) -> Tensor:
    return (values * counts).sum() / counts.sum().clamp_min(1)


class DiceCELoss(nn.Module):
    """Dice and cross-entropy of mutually exclusive classes.

    Args:
        dice_weight: Weight of the Dice term.
        ce_weight: Weight of the cross-entropy.
        batch_dice: See :func:`soft_dice_loss`.
        class_weights: Weight of each channel in the cross-entropy, background first.
        label_smoothing: Share of the target spread over all classes in the cross-entropy.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        *,
        dice_weight: float = 1.0,
        ce_weight: float = 1.0,
        batch_dice: bool = True,
        class_weights: list[float] | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.dice_weight, self.ce_weight, self.batch_dice = dice_weight, ce_weight, batch_dice
        self.label_smoothing = label_smoothing
        weights = None if class_weights is None else torch.tensor(class_weights)
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of logits (B, K, D, H, W), channel 0 the background, against indices (B, 1, D, H, W).

        Voxels of index 255 are ignored. The background takes no part in the Dice term.
        """
        logits = logits.float()
        index = target[:, 0].long()
        counts = (index != IGNORE_INDEX).float()
        ce = F.cross_entropy(
            logits,
            index,
            weight=self.class_weights,
            ignore_index=IGNORE_INDEX,
            reduction="none",
            label_smoothing=self.label_smoothing,
        )
        hot = _foreground(index, logits.shape[1])
        dice = soft_dice_loss(logits.softmax(1)[:, 1:], hot, counts[:, None], batch=self.batch_dice)
        return self.dice_weight * dice + self.ce_weight * _mean_where(ce, counts)


def _foreground(index: Tensor, num_classes: int) -> Tensor:
    """One channel for each class but the background, (B, K - 1, D, H, W), of indices (B, D, H, W)."""
    classes = torch.arange(1, num_classes, device=index.device).view(1, -1, *[1] * (index.ndim - 1))
    return (index[:, None] == classes).float()


class DiceBCELoss(nn.Module):
    """Dice and binary cross-entropy of regions that may overlap.

    Args:
        dice_weight: Weight of the Dice term.
        bce_weight: Weight of the binary cross-entropy.
        batch_dice: See :func:`soft_dice_loss`.
    """

    def __init__(self, *, dice_weight: float = 1.0, bce_weight: float = 1.0, batch_dice: bool = True) -> None:
        super().__init__()
        self.dice_weight, self.bce_weight, self.batch_dice = dice_weight, bce_weight, batch_dice

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of logits (B, K, D, H, W) against regions (B, K, D, H, W) of 0, 1 and 255 for ignored."""
        logits = logits.float()
        counts = (target != IGNORE_INDEX).float()
        inside = (target == 1).float()
        bce = F.binary_cross_entropy_with_logits(logits, inside, reduction="none")
        dice = soft_dice_loss(logits.sigmoid(), inside, counts, batch=self.batch_dice)
        return self.dice_weight * dice + self.bce_weight * _mean_where(bce, counts)


class DiceFocalLoss(nn.Module):
    """Dice and focal loss, for classes (``softmax``) or regions (``sigmoid``).

    Args:
        head: Which of the two the logits are.
        dice_weight: Weight of the Dice term.
        focal_weight: Weight of the focal term.
        gamma: How strongly voxels that are already right are played down; 0 is cross-entropy.
        batch_dice: See :func:`soft_dice_loss`.

    Reference:
        Lin et al. 2017, "Focal loss for dense object detection", arXiv:1708.02002.
    """

    def __init__(
        self,
        *,
        head: Literal["softmax", "sigmoid"] = "softmax",
        dice_weight: float = 1.0,
        focal_weight: float = 1.0,
        gamma: float = 2.0,
        batch_dice: bool = True,
    ) -> None:
        super().__init__()
        self.head, self.gamma, self.batch_dice = head, gamma, batch_dice
        self.dice_weight, self.focal_weight = dice_weight, focal_weight

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of logits (B, K, D, H, W); the target is as in DiceCELoss or DiceBCELoss."""
        logits = logits.float()
        if self.head == "softmax":
            index = target[:, 0].long()
            counts = (index != IGNORE_INDEX).float()
            nll = F.cross_entropy(logits, index, ignore_index=IGNORE_INDEX, reduction="none")
            inside, weight = _foreground(index, logits.shape[1]), counts[:, None]
            probs = logits.softmax(1)[:, 1:]
        else:
            weight = counts = (target != IGNORE_INDEX).float()
            inside = (target == 1).float()
            nll = F.binary_cross_entropy_with_logits(logits, inside, reduction="none")
            probs = logits.sigmoid()
        focal = (1 - torch.exp(-nll)) ** self.gamma * nll
        dice = soft_dice_loss(probs, inside, weight, batch=self.batch_dice)
        return self.dice_weight * dice + self.focal_weight * _mean_where(focal, counts)

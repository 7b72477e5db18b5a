"""Losses of image labels in which unknown targets, soft targets and weights of cases are at home.

All take logits (B, K), a target (B, K) and an optional weight (B,). The target is 1 or 0, a share between for a
soft label, NaN or -1 where it is unknown; a binary task has K = 1, exclusive classes are one-hot or shares
that sum to one. An unknown entry adds nothing to the loss and its gradient is exactly zero; the mean is taken
over the known ones. Everything is computed in float32, whatever the precision of the network.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medimg.errors import ConfigError

_TINY = 1e-8  # below it a power with an exponent under one would have no finite slope


def _known(logits: Tensor, target: Tensor, *, exclusive: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Logits and target in float32, 0 where unknown, and 1 where known: (B, K), or (B, 1) for exclusive classes.

    Masking the logits rather than the loss keeps an overflow under an unknown label out of the gradient.
    """
    if logits.ndim != 2 or logits.shape != target.shape:
        raise ValueError(
            f"logits and target of one shape (B, K) expected, found {tuple(logits.shape)} and "
            f"{tuple(target.shape)}. A binary task has K = 1, exclusive classes have one-hot targets."
        )
    target = target.float()
    known = target >= 0  # neither -1 nor NaN
    if exclusive:
        known = known.all(dim=1, keepdim=True)
    zero = torch.zeros((), device=logits.device)
    return torch.where(known, logits.float(), zero), torch.where(known, target, zero), known.float()


def _mean(values: Tensor, size: Tensor, weight: Tensor | None) -> Tensor:
    """Sum of the values over the sum of their sizes, cases weighed; 0 where nothing is known.

    Args:
        values: Loss of each entry, (B, K) or (B, 1), 0 where unknown.
        size: What each entry counts in the mean, of the same shape.
        weight: Weight of each case (B,).
    """
    if weight is not None:
        weight = weight.float().unsqueeze(1)
        values, size = values * weight, size * weight
    total = size.sum()
    return values.sum() / torch.where(total > 0, total, torch.ones_like(total))


def _buffer(values: Sequence[float] | float | None) -> Tensor | None:
    return None if values is None else torch.tensor(values, dtype=torch.float32)


class MaskedBCELoss(nn.Module):
    """Binary cross-entropy of labels of which some are unknown.

    Args:
        pos_weight: Weight of the positive cases of each label, commonly negatives / positives in the
            training fold.
        label_smoothing: Targets are drawn from 0 and 1 towards 0.5 by half of this share.

    Example:
        >>> loss = MaskedBCELoss()
        >>> loss(torch.tensor([[0.0, 9.0]]), torch.tensor([[1.0, float("nan")]]))
        tensor(0.6931)
    """

    pos_weight: Tensor | None

    def __init__(self, *, pos_weight: list[float] | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__()
        _check_smoothing(label_smoothing)
        self.label_smoothing = label_smoothing
        self.register_buffer("pos_weight", _buffer(pos_weight), persistent=False)

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Mean over the known entries of logits (B, K) and target (B, K), cases weighed by weight (B,)."""
        _check_length("pos_weight", self.pos_weight, logits)
        logits, target, known = _known(logits, target, exclusive=False)
        # Each side is smoothed first and weighed after: a weight on the positive share of a smoothed negative
        # would draw every case of a rare label towards 1.
        softer = torch.full_like(target, 0.5 * self.label_smoothing)
        positive = F.binary_cross_entropy_with_logits(logits, 1 - softer, reduction="none")
        negative = F.binary_cross_entropy_with_logits(logits, softer, reduction="none")
        if self.pos_weight is not None:
            positive = positive * self.pos_weight
        bce = target * positive + (1 - target) * negative
        return _mean(bce * known, known, weight)


class WeightedCrossEntropyLoss(nn.Module):
    """Cross-entropy of exclusive classes with weights of classes and soft targets.

    Args:
        class_weights: Weight of each class. As in torch's form for class indices, the mean is divided by the
            weights that took part, so they shift the balance of classes and not the size of the loss.
        label_smoothing: Share of the target spread over all classes.

    Example:
        >>> loss = WeightedCrossEntropyLoss(class_weights=[1.0, 3.0])
        >>> loss(torch.zeros(2, 2), torch.eye(2))
        tensor(0.6931)
    """

    class_weights: Tensor | None

    def __init__(self, *, class_weights: list[float] | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__()
        _check_smoothing(label_smoothing)
        self.label_smoothing = label_smoothing
        self.register_buffer("class_weights", _buffer(class_weights), persistent=False)

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Mean over the cases with a known class; logits and target (B, K), weight (B,)."""
        _check_length("class_weights", self.class_weights, logits)
        logits, target, known = _known(logits, target, exclusive=True)
        soft = target * (1 - self.label_smoothing) + self.label_smoothing / target.shape[1]
        classes = torch.ones_like(target[:1]) if self.class_weights is None else self.class_weights
        nll = -(classes * soft * logits.log_softmax(1)).sum(1, keepdim=True)  # (B, 1)
        return _mean(nll * known, (classes * target).sum(1, keepdim=True), weight)


class FocalLoss(nn.Module):
    """Cross-entropy that plays down what is already right.

    Args:
        task: ``binary`` and ``multilabel`` take the sigmoid of each logit, ``multiclass`` the softmax.
        gamma: How strongly; 0 is cross-entropy.
        alpha: Weight of the positives, the negatives getting 1 - alpha: one number or one a label. For
            ``multiclass`` a weight a class. ``None`` weighs nothing.

    Raises:
        ConfigError: If ``gamma`` is negative, or ``alpha`` is one number for exclusive classes.

    Reference:
        Lin et al. 2017, "Focal loss for dense object detection", arXiv:1708.02002.

    Example:
        >>> FocalLoss("binary", gamma=0.0, alpha=None)(torch.zeros(1, 1), torch.ones(1, 1))
        tensor(0.6931)
    """

    alpha: Tensor | None

    def __init__(
        self,
        task: Literal["binary", "multiclass", "multilabel"],
        gamma: float = 2.0,
        alpha: float | list[float] | None = None,
    ) -> None:
        super().__init__()
        if gamma < 0:
            raise ConfigError(f"FocalLoss: gamma of 0 or more expected, found {gamma}")
        if task == "multiclass" and isinstance(alpha, int | float):
            raise ConfigError(
                f"FocalLoss: exclusive classes take a list of weights as alpha, found {alpha}. "
                "Give one weight a class, or null."
            )
        self.task, self.gamma = task, gamma
        self.register_buffer("alpha", _buffer(alpha), persistent=False)

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Mean over what is known, entries or, for exclusive classes, cases; logits and target (B, K)."""
        _check_length("alpha", self.alpha, logits)
        logits, target, known = _known(logits, target, exclusive=self.task == "multiclass")
        if self.task == "multiclass":
            log_probs = logits.log_softmax(1)
            focus = (1 - log_probs.exp()).clamp_min(_TINY) ** self.gamma
            classes = torch.ones_like(target[:1]) if self.alpha is None else self.alpha
            loss = -(classes * target * focus * log_probs).sum(1, keepdim=True)
            return _mean(loss * known, known, weight)
        bce = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        probs = logits.sigmoid()
        missed = probs + target - 2 * probs * target  # 1 - probability of the truth
        loss = bce * missed.clamp_min(_TINY) ** self.gamma
        if self.alpha is not None:
            loss = loss * (self.alpha * target + (1 - self.alpha) * (1 - target))
        return _mean(loss * known, known, weight)


class AsymmetricLoss(nn.Module):
    """Focal loss that plays down easy negatives more than positives, and drops the easiest.

    Args:
        gamma_neg: Focus of the negatives.
        gamma_pos: Focus of the positives.
        clip: Probability that is taken off the negatives; those below it add nothing.

    Raises:
        ConfigError: If a focus is negative or ``clip`` is outside [0, 1).

    Reference:
        Ridnik et al. 2021, "Asymmetric loss for multi-label classification", arXiv:2009.14119.

    Example:
        >>> loss = AsymmetricLoss()
        >>> loss(torch.tensor([[-4.0]]), torch.zeros(1, 1))  # a probability of 0.018 is below the clip
        tensor(0.)
    """

    def __init__(self, *, gamma_neg: float = 4.0, gamma_pos: float = 1.0, clip: float = 0.05) -> None:
        super().__init__()
        if min(gamma_neg, gamma_pos) < 0 or not 0 <= clip < 1:
            raise ConfigError(
                "AsymmetricLoss: gamma_neg and gamma_pos of 0 or more and clip in [0, 1) expected, found "
                f"{gamma_neg}, {gamma_pos} and {clip}"
            )
        self.gamma_neg, self.gamma_pos, self.clip = gamma_neg, gamma_pos, clip

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Mean over the known entries of logits (B, K) and target (B, K), cases weighed by weight (B,)."""
        logits, target, known = _known(logits, target, exclusive=False)
        probs = logits.sigmoid()
        positive = F.logsigmoid(logits) * (1 - probs).clamp_min(_TINY) ** self.gamma_pos
        if self.clip > 0:
            shifted = (probs - self.clip).clamp_min(0)
            log_negative = torch.log1p(-shifted)
        else:
            shifted, log_negative = probs, F.logsigmoid(-logits)
        negative = log_negative * shifted.clamp_min(_TINY) ** self.gamma_neg
        return _mean(-(target * positive + (1 - target) * negative) * known, known, weight)


def _check_smoothing(label_smoothing: float) -> None:
    if not 0 <= label_smoothing < 1:
        raise ConfigError(f"label_smoothing in [0, 1) expected, found {label_smoothing}")


def _check_length(name: str, values: Tensor | None, logits: Tensor) -> None:
    """A single weight would spread over all labels without a word."""
    if values is not None and values.ndim == 1 and len(values) != logits.shape[1]:
        raise ConfigError(
            f"{name}: expected one number for each of the {logits.shape[1]} outputs of the network, "
            f"found {len(values)}"
        )

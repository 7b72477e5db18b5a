"""Losses of studies with labels of their own and labels of their slices."""

from torch import Tensor, nn

from medimg.losses.classification import MaskedBCELoss


class StudyLoss(nn.Module):
    """The loss of the studies' labels plus that of the slices' labels.

    Args:
        loss: Of studies: takes logits (B, K), target (B, K) and weight (B,).
        image_loss: Of slices, likewise; a slice weighs as much as its study.
        image_weight: Factor of the slices' loss.
    """

    def __init__(
        self, loss: nn.Module | None = None, image_loss: nn.Module | None = None, image_weight: float = 1.0
    ) -> None:
        super().__init__()
        self.loss, self.image_loss = loss or MaskedBCELoss(), image_loss or MaskedBCELoss()
        self.image_weight = image_weight

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        weight: Tensor,
        *,
        image_logits: Tensor,
        image_target: Tensor,
        sizes: Tensor,
    ) -> Tensor:
        """One number for a batch.

        Args:
            logits: Of studies (B, K).
            target: Labels of studies (B, K), NaN where unknown.
            weight: Weight of each study (B,).
            image_logits: Of slices (M, K').
            image_target: Labels of slices (M, K'), NaN where unknown.
            sizes: Slices of each study (B,); they sum to M.
        """
        study: Tensor = self.loss(logits, target, weight)
        image: Tensor = self.image_loss(image_logits, image_target, weight.repeat_interleave(sizes))
        return study + self.image_weight * image

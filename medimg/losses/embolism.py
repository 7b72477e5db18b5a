"""The weighted log loss of the RSNA pulmonary embolism challenge of 2020, to train on."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from medimg.errors import ConfigError
from medimg.losses.study import StudyLoss
from medimg.scoring.embolism import EXAM_LABELS, EXAM_WEIGHTS, IMAGE_WEIGHT


class RSNAPulmonaryEmbolismLoss(StudyLoss):
    """The competition's score itself: labels of exams by their weights, slices by their exam's share of positive ones.

    An exam without a positive slice teaches by its own labels alone, as it is scored. Where training draws a run of a
    study's slices, the share is that of the run. Unknown labels weigh nothing.

    Args:
        classes: Labels of the exam in the order of the network's outputs.

    Raises:
        ConfigError: If a label is none of the competition's.

    Reference:
        Colak et al., "The RSNA pulmonary embolism CT dataset", Radiology: Artificial Intelligence 2021.
    """

    label_weight: Tensor

    def __init__(self, classes: Sequence[str] = EXAM_LABELS) -> None:
        super().__init__()
        if unknown := [name for name in classes if name not in EXAM_WEIGHTS]:
            raise ConfigError(
                f"RSNAPulmonaryEmbolismLoss: no weight for {', '.join(unknown)}; the competition weighs "
                f"{', '.join(EXAM_LABELS)}"
            )
        self.classes = tuple(classes)
        weights = torch.tensor([EXAM_WEIGHTS[name] for name in classes], dtype=torch.float32)
        self.register_buffer("label_weight", weights, persistent=False)

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
        """Weighted losses over their weights; arguments as for :class:`medimg.losses.StudyLoss`, with K' = 1."""
        if image_logits.shape[1] != 1:
            raise ConfigError(
                f"RSNAPulmonaryEmbolismLoss: one label of slices expected, found {image_logits.shape[1]}: set "
                "model.init_args.image_classes to [pe_present_on_image]"
            )
        bce, known = _masked_bce(logits, target)  # (B, K)
        exam, exam_weight = bce @ self.label_weight, known @ self.label_weight  # (B,)
        bce, known = _masked_bce(image_logits, image_target)  # (M, 1)
        columns = torch.cat([bce, known, known * image_target.float().nan_to_num()], 1)
        owner = torch.repeat_interleave(torch.arange(len(sizes), device=sizes.device), sizes)
        image, count, positive = columns.new_zeros(len(sizes), 3).index_add(0, owner, columns).T  # each (B,)
        share = IMAGE_WEIGHT * positive / count.clamp(min=1)
        total = (weight * (exam_weight + share * count)).sum()
        loss: Tensor = (weight * (exam + share * image)).sum() / torch.where(
            total > 0, total, torch.ones_like(total)
        )
        return loss


def _masked_bce(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Loss of each entry, 0 where the target is unknown (NaN or -1), and 1 where it is known; float32."""
    target = target.float()
    known = target >= 0
    zero = torch.zeros((), device=logits.device)
    # The logits are masked, so that what is unknown has no gradient.
    logits, target = torch.where(known, logits.float(), zero), torch.where(known, target, zero)
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none") * known, known.float()

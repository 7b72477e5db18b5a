"""How a classification is fitted and scored."""

from dataclasses import dataclass
from typing import Literal

from monai.inferers.inferer import Inferer
from torch import nn

from medimg.tasks.learning_rates import RateOptions


@dataclass(frozen=True)
class TrainingOptions:
    """How the network is fitted.

    Attributes:
        mixup_alpha: Mix pairs of images; 0.2 to 0.4 is common, 0 does not.
        cutmix_alpha: Paste a box of one image into another; 1 is common, 0 does not.
        count_weights: Count classes in the training fold, and have the loss weigh them so that each counts as
            much as the others: ``pos_weight`` or ``class_weights`` of the loss.
        rates: How fast the layers learn, relative to the head.
        mask_weight: Weight of a second loss, of masks that a `medimg.models.MaskedClassifier` draws on the way; 0.1 to
            1, with data that give masks (``batch.masks``). 0 teaches labels alone.
        mask_loss: Takes mask logits (M, 1 + mask classes, H, W) and label maps (M, 1, H, W), 255 for images without a
            mask; by default Dice with cross-entropy.
    """

    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    count_weights: bool = False
    rates: RateOptions = RateOptions()  # noqa: RUF009  (frozen)
    mask_weight: float = 0.0
    mask_loss: nn.Module | None = None


@dataclass(frozen=True)
class LabelScoring:
    """How cases are scored.

    Attributes:
        threshold: How thresholds are chosen on validation, to be reported beside 0.5: highest sensitivity plus
            specificity (``youden``), or highest F1.
        resamples: Draws of the bootstrap over patients.
        inferer: Test-time augmentation, such as :class:`medimg.inference.FlipTTA`, whose probabilities are averaged in
            validate, test and predict; not between epochs.
        ordinal: Exclusive classes are grades in order, such as WHO 1 to 4: kappa is then weighed by their distance,
            squared.
    """

    threshold: Literal["youden", "f1"] = "youden"
    resamples: int = 1000
    inferer: Inferer | None = None
    ordinal: bool = False

"""Masks of a batch of images, checked before a loss counts with them."""

from typing import Any

from torch import Tensor

from medimg import keys
from medimg.errors import ConfigError, DataError


def checked_masks(batch: dict[str, Any], channels: int) -> Tensor:
    """Label maps (B, 1, H, W) of a batch, whose values are channels of the network or 255.

    Args:
        batch: A batch of images.
        channels: Channels of the mask logits, the background being the first.

    Raises:
        ConfigError: If the batch has no masks.
        DataError: If a mask holds a value that no channel stands for; on a GPU the loss itself would only abort.

    Example:
        >>> import torch
        >>> mask = torch.tensor([[[[0, 1, 255]]]], dtype=torch.uint8)
        >>> checked_masks({keys.MASK: mask}, channels=2) is mask
        True
    """
    if keys.MASK not in batch:
        raise ConfigError("the data come without masks: set data.init_args.batch.masks to true")
    mask: Tensor = batch[keys.MASK]
    wrong = (mask >= channels) & (mask != keys.IGNORE_INDEX)
    if wrong.any():
        names, place = batch[keys.CASE_ID], int(wrong.flatten(1).any(1).nonzero()[0])
        # A case may have several images, one after the other.
        case = names[place] if len(names) == len(mask) else f"an image of {', '.join(names[:3])}"
        raise DataError(
            f"the mask of {case} holds the value {int(mask[wrong][0])}, and the network has {channels} channels, for "
            f"the values 0 to {channels - 1}: name every class of the masks, or correct the mask"
        )
    return mask

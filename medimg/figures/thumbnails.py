"""Small pictures of cases for a page, as ``data:`` URIs."""

import base64
import io
from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

REFERENCE, PREDICTION = (86, 180, 233), (213, 94, 0)
"""Sky blue and vermilion, apart for colour-blind readers."""


def picture_uri(picture: NDArray[np.uint8], *, quality: int = 88) -> str:
    """A picture that stands in the page itself.

    Args:
        picture: Shape (H, W) or (H, W, 3).
        quality: Of the JPEG, 1 to 95.

    Example:
        >>> picture_uri(np.zeros((8, 8), np.uint8))[:23]
        'data:image/jpeg;base64,'
    """
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def outlined(
    picture: NDArray[np.uint8], masks: Mapping[tuple[int, int, int], NDArray[np.integer] | None]
) -> NDArray[np.uint8]:
    """Draw the outlines of masks onto an image.

    Args:
        picture: Shape (H, W, 3).
        masks: Label values of shape (H, W) by colour; each label above 0 has an outline. ``None`` is not drawn.

    Returns:
        A new picture, (H, W, 3).

    Raises:
        ValueError: If a mask is not of the picture's height and width.

    Example:
        >>> mask = np.zeros((8, 8), np.uint8)
        >>> mask[2:6, 2:6] = 1
        >>> outlined(np.zeros((8, 8, 3), np.uint8), {REFERENCE: mask})[2, 2].tolist()
        [86, 180, 233]
    """
    drawn = np.ascontiguousarray(picture).copy()
    for colour, mask in masks.items():
        if mask is None:
            continue
        if mask.shape != picture.shape[:2]:
            raise ValueError(f"a mask of shape {picture.shape[:2]} expected, found {mask.shape}")
        for value in np.unique(mask[mask > 0]):
            edges, _ = cv2.findContours(
                (mask == value).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
            )
            cv2.drawContours(drawn, edges, -1, colour, 1)
    return drawn

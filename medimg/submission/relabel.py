"""Label values of one convention turned into those of another, by the names of the classes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.errors import ConfigError
from medimg.submission.formats import FORMATS, ZipFormat

# What data sets and years call the same tissue.
_SYNONYMS = {
    **dict.fromkeys(("ncr/net", "netc", "ncr_net", "necrosis", "non-enhancing tumor"), "ncr"),
    **dict.fromkeys(("snfh", "edema"), "ed"),
    **dict.fromkeys(("enhancing tumour", "enhancing tumor"), "et"),
}
_REGIONS = {"wt", "tc"}


def meaning_of(text: str) -> dict[str, int]:
    """Read ``--labels`` of masks: ``NAME=VALUE,NAME=VALUE``, or the BraTS format whose values they have.

    Raises:
        ConfigError: If a part cannot be read, or a name stands twice.

    Example:
        >>> meaning_of("anterior=1,posterior=2"), meaning_of("brats2021")
        ({'anterior': 1, 'posterior': 2}, {'NCR': 1, 'ED': 2, 'ET': 4})
    """
    known = {name: layout for name, layout in FORMATS.items() if isinstance(layout, ZipFormat)}
    layout = next((layout for name, layout in known.items() if name == text and layout.labels), None)
    if layout is not None:
        return dict(layout.labels)
    labels: dict[str, int] = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        if not name or name in labels or not value.strip().isdecimal() or not 0 < int(value) < 256:
            raise ConfigError(
                f"--labels: cannot read {part!r} in {text!r}. Expected NAME=VALUE,NAME=VALUE, each name once, or a "
                "BraTS format such as brats2021."
            )
        labels[name] = int(value)
    return labels


def value_map(source: Mapping[str, int], target: ZipFormat) -> dict[int, int]:
    """Value in the submission of each value in our masks.

    Regions, as a network of overlapping channels writes them (``WT=2,TC=1,ET=4``), and tissues
    (``NCR=1,ED=2,ET=4``) are both understood.

    Args:
        source: Value of each class in our masks.
        target: The format; one without labels keeps all values.

    Raises:
        ConfigError: If the format knows no such class.

    Example:
        >>> value_map({"NCR": 1, "ED": 2, "ET": 4}, FORMATS["brats2023"])
        {1: 1, 2: 2, 4: 3}
    """
    if not target.labels:
        return {value: value for value in source.values()}
    regions = {_plain(name) for name in source} & _REGIONS
    names = {_plain(n): v for n, v in (target.region_labels if regions else target.labels).items()}
    unknown = [name for name in source if _plain(name) not in names]
    if unknown:
        raise ConfigError(
            f"the masks hold {', '.join(unknown)}, and this format knows {', '.join(target.labels)}. Say what the "
            f"masks' values are with --labels {next(iter(target.labels))}=VALUE,..."
        )
    return {value: names[_plain(name)] for name, value in source.items()}


def _plain(name: str) -> str:
    folded = name.strip().lower()
    return _SYNONYMS.get(folded, folded)


def relabelled(mask: NDArray[np.integer[Any]], values: Mapping[int, int]) -> NDArray[np.integer[Any]]:
    """Replace label values; those that are not named stay.

    Args:
        mask: Label values, shape (D, H, W).
        values: New value by old value, both up to 255.

    Returns:
        Label values, shape (D, H, W); the mask itself where all values stay.

    Example:
        >>> relabelled(np.array([[[0, 1, 4]]]), {1: 1, 4: 3}).tolist()
        [[[0, 1, 3]]]
    """
    changes = {old: new for old, new in values.items() if old != new}
    if not changes:
        return mask
    result = mask.copy()
    for old, new in changes.items():
        result[mask == old] = new
    return result

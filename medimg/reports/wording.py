"""Numbers, lists and names of classes as they stand in a sentence."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

_SMALL = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def joined(words: Iterable[object], last: str = "and") -> str:
    """A list in a sentence.

    Example:
        >>> joined(["WT", "TC", "ET"]), joined(["a", "b"], last="or"), joined(["a"]), joined([])
        ('WT, TC and ET', 'a or b', 'a', '')
    """
    texts = [str(word) for word in words]
    return f" {last} ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else "".join(texts)


def times(sizes: Sequence[Any]) -> str:
    """Sizes along several axes.

    Example:
        >>> times([128, 128, 64]), times([1.25, 0.7, 0.7])
        ('128 x 128 x 64', '1.25 x 0.7 x 0.7')
    """
    return " x ".join(number(size) for size in sizes)


def number(value: Any) -> str:
    """A number without needless digits, thousands set apart.

    Example:
        >>> number(1000), number(0.00003), number(1.0), number(0.998)
        ('1,000', '0.00003', '1', '0.998')
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    text = f"{value:.6g}"
    return f"{value:.12f}".rstrip("0") if "e-" in text and abs(value) >= 1e-9 else text


def counted(count: int, what: str, several: str = "") -> str:
    """A count and what is counted, small numbers as words.

    Args:
        count: How many.
        what: One of them.
        several: Many of them, where that is not ``what`` with an s.

    Example:
        >>> counted(1, "channel"), counted(3, "patch", "patches"), counted(14, "label")
        ('one channel', 'three patches', '14 labels')
    """
    amount = _SMALL[count] if 0 <= count < len(_SMALL) else f"{count:,}"
    return f"{amount} {what if count == 1 else several or f'{what}s'}"


def spelled(name: str) -> str:
    """A class name as words.

    Example:
        >>> spelled("RandomBrightnessContrast"), spelled("GaussNoise"), spelled("CLAHE"), spelled("RandomRotate90")
        ('random brightness contrast', 'gauss noise', 'CLAHE', 'random rotate90')
    """
    words = re.findall(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*|\d+", name)
    return " ".join(word if len(word) > 1 and word.isupper() else word.lower() for word in words) or name


def sentence(text: str) -> str:
    """A text with a capital at its beginning and a full stop at its end; nothing stays nothing.

    Example:
        >>> sentence("folds were dealt by patient"), sentence("")
        ('Folds were dealt by patient.', '')
    """
    return f"{text[0].upper()}{text[1:]}." if text else ""

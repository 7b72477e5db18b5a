"""What a report is made of, before it is HTML or Markdown."""

import re
from dataclasses import dataclass, field

NOT_MEASURED = "not measured"
"""What stands where a report has no number."""


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table of words.

    Attributes:
        caption: What it shows.
        head: Names of the columns.
        rows: Cells, row by row.
        shades: Share in [0, 1] behind each cell, to be shown as its ground; empty: none.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    shades: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing or a picture.

    Attributes:
        caption: Below it.
        alt: What it shows, for those who do not see it.
        svg: An ``<svg>`` element, or
        uri: a picture as ``data:`` URI.
        wide: Whether it fills the width of the page.
    """

    caption: str
    alt: str
    svg: str = ""
    uri: str = ""
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures side by side, as far as the page is wide enough."""

    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class Code:
    """Text that is to be copied, folded away below a line.

    Attributes:
        summary: The line.
        text: The text.
        language: For Markdown's fence.
    """

    summary: str
    text: str
    language: str = ""


Block = Text | Table | Figures | Code


@dataclass(frozen=True, slots=True)
class Section:
    """Blocks under a heading."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Chapter:
    """The sections of one run."""

    title: str
    sections: tuple[Section, ...]

    @property
    def anchor(self) -> str:
        """Its place in the page.

        Example:
            >>> Chapter("busi/fold 0", ()).anchor
            'busi-fold-0'
        """
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-") or "run"


@dataclass(frozen=True, slots=True)
class Report:
    """A whole page.

    Attributes:
        title: Its heading.
        made: By what and when, in words.
        chapters: One a run, after one that sets them side by side where there are several.
    """

    title: str
    made: str
    chapters: tuple[Chapter, ...] = field(default_factory=tuple)


def interval(mean: float, low: float, high: float) -> str:
    """A score with its interval.

    Example:
        >>> interval(0.91234, 0.88, 0.94), interval(float("nan"), float("nan"), float("nan")), interval(12.34, 9.0, 20)
        ('0.912 [0.880, 0.940]', 'not defined', '12.3 [9.00, 20.0]')
    """
    if mean != mean:
        return "not defined"
    if low != low:
        return number(mean)
    return f"{number(mean)} [{number(low)}, {number(high)}]"


def number(value: float) -> str:
    """Three digits after the point below 1 and in shares, three in all above.

    Example:
        >>> number(0.5), number(12.345), number(123.0), number(float("nan"))
        ('0.500', '12.3', '123', 'not defined')
    """
    if value != value:
        return "not defined"
    size = abs(value)
    return (
        f"{value:.3f}"
        if size <= 1
        else f"{value:.2f}"
        if size < 10
        else f"{value:.{1 if size < 100 else 0}f}"
    )

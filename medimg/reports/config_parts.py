"""The parts that a run's config names by ``class_path`` and ``init_args``, read without building any of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Part:
    """A class that a config names, and its arguments.

    Attributes:
        path: Its class path.
        args: Its arguments, as far as the config gives them.
    """

    path: str
    args: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the class, without its package."""
        return self.path.rpartition(".")[2]

    @property
    def package(self) -> str:
        """The package that the class comes from.

        Example:
            >>> Part("torch.optim.AdamW").package, Part("ModelCheckpoint").package
            ('torch', '')
        """
        return self.path.partition(".")[0] if "." in self.path else ""

    def part(self, key: str) -> "Part | None":
        """An argument that is a part itself; ``None`` if it is not given."""
        return as_part(self.args.get(key))

    def group(self, key: str) -> Mapping[str, Any]:
        """An argument that is a group of options; empty if it is not given."""
        return as_group(self.args.get(key))

    def number(self, key: str) -> float | None:
        """An argument that is a number; ``None`` if it is not given or no number."""
        return as_number(self.args.get(key))

    def text(self, key: str) -> str:
        """An argument that is a word; empty if it is not given or no word."""
        value = self.args.get(key)
        return value if isinstance(value, str) else ""

    def items(self, key: str) -> list[Any]:
        """An argument that is a list; empty if it is not given or no list."""
        value = self.args.get(key)
        return list(value) if isinstance(value, list | tuple) else []


def as_part(value: object) -> Part | None:
    """What a config's value names, if it names a class.

    Args:
        value: A mapping with ``class_path``, or a class path alone.

    Example:
        >>> as_part({"class_path": "torch.optim.SGD", "init_args": {"lr": 0.01}}).name
        'SGD'
        >>> as_part("medimg.losses.DiceCELoss").args, as_part(3)
        ({}, None)
    """
    if isinstance(value, str) and value:
        return Part(value)
    if isinstance(value, Mapping) and isinstance(value.get("class_path"), str):
        return Part(value["class_path"], as_group(value.get("init_args")))
    return None


def as_group(value: object) -> Mapping[str, Any]:
    """The value, if it is a mapping, and else an empty one."""
    return value if isinstance(value, Mapping) else {}


def as_number(value: object) -> float | None:
    """The value, if it is a number.

    Example:
        >>> as_number(3), as_number(True), as_number("3")
        (3, None, None)
    """
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def all_parts(value: object) -> Iterator[Part]:
    """Every part of a config at any depth, outer ones first.

    Example:
        >>> inner = {"class_path": "a.B"}
        >>> [one.name for one in all_parts({"x": [{"class_path": "c.D", "init_args": {"y": inner}}]})]
        ['D', 'B']
    """
    if isinstance(value, Mapping):
        if (part := as_part(value)) is not None:
            yield part
        for one in value.values():
            yield from all_parts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from all_parts(one)

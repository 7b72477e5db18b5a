"""Lets the reference show ``Example:`` sections and the names of other objects as code."""

import re
from typing import Any

import griffe

# Google's style names the plural of the section alone.
_HEAD = re.compile(r"^(\s*)Example:$", re.MULTILINE)
_ROLE = re.compile(r":\w+:`~?([^`]+)`")


class Examples(griffe.Extension):
    """Rewrites docstrings before they are parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Runs once for each class, function and module."""
        if obj.docstring is not None:
            obj.docstring.value = _ROLE.sub(r"`\1`", _HEAD.sub(r"\1Examples:", obj.docstring.value))

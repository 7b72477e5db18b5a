"""A parser that takes the parts of a list as words: ``A B C`` and ``--weights 2 1 1``."""

from typing import Any, get_args, get_origin

from medimg.commands.parser import FileVerbParser


class WordListParser(FileVerbParser):
    """Parser of a file verb whose ``list`` arguments are given word by word."""

    def add_argument(self, *args: Any, **kwargs: Any) -> Any:
        """Spread an argument whose type is a ``list``, or a ``list`` or ``None``, over several words."""
        # jsonargparse hands over a list as an action that holds the type.
        hint = getattr(kwargs.get("action"), "_typehint", kwargs.get("type"))
        lists = [part for part in (hint, *get_args(hint)) if get_origin(part) is list]
        if not lists:
            return super().add_argument(*args, **kwargs)
        kwargs.pop("action", None)
        kwargs |= {"type": get_args(lists[0])[0], "nargs": "+"}
        if not args[0].startswith("-"):
            kwargs["metavar"] = args[0].removesuffix("s").upper()
        # `--weights+`, which adds to a list, would say the same again.
        return super().add_argument(*(arg for arg in args if not arg.endswith("+")), **kwargs)

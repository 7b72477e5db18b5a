"""Parsers whose errors fit on a screen and name what was probably meant."""

import inspect
from collections.abc import Callable
from typing import Any, NoReturn, get_type_hints

from jsonargparse import ArgumentParser, auto_cli, auto_parser

from medimg.commands.suggestions import explain
from medimg.errors import ConfigError


class ShortErrors(ArgumentParser):  # type: ignore[misc,unused-ignore]
    """A parser that raises ``ConfigError`` instead of printing its usage and leaving."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Turn the parser's complaint into a few lines.

        Args:
            message: What the parser found.
            ex: The exception behind it.

        Raises:
            ConfigError: Always, unless the parser is an inner one that its caller tries out.
        """
        if not self.exit_on_error:
            # jsonargparse tries the types of a Union one by one and expects its own exception.
            super().error(message, ex)
        raise ConfigError(explain(message, known_options(self))) from ex


def known_options(parser: ArgumentParser) -> list[str]:
    """Every option of a parser, spelt without the leading dashes."""
    return sorted(name.lstrip("-") for name in parser._option_string_actions)


class FileVerbParser(ShortErrors):
    """Parser of a verb that goes from files to files."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # jsonargparse makes the parsers of sub-verbs itself and hands no settings down.
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def add_argument(self, *args: Any, **kwargs: Any) -> Any:
        """Let a switch stand alone: ``--lesionwise`` is ``--lesionwise true``."""
        if args == ("--from_",):  # a keyword of the language cannot name an argument of a function
            args, kwargs = ("--from",), {**kwargs, "dest": "from_"}
        if kwargs.get("type") is bool and "action" not in kwargs:
            kwargs = {**kwargs, "nargs": "?", "const": True}
        return super().add_argument(*args, **kwargs)


def call(
    parser_class: type[ArgumentParser],
    target: Callable[..., Any] | dict[str, Any],
    words: list[str],
    *,
    prog: str,
) -> int:
    """Read the arguments of a typed function from the command line and call it.

    Args:
        parser_class: Parser to use.
        target: A typed function, or one function for each sub-verb.
        words: Words after the verb.
        prog: How the user called it, for the help.

    Returns:
        What the function returns if that is a number, else 0.
    """
    words = [_with_underscores(word) for word in words]
    for function in target.values() if isinstance(target, dict) else (target,):
        # To read annotations that are text, jsonargparse would import all that a module names for its type checker.
        function.__annotations__ = get_type_hints(function)
    if isinstance(target, dict):
        result = auto_cli(target, args=words, parser_class=parser_class, prog=prog)
    else:
        # Not auto_cli: it drops a function's own argument `config` without a word.
        parser = auto_parser(target, parser_class=parser_class, prog=prog)
        values = vars(parser.parse_args(words))
        own = inspect.signature(target).parameters
        result = target(**{name: value for name, value in values.items() if name in own})
    return result if isinstance(result, int) else 0


def _with_underscores(word: str) -> str:
    """Spell an option as the function does, so that ``--memory-gb`` is ``--memory_gb``."""
    if not word.startswith("--"):
        return word
    name, equals, value = word[2:].partition("=")
    return f"--{name.replace('-', '_')}{equals}{value}"

"""Check the parts that a parsed config wants built, before any of them is built."""

import inspect
from collections.abc import Iterator
from typing import Any

from jsonargparse import Namespace

from medimg.commands.suggestions import loaded
from medimg.commands.trust import may_call, may_name, refusal
from medimg.errors import ConfigError


def check_parts(settings: Namespace) -> None:
    """Refuse a config that wants a function called that is no part of a network or a run.

    The parser has already refused every path outside the allowed packages. What is left to refuse are
    functions inside them: a ``class_path`` is called with arguments that the config chooses.

    Args:
        settings: The parsed settings.

    Raises:
        ConfigError: With the key and the path.
    """
    for key, path in _class_paths(settings.as_dict(), ""):
        if not may_name(path):
            # Also where no type asks for a class: nothing must be imported to look at it.
            raise ConfigError(f"{key}: {refusal(path)}")
        part: Any = loaded(path)
        if not (inspect.isclass(part) or inspect.isroutine(part)):
            raise ConfigError(f"{key}: there is no class {path}.")
        defined = f"{part.__module__}.{part.__qualname__}"
        if not may_name(defined):
            # An allowed module only imports it.
            raise ConfigError(f"{key}: {refusal(defined)}")
        if not may_call(defined, is_class=inspect.isclass(part), is_timm_model=_is_timm_model(part, defined)):
            raise ConfigError(
                f"{key}: a config may not have the function {path} called. Name a class, a model of "
                "timm.models or a network of monai.networks.nets. If it belongs to your own package "
                "and you trust it, add --trust-package NAME to the command line."
            )


def _class_paths(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Every ``class_path`` with the key it stands at, through lists and init_args."""
    if isinstance(value, dict):
        if isinstance(value.get("class_path"), str) and set(value) <= {
            "class_path",
            "init_args",
            "dict_kwargs",
        }:
            yield key, value["class_path"]
        for name, inner in value.items():
            yield from _class_paths(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _class_paths(inner, f"{key}[{number}]")


def _is_timm_model(part: Any, defined: str) -> bool:
    if not defined.startswith("timm.models."):
        return False
    import timm

    return timm.is_model(part.__name__) and timm.model_entrypoint(part.__name__) is part

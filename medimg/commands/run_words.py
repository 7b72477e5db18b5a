"""Look at a run's command line before lightning is loaded, to refuse at once what is plainly wrong."""

import difflib
from pathlib import Path

import yaml

from medimg.errors import ConfigError

CONFIG_OPTIONS = ("--config", "-c")


def config_files(words: list[str]) -> list[Path]:
    """The config files that a command line names, in their order.

    Args:
        words: Words after the verb.

    Returns:
        Paths as they were typed.

    Raises:
        ConfigError: If ``--config`` stands without a file.

    Example:
        >>> [path.name for path in config_files(["--config", "a.yaml", "--config=b.yaml", "--logs", "x"])]
        ['a.yaml', 'b.yaml']
    """
    found: list[Path] = []
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if name not in CONFIG_OPTIONS:
            continue
        path = value if equals else next(rest, "")
        if not path:
            raise ConfigError("--config expects a file, for example --config configs/brats.yaml.")
        found.append(Path(path))
    return found


def configs_first(words: list[str]) -> list[str]:
    """Move the config files to the front, so that any other option overrides them wherever it was typed.

    Args:
        words: Words after the verb.

    Returns:
        The same words, their order kept within configs and within the rest.

    Example:
        >>> configs_first(["--data.root", "x", "--config", "a.yaml", "--config=b.yaml"])
        ['--config', 'a.yaml', '--config=b.yaml', '--data.root', 'x']
    """
    configs: list[str] = []
    others: list[str] = []
    rest = iter(words)
    for word in rest:
        name, equals, _ = word.partition("=")
        if name not in CONFIG_OPTIONS:
            others.append(word)
        else:
            configs += [word] if equals else [word, next(rest, "")]
    return configs + others


def check_configs(paths: list[Path]) -> None:
    """Refuse config files that are missing, are no YAML, or try to widen what configs may name.

    Args:
        paths: Files named by ``--config``.

    Raises:
        ConfigError: With the file and the nearest existing one.
    """
    for path in paths:
        if not path.is_file():
            raise ConfigError(_missing(path))
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as fault:
            raise ConfigError(f"{path} is no plain YAML: {_first_lines(fault)}") from fault
        except OSError as fault:
            raise ConfigError(f"Cannot read {path}: {fault.strerror}.") from fault
        if not isinstance(content, dict):
            raise ConfigError(
                f"{path} should hold settings such as `model:` and `data:`, but holds {content!r:.60}."
            )
        if {"trust_package", "trust-package", "trust_packages"} & set(map(str, content)):
            raise ConfigError(
                f"{path} asks to trust a package. A config cannot: if you trust it, type "
                "--trust-package NAME on the command line."
            )


def _missing(path: Path) -> str:
    folder = path.parent
    others = sorted(other.name for other in folder.glob("*.yaml")) if folder.is_dir() else []
    near = difflib.get_close_matches(path.name, others, n=1)
    if near:
        return f"No config file {path}. Did you mean {folder / near[0]}?"
    return f"No config file {path}. The folder {folder} " + (
        f"has {', '.join(others[:8])}." if others else "has none."
    )


def _first_lines(fault: Exception) -> str:
    return " ".join(str(fault).split())[:200]

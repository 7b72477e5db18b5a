"""The preparation that a config names, read without building the run."""

from pathlib import Path
from typing import Any

import yaml

from medimg.errors import ConfigError
from medimg.preparation.prepare import Preparation


def read_preparation(config: Path) -> Preparation:
    """Read ``data.init_args.preparation`` of a config.

    Args:
        config: YAML of a run.

    Raises:
        ConfigError: If the file cannot be read or holds an option that ``Preparation`` does not have.
    """
    try:
        settings: dict[str, Any] = yaml.safe_load(config.read_text())
        chosen = settings["data"]["init_args"].get("preparation", {})
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{config}: expected the config of a run with data.init_args, found {error!r}"
        ) from error
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in chosen.items()}
    try:
        return Preparation(**plain)
    except TypeError as error:
        raise ConfigError(f"{config}: data.init_args.preparation: {error}") from error

"""Settings of runs as flat names: which must be the same in every fold, which belong to the machine or the test."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from medimg.errors import ConfigError, DataError

FOLD = "data.init_args.fold"

# Where and on what a fold runs may differ from machine to machine. The data are told by the hash of the split.
_OF_THE_MACHINE = (
    "experiment",
    "logs",
    "out",
    "ckpt_path",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
    "trainer.default_root_dir",
    "trainer.enable_progress_bar",
    "trainer.enable_model_summary",
    "data.init_args.root",
    "data.init_args.store",
    "data.init_args.cache.folder",
    "data.init_args.num_workers",
    "data.init_args.predict_root",
    "data.init_args.split.file",
)
# What a test may do otherwise with weights that are trained.
_OF_THE_TEST = (
    "tta",
    "probabilities",
    "model.init_args.final_inferer",
    "model.init_args.scoring.inferer",
)
_MONITOR = re.compile(r"trainer\.callbacks\.\d+\.init_args\.monitor")
_MISSING = object()


def read_settings(path: Path) -> dict[str, Any]:
    """Settings of a complete config, such as the ``config.yaml`` of a run, by their flat names.

    Raises:
        DataError: If the file cannot be read or holds no settings.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}). Expected the settings that a run wrote there."
        ) from error
    if not isinstance(content, Mapping):
        raise DataError(f"{path}: expected settings, found {type(content).__name__}. Train the fold again.")
    return flat(content)


def flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings as dotted names.

    Example:
        >>> flat({"trainer": {"max_epochs": 2, "callbacks": [{"class_path": "A"}]}})
        {'trainer.max_epochs': 2, 'trainer.callbacks.0.class_path': 'A'}
    """
    return dict(_leaves(settings, ""))


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    items: list[tuple[Any, Any]] = []
    if isinstance(value, Mapping):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    if not items:
        yield name, value
    for key, inner in items:
        yield from _leaves(inner, f"{name}.{key}" if name else str(key))


def first_difference(
    one: Mapping[str, Any], other: Mapping[str, Any], *, same_test: bool = True
) -> str | None:
    """The first setting in which two folds differ, those of the machine and the fold's number left out.

    A setting that one of them does not have, as an older version wrote it, counts as null.

    Args:
        one: Settings by flat name.
        other: Settings by flat name.
        same_test: Whether they must also test alike: with one test-time augmentation, calibration and inferer.

    Returns:
        Name and both values in words; ``None`` if there is no difference.

    Example:
        >>> first_difference({"logs": "a", "trainer.max_epochs": 2}, {"logs": "b", "trainer.max_epochs": 3})
        'trainer.max_epochs is 2 and 3'
    """
    free = (FOLD, *_OF_THE_MACHINE, *(() if same_test else _OF_THE_TEST))
    for name in {**one, **other}:
        if one.get(name) != other.get(name) and not _is_of(free, name):
            said = (repr(settings[name]) if name in settings else "not set" for settings in (one, other))
            return f"{name} is {' and '.join(said)}"
    return None


def _is_of(settings: Sequence[str], name: str) -> bool:
    return any(name == own or name.startswith(f"{own}.") for own in settings)


def machine_words(now: Mapping[str, Any], then: Mapping[str, Any]) -> list[str]:
    """Options that bring a run which was begun elsewhere to this machine.

    Args:
        now: Settings asked for here.
        then: Settings that the run was begun with.

    Example:
        >>> machine_words({"data.init_args.root": "/here", "logs": "a"}, {"data.init_args.root": "/there", "logs": "b"})
        ['--data.init_args.root=/here']
    """
    changed = [name for name in _OF_THE_MACHINE if "." in name and name in now]
    return [
        # JSON is YAML too, and words stay words.
        f"--{name}={now[name] if isinstance(now[name], str) else json.dumps(now[name])}"
        for name in changed
        if now[name] != then.get(name, _MISSING)
    ]


def chosen_by(settings: Mapping[str, Any]) -> str | None:
    """The score of the validation cases by which a run chose its best checkpoint, or stopped; ``None`` for none.

    Example:
        >>> chosen_by({"trainer.callbacks.0.init_args.monitor": "val/dice"})
        'val/dice'
    """
    return next((str(value) for name, value in settings.items() if value and _MONITOR.fullmatch(name)), None)


def expect_fold_setting(settings: Mapping[str, Any]) -> None:
    """Refuse a data module that knows no folds.

    Raises:
        ConfigError: If there is no setting ``data.init_args.fold``.
    """
    if FOLD not in settings:
        raise ConfigError(
            f"{settings.get('data.class_path', 'the data module')} has no argument `fold`, by which crossval chooses "
            "the cases that validate. Use a data module of medimg, or add that argument to yours."
        )

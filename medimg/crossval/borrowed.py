"""The weights of a cross-validation that is trained, tested once more under other settings."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from medimg.crossval.folds import FITTED, Fold, find_fold, read_fitted
from medimg.crossval.settings import first_difference, read_settings
from medimg.errors import ConfigError, DataError, ResourceError
from medimg.io.files import atomic_write, link_or_copy
from medimg.preparation.image_splits import file_hash
from medimg.preparation.splits import SPLIT_FILE
from medimg.runs import CONFIG, from_here, new_version


def borrow_fold(lender: Path, number: int, place: Path, settings: Path) -> Fold:
    """Give a fold of another experiment the weights of one that is trained, once and for all.

    The fold then is an ordinary run whose training came to its end: its own settings, the lender's split and a hard
    link to its checkpoint, or a copy where the disk has no links.

    Args:
        lender: Folder of the experiment whose weights these are.
        number: The fold.
        place: Folder of the experiment that tests them.
        settings: Complete settings of that experiment.

    Returns:
        The fold in ``place``, to be tested or tested already.

    Raises:
        ConfigError: If the lender has not trained the fold, or was trained with other settings.
        DataError: If the fold was tested with other weights than the lender has by now.
        ResourceError: If a file cannot be written.
    """
    source = find_fold(lender, number)
    if source is None or not source.fitted:
        raise ConfigError(
            f"--weights_of {lender.name}: fold {number} is not trained in {from_here(lender)}. Train it by the same "
            "command without --weights_of and with that --experiment, or choose among its folds with --folds."
        )
    if difference := first_difference(
        read_settings(source.run.config), read_settings(settings), same_test=False
    ):
        raise ConfigError(
            f"--weights_of {lender.name}: {source.run.path} was trained with other settings: {difference} now. Only "
            "--tta, --probabilities and the inferer of the test may differ."
        )
    weights = source.run.checkpoints / f"{source.checkpoint}.ckpt"
    content = file_hash(weights)
    fold = find_fold(place, number)
    if fold is None:
        said = {"checkpoint": source.checkpoint, "weights_of": lender.name, "run": str(source.run.path)}
        _lay_out(source, weights, place, settings, {**said, "hash": content})
        fold = find_fold(place, number)
    if fold is None or read_fitted(fold.run.path).get("hash") != content:
        folder = place / f"fold_{number}"
        raise DataError(
            f"{from_here(folder)}: was tested with other weights than {from_here(weights)} has now. Remove the folder "
            f"{from_here(folder)} and run the same command again."
        )
    return fold


def _lay_out(source: Fold, weights: Path, place: Path, settings: Path, said: Mapping[str, Any]) -> None:
    """Write the folder of a run; ``split.json`` comes last, and without it there is no fold."""
    run = new_version(place, f"fold_{source.number}").path
    content = yaml.safe_load(settings.read_text(encoding="utf-8"))
    content |= {"logs": str(place), "experiment": f"fold_{source.number}"}
    content["data"]["init_args"]["fold"] = source.number
    try:
        (run / "checkpoints").mkdir()
        link_or_copy(weights, run / "checkpoints" / weights.name)
    except OSError as error:
        raise ResourceError(
            f"{run}: cannot be written ({error.strerror or error}). Choose other --logs."
        ) from error
    for name, text in (
        (CONFIG, yaml.safe_dump(content, sort_keys=False)),
        (FITTED, json.dumps(said, indent=2) + "\n"),
        (SPLIT_FILE, (source.run.path / SPLIT_FILE).read_text(encoding="utf-8")),
    ):
        with atomic_write(run / name) as temporary:
            temporary.write_text(text, encoding="utf-8")

"""A methods paragraph and its references, made from a run's config."""

from collections.abc import Mapping
from typing import Any

from medimg.errors import ConfigError
from medimg.reports.config_parts import Part, all_parts, as_group, as_part
from medimg.reports.data_words import augmentation_words, batch_words, data_words, preparation_words
from medimg.reports.loss_words import own_parts
from medimg.reports.network_words import network_words, pooling_words
from medimg.reports.references import ALWAYS, entries, keys_of
from medimg.reports.run_words import aim_words, inference_words, kept_words, scoring_words, training_words


def methods_paragraph(config: Mapping[str, Any]) -> str:
    """Say in plain English what a run did, as a paper's methods section would.

    What the config does not say is not said. Classes that are not known here go by their name.

    Args:
        config: A run's ``config.yaml``, as it was read.

    Returns:
        One paragraph.

    Raises:
        ConfigError: If the config names no model.
    """
    model, data, trainer = _model(config), as_part(config.get("data")), as_group(config.get("trainer"))
    said = [aim_words(model)]
    if data is not None:
        said += [words(data) for words in (data_words, preparation_words, augmentation_words)]
    said.append(_network(model))
    said.append(training_words(model, trainer, config.get("seed_everything")))
    said.append(batch_words(data) if data is not None else "")
    said += [kept_words(trainer), inference_words(model, config.get("tta")), scoring_words(model)]
    said.append("The software was medimg, which builds on PyTorch and Lightning.")
    return " ".join(one for one in said if one)


def bibtex(config: Mapping[str, Any]) -> str:
    """BibTeX of medimg, and of the methods, data sets and libraries that a config uses and that are known here.

    Args:
        config: A run's ``config.yaml``, as it was read.

    Returns:
        Entries with a blank line between them, medimg first.

    Raises:
        ConfigError: If the config names no model.
    """
    model = _model(config)
    parts = [*all_parts([config.get(key) for key in ("model", "data", "trainer")]), *own_parts(model)]
    keys = dict.fromkeys([*ALWAYS, *(key for part in parts for key in keys_of(part))])
    return "\n\n".join(entries()[key] for key in keys) + "\n"


def _model(config: Mapping[str, Any]) -> Part:
    model = as_part(config.get("model"))
    if model is None:
        raise ConfigError(
            "a methods paragraph is made from the config.yaml of a run: expected model.class_path in it, found "
            f"{', '.join(map(str, config)) or 'nothing'}. Give the folder of a run that medimg fit wrote."
        )
    return model


def _network(model: Part) -> str:
    network, encoder, pooling = (model.part(key) for key in ("network", "encoder", "pooling"))
    said = []
    if network is not None:
        said.append(f"The network was {network_words(network)}.")
    if encoder is not None:
        said.append(f"The encoder was {network_words(encoder)}.")
    if pooling is not None:
        said.append(f"The images of a case were joined by {pooling_words(pooling)}.")
    return " ".join(said)

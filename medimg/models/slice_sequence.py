"""Whole studies from their slices (2.5D): a 2D encoder sees each slice, a sequence network relates them.

The slices of all studies of a batch lie one after the other in anatomical order, and ``sizes`` says how many belong to
each of the B studies; they sum to M. Without ``sizes`` all slices are one study's.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from medimg.errors import ConfigError
from medimg.models.pooling import owners
from medimg.models.sequence_heads import (
    GRUSequence,
    SequenceNetwork,
    StudyPooling,
    pad_studies,
    unpad_studies,
)
from medimg.models.timm_classifier import TimmClassifier


class FeatureSequence(nn.Module):
    """Labels of studies and of their slices from the slices' features: the second of two stages.

    Args:
        in_features: Length F of the features, such as 1280 of tf_efficientnet_b0 and tf_efficientnet_lite0.
        num_classes: Labels of a study, K.
        num_image_classes: Labels of a slice, K'.
        sequence: Relates the slices of a study; by default a bidirectional GRU.
        drop_rate: Share of features dropped before and after the sequence while training, in [0, 1).
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        num_image_classes: int = 1,
        *,
        sequence: SequenceNetwork | None = None,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.relation = GRUSequence() if sequence is None else sequence
        self.project = nn.Sequential(
            nn.LayerNorm(in_features),
            nn.Linear(in_features, self.relation.dim),
            nn.GELU(),
            nn.Dropout(drop_rate),
        )
        self.pooling = StudyPooling(self.relation.out_features)
        self.drop = nn.Dropout(drop_rate)
        self.study_head = nn.Linear(self.pooling.out_features, num_classes)
        self.image_head = nn.Linear(self.relation.out_features, num_image_classes)

    def forward(self, features: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits of studies (B, K) and of slices (M, K') from features (M, F).

        Raises:
            ConfigError: If the features have another length, or the sizes do not add up to M.
        """
        if features.ndim != 2 or features.shape[1] != self.in_features:
            raise ConfigError(
                f"features (M, {self.in_features}) expected, found {tuple(features.shape)}: set in_features of the "
                "network to what the encoder gave"
            )
        # In float32: this costs nothing beside the encoder, and sums over hundreds of slices need the digits.
        with _full_precision(features.device.type):
            studies, lengths = pad_studies(self.project(features.float()), sizes)
            related = self.relation(studies, lengths)  # (B, L, G)
            summed = self.pooling(related, lengths)  # (B, 3 * G)
            slices = unpad_studies(related, lengths)  # (M, G)
            return self.study_head(self.drop(summed)), self.image_head(self.drop(slices))


class SliceSequence(nn.Module):
    """Labels of studies and of their slices from the slices, end to end.

    Args:
        encoder: Sees each slice with its neighbours as channels, in_channels being C * (2 * neighbours + 1); its head
            is not used, whatever its num_classes.
        num_classes: Labels of a study, K.
        num_image_classes: Labels of a slice, K'.
        neighbours: Slices on each side that are shown with each slice; at the ends of a study the last one is repeated.
        sequence: Relates the slices of a study; by default a bidirectional GRU.
        drop_rate: Share of features dropped before and after the sequence while training, in [0, 1).
        chunk: Most slices that the encoder sees at once. Memory then stays bounded however long studies are: in
            training each chunk is computed again on the way back. ``None``: all at once.

    Raises:
        ConfigError: If neighbours is negative or chunk below 1.
    """

    def __init__(
        self,
        encoder: TimmClassifier,
        num_classes: int,
        num_image_classes: int = 1,
        *,
        neighbours: int = 1,
        sequence: SequenceNetwork | None = None,
        drop_rate: float = 0.0,
        chunk: int | None = None,
    ) -> None:
        super().__init__()
        if neighbours < 0:
            raise ConfigError(f"neighbours: expected 0 or more slices, found {neighbours}")
        if chunk is not None and chunk < 1:
            raise ConfigError(f"chunk: expected 1 slice or more, or null, found {chunk}")
        self.encoder, self.neighbours, self.chunk = encoder, neighbours, chunk
        self.head = FeatureSequence(
            encoder.num_features, num_classes, num_image_classes, sequence=sequence, drop_rate=drop_rate
        )
        for parameter in encoder.head_module.parameters():
            parameter.requires_grad = (
                False  # it takes no part, which processes that share gradients must know
            )

    # What learning rates by layer ask for: the pretrained part, and which of it is no backbone.
    @property
    def body(self) -> nn.Module:
        """The encoder's network."""
        return self.encoder.body

    @property
    def head_module(self) -> nn.Module:
        """The encoder's own head, which is not used."""
        return self.encoder.head_module

    def check_available(self) -> None:
        """Refuse to go on without the weights that the config names.

        Raises:
            UnavailableWeightsError: If this machine could not get hold of them and no checkpoint took their place.
        """
        self.encoder.check_available()

    def forward(self, image: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits of studies (B, K) and of slices (M, K') from slices (M, C, H, W)."""
        answer: tuple[Tensor, Tensor] = self.head(self.features(image, sizes), sizes)
        return answer

    def features(self, image: Tensor, sizes: Tensor | None = None) -> Tensor:
        """Feature vectors (M, F) of slices (M, C, H, W), each seen with its neighbours.

        Raises:
            ConfigError: If the encoder takes another number of channels.
        """
        channels = image.shape[1] * (2 * self.neighbours + 1)
        if channels != self.encoder.in_channels:
            raise ConfigError(
                f"slices of {image.shape[1]} channels with {self.neighbours} neighbours on each side make {channels} "
                f"channels: set in_channels of the encoder to it, found {self.encoder.in_channels}"
            )
        near = neighbour_rows(image, sizes, self.neighbours)
        # A trace has no loop whose number of rounds it does not know.
        if self.chunk is None or torch.compiler.is_exporting() or image.shape[0] <= self.chunk:
            return self._seen(image, near)
        # Chunks of like sizes, so that batch norm never meets a lone slice at the end.
        parts = near.tensor_split(math.ceil(image.shape[0] / self.chunk))
        return torch.cat([self._recomputed(image, rows) for rows in parts])

    def _seen(self, image: Tensor, near: Tensor) -> Tensor:
        """Features (m, F) of some slices; near (m, 2n+1) says where each one and its neighbours are."""
        return self.encoder.features(image[near].flatten(1, 2) if self.neighbours else image[near[:, 0]])

    def _recomputed(self, image: Tensor, near: Tensor) -> Tensor:
        if not (self.training and torch.is_grad_enabled()):
            return self._seen(image, near)
        features: Tensor = checkpoint(self._seen, image, near, use_reentrant=False, context_fn=self._contexts)
        return features

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _still_statistics(self.encoder)


def neighbour_rows(image: Tensor, sizes: Tensor | None, neighbours: int) -> Tensor:
    """Where each slice and its neighbours stand, never beyond the ends of its own study.

    Args:
        image: Slices (M, ...) of all studies one after the other.
        sizes: Slices of each study (B,), or ``None``: all are one study's.
        neighbours: Slices on each side.

    Returns:
        Rows (M, 2 * neighbours + 1): those before, the slice itself, those behind.

    Example:
        >>> neighbour_rows(torch.zeros(3), torch.tensor([2, 1]), 1).tolist()
        [[0, 0, 1], [0, 1, 1], [2, 2, 2]]
    """
    place = torch.arange(image.shape[0], device=image.device)
    if sizes is None:
        first, last = place[:1], place[-1:]
    else:
        ends, owner = sizes.cumsum(0), owners(sizes)
        first, last = (ends - sizes)[owner], (ends - 1)[owner]
    steps = torch.arange(-neighbours, neighbours + 1, device=image.device)
    return torch.clamp(place[:, None] + steps, first[:, None], last[:, None])


@contextmanager
def _still_statistics(network: nn.Module) -> Iterator[None]:
    """Leave running statistics as they are: what is computed again has moved them already."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def _full_precision(device: str) -> AbstractContextManager[None]:
    # Asked first, because a context around every call would stand in each exported file.
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()

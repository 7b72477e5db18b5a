"""Slices of a study seen in relation to each other, and a study summed up from its slices.

Studies are padded at their end to the longest of the batch, (B, L, F), and ``lengths`` (B,) says how many slices each
one has; ``None``: nothing is padded. What stands behind a study's last slice never reaches an answer.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

from medimg.errors import ConfigError


class SequenceNetwork(nn.Module):
    """Tells each slice what the others of its study show.

    Attributes:
        dim: Length of the vectors of slices that it takes.
        out_features: Length of those that it gives.
    """

    dim: int
    out_features: int

    def forward(self, slices: Tensor, lengths: Tensor | None) -> Tensor:
        """Relate the slices of each study.

        Args:
            slices: Padded studies (B, L, dim), 0 behind the last slice.
            lengths: Slices of each study (B,), or ``None`` where nothing is padded.

        Returns:
            Slices (B, L, out_features).
        """
        raise NotImplementedError


class SlicesAlone(SequenceNetwork):
    """Leaves each slice by itself: the first of two stages, whose features are kept for the second.

    Args:
        dim: Length of the slices' vectors.
    """

    def __init__(self, dim: int = 256) -> None:
        super().__init__()
        self.dim = self.out_features = dim

    def forward(self, slices: Tensor, lengths: Tensor | None) -> Tensor:
        """The slices (B, L, dim) as they are."""
        return slices


class GRUSequence(SequenceNetwork):
    """A recurrent network that reads each study from both ends.

    Args:
        hidden: Width of each direction.
        layers: Number of layers.
        dim: Length of the vectors that it reads.

    Reference:
        Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder", arXiv:1406.1078; Schuster and
        Paliwal 1997, "Bidirectional recurrent neural networks", doi:10.1109/78.650093.
    """

    def __init__(self, hidden: int = 128, layers: int = 1, dim: int = 256) -> None:
        super().__init__()
        if min(hidden, layers, dim) < 1:
            raise ConfigError(
                f"GRUSequence: hidden, layers and dim of 1 or more expected, found {hidden}, {layers}, {dim}"
            )
        self.dim, self.out_features = dim, 2 * hidden
        self.gru = nn.GRU(dim, hidden, layers, batch_first=True, bidirectional=True)

    def forward(self, slices: Tensor, lengths: Tensor | None) -> Tensor:
        """Both directions at each slice, (B, L, 2 * hidden)."""
        if lengths is None:
            with _as_loop() if torch.compiler.is_exporting() else nullcontext():
                related: Tensor = self.gru(slices)[0]
            return related
        # Packed, so that the way back begins at each study's own last slice.
        packed = pack_padded_sequence(slices, lengths.cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=slices.shape[1])[0]


def _as_loop() -> AbstractContextManager[None]:
    """Write a GRU into an exported file as a loop; else torch unrolls it to the number of slices it was traced with."""
    try:
        from torch.export._patches import register_gru_while_loop_decomposition
    except ImportError as error:
        raise ConfigError(
            f"torch {torch.__version__} exports a GRU for one number of slices alone: take a newer torch, or "
            "medimg.models.AttentionSequence"
        ) from error
    return register_gru_while_loop_decomposition()


class AttentionSequence(SequenceNetwork):
    """Self-attention among the slices of each study.

    Where a slice stands is told by a convolution over its neighbours, which knows no absolute number: training on runs
    of a study and testing on all of it then agree.

    Args:
        dim: Length of the slices' vectors, a multiple of ``heads``.
        heads: Heads of the attention.
        layers: Number of layers.
        reach: Slices that the convolution covers, an odd number.

    Reference:
        Vaswani et al. 2017, "Attention is all you need", arXiv:1706.03762; Chu et al. 2021, "Conditional positional
        encodings for vision transformers", arXiv:2102.10882.
    """

    def __init__(self, dim: int = 256, heads: int = 4, layers: int = 2, reach: int = 7) -> None:
        super().__init__()
        if min(dim, heads, layers) < 1 or dim % heads:
            near = max(heads, 1) * max(1, round(dim / max(heads, 1)))
            raise ConfigError(
                f"AttentionSequence: dim a multiple of heads expected, found {dim} and {heads}: take dim {near}"
            )
        if reach < 1 or reach % 2 == 0:
            raise ConfigError(
                f"AttentionSequence: an odd reach expected, found {reach}: take {max(1, reach + 1)}"
            )
        self.dim = self.out_features = dim
        self.place = nn.Conv1d(dim, dim, reach, padding=reach // 2, groups=dim)
        layer = nn.TransformerEncoderLayer(
            dim, heads, 4 * dim, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(dim), enable_nested_tensor=False)

    def forward(self, slices: Tensor, lengths: Tensor | None) -> Tensor:
        """Slices (B, L, dim) that have looked at the others of their study."""
        slices = slices + self.place(slices.transpose(1, 2)).transpose(1, 2)
        absent = None if lengths is None else ~present(lengths, slices.shape[1])
        related: Tensor = self.layers(slices, src_key_padding_mask=absent)
        return related


class StudyPooling(nn.Module):
    """Sums a study up: the mean of its slices weighted by attention, the largest and the plain mean of each feature.

    Args:
        in_features: Length F of the slices' vectors.
        hidden: Width of the attention.

    Reference:
        Ilse et al. 2018, "Attention-based deep multiple instance learning", arXiv:1802.04712.
    """

    def __init__(self, in_features: int, hidden: int = 128) -> None:
        super().__init__()
        self.out_features = 3 * in_features
        self.score = nn.Sequential(nn.Linear(in_features, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def forward(self, slices: Tensor, lengths: Tensor | None) -> Tensor:
        """Vectors of studies (B, 3 * F) from padded slices (B, L, F)."""
        score = self.score(slices)  # (B, L, 1)
        if lengths is None:
            return torch.cat([(score.softmax(1) * slices).sum(1), slices.amax(1), slices.mean(1)], 1)
        absent = ~present(lengths, slices.shape[1]).unsqueeze(2)
        attention = score.masked_fill(absent, -torch.inf).softmax(1)
        slices = slices.masked_fill(absent, 0)
        highest = slices.masked_fill(absent, -torch.inf).amax(1)
        return torch.cat([(attention * slices).sum(1), highest, slices.sum(1) / lengths[:, None]], 1)


def pad_studies(slices: Tensor, sizes: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Lay the slices of each study in a row of their own.

    Args:
        slices: Slices of all studies one after the other, (M, F).
        sizes: Slices of each study (B,), or ``None``: all are one study's.

    Returns:
        Padded studies (B, L, F), and their lengths where anything is padded.

    Raises:
        ConfigError: If the sizes do not add up to the slices.

    Example:
        >>> studies, lengths = pad_studies(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([1, 2]))
        >>> studies.squeeze(2).tolist(), lengths.tolist()
        ([[1.0, 0.0], [2.0, 3.0]], [1, 2])
    """
    if sizes is None:
        return slices.unsqueeze(0), None
    counts = sizes.tolist()
    if sum(counts) != slices.shape[0] or min(counts) < 1:
        raise ConfigError(
            f"studies of 1 slice or more that add up to {slices.shape[0]} expected, found sizes {counts}"
        )
    return pad_sequence(list(torch.split(slices, counts)), batch_first=True), sizes if len(
        set(counts)
    ) > 1 else None


def unpad_studies(studies: Tensor, lengths: Tensor | None) -> Tensor:
    """The inverse of :func:`pad_studies`: slices (M, F) of padded studies (B, L, F)."""
    return studies.flatten(0, 1) if lengths is None else studies[present(lengths, studies.shape[1])]


def present(lengths: Tensor, longest: int) -> Tensor:
    """Whether there is a slice at each place of padded studies, (B, L).

    Example:
        >>> present(torch.tensor([1, 2]), 2).tolist()
        [[True, False], [True, True]]
    """
    return torch.arange(longest, device=lengths.device) < lengths[:, None]

"""One answer from several inputs: images, a table and a report, any of which may be missing."""

from abc import abstractmethod
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from medimg.errors import ConfigError
from medimg.models.table_encoder import TableEncoder
from medimg.models.text_encoder import TextEncoder

INPUTS = ("image", "image_2", "table", "text")
"""What a case can have, in the order of the columns of ``present``."""

PICTURES = INPUTS[:2]
_MOST_AXES = 4  # C, D, H, W


class Fusion(nn.Module):
    """Joins one vector an input into one vector a case.

    Args:
        count: Number of inputs M.
        width: Length of each vector, and of what comes out.
    """

    @abstractmethod
    def forward(self, tokens: Tensor, present: Tensor) -> Tensor:
        """Join the inputs of each case.

        Args:
            tokens: (B, M, width), a learned stand-in where an input is missing.
            present: (B, M) bool.

        Returns:
            (B, width).
        """


class ConcatFusion(Fusion):
    """The vectors side by side, through one layer.

    Args:
        count: Number of inputs M.
        width: Length of each vector.
        drop_rate: Share of the joined values dropped while training, in [0, 1).
    """

    def __init__(self, count: int, width: int, *, drop_rate: float = 0.1) -> None:
        super().__init__()
        self.join = nn.Sequential(nn.Linear(count * width, width), nn.GELU(), nn.Dropout(drop_rate))

    def forward(self, tokens: Tensor, present: Tensor) -> Tensor:
        """See :class:`Fusion`."""
        joined: Tensor = self.join(tokens.flatten(1))
        return joined


class GatedFusion(Fusion):
    """A gated multimodal unit: all inputs together decide how much each says, value by value.

    Args:
        count: Number of inputs M.
        width: Length of each vector.
        drop_rate: Share of the joined values dropped while training, in [0, 1).

    Reference:
        Arevalo et al. 2017, "Gated Multimodal Units for Information Fusion", arXiv:1702.01992; here the gate of a
        missing input is shut.
    """

    def __init__(self, count: int, width: int, *, drop_rate: float = 0.1) -> None:
        super().__init__()
        self.values = nn.ModuleList(nn.Linear(width, width) for _ in range(count))
        self.gates = nn.Linear(count * width, count * width)
        self.drop = nn.Dropout(drop_rate)

    def forward(self, tokens: Tensor, present: Tensor) -> Tensor:
        """See :class:`Fusion`."""
        gates = self.gates(tokens.flatten(1)).sigmoid().unflatten(1, tokens.shape[1:])  # (B, M, width)
        values = torch.stack([layer(tokens[:, at]).tanh() for at, layer in enumerate(self.values)], 1)
        joined: Tensor = self.drop((gates * present[..., None] * values).sum(1))
        return joined


class CrossAttentionFusion(Fusion):
    """Each input asks those that are there, itself among them; their answers are averaged.

    The encoders hand over one vector an input, so attention runs between inputs and not between their places.

    Args:
        count: Number of inputs M.
        width: Length of each vector, a multiple of ``heads``.
        heads: Attention heads.
        depth: Rounds of attention, each with a layer of two linear maps after it.
        drop_rate: Share of values dropped in each round while training, in [0, 1).

    Raises:
        ConfigError: If the width is no multiple of the heads.

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", arXiv:1706.03762, with norms first.
    """

    def __init__(
        self, count: int, width: int, *, heads: int = 4, depth: int = 1, drop_rate: float = 0.1
    ) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ConfigError(f"heads: expected a divisor of the width {width}, found {heads}")
        self.names = nn.Parameter(torch.empty(count, width))  # tells the inputs apart
        nn.init.trunc_normal_(self.names, std=0.02)
        self.rounds = nn.ModuleList(_Round(width, heads, drop_rate) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, present: Tensor) -> Tensor:
        """See :class:`Fusion`."""
        # Where nothing is there, the stand-ins answer.
        seen = present | ~present.any(1, keepdim=True)
        tokens = tokens + self.names
        for one in self.rounds:
            tokens = one(tokens, seen)
        weight = seen[..., None].to(tokens.dtype)
        joined: Tensor = self.norm((tokens * weight).sum(1) / weight.sum(1))
        return joined


class _Round(nn.Module):
    """Attention over the inputs that are there, and a layer for each input by itself."""

    def __init__(self, width: int, heads: int, drop_rate: float) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ask, self.answer = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.layer = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.drop = nn.Dropout(drop_rate)

    def forward(self, tokens: Tensor, seen: Tensor) -> Tensor:
        normed = self.before(tokens)
        query, (key, value) = self.ask(normed), self.answer(normed).chunk(2, -1)
        # (B, M, width) -> (B, heads, M, width / heads)
        query, key, value = (x.unflatten(2, (self.heads, -1)).transpose(1, 2) for x in (query, key, value))
        found = functional.scaled_dot_product_attention(query, key, value, seen[:, None, None, :])
        tokens = tokens + self.drop(self.out(found.transpose(1, 2).flatten(2)))
        after: Tensor = tokens + self.drop(self.layer(self.between(tokens)))
        return after


class FusionClassifier(nn.Module):
    """Encoders of several inputs, joined, and a head.

    An input that a case does not have is replaced by a learned stand-in. While training, inputs that are there are
    taken away by chance too, so that the network answers from whatever is left.

    Args:
        branches: By name of the input (``image``, ``image_2``, ``table``, ``text``) its encoder: for pictures anything
            with ``features`` and ``num_features``, such as `TimmClassifier` (2D) or `ResNet3D`, without a head or with
            one that stays unused; a `TableEncoder`; a `TextEncoder`.
        num_classes: Outputs; one for a binary task.
        fusion: Makes the part that joins, from the number of inputs and the width: `ConcatFusion`, `GatedFusion` or
            `CrossAttentionFusion`.
        width: Length of the vector into which each input is brought.
        modality_dropout: Chance that an input of a training case is taken away, in [0, 1); never all of them.

    Raises:
        ConfigError: If a branch is no known input or no encoder of it.

    Reference:
        Dropping whole inputs: Neverova et al. 2016, "ModDrop", arXiv:1501.00102.
    """

    def __init__(
        self,
        branches: dict[str, nn.Module],
        num_classes: int,
        *,
        fusion: Callable[[int, int], Fusion] = ConcatFusion,
        width: int = 128,
        modality_dropout: float = 0.3,
    ) -> None:
        super().__init__()
        _check_branches(branches, modality_dropout)
        names = [name for name in INPUTS if name in branches]
        self.num_classes, self.modality_dropout = num_classes, modality_dropout
        self.branches = nn.ModuleDict({name: branches[name] for name in names})
        sizes = {name: int(branches[name].num_features) for name in names}  # type: ignore[arg-type]
        self.projections = nn.ModuleDict(
            {name: nn.Sequential(nn.LayerNorm(size), nn.Linear(size, width)) for name, size in sizes.items()}
        )
        self.stand_ins = nn.ParameterDict(
            {name: nn.Parameter(nn.init.trunc_normal_(torch.empty(width), std=0.02)) for name in names}
        )
        self.fusion = fusion(len(names), width)
        self.head_module = nn.Linear(width, num_classes)
        self.num_features = width
        for name in names:
            # A head that is never asked would keep distributed training waiting for its gradients.
            for parameter in getattr(branches[name], "head_module", nn.Identity()).parameters():
                parameter.requires_grad = False
            self.register_buffer(f"shape_{name}", torch.zeros(_MOST_AXES, dtype=torch.int64))

    @property
    def body(self) -> nn.Module:
        """Encoders that may be pretrained, which a task may teach more slowly than the rest."""
        return nn.ModuleList(branch for name, branch in self.branches.items() if name != "table")

    def check_available(self) -> None:
        """Refuse to go on without the weights that the config names.

        Raises:
            UnavailableWeightsError: If those of an encoder are not there.
        """
        for branch in self.branches.values():
            if hasattr(branch, "check_available"):
                branch.check_available()  # type: ignore[operator]

    # ---- answers -------------------------------------------------------------------------------

    def forward(
        self,
        image: Tensor | None = None,
        image_2: Tensor | None = None,
        table: Tensor | None = None,
        category: Tensor | None = None,
        text: Tensor | None = None,
        present: Tensor | None = None,
    ) -> Tensor:
        """Logits (B, K).

        Args:
            image: (B, C, H, W) or (B, C, D, H, W).
            image_2: Likewise.
            table: Numbers (B, P), NaN where unknown.
            category: Codes (B, Q), see :class:`TableEncoder`.
            text: Tokens (B, T), or embeddings, see :class:`TextEncoder`.
            present: (B, 4) bool, columns as `INPUTS`; by default every case has what is given, and what is ``None`` is
                missing in every case.

        Raises:
            ConfigError: If nothing is given that the network has a branch for.
        """
        given = {"image": image, "image_2": image_2, "table": table, "text": text}
        values = {name: given[name] for name in self.branches}
        first = next((value for value in values.values() if value is not None), None)
        if first is None:
            raise ConfigError(f"the network takes {', '.join(self.branches)}, and the batch has none of them")
        here = torch.ones(first.shape[0], len(INPUTS), dtype=torch.bool, device=first.device)
        here = here if present is None else present
        columns = [
            here[:, INPUTS.index(name)] if value is not None else torch.zeros_like(here[:, 0])
            for name, value in values.items()
        ]
        has = torch.stack(columns, 1)  # (B, M)
        tokens = [self._token(name, values[name], category, has[:, at]) for at, name in enumerate(values)]
        kept = drop_some(has, self.modality_dropout) if self.training and self.modality_dropout else has
        stand_ins = torch.stack([self.stand_ins[name] for name in values])  # (M, width)
        joined = torch.stack([token.to(stand_ins.dtype) for token in tokens], 1)  # (B, M, width)
        joined = torch.where(kept[..., None], joined, stand_ins)
        logits: Tensor = self.head_module(self.fusion(joined, kept))
        return logits

    def _token(self, name: str, value: Tensor | None, category: Tensor | None, has: Tensor) -> Tensor:
        """Vectors (B, width) of one input; those of cases that miss it are of no account."""
        if value is None:
            stand_in: Tensor = self.stand_ins[name]
            return stand_in.expand(has.shape[0], -1)
        if self.training and 1 < int(has.sum()) < has.shape[0]:
            # What is missing must not move the statistics of batch norm. A single case stays with the blank ones:
            # batch norm takes no batch of one.
            rows = has.nonzero()[:, 0]
            found = self._encoded(name, value[rows], None if category is None else category[rows])
            return found.new_zeros(has.shape[0], found.shape[1]).index_put((rows,), found)
        return self._encoded(name, value, category)

    def _encoded(self, name: str, value: Tensor, category: Tensor | None) -> Tensor:
        branch = self.branches[name]
        given = (value, category) if name == "table" else (value,)
        found: Tensor = self.projections[name](branch.features(*given))  # type: ignore[operator]
        return found

    # ---- what a data module says of the inputs ---------------------------------------------------

    def note_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Keep the shape of one case of each input, so that a checkpoint can be exported without its data.

        Args:
            shapes: By name of an input, such as (C, H, W).
        """
        for name in self.branches:
            if name in shapes:
                padded = [*shapes[name], *[0] * (_MOST_AXES - len(shapes[name]))]
                getattr(self, f"shape_{name}").copy_(torch.tensor(padded))

    def example_inputs(self) -> dict[str, Tensor]:
        """Tensors of two cases by the names of the arguments; the second case misses its first input.

        Raises:
            ConfigError: If the network was never fitted, so that the sizes are not known.
        """
        generator = torch.Generator().manual_seed(0)
        inputs: dict[str, Tensor] = {}
        for name, branch in self.branches.items():
            shape = [int(size) for size in getattr(self, f"shape_{name}") if size]
            if not shape and not isinstance(branch, TableEncoder):
                raise ConfigError(
                    f"the size of {name} is not known before a medimg.tasks.FusionTask has fitted the network"
                )
            match branch:
                case TableEncoder():
                    inputs |= branch.example(generator)
                case TextEncoder():
                    inputs[name] = branch.example(shape[0])
                case _:
                    inputs[name] = torch.randn(2, *shape, generator=generator)
        present = torch.ones(2, len(INPUTS), dtype=torch.bool)
        present[1, INPUTS.index(next(iter(self.branches)))] = False
        return inputs | {"present": present}


def drop_some(present: Tensor, rate: float) -> Tensor:
    """Take inputs away by chance, never the last one of a case.

    Args:
        present: Which inputs each case has, (B, M) bool.
        rate: Chance of each to be taken away, in [0, 1).

    Returns:
        Which are left, (B, M) bool.

    Example:
        >>> drop_some(torch.tensor([[True, False]] * 3), 0.9).tolist()
        [[True, False], [True, False], [True, False]]
    """
    chance = torch.rand(present.shape, device=present.device)
    kept = present & (chance >= rate)
    # Of a case that would lose all, the luckiest of those that are there stays.
    luckiest = torch.where(present, chance, -1.0).argmax(1, keepdim=True)
    one = torch.zeros_like(present).scatter(1, luckiest, True) & present
    return torch.where(kept.any(1, keepdim=True), kept, one)


def _check_branches(branches: Mapping[str, nn.Module], modality_dropout: float) -> None:
    if not branches or not set(branches) <= set(INPUTS):
        raise ConfigError(
            f"branches: expected some of {', '.join(INPUTS)}, found {', '.join(branches) or 'none'}"
        )
    if not 0 <= modality_dropout < 1:
        raise ConfigError(f"modality_dropout: expected a chance in [0, 1), found {modality_dropout}")
    for name, branch in branches.items():
        wanted = {"table": TableEncoder, "text": TextEncoder}.get(name)
        if wanted is not None and not isinstance(branch, wanted):
            raise ConfigError(f"branches.{name}: expected a {wanted.__name__}, found {type(branch).__name__}")
        if not (hasattr(branch, "features") and hasattr(branch, "num_features")):
            raise ConfigError(
                f"branches.{name}: {type(branch).__name__} hands over no features: name an encoder such as "
                "medimg.models.TimmClassifier (num_classes: 0) or ResNet3D"
            )

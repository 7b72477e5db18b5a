"""One network asked about several views of an input: what every test-time augmentation shares."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import combinations
from typing import Any, NamedTuple

import torch
from monai.inferers.inferer import Inferer, SimpleInferer
from torch import Tensor

from medimg.inference.sliding_window import Network, first_output


class View(NamedTuple):
    """A change of the input, and its inverse for answers that are maps of the same axes."""

    there: Callable[[Tensor], Tensor]
    back: Callable[[Tensor], Tensor]


class TTA(Inferer):
    """An inferer around another one.

    Args:
        inferer: Applies a network to whole inputs; ``None`` hands them to the network as they are.
    """

    def __init__(self, inferer: Inferer | None) -> None:
        self.inferer = SimpleInferer() if inferer is None else inferer


class ViewTTA(TTA):
    """Averages what a network says of several views of its input.

    The network is changed, not the input: the wrapped inferer sees a network that looks at each tile in
    every view. What is averaged is what the network returns, in float32: logits in a segmentation, whose
    export resamples logits, and probabilities in a classification. An answer with the axes of the input is
    turned back first; a row of labels (B, K) has no place to turn.
    """

    @abstractmethod
    def views(self, images: Tensor) -> Iterable[View]:
        """The views of inputs (B, C, ...), the plain one first if it is among them."""

    def __call__(self, inputs: Tensor, network: Network) -> Tensor:
        """Apply the network to every view.

        Args:
            inputs: Images (B, C, H, W) or volumes (B, C, D, H, W).
            network: Maps inputs or tiles to an answer, or to a list with the full resolution first.

        Returns:
            Mean answer, float32, of the shape that the wrapped inferer gives.
        """
        answer: Tensor = self.inferer(inputs, partial(self._mean, network))
        return answer

    def _mean(self, network: Network, tiles: Tensor) -> Tensor:
        return mean_of_views(network, self.views(tiles), tiles)


def mean_of_views(network: Network, views: Iterable[View], tiles: Tensor) -> Tensor:
    """Mean of a network's answers to several views.

    Args:
        network: Maps tiles to an answer, or to a list of them with the full resolution first.
        views: At least one.
        tiles: Input, shape (B, C, ...).

    Returns:
        Mean answer, float32.

    Example:
        >>> views = flip_views((-1,))
        >>> mean_of_views(lambda tiles: tiles, views, torch.eye(2).view(1, 1, 2, 2)).squeeze()
        tensor([[1., 0.],
                [0., 1.]])
    """
    answers = (_answer(network, view, tiles) for view in views)
    total, number = next(answers), 1
    for answer in answers:
        total, number = total + answer, number + 1
    return total / number


def _answer(network: Network, view: View, tiles: Tensor) -> Tensor:
    # float32, because eight bfloat16 numbers added up lose the last bits of each.
    answer = first_output(network(view.there(tiles))).float()
    return view.back(answer) if answer.ndim == tiles.ndim else answer


def plain(tiles: Tensor) -> Tensor:
    """The input itself."""
    return tiles


PLAIN = View(plain, plain)


def flip_views(axes: Sequence[int]) -> list[View]:
    """The plain view and every combination of flips along some axes of a tensor.

    Example:
        >>> [view.there(torch.tensor([[1, 2], [3, 4]])).tolist() for view in flip_views((-1,))]
        [[[1, 2], [3, 4]], [[2, 1], [4, 3]]]
    """
    combined = [dims for n in range(len(axes)) for dims in combinations(axes, n + 1)]
    flips = [partial(torch.flip, dims=dims) for dims in combined]
    return [PLAIN, *(View(flip, flip) for flip in flips)]


def wrappers(inferer: Inferer) -> Iterator[TTA]:
    """The test-time augmentations around an inferer, the outermost first."""
    while isinstance(inferer, TTA):
        yield inferer
        inferer = inferer.inferer


def unwrapped(inferer: Inferer) -> Inferer:
    """The inferer inside all test-time augmentations."""
    while isinstance(inferer, TTA):
        inferer = inferer.inferer
    return inferer


def describe_tta(inferer: Inferer) -> list[str]:
    """The test-time augmentations around an inferer in words, for ``predictions.json``; empty without any."""
    return [f"{type(one).__name__}({_settings(vars(one))})" for one in wrappers(inferer)]


def _settings(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in values.items() if name != "inferer")

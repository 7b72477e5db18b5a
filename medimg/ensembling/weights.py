"""How much each member of an ensemble counts."""

import math
from collections.abc import Sequence

from medimg.ensembling.weight_search import Search
from medimg.errors import ConfigError

EQUAL = "equal"
SEARCHES: tuple[Search, ...] = ("greedy", "simplex")


def read_weight_words(words: Sequence[str | float] | None) -> Search | list[float] | None:
    """Read the words after ``--weights``.

    Args:
        words: ``equal``, ``greedy``, ``simplex``, or one number a member; ``None`` is ``equal``.

    Returns:
        The search to make, the numbers, or ``None`` for equal weights.

    Raises:
        ConfigError: If a word is none of these.

    Example:
        >>> read_weight_words(["2", "1"]), read_weight_words(["greedy"]), read_weight_words(["equal"])
        ([2.0, 1.0], 'greedy', None)
    """
    if words is None or list(words) == [EQUAL]:
        return None
    for search in SEARCHES:
        if list(words) == [search]:
            return search
    try:
        return [float(word) for word in words]
    except ValueError:
        found = " ".join(str(word) for word in words)
        raise ConfigError(
            f"--weights: expected {EQUAL}, {', '.join(SEARCHES)}, or one number a member, found {found}. "
            "Put the members right behind the verb: --weights takes all words that follow it."
        ) from None


def normalised_weights(weights: Sequence[float] | None, members: int) -> tuple[float, ...]:
    """Weights that sum to one.

    Args:
        weights: One number of at least 0 a member, in the order of the members; ``None`` weighs all alike.
        members: Number of members.

    Returns:
        One weight a member.

    Raises:
        ConfigError: If there are too few or too many, one is negative or not finite, or all are 0.

    Example:
        >>> normalised_weights([2, 1, 1], members=3)
        (0.5, 0.25, 0.25)
        >>> normalised_weights(None, members=2)
        (0.5, 0.5)
    """
    given = [1.0] * members if weights is None else [float(weight) for weight in weights]
    found = " ".join(f"{weight:g}" for weight in given)
    if len(given) != members:
        raise ConfigError(
            f"--weights: expected one number for each of the {members} members, found {len(given)}: {found}. "
            "Give them in the order of the members."
        )
    if not all(math.isfinite(weight) and weight >= 0 for weight in given):
        raise ConfigError(
            f"--weights: expected finite numbers of at least 0, found {found}. "
            "Leave a member out, or weigh it 0, where it should not count."
        )
    total = sum(given)  # not fsum, which raises beyond the largest float
    if not 0 < total < math.inf:
        raise ConfigError(
            f"--weights: expected a positive finite sum, found {found}. Give at least one member weight."
        )
    return tuple(weight / total for weight in given)

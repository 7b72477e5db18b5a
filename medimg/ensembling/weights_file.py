"""``weights.json``: weights that were searched, what they are worth, and for which members."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medimg.ensembling.members import Method
from medimg.ensembling.objectives import LOWER_IS_BETTER, Objective
from medimg.ensembling.weight_search import Search
from medimg.ensembling.weights import normalised_weights
from medimg.errors import ConfigError, DataError
from medimg.io.files import atomic_write
from medimg.scoring.bootstrap import Interval

WEIGHTS = "weights.json"

_AGAIN = "Search again with `medimg ensemble RUN... --weights greedy`."


@dataclass(frozen=True, slots=True)
class FoldWeights:
    """Weights found without a fold, by which its cases are judged.

    Attributes:
        weights: Weight of each member.
        cases: Cases of the fold.
    """

    weights: tuple[float, ...]
    cases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SearchedWeights:
    """Weights, and the scores of what they were compared with; all scores are of the same cases.

    Attributes:
        search: How they were searched.
        method: How members are averaged.
        objective: What was searched for.
        members: Name of each member.
        weights: Weights found on all cases, for cases that are new.
        folds: Weights found without each fold.
        singles: Score of each member alone.
        equal: Score of equal weights.
        in_sample: Score of ``weights`` on the cases that they were found on, which flatters.
        nested: Score of all cases, each under the weights found without its fold.
        gain: ``nested`` against ``equal``, positive where searching helps, with its interval.
        split: Hash of the split of the members.
    """

    search: Search
    method: Method
    objective: Objective
    members: tuple[str, ...]
    weights: tuple[float, ...]
    folds: tuple[FoldWeights, ...]
    singles: tuple[float, ...]
    equal: float
    in_sample: float
    nested: float
    gain: Interval
    split: str | None = None

    @property
    def best(self) -> int:
        """Number of the member that scores best alone."""
        sign = 1 if self.objective in LOWER_IS_BETTER else -1
        keys = [math.inf if math.isnan(value) else sign * value for value in self.singles]
        return keys.index(min(keys))

    def table(self) -> str:
        """The comparison, for print."""
        direction = ", lower is better" if self.objective in LOWER_IS_BETTER else ""
        low, high = self.gain.low, self.gain.high
        rows = [
            (f"{self.objective}{direction}", "", ""),
            (
                "best single member",
                _shown(self.singles[self.best]),
                f"{self.members[self.best]}, seen to be best here",
            ),
            ("equal weights", _shown(self.equal), ""),
            (
                f"{self.search} weights, in-sample",
                _shown(self.in_sample),
                "on the cases they were found on: flatters",
            ),
            (f"{self.search} weights, nested", _shown(self.nested), "each case without its fold: honest"),
            (
                "gain over equal weights",
                f"{self.gain.mean:+.4f}",
                f"95 % from {low:+.4f} to {high:+.4f}, by patient",
            ),
        ]
        return "\n".join(f"{name:<28}{value:>8}  {note}".rstrip() for name, value, note in rows)

    def verdict(self) -> str:
        """What the interval says, in a sentence."""
        if self.gain.low > 0:
            return "the searched weights are better than equal ones beyond chance"
        if self.gain.high < 0:
            return "the searched weights are worse than equal ones beyond chance: keep equal weights"
        return "the searched weights cannot be told from equal ones: equal weights are the safer choice"


def _shown(value: float) -> str:
    return f"{value:.4f}"


def write_weights(folder: Path, found: SearchedWeights) -> None:
    """Write ``weights.json``.

    Raises:
        ResourceError: If the file cannot be written.
    """
    content = {
        "search": found.search,
        "method": found.method,
        "objective": found.objective,
        "members": list(found.members),
        "weights": list(found.weights),
        "scores": {
            "best_single": {"member": found.members[found.best], "value": found.singles[found.best]},
            "singles": list(found.singles),
            "equal": found.equal,
            "searched_in_sample": found.in_sample,
            "searched_nested": found.nested,
            "nested_gain_over_equal": {**asdict(found.gain), "level": 0.95},
        },
        "split": found.split,
        "n_cases": sum(len(fold.cases) for fold in found.folds),
        "folds": [asdict(fold) for fold in found.folds],
    }
    with atomic_write(folder / WEIGHTS) as temporary:
        temporary.write_text(json.dumps(_plain(content), indent=2) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """NaN is no JSON: unknown numbers become null."""
    match value:
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {key: _plain(one) for key, one in value.items()}
        case list() | tuple():
            return [_plain(one) for one in value]
    return value


@dataclass(frozen=True, slots=True)
class KnownWeights:
    """What ``weights.json`` says to whoever applies it.

    Attributes:
        method: How members were averaged.
        members: Name of each member that it was searched for.
        weights: Weight of each, adding up to 1.
        cases: Cases that the weights were found on.
        split: Hash of the split of those members.
    """

    method: str
    members: tuple[str, ...]
    weights: tuple[float, ...]
    cases: frozenset[str]
    split: str | None


def read_weights(path: Path, members: Sequence[str], method: Method) -> KnownWeights:
    """Read weights for other predictions of the same members.

    Args:
        path: A ``weights.json``.
        members: Name of each member that they are to be applied to.
        method: How those are averaged.

    Raises:
        DataError: If the file cannot be read or lacks something.
        ConfigError: If there are more or fewer members, or the weights were found for another method.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names, found = [str(name) for name in content["members"]], [float(x) for x in content["weights"]]
        cases = frozenset(str(case) for fold in content["folds"] for case in fold["cases"])
        known_method, split = str(content["method"]), content.get("split")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"--weights_from {path}: cannot be read as {WEIGHTS} ({error!r}). {_AGAIN}"
        ) from error
    if len(names) != len(members) or len(found) != len(names):
        raise ConfigError(
            f"--weights_from {path}: expected its {len(names)} members, {', '.join(names)}, in this order; found "
            f"{len(members)}: {', '.join(members)}. Name the predictions of the same members."
        )
    if known_method != method:
        raise ConfigError(
            f"--weights_from {path}: the weights were found for --method {known_method}, found --method {method}. "
            f"Add --method {known_method}."
        )
    weights = normalised_weights(found, len(members))
    return KnownWeights(known_method, tuple(names), weights, cases, split)

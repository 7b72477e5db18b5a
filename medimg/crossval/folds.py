"""What stands in the folder of a fold: its run, how far it came, and what it predicted unseen.

``<logs>/<experiment>/fold_<k>/version_<n>/`` is an ordinary run.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medimg.ensembling.description import PREDICTIONS, Description, read_description
from medimg.ensembling.members import TABLE
from medimg.errors import DataError
from medimg.io.files import atomic_write
from medimg.preparation.splits import SPLIT_FILE
from medimg.runs import BEST, LAST, RunFolder, versions
from medimg.scoring.table import CASE_COLUMN, Row, read_per_case

_FOLDER = re.compile(r"fold_(\d+)")
FITTED = "fitted.json"
"""What says that a training came to its end, and whose weights these are."""

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class FoldSplit:
    """What ``split.json`` of a run says.

    Attributes:
        split: Hash of the whole split.
        fold: The fold that validates.
        folds: Number of folds of the split.
        leaky: Patients that stand on both sides, where the config asked for it.
        validation: Cases of the fold.
        test: Cases that are held out from all folds.
    """

    split: str
    fold: int
    folds: int
    leaky: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fold:
    """A fold whose training began.

    Attributes:
        number: The fold, by the name of its folder.
        run: Its run.
        split: What it holds out.
    """

    number: int
    run: RunFolder
    split: FoldSplit

    @property
    def checkpoint(self) -> str:
        """``best`` where the config keeps a best checkpoint, else ``last``."""
        return BEST if (self.run.checkpoints / f"{BEST}.ckpt").is_file() else LAST

    @property
    def can_resume(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return any((self.run.checkpoints / f"{name}.ckpt").is_file() for name in (LAST, f"{LAST}-previous"))

    @property
    def fitted(self) -> bool:
        """Whether its training came to its end."""
        return (self.run.path / FITTED).is_file()

    @property
    def weights_of(self) -> str | None:
        """The experiment whose weights it borrows; ``None`` where it was trained itself.

        Raises:
            DataError: If ``fitted.json`` is damaged.
        """
        said = read_fitted(self.run.path).get("weights_of")
        return None if said is None else str(said)

    def mark_fitted(self) -> None:
        """Note that the training came to its end, as no checkpoint tells; what it predicted before no longer counts."""
        for verb in self.verbs:
            (described(self.run.path / verb) / PREDICTIONS).unlink(missing_ok=True)
        with atomic_write(self.run.path / FITTED) as temporary:
            temporary.write_text(json.dumps({"checkpoint": self.checkpoint}) + "\n", encoding="utf-8")

    @property
    def verbs(self) -> tuple[str, ...]:
        """What follows the training: ``test`` scores the fold's own cases unless others are held out from all folds."""
        return ("test", "validate") if self.split.test else ("test",)

    @property
    def unseen(self) -> Path:
        """Folder of the table of the fold's own cases."""
        return self.run.path / self.verbs[-1]

    @property
    def finished(self) -> bool:
        """Whether every verb has written all it has to say."""
        return all(self.has_predicted(verb) for verb in self.verbs)

    def has_predicted(self, verb: str) -> bool:
        """Whether the verb came to its end for this split: ``predictions.json`` is what it writes last."""
        folder = described(self.run.path / verb)
        if not (folder / PREDICTIONS).is_file() or not (self.run.path / verb / TABLE).is_file():
            return False
        part = "test" if verb == "test" and self.split.test else "validation"
        found = read_description(folder)
        return (found.split, found.fold, found.part) == (self.split.split, self.split.fold, part)

    def description(self) -> Description:
        """What is said of the predictions of its own cases."""
        return read_description(described(self.unseen))

    def rows(self) -> list[Row]:
        """Rows of its own cases, each case of the fold once.

        Raises:
            DataError: If the table lacks a case of the fold, or holds one twice or one of elsewhere.
        """
        return whole_rows(self.unseen / TABLE, self.split.validation, f"fold {self.number}")

    def test_rows(self) -> list[Row]:
        """Rows of the cases held out from all folds; empty if there are none.

        Raises:
            DataError: As for ``rows``.
        """
        return (
            whole_rows(self.run.path / "test" / TABLE, self.split.test, "the test") if self.split.test else []
        )


def read_fitted(run: Path) -> dict[str, Any]:
    """What ``fitted.json`` of a run says; empty where there is none.

    Raises:
        DataError: If it is damaged.
    """
    path = run / FITTED
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}). Remove it: the fold is then looked at anew."
        ) from error
    return content if isinstance(content, dict) else {}


def described(folder: Path) -> Path:
    """Where the predictions beside a table lie: masks have a folder of their own."""
    return folder / "masks" if (folder / "masks").is_dir() else folder


def whole_rows(path: Path, cases: tuple[str, ...], name: str) -> list[Row]:
    """Rows of a table that must hold just these cases, each once.

    Raises:
        DataError: If a case is missing, doubled, or not one of them.
    """
    rows = read_per_case(path)
    found = [str(row[CASE_COLUMN]) for row in rows]
    for what, odd in (
        ("lacks", set(cases) - set(found)),
        ("holds what is not one of", set(found) - set(cases)),
        ("holds twice", {case for case, times in Counter(found).items() if times > 1}),
    ):
        if odd:
            raise DataError(
                f"{path}: {what} the cases of {name}: {_listed(odd)} ({len(odd)} of {len(cases)}). Remove the folder "
                f"{path.parent} and run medimg crossval again, which scores this fold anew."
            )
    return rows


def _listed(cases: set[str]) -> str:
    more = f" and {len(cases) - _SHOWN} more" if len(cases) > _SHOWN else ""
    return ", ".join(sorted(cases)[:_SHOWN]) + more


def find_fold(experiment: Path, number: int) -> Fold | None:
    """The run of a fold: one that is finished, else the newest one.

    Args:
        experiment: Folder ``<logs>/<experiment>``.
        number: The fold.

    Returns:
        The fold; ``None`` if no training wrote its settings.

    Raises:
        DataError: If ``split.json`` cannot be used, or is of another fold.
    """

    def how_far(fold: Fold) -> tuple[bool, bool, bool, int]:
        # Tested by hand before its training came to an end, a run is behind one that is trained.
        return fold.finished and fold.fitted, fold.fitted, fold.finished, fold.run.version

    return max(fold_runs(experiment, number), key=how_far, default=None)


def fold_runs(experiment: Path, number: int) -> list[Fold]:
    """All runs of a fold whose training wrote its settings, the oldest first; see ``find_fold``.

    Raises:
        DataError: If ``split.json`` cannot be used, or is of another fold.
    """
    begun = [run for run in versions(experiment, f"fold_{number}") if (run.path / SPLIT_FILE).is_file()]
    folds = [
        Fold(number, run, read_fold_split(run.path / SPLIT_FILE)) for run in begun if run.config.is_file()
    ]
    for fold in folds:
        if fold.split.fold != number:
            raise DataError(
                f"{fold.run.path}: expected a run of fold {number}, found one of fold {fold.split.fold}. Put it into "
                f"{experiment / f'fold_{fold.split.fold}'}."
            )
    return folds


def find_folds(experiment: Path) -> list[Fold]:
    """All folds of an experiment whose training began, by number."""
    names = [path.name for path in experiment.iterdir()] if experiment.is_dir() else []
    numbers = sorted(int(match[1]) for name in names if (match := _FOLDER.fullmatch(name)))
    return [fold for number in numbers if (fold := find_fold(experiment, number))]


def read_fold_split(path: Path) -> FoldSplit:
    """Read the ``split.json`` of a run.

    Raises:
        DataError: If it is damaged.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        lists = {name: tuple(map(str, content[name])) for name in ("leaky", "validation", "test")}
        return FoldSplit(str(content["split"]), int(content["fold"]), int(content["folds"]), **lists)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: expected split, fold, folds, leaky, validation and test, as a fit writes them ({error!r}). "
            "Copy the run's folder again, or train the fold again."
        ) from error

"""``medimg crossval``: train and test every fold, and gather what each predicted unseen."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medimg.commands.run_words import check_configs
from medimg.commands.word_lists import WordListParser
from medimg.errors import ConfigError
from medimg.runs import RunFolder, from_here

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


_OWN = ("config", "folds", "gather", "resume", "weights_of", "experiment", "logs", "help")
_REFUSED = {
    "data.fold": "--folds chooses the folds",
    "data.init_args.fold": "--folds chooses the folds",
    "ckpt_path": "each fold finds its own checkpoint",
    "out": "each fold writes into its own run",
    "calibration": "calibrations are fitted on what it gathers",
    "print_config": "medimg fit --print_config prints the settings",
    "trainer.fast_dev_run": "it leaves nothing to test; try one batch with medimg fit",
}
RESOLVED = "crossval.yaml"
INTERRUPTED = 130
TERMINATED = 143
REFUSED = 2


class CrossvalParser(WordListParser):
    """Takes its own options, and keeps all others for the runs."""

    def parse_args(self, args: Any = None, *more: Any, **kwargs: Any) -> Any:
        """Read what is the verb's own."""
        own, passed = split_words(list(args or []))
        values = super().parse_args(own, *more, **kwargs)
        values["run_options"] = passed
        return values


PARSER = CrossvalParser
"""``medimg.cli`` reads the words with this parser."""


def split_words(words: list[str]) -> tuple[list[str], list[str]]:
    """Tell the options of crossval from those of its runs.

    Args:
        words: Words after the verb.

    Returns:
        Words for crossval, its configs as one list; words for every fit.

    Example:
        >>> split_words(["--config", "a.yaml", "--data.root", "x", "--folds=0,2", "-c", "b.yaml"])
        (['--folds=0,2', '--config', 'a.yaml', 'b.yaml'], ['--data.root', 'x'])
    """
    own: list[str] = []
    passed: list[str] = []
    configs: list[str] = []
    into = own
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        if word in ("-c", "--config") or word.startswith("--config="):
            into = configs
            if equals:
                configs.append(value)
        elif word.startswith("--") or word == "-h":
            into = own if name in _OWN or word == "-h" else passed
            into.append(word.replace("--trust_package", "--trust-package"))
        else:
            into.append(word)
    return ([*own, "--config", *configs] if configs else own), passed


def crossval(
    *,
    config: list[Path],
    folds: str | None = None,
    gather: bool = False,
    resume: bool = True,
    weights_of: str | None = None,
    experiment: str | None = None,
    logs: Path | None = None,
    run_options: list[str] | None = None,
) -> int:
    """Train and test each fold in a process of its own, and gather what every fold predicted unseen.

    Run again after any stop: finished folds are kept, and a training that was stopped goes on from its last
    checkpoint. Folds stand in `<logs>/<experiment>/fold_<k>/`, and beside them `crossval.csv` and `out_of_fold/`.

    Args:
        config: Configs of the runs, a later one over an earlier one.
        folds: Folds to do here, such as 0,2,4; all by default.
        gather: Run nothing; gather the folds that are finished, wherever they were trained.
        resume: Go on with a training that was stopped; false begins it anew, in a folder of its own.
        weights_of: Train nothing: test the folds of this experiment below the same logs once more, into the folder of
            --experiment, with another --tta, --probabilities or inferer of the test.
        experiment: Folder of the cross-validation below the logs; by default as the config says, or its name.
        logs: Folder of all runs; by default as the config says, or lightning_logs.
        run_options: Not typed itself: all other options go to the runs, such as --data.root DIR,
            --data.split.file FILE, --trainer.max_epochs N, --seed_everything N, --probabilities true or
            --trust-package NAME.
    """
    from medimg.crossval.processes import one_at_a_time

    options = list(run_options or [])
    check_configs(config)
    _check_options(options)
    wanted = _numbers(folds)
    place = _experiment(config, experiment, logs)
    lender = None if weights_of is None else _lender(place, weights_of)
    own = {"--experiment": experiment, "--logs": logs, "--weights_of": weights_of}
    again = [word for name, value in own.items() if value is not None for word in (name, str(value))]
    with one_at_a_time(place) as lock:
        status = 0
        if not gather:
            calls = _Calls(place, config, options, lock, resume=resume, lender=lender)
            status = calls.run(wanted)
        return _gather(place, config, [*again, *options]) or status


def _check_options(options: Sequence[str]) -> None:
    for word in options:
        name = word.removeprefix("--").partition("=")[0]
        if word.startswith("--") and name in _REFUSED:
            raise ConfigError(f"--{name} is no option of crossval: {_REFUSED[name]}. Leave it away.")


def _numbers(folds: str | None) -> list[int] | None:
    if folds is None:
        return None
    words = folds.replace(",", " ").split()
    if not words or not all(word.isascii() and word.isdigit() for word in words):
        raise ConfigError(f"--folds: expected numbers from 0 such as 0,2,4, found {folds!r}.")
    return sorted(set(map(int, words)))


def _experiment(config: Sequence[Path], experiment: str | None, logs: Path | None) -> Path:
    """Folder of the cross-validation: as typed, else as the last config says that says so."""
    import yaml

    said: dict[str, Any] = {}
    for path in config:
        said |= {
            key: value
            for key, value in yaml.safe_load(path.read_text(encoding="utf-8")).items()
            if key in ("experiment", "logs") and value is not None
        }
    name = experiment or str(said.get("experiment", config[0].stem))
    return (logs or Path(said.get("logs", "lightning_logs"))) / _plain_name(name, "--experiment")


def _plain_name(name: str, option: str) -> str:
    if Path(name).name != name or name in {"", ".", ".."}:
        raise ConfigError(
            f"An experiment is named by one plain folder name, not {name!r}. Choose another {option}."
        )
    return name


def _lender(place: Path, name: str) -> Path:
    """Folder of the experiment whose weights are to be tested, beside this one."""
    lender = place.parent / _plain_name(name, "--weights_of")
    if lender == place:
        raise ConfigError(
            f"--weights_of {name}: is the experiment itself. Give the new tests an --experiment of their own."
        )
    return lender


def _settings(path: Path, config: Sequence[Path], options: Sequence[str]) -> Mapping[str, Any]:
    """Write the complete settings of the runs, so that a config edited meanwhile changes no fold."""
    from medimg.crossval.processes import capture_verb
    from medimg.crossval.settings import expect_fold_setting, read_settings
    from medimg.io.files import atomic_write

    configs = [word for one in config for word in ("--config", str(one))]
    done = capture_verb(["fit", *configs, *options, "--print_config"])
    if done.returncode != 0:
        raise ConfigError(done.stderr.strip().removeprefix("error: ") or "the configs cannot be read")
    with atomic_write(path) as temporary:
        temporary.write_text(done.stdout, encoding="utf-8")
    settings = read_settings(path)
    expect_fold_setting(settings)
    return settings


@dataclass
class _Calls:
    """The runs of the folds.

    Attributes:
        place: Folder ``<logs>/<experiment>``.
        config: Configs of the runs.
        options: Options of the runs.
        lock: Descriptor of the folder's lock.
        resume: Whether a training that was stopped goes on.
        lender: Folder of the experiment whose weights are tested; ``None`` trains.
    """

    place: Path
    config: Sequence[Path]
    options: Sequence[str]
    lock: int
    resume: bool = True
    lender: Path | None = None

    def run(self, wanted: Sequence[int] | None) -> int:
        """Do the folds that are asked for, or all; the exit status."""
        self.resolved = self.place / RESOLVED
        candidate = self.place / f".{RESOLVED}"
        self.settings = _settings(candidate, self.config, self.options)
        self._expect_same()
        candidate.replace(self.resolved)
        failed: dict[int, int] = {}
        queue = list(wanted) if wanted is not None else [0]
        while queue:
            number = queue.pop(0)
            status = self._do(number)
            if status in (INTERRUPTED, TERMINATED, REFUSED):
                sys.stderr.write(f"fold {number}: not finished. The same command goes on from here.\n")
                raise SystemExit(status)
            if status:
                failed[number] = status
            if wanted is None and number == 0:
                queue = list(range(1, self._count()))
        for number, status in failed.items():
            sys.stderr.write(f"fold {number}: ended with status {status}. The same command tries it again.\n")
        return 1 if failed else 0

    def _expect_same(self) -> None:
        from medimg.crossval.folds import find_folds
        from medimg.crossval.settings import first_difference, read_settings

        lender = self.lender.name if self.lender else None
        for fold in find_folds(self.place):
            if fold.fitted and fold.weights_of != lender:
                whose = f"has the weights of {fold.weights_of}" if fold.weights_of else "was trained itself"
                raise ConfigError(
                    f"{fold.run.path} {whose}, found {f'--weights_of {lender}' if lender else 'no --weights_of'}. Take "
                    "the same options, or another --experiment."
                )
            if difference := first_difference(read_settings(fold.run.config), self.settings):
                raise ConfigError(
                    f"{fold.run.path} was trained with other settings: {difference} now. Take the same settings, or "
                    "another --experiment for these."
                )

    def _count(self) -> int:
        from medimg.crossval.folds import find_fold

        fold = find_fold(self.place, 0)
        return fold.split.folds if fold else 1

    def _do(self, number: int) -> int:
        """Bring one fold to its end."""
        from medimg.crossval.borrowed import borrow_fold
        from medimg.crossval.folds import find_fold, fold_runs

        if self.lender is not None:
            borrow_fold(self.lender, number, self.place, self.resolved)
        fold = find_fold(self.place, number)
        if fold is not None and fold.finished and fold.fitted:
            print(f"fold {number}: finished already, {from_here(fold.run.path)}", flush=True)
            return 0
        if fold is None or not fold.fitted:
            begun = fold if fold is not None and fold.can_resume and self.resume else None
            if status := self._fit(number, begun.run if begun else None):
                return status
            # Not find_fold: an older run, begun and left, may have been tested by hand.
            fold = begun or next(reversed(fold_runs(self.place, number)), None)
            if fold is None:
                raise ConfigError(
                    f"fold {number}: the training wrote no split.json, so its cases are not known. Use a data module "
                    "of medimg."
                )
            fold.mark_fitted()
        for verb in fold.verbs:
            if fold.has_predicted(verb):
                continue
            if status := self._call(number, self._again(verb, fold.run, fold.checkpoint)):
                return status
        return 0

    def _fit(self, number: int, begun: RunFolder | None) -> int:
        """Go on with a training, or begin one in a folder of its own."""
        if begun is not None:
            return self._call(number, self._again("fit", begun, "last"))
        place = ["--logs", str(self.place), "--experiment", f"fold_{number}"]
        return self._call(
            number, ["fit", "--config", str(self.resolved), *place, f"--data.init_args.fold={number}"]
        )

    def _again(self, verb: str, run: RunFolder, checkpoint: str) -> list[str]:
        """A verb with the settings that the run began with, and the paths and devices of this machine."""
        from medimg.crossval.settings import machine_words, read_settings

        here = machine_words(self.settings, read_settings(run.config))
        return [verb, "--config", str(run.config), "--ckpt_path", checkpoint, *here]

    def _call(self, number: int, words: list[str]) -> int:
        from medimg.crossval.processes import run_verb

        words = [*words, *_trusted(self.options)]
        print(f"\nfold {number}: medimg {shlex.join(words)}", flush=True)
        return run_verb(words, self.lock)


def _trusted(options: Sequence[str]) -> list[str]:
    from medimg.commands.trust import split_trusted

    _, packages = split_trusted(list(options))
    return [word for package in packages for word in ("--trust-package", package)]


def _gather(place: Path, config: Sequence[Path], options: Sequence[str]) -> int:
    from medimg.crossval.folds import find_folds
    from medimg.crossval.gather import gather
    from medimg.crossval.settings import chosen_by, read_settings

    begun = find_folds(place)
    done = [fold for fold in begun if fold.finished]
    for fold in begun:
        if fold not in done:
            sys.stderr.write(f"warning: fold {fold.number} is not finished and left out: {fold.run.path}\n")
    if not done:
        raise ConfigError(f"{place}: expected at least one finished fold, fold_<k>/version_<n>, found none.")
    if monitor := chosen_by(read_settings(done[0].run.config)):
        sys.stderr.write(
            f"note: the epoch of each fold was chosen by {monitor} of the cases that judge it here, which flatters. "
            "Leave `monitor` away from the callbacks to judge the last epoch.\n"
        )
    result = gather(place, done)
    print(f"\n{result.text}\n\nfolds: {from_here(place / 'crossval.csv')}")
    print(f"out-of-fold predictions: {from_here(result.folder)}")
    shown = shlex.quote(str(from_here(result.folder)))
    if result.missing:
        words = [word for one in config for word in ("--config", str(one))]
        rest = ["--folds", ",".join(map(str, result.missing)), *options]
        print(f"next: medimg crossval {shlex.join([*words, *rest])}")
    elif result.task == "targets":
        run = shlex.quote(str(from_here(done[0].run.config)))
        print(f"next: medimg predict --config {run} --ckpt_path best --data.predict_root NEW")
    elif result.task:
        out = shlex.quote(str(from_here(place / "calibration.json")))
        print(f"next: medimg calibrate {shown} --method temperature --out {out}")
    else:
        out = shlex.quote(str(from_here(place / "postprocessed")))
        print(f"next: medimg postprocess {shown} --search --references REFERENCES --out {out}")
    return 0

"""A run's folder: where it is, which one is the newest, and which checkpoint a word means.

A run writes ``<logs>/<experiment>/version_<k>/`` with ``config.yaml``, ``checkpoints/``, ``metrics.csv``
and TensorBoard events. This file only looks at names on disk and never opens a checkpoint.
"""

import json
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medimg.errors import CheckpointError, ResourceError

CONFIG = "config.yaml"
BEST = "best"
LAST = "last"
RECORD = "record.json"
_VERSION = re.compile(r"version_(\d+)")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one run.

    Attributes:
        path: ``<logs>/<experiment>/version_<k>``.
    """

    path: Path

    @property
    def logs(self) -> Path:
        """Folder that holds every experiment."""
        return self.path.parent.parent

    @property
    def experiment(self) -> str:
        """Name of the experiment; its runs are numbered from 0."""
        return self.path.parent.name

    @property
    def version(self) -> int:
        """Number of the run within its experiment."""
        match = _VERSION.fullmatch(self.path.name)
        if match is None:
            raise ValueError(f"A run's folder is named version_<number>, not {self.path.name!r}.")
        return int(match[1])

    @property
    def config(self) -> Path:
        """The settings that made the run."""
        return self.path / CONFIG

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"


def read_record(path: Path) -> dict[str, Any]:
    """What a fit wrote down of its machine and its time; empty if there is nothing, or nothing whole.

    Args:
        path: ``record.json`` of a run.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def from_here(path: Path) -> Path:
    """A path as it is best typed: from the current folder, if it lies below it.

    Args:
        path: Any path.
    """
    whole, here = path.absolute(), Path.cwd()
    return whole.relative_to(here) if whole.is_relative_to(here) else whole


def versions(logs: Path, experiment: str) -> list[RunFolder]:
    """All runs of an experiment, oldest number first.

    Args:
        logs: Folder that holds every experiment.
        experiment: Name of the experiment.

    Returns:
        The runs sorted by number; empty when there are none.
    """
    folder = logs / experiment
    if not folder.is_dir():
        return []
    runs = [RunFolder(path) for path in folder.iterdir() if _VERSION.fullmatch(path.name) and path.is_dir()]
    return sorted(runs, key=lambda run: run.version)


def next_version(logs: Path, experiment: str) -> RunFolder:
    """The folder that the next run of an experiment will take; nothing is created.

    Args:
        logs: Folder that holds every experiment.
        experiment: Name of the experiment.

    Returns:
        A folder one above the highest number in use.
    """
    existing = versions(logs, experiment)
    number = existing[-1].version + 1 if existing else 0
    return RunFolder(logs / experiment / f"version_{number}")


def new_version(logs: Path, experiment: str) -> RunFolder:
    """Reserve the next free run folder of an experiment by creating it.

    Two runs that start at the same moment get two folders, because a folder is only ever
    taken by the process that created it.

    Args:
        logs: Folder that holds every experiment; made when missing.
        experiment: Name of the experiment, one plain folder name.

    Returns:
        The new, empty folder.

    Raises:
        ResourceError: If the folder cannot be made or written to.
    """
    if Path(experiment).name != experiment or experiment in {"", ".", ".."}:
        raise ResourceError(
            f"An experiment is named by one plain folder name, not {experiment!r}. "
            "Choose another --experiment."
        )
    try:
        (logs / experiment).mkdir(parents=True, exist_ok=True)
        while True:
            run = next_version(logs, experiment)
            try:
                run.path.mkdir()
            except FileExistsError:
                continue
            break
    except OSError as fault:
        raise _unusable(logs / experiment, fault) from fault
    probe_writable(run.path)
    return run


def discard_if_empty(run: RunFolder) -> None:
    """Give a reserved folder back when its run ended before it wrote anything.

    Args:
        run: The folder that :func:`new_version` made.
    """
    for folder in (run.checkpoints, run.path, run.path.parent):
        try:
            folder.rmdir()
        except OSError:
            # Not there, or not empty any more: then it is to be kept.
            continue


def probe_writable(folder: Path) -> None:
    """Write and remove a small file, so that a folder which refuses is known before the first epoch.

    Asking for permissions is not enough: a full disk, a quota or a read-only mount says yes.

    Args:
        folder: An existing folder.

    Raises:
        ResourceError: If the file cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=".probe-", dir=folder)
        try:
            os.write(handle, b"medimg" * 1024)
            os.fsync(handle)
        finally:
            os.close(handle)
            Path(name).unlink()
    except OSError as fault:
        raise _unusable(folder, fault) from fault


def _unusable(folder: Path, fault: OSError) -> ResourceError:
    return ResourceError(
        f"Cannot write to the run folder {folder}: {fault.strerror or fault}. "
        "Free some space or mend its permissions, or choose another folder with --logs DIR."
    )


def find_run(config_path: Path) -> RunFolder | None:
    """The run that a config belongs to, if it is the ``config.yaml`` of a folder with checkpoints, whatever its name.

    Args:
        config_path: Path of a config file.

    Returns:
        The run, or ``None`` for any other config file.
    """
    # absolute, not resolve: a linked run folder keeps the name by which the user knows it.
    path = config_path.absolute()
    run = RunFolder(path.parent)
    belongs = path.name == CONFIG and path.is_file() and run.checkpoints.is_dir()
    return run if belongs else None


def newest_run(logs: Path, experiment: str | None = None) -> RunFolder | None:
    """The run with checkpoints that was started last.

    Args:
        logs: Folder that holds every experiment.
        experiment: Name of the experiment; ``None`` looks through all of them.

    Returns:
        The newest run by number within an experiment, by time between experiments.
    """
    if experiment is not None:
        trained = [run for run in versions(logs, experiment) if find_run(run.config)]
        return trained[-1] if trained else None
    names = [path.name for path in logs.iterdir() if path.is_dir()] if logs.is_dir() else []
    newest = [run for name in names if (run := newest_run(logs, name))]
    return max(newest, key=lambda run: run.config.stat().st_mtime, default=None)


def resolve_checkpoint(
    run: RunFolder | None,
    which: str | Path,
    *,
    logs: Path = Path("lightning_logs"),
    experiment: str | None = None,
) -> Path:
    """Turn ``best``, ``last`` or a path into a checkpoint file that exists.

    ``best`` and ``last`` are words for files of one run, so they need that run's own config: taking
    the newest run instead would score weights that the given config did not make.

    Args:
        run: The run whose ``config.yaml`` was given, or ``None`` for any other config.
        which: ``"best"``, ``"last"`` or the path of a checkpoint.
        logs: Folder that holds every experiment, to name the newest run in an error.
        experiment: Name of the experiment, to name the newest run in an error.

    Returns:
        Path of the checkpoint.

    Raises:
        CheckpointError: If there is no such file, or no run that the word could mean.
    """
    if which not in (BEST, LAST):
        path = Path(which)
        if not path.is_file():
            found = "it is a folder" if path.is_dir() else "there is no such file"
            raise CheckpointError(f"No checkpoint at {path}: {found}. {newest_advice(logs, experiment)}")
        return path
    if run is None:
        raise CheckpointError(
            f"--ckpt_path {which} needs the config.yaml of a finished run, "
            "and the given config belongs to no run. " + newest_advice(logs, experiment)
        )
    path = run.checkpoints / f"{which}.ckpt"
    if not path.is_file():
        present = (
            ", ".join(sorted(file.name for file in run.checkpoints.glob("*.ckpt"))) or "no checkpoint at all"
        )
        raise CheckpointError(
            f"No checkpoint at {path}: the run has {present}. {newest_advice(logs, experiment)}"
        )
    return path


def newest_advice(logs: Path, experiment: str | None) -> str:
    """One sentence on the run that a user most probably wants.

    Args:
        logs: Folder that holds every experiment.
        experiment: Name of the experiment to look in first.

    Returns:
        The newest trained run and how to name it, or how to make one.
    """
    newest = newest_run(logs, experiment) or newest_run(logs)
    if newest is None:
        return f"No trained run stands in {logs}: train one first with `medimg fit`."
    return f"The newest trained run is {newest.path}: give it as --config {newest.config}."

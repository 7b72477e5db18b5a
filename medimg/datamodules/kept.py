"""Arrays of one row a case that are kept on disk for as long as the files they were made of stay the same."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from medimg.errors import DataError, ResourceError
from medimg.io.files import atomic_write
from medimg.parallel import map_cases

MANIFEST = "manifest.json"
_SHOWN = 20
_FEW = 16  # starting processes takes longer than reading so many
T = TypeVar("T")
R = TypeVar("R")


class KeptArrays:
    """Memory-mapped arrays in one folder, with a manifest of what they hold.

    The operating system keeps what fits in memory and shares it among all workers and processes.

    Args:
        folder: Where they lie.
        arrays: Shape and type of each by its name.
    """

    def __init__(self, folder: Path, arrays: Mapping[str, tuple[tuple[int, ...], Any]]) -> None:
        self.folder, self.arrays = folder, dict(arrays)
        self._opened: dict[str, NDArray[Any]] = {}

    def write(self, facts: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        """The arrays to be written to: made new, with zeros, unless the manifest says that they hold these facts.

        Args:
            facts: Plain values.

        Raises:
            ResourceError: If the folder cannot be written.
        """
        manifest, wanted = self.folder / MANIFEST, json.loads(json.dumps(dict(facts)))
        try:
            if json.loads(manifest.read_text()) == wanted:
                return {name: np.load(self._path(name), "r+") for name in self.arrays}
        except (OSError, ValueError):
            pass  # not there, or not whole: made new
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            manifest.unlink(missing_ok=True)
            made: dict[str, NDArray[Any]] = {
                name: np.lib.format.open_memmap(self._path(name), "w+", kind, shape)
                for name, (shape, kind) in self.arrays.items()
            }
        except OSError as error:
            raise ResourceError(f"{self.folder}: cannot be written ({error.strerror}). Name another folder with "
                                "data.init_args.cache.folder.") from error  # fmt: skip
        with atomic_write(manifest) as temporary:
            temporary.write_text(json.dumps(wanted))
        return made

    def read(self, name: str) -> NDArray[Any]:
        """One array, read-only.

        Raises:
            OSError: If it was not written.
        """
        if name not in self._opened:
            self._opened[name] = np.load(self._path(name), "r")
        return self._opened[name]

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npy"

    def __getstate__(self) -> dict[str, Any]:
        """Workers open the arrays themselves."""
        return {**self.__dict__, "_opened": {}}


def fill_rows(
    read: Callable[[T], R],
    items: Sequence[T],
    put: Callable[[int, R], None],
    *,
    names: Sequence[str],
    workers: int,
    what: str,
) -> None:
    """Read cases in processes and put each away as it comes, so that what is done stays if the rest fails.

    Args:
        read: Called with an item in a worker.
        items: One a case; small, since they travel.
        put: Called in this process with the place of a case in ``items`` and what was read.
        names: Case ids.
        workers: Processes.
        what: What is counted, for messages.

    Raises:
        DataError: If cases cannot be read; all are named.
    """
    if len(items) <= _FEW:
        workers = 1
    failed = []
    for outcome in map_cases(
        read, items, names=names, workers=workers, label=what, progress=len(items) > 2000
    ):
        if outcome.value is None:
            failed.append(f"  {outcome.name}: {outcome.error}")
        else:
            put(outcome.index, outcome.value)
    if failed:
        more = f"\n  and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else ""
        raise DataError(
            f"{len(failed)} of {len(items)} {what} cannot be used:\n" + "\n".join(failed[:_SHOWN]) + more
        )

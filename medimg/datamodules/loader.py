"""A loader that can say which case a killed worker was reading."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import torch
from torch.utils.data import DataLoader, get_worker_info

from medimg.datamodules.samplers import EpochSampler
from medimg.errors import MedimgError, ResourceError

_ID_BYTES = 256
_NEWS_SECONDS = 2.0


class CurrentCase:
    """A board in shared memory on which each worker writes the case it begins to read.

    Args:
        num_workers: Workers of the loader.
    """

    def __init__(self, num_workers: int) -> None:
        self._board = torch.zeros(max(1, num_workers), _ID_BYTES, dtype=torch.uint8)
        self._board.share_memory_()  # type: ignore[no-untyped-call]

    def note(self, case_id: str) -> None:
        """Write down the case that this worker reads next."""
        info = get_worker_info()
        text = case_id.encode()[:_ID_BYTES]
        row = self._board[info.id if info is not None else 0]
        row.zero_()
        row[: len(text)] = torch.frombuffer(bytearray(text), dtype=torch.uint8)

    def read(self) -> list[str]:
        """The case that each worker read last."""
        rows = (bytes(row.tolist()).rstrip(b"\0").decode(errors="replace") for row in self._board)
        return [case for case in rows if case]


class WatchedLoader(DataLoader[Any]):
    """A DataLoader whose error names the cases that its workers were reading, and which goes on where a run stopped.

    Args:
        dataset: See ``DataLoader``.
        current: The board that the data set writes on.
        **options: Passed on to ``DataLoader``.
    """

    def __init__(self, dataset: Any, *, current: CurrentCase, **options: Any) -> None:
        super().__init__(dataset, **options)
        self._current = current
        self._handed = 0
        self._resumed: dict[str, int] | None = None

    def state_dict(self) -> dict[str, int]:
        """How far the epoch is; Lightning keeps it in the checkpoint."""
        return {"epoch": getattr(self.sampler, "epoch", 0), "batches": self._handed}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on behind the batches that a stopped run was given of this epoch."""
        self._resumed = state_dict

    def _skip_seen(self) -> int:
        """Leave out what a resumed run has seen; a run that ended with its epoch begins the next one whole."""
        resumed, self._resumed = self._resumed, None
        sampler = self.sampler
        if resumed is None or not isinstance(sampler, EpochSampler) or resumed["epoch"] != sampler.epoch:
            return 0
        sampler.skip = resumed["batches"] * (self.batch_size or 1)
        return resumed["batches"]

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Batches; a worker that was killed ends the run with the cases it may have died on.

        Raises:
            ResourceError: If a worker was killed from outside, by lack of memory most often.
            MedimgError: As the data set raised it, whichever process it ran in.
        """
        self._handed = self._skip_seen()
        batches = super().__iter__()
        if self.num_workers:
            _boards.add(self._current)
            _watch_children()
        try:
            while True:
                try:
                    batch = self._next(batches)
                except StopIteration:
                    return
                self._handed += 1
                yield batch
        finally:
            _boards.discard(self._current)

    def _next(self, batches: Iterator[Any]) -> Any:
        try:
            return next(batches)
        except RuntimeError as error:
            if not _is_death(error):
                raise
            raise _named(error, self._current.read()) from error
        except MedimgError as error:
            raise type(error)(_own_words(error)) from error
        except (OSError, EOFError) as error:
            # A batch that a dying worker had on offer cannot be fetched any more. The news of its death is
            # under way and raises in here; an error of the data set itself says where it was caught.
            if self.num_workers and not str(error).startswith("Caught"):
                time.sleep(_NEWS_SECONDS)
            raise


# Boards of the loaders that read at present.
_boards: set[CurrentCase] = set()


class _NamingHandler:
    """What the death of a child calls: torch's own handler, with its error made readable.

    torch raises in the middle of whatever the main thread is doing, a step of the optimizer most
    often, so catching the error around the loader is not enough.

    Args:
        inner: The handler that torch set.
    """

    def __init__(self, inner: Callable[[int, FrameType | None], Any]) -> None:
        self.inner = inner

    def __call__(self, number: int, frame: FrameType | None) -> None:
        try:
            self.inner(number, frame)
        except RuntimeError as error:
            if not _is_death(error):
                raise
            raise _named(error, [case for board in _boards for case in board.read()]) from error


def _watch_children() -> None:
    """Stand before torch's handler, once; only the main thread may set handlers."""
    if threading.current_thread() is not threading.main_thread():
        return
    inner = signal.getsignal(signal.SIGCHLD)
    if callable(inner) and not isinstance(inner, _NamingHandler):
        signal.signal(signal.SIGCHLD, _NamingHandler(inner))


def _is_death(error: RuntimeError) -> bool:
    # An error of the data set itself reads "Caught RuntimeError in DataLoader worker process 0".
    return "DataLoader worker (pid" in str(error).partition("\n")[0]


def _own_words(error: MedimgError) -> str:
    """The message without the worker's traceback, which torch puts before it."""
    kind = type(error)
    return str(error).rpartition(f"{kind.__module__}.{kind.__qualname__}: ")[2].strip()


def _named(error: RuntimeError, cases: list[str]) -> ResourceError:
    return ResourceError(
        f"a data worker was killed while reading one of {', '.join(sorted(set(cases)))}. Most often the memory ran "
        "out: lower data.init_args.num_workers or the patch size. "
        f"({str(error).splitlines()[0]})"
    )

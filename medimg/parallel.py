"""Map a function over cases: in this process, in local processes, or on a Dask cluster.

A failing case is named and the others go on. Only a bounded window of cases is in flight at any
time, so memory stays flat however long the list is and however slowly the results are consumed.
"""

import logging
import os
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TextIO, TypeVar, cast

from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.process_executor import BrokenProcessPool

from medimg.errors import ConfigError, DataError, MedimgError, ResourceError
from medimg.records import Record

T = TypeVar("T")
R = TypeVar("R")

_LOGGER = logging.getLogger(__name__)

# One thread a worker: N workers with N threads each would fight for the same cores.
_ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS", "BLIS", "NUMEXPR")} | {
    "VECLIB_MAXIMUM_THREADS": "1",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1",
}
_WINDOW_PER_WORKER = 2  # one case computed, one waiting, so that no worker idles between two cases
_CONNECT_SECONDS = 10
_NO_WORKER_SECONDS = 60.0  # a nanny restarts a killed worker in a few seconds
_SHOWN_FAILURES = 20


@dataclass(frozen=True)
class Outcome(Generic[R]):
    """What became of one case.

    Attributes:
        name: Name of the case.
        value: What the function returned, or ``None`` if it failed.
        error: Why the case failed, or ``None`` if it did not.
        index: Position of the case in the list, since outcomes come in any order.
    """

    name: str
    value: R | None
    error: str | None = None
    index: int = 0


@dataclass(frozen=True)
class _Reply(Generic[R]):
    """What a worker sends back: strings instead of exceptions, which may not survive pickling."""

    value: R | None
    error: str | None = None
    trace: str = ""


def map_cases(
    function: Callable[[T], R],
    items: Sequence[T],
    *,
    names: Sequence[str] | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    label: str = "cases",
    progress: bool = True,
) -> Iterator[Outcome[R]]:
    """Apply a function to every case and give the outcomes as they finish, in any order.

    The work starts when the first outcome is asked for. An exception in the function becomes
    ``Outcome.error`` and the other cases go on. Closing the iterator early stops the workers.

    Args:
        function: Called with one item; a module-level function or a ``functools.partial`` of one,
            since it is pickled for each case unless ``workers`` is 1. Keep its arguments small.
        items: One entry a case.
        names: One name a case, for messages; by default the case id of a ``Record``, the last part
            of a path, the string itself, or the position.
        workers: Local processes, each limited to one thread; 1 computes in this process.
        scheduler: Address of a Dask scheduler, such as ``"tcp://10.0.0.1:8786"``; replaces
            ``workers``. A case whose worker dies is tried on another one, as often as the
            scheduler's setting ``distributed.scheduler.allowed-failures`` says (3), and at the end once more by itself.
        label: What is counted, for the progress line.
        progress: Write a progress line to stderr: one line that updates itself on a terminal, a line
            about every 10 % elsewhere.

    Returns:
        The outcomes, one a case, unordered.

    Raises:
        ConfigError: If ``workers`` is below 1, or Dask is asked for and not installed.
        ResourceError: If a local worker is killed, or the cluster cannot be reached or loses all its
            workers. Raised while iterating.

    Example:
        >>> outcomes = map_cases(len, ["ab", "c"], progress=False)
        >>> sorted((outcome.name, outcome.value) for outcome in outcomes)
        [('ab', 2), ('c', 1)]
    """
    if workers < 1:
        raise ConfigError(f"workers: expected a number of processes of at least 1, found {workers}.")
    shown = [_name(item, index) for index, item in enumerate(items)] if names is None else list(names)
    if len(shown) != len(items):
        raise ValueError(f"expected one name for each of the {len(items)} cases, found {len(shown)} names")
    workers = min(workers, max(len(items), 1))
    outcomes: Iterator[Outcome[R]]
    if scheduler is not None:
        outcomes = _on_cluster(function, items, shown, scheduler)
    elif workers > 1:
        outcomes = _in_processes(function, items, shown, workers)
    else:
        outcomes = _in_this_process(function, items, shown)
    return _with_progress(outcomes, len(items), label) if progress else outcomes


def raise_failures(outcomes: Iterable[Outcome[R]]) -> list[R]:
    """Collect all values, and raise one error for all failed cases once the rest is done.

    Args:
        outcomes: What ``map_cases`` gave; consumed to the end.

    Returns:
        The values in the order of the cases, whatever the order in which they finished.

    Raises:
        DataError: If a case failed; names every failed case and why it failed.

    Example:
        >>> raise_failures(map_cases(len, ["ab", "c"], progress=False))
        [2, 1]
    """
    done = sorted(outcomes, key=lambda outcome: outcome.index)
    failed = [outcome for outcome in done if outcome.error is not None]
    if failed:
        lines = [f"  {outcome.name}: {outcome.error}" for outcome in failed[:_SHOWN_FAILURES]]
        if len(failed) > _SHOWN_FAILURES:
            rest = ", ".join(outcome.name for outcome in failed[_SHOWN_FAILURES:])
            lines.append(f"  and {len(failed) - _SHOWN_FAILURES} more: {rest}")
        raise DataError(f"{len(failed)} of {len(done)} cases failed:\n" + "\n".join(lines))
    return [cast(R, outcome.value) for outcome in done]


def _name(item: object, index: int) -> str:
    match item:
        case Record():
            return item.case_id
        case Path():
            return item.name
        case str():
            return item
        case _:
            return f"item {index}"


def _reply(function: Callable[[T], R], item: T) -> _Reply[R]:
    """Call the function where the work is done, and turn an exception into text."""
    try:
        return _Reply(function(item))
    except Exception as error:
        kind = "" if isinstance(error, MedimgError) else f"{type(error).__name__}: "
        return _Reply(None, f"{kind}{error}".rstrip(": "), traceback.format_exc())


def _outcome(reply: _Reply[R], name: str, index: int) -> Outcome[R]:
    if reply.error is not None:
        _LOGGER.debug("case %s failed\n%s", name, reply.trace)
    return Outcome(name, reply.value, reply.error, index)


def _in_this_process(
    function: Callable[[T], R], items: Sequence[T], names: Sequence[str]
) -> Iterator[Outcome[R]]:
    for index, (item, name) in enumerate(zip(items, names, strict=True)):
        yield _outcome(_reply(function, item), name, index)


def _in_processes(
    function: Callable[[T], R], items: Sequence[T], names: Sequence[str], workers: int
) -> Iterator[Outcome[R]]:
    # joblib.Parallel would run ahead of a slow consumer and hold its results; a window of futures cannot.
    executor = ProcessPoolExecutor(workers, env=_ONE_THREAD, initializer=_follow, initargs=(os.getpid(),))
    flying: dict[Future[_Reply[R]], int] = {}  # in the order of submission
    index = 0
    try:
        while flying or index < len(items):
            while index < len(items) and len(flying) < workers * _WINDOW_PER_WORKER:
                flying[executor.submit(_reply, function, items[index])] = index
                index += 1
            finished, _ = wait(flying, return_when=FIRST_COMPLETED)
            replies = [(flying[future], future) for future in finished]
            # Good results first, so that a death beside them loses none.
            for position, future in sorted(replies, key=lambda pair: _is_broken(pair[1])):
                if _is_broken(future):
                    # Cases start in the order of submission, so the oldest open ones are those that ran.
                    open_cases = [names[other] for other in flying.values()][:workers]
                    raise _killed(open_cases, workers) from future.exception()
                del flying[future]
                yield _outcome(_reply_of(future), names[position], position)
    finally:
        executor.shutdown(wait=True, kill_workers=True)


def _follow(parent: int) -> None:
    """End this worker when its parent dies: loky's workers would wait for ever for the next case."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _is_broken(future: "Future[Any]") -> bool:
    return isinstance(future.exception(), BrokenProcessPool)


def _reply_of(future: "Future[_Reply[R]]") -> _Reply[R]:
    """The worker's reply, or a reply for what went wrong on the way, such as a value that does not pickle."""
    error = future.exception()
    return future.result() if error is None else _Reply(None, f"{type(error).__name__}: {error}")


def _killed(open_cases: Sequence[str], workers: int) -> ResourceError:
    return ResourceError(
        f"a worker process was killed while these cases were computed: {', '.join(open_cases)}. "
        f"Most often the memory ran out: try fewer than {workers} workers, or 1 to compute "
        "one case at a time."
    )


def _on_cluster(
    function: Callable[[T], R], items: Sequence[T], names: Sequence[str], scheduler: str
) -> Iterator[Outcome[R]]:
    client = _connect(scheduler)
    flying: dict[Any, int] = {}  # Dask future -> position of its case
    waiting, suspects, alone = deque(range(len(items))), deque[int](), False
    try:
        while flying or waiting or suspects:
            if not flying and not waiting:
                # A worker takes all of its cases with it: one that dies again while it is alone did it itself.
                waiting, suspects, alone = suspects, waiting, True
            window = _WINDOW_PER_WORKER * max(1, _wait_for_workers(client, scheduler))
            while waiting and len(flying) < (1 if alone else window):
                position = waiting.popleft()
                # pure=False: a function that writes files must run even if Dask has seen its arguments.
                flying[client.submit(_reply, function, items[position], pure=False)] = position
            for future in _finished(flying, client, scheduler):
                position, reply = flying.pop(future), _cluster_reply(future, scheduler, again=not alone)
                if reply is None:
                    suspects.append(position)
                else:
                    yield _outcome(reply, names[position], position)
    finally:
        client.cancel(list(flying), force=True)
        client.close()


def _connect(scheduler: str) -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        raise ConfigError(
            "a Dask cluster was asked for, and the package distributed is not installed: "
            "pip install 'medimg[cluster]'"
        ) from error
    try:
        return Client(scheduler, timeout=_CONNECT_SECONDS, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise ResourceError(
            f"no Dask scheduler answers at {scheduler} ({type(error).__name__}): expected an address "
            "such as tcp://10.0.0.1:8786. Start one with `dask scheduler`, and workers with `dask worker`."
        ) from error


def _wait_for_workers(client: Any, scheduler: str) -> int:
    """Number of threads of the cluster, once there is one."""
    end = time.monotonic() + _NO_WORKER_SECONDS
    while time.monotonic() < end:
        try:
            threads = sum(client.nthreads().values())
        except OSError as error:
            raise _lost(scheduler) from error
        if threads:
            return int(threads)
        time.sleep(0.5)
    raise ResourceError(
        f"the Dask cluster at {scheduler} has had no worker for {_NO_WORKER_SECONDS:.0f} s. "
        f"Start some with `dask worker {scheduler}`; finished cases need not be computed again."
    )


def _lost(scheduler: str) -> ResourceError:
    return ResourceError(
        f"the connection to the Dask scheduler at {scheduler} was lost. "
        "Check that it still runs, and start again."
    )


def _finished(flying: Iterable[Any], client: Any, scheduler: str) -> list[Any]:
    from distributed import CancelledError
    from distributed import wait as wait_on_cluster

    while True:
        try:
            with client.as_current():
                state: Any = wait_on_cluster(list(flying), 5, "FIRST_COMPLETED")  # type: ignore[no-untyped-call]
            return list(state.done)
        except TimeoutError:
            _wait_for_workers(client, scheduler)  # nothing came for a while: is there still a worker?
        except (CancelledError, OSError) as error:
            raise _lost(scheduler) from error


def _cluster_reply(future: Any, scheduler: str, *, again: bool) -> Any:
    """The worker's reply; of a case whose workers died ``None`` if it is tried again, else why it failed."""
    from distributed import CancelledError, KilledWorker

    try:
        return future.result()
    except KilledWorker as error:
        why = f"its worker died each time it was tried (last {error.last_worker.address}); most often the memory"
        return (
            None if again else _Reply(None, f"{why} ran out: give the workers more memory or fewer threads.")
        )
    except (CancelledError, OSError) as error:
        raise _lost(scheduler) from error
    except Exception as error:
        return _Reply(None, f"{type(error).__name__}: {error}")


def _with_progress(outcomes: Iterator[Outcome[R]], total: int, label: str) -> Iterator[Outcome[R]]:
    line = _ProgressLine(sys.stderr, total, label)
    try:
        for outcome in outcomes:
            line.advance(failed=outcome.error is not None)
            yield outcome
    finally:
        line.close()
        if hasattr(outcomes, "close"):
            outcomes.close()  # a consumer that stops early stops the workers now, not at collection


class _ProgressLine:
    """A line on stderr that updates itself, or one about every 10 % where there is no terminal."""

    def __init__(self, stream: TextIO, total: int, label: str) -> None:
        self._stream = stream
        self._total = total
        self._label = label
        self._terminal = stream.isatty()
        self._done = 0
        self._failed = 0
        self._started = time.monotonic()
        self._shown_at = self._started
        self._shown_tenth = 0

    def advance(self, *, failed: bool) -> None:
        self._done += 1
        self._failed += failed
        now = time.monotonic()
        last = self._done == self._total
        if self._terminal:
            if last or now - self._shown_at >= 0.1:
                self._shown_at = now
                self._stream.write(f"\r{self._text(now)}\x1b[K")  # the escape clears what an older text left
                self._stream.flush()
            return
        tenth = 10 * self._done // self._total
        if last or (tenth > self._shown_tenth and now - self._shown_at >= 1):  # a quick job is one line
            self._shown_tenth, self._shown_at = tenth, now
            self._stream.write(f"{self._text(now)}\n")
            self._stream.flush()

    def close(self) -> None:
        if self._terminal and self._done:
            self._stream.write("\n")
            self._stream.flush()

    def _text(self, now: float) -> str:
        seconds = max(now - self._started, 1e-6)
        rate = self._done / seconds
        left = round((self._total - self._done) / rate)
        pace = f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each"
        failed = f", {self._failed} failed" if self._failed else ""
        clock = f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}"
        percent = 100 * self._done // self._total
        return f"{self._label}: {self._done}/{self._total} ({percent} %){failed}, {pace}, {clock} left"

"""One crossval a folder, and one process for each of its runs, which never outlives it unseen."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from medimg.errors import ResourceError

if os.name == "posix":
    import fcntl

LOCK = ".crossval.lock"
PATIENCE_S = 30.0
_SIGNAL_EXIT = 128  # a shell reports a process ended by signal n as 128 + n
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux


@contextmanager
def one_at_a_time(experiment: Path, *, patience_s: float | None = None) -> Iterator[int]:
    """Keep every other crossval out of an experiment's folder.

    The lock belongs to the open file and not to the process: runs inherit it (``run_verb``), so that after a kill of
    the crossval alone nobody writes into the folder of a fold that is still training.

    Args:
        experiment: Folder ``<logs>/<experiment>``; made if it is missing.
        patience_s: Seconds to wait for the last run of a killed crossval to save and end; ``PATIENCE_S`` by default.

    Yields:
        Descriptor of the lock, to hand to ``run_verb``.

    Raises:
        ResourceError: If another crossval, or a run that it left behind, is at work there, or the folder cannot be
            written to.
    """
    patience_s = PATIENCE_S if patience_s is None else patience_s
    try:
        experiment.mkdir(parents=True, exist_ok=True)
        if os.name != "posix":
            with FileLock(experiment / LOCK).acquire(timeout=patience_s):
                yield 0
            return
        descriptor = os.open(experiment / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except Timeout as error:
        raise _at_work(experiment) from error
    except OSError as error:
        raise ResourceError(
            f"{experiment}: cannot be written to ({error.strerror or error}). Choose other --logs."
        ) from error
    try:
        if not _locked(descriptor, patience_s):
            raise _at_work(experiment)
        yield descriptor
    finally:
        os.close(descriptor)


def _locked(descriptor: int, patience_s: float) -> bool:
    # Not FileLock, which closes its file in a child: the child is to hold it.
    end = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        else:
            return True


def _at_work(experiment: Path) -> ResourceError:
    return ResourceError(
        f"{experiment}: another crossval, or a run of one that was killed, is at work in this folder ({LOCK} is "
        "locked). Wait for it or stop it; to work on two machines, give each its own --logs and gather later."
    )


def run_verb(words: Sequence[str], lock: int) -> int:
    """Run one verb in a process of its own, whose console is ours.

    SIGTERM is handed on, so that a fit saves and ends; after Ctrl-C, which reaches it anyway, it is waited for. On
    Linux it gets SIGTERM too when this process is killed.

    Args:
        words: Words after ``medimg``.
        lock: What ``one_at_a_time`` gave.

    Returns:
        Its exit status; 128 + n where signal n ended it.
    """
    command = [sys.executable, "-m", "medimg", *words]
    if os.name != "posix":
        return subprocess.run(command, check=False).returncode
    child = subprocess.Popen(command, pass_fds=(lock,), preexec_fn=_tie(os.getpid()))
    with child, _handing_on(child):
        status = _patient_wait(child)
    return status if status >= 0 else _SIGNAL_EXIT - status


def capture_verb(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run one verb that only prints, and take what it prints."""
    return subprocess.run(
        [sys.executable, "-m", "medimg", *words], capture_output=True, text=True, check=False
    )


def _patient_wait(child: "subprocess.Popen[bytes]") -> int:
    """Wait for a process; Ctrl-C reaches both, and the child needs its time to stop in good order."""
    stopped = False
    while True:
        try:
            status = child.wait()
        except KeyboardInterrupt:
            stopped = True
            continue
        if stopped:
            raise KeyboardInterrupt
        return status


def _tie(parent: int) -> Callable[[], None] | None:
    """What a child does before it starts, to get SIGTERM when its parent dies however it dies."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        control = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return None
    return partial(_die_with, parent, control)


def _die_with(parent: int, control: Callable[[int, int], int]) -> None:
    control(_DIE_WITH_PARENT, signal.SIGTERM)
    if os.getppid() != parent:  # it died in between
        os._exit(_SIGNAL_EXIT + signal.SIGTERM)


@contextmanager
def _handing_on(child: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Hand SIGTERM on to the child, then end by it once the child has ended."""
    received: list[int] = []

    def hand_on(number: int, frame: FrameType | None) -> None:
        received.append(number)
        child.send_signal(number)

    before = signal.signal(signal.SIGTERM, hand_on)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
    if received:
        raise SystemExit(_SIGNAL_EXIT + received[0])

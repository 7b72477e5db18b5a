"""End all processes of a run on one machine when one of them dies, and say which."""

import logging
import os
import signal
import subprocess
import sys
import threading

from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer

_LOGGER = logging.getLogger(__name__)


class RankWatch(Callback):
    """Notice within seconds that another process of the run has died, even between collective calls.

    Lightning's launcher ends the run when a process that it started dies, without a word about the
    cause; and when the main process itself dies, the others learn it only at their next collective
    call: after a long validation, or never while a GPU waits for its peer. This watch, a thread in each
    process, names the dead process and ends those that lost the main one.

    It watches runs that Lightning launched on one machine. torchrun and srun end their processes
    themselves, and there this callback does nothing.

    Args:
        period_s: Seconds between two looks.
    """

    def __init__(self, period_s: float = 1.0) -> None:
        self._period_s = period_s
        self._end = threading.Event()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Start to watch."""
        connector = getattr(trainer, "_accelerator_connector", None)
        environment = getattr(connector, "cluster_environment", None)
        if trainer.world_size == 1 or type(environment) is not LightningEnvironment:
            return
        self._end = threading.Event()
        children = getattr(trainer.strategy.launcher, "procs", None)
        if trainer.local_rank > 0:
            watch = threading.Thread(target=self._watch_main, args=(os.getppid(), trainer.global_rank))
        elif children:
            watch = threading.Thread(target=self._watch_children, args=(list(children), trainer.global_rank))
        else:
            return
        watch.daemon = True
        watch.start()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stop to watch: from here on processes end in good order."""
        self._end.set()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Stop to watch when the run ends in order on a signal; after any other error keep watching."""
        if isinstance(exception, SystemExit):
            self._end.set()

    def _watch_main(self, parent: int, rank: int) -> None:
        while not self._end.wait(self._period_s):
            if os.getppid() != parent:
                _say(f"the main process of the run has died, so process {rank} ends too. {_ADVICE}")
                os._exit(1)  # the main thread may wait in a call that no exception reaches

    def _watch_children(self, children: list["subprocess.Popen[bytes]"], rank: int) -> None:
        while not self._end.wait(self._period_s):
            for number, child in enumerate(children, start=rank + 1):
                if child.poll():
                    _say(f"process {number} of the run {_cause(child.returncode)}, so all end. {_ADVICE}")
                    return  # Lightning's own observer ends the rest within five seconds


_ADVICE = "Go on from the last checkpoint with --ckpt_path last."


def _cause(code: int) -> str:
    """What a return code means, in words.

    Example:
        >>> _cause(-9)
        'was killed by SIGKILL (often: out of memory)'
        >>> _cause(1)
        'ended with status 1'
    """
    if code >= 0:
        return f"ended with status {code}"
    name = signal.Signals(-code).name
    return f"was killed by {name}" + (" (often: out of memory)" if name == "SIGKILL" else "")


def _say(text: str) -> None:
    _LOGGER.error("%s", text)
    sys.stderr.write(f"\nmedimg: {text}\n")
    sys.stderr.flush()

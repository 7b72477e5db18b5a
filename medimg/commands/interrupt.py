"""Ctrl-C between two steps of a run, and not in the middle of writing something."""

import os
import signal
import threading
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class StopAfterStep(Callback):
    """End the run after the step in which Ctrl-C was pressed; a second Ctrl-C ends it at once.

    Python raises ``KeyboardInterrupt`` wherever the program stands, also while TensorBoard holds the lock
    of its queue: closing the log then waits for that lock for ever.

    Attributes:
        asked: Whether Ctrl-C was pressed.
    """

    def __init__(self) -> None:
        self.asked = False
        self._old: Any = None

    def _listen(self) -> None:
        if self._old is None and threading.current_thread() is threading.main_thread():
            self._old = signal.signal(signal.SIGINT, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # print could be the very thing that was interrupted.
        os.write(2, b"\nstopping after this step; Ctrl-C once more stops at once\n")

    def _obey(self) -> None:
        if self.asked:
            raise KeyboardInterrupt

    def _restore(self) -> None:
        if self._old is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._old)
        self._old = None

    # Listen from the first step on; what comes before can be broken off anywhere.

    def on_train_start(self, *_: Any, **__: Any) -> None:
        """Listen."""
        self._listen()

    def on_validation_start(self, *_: Any, **__: Any) -> None:
        """Listen."""
        self._listen()

    def on_test_start(self, *_: Any, **__: Any) -> None:
        """Listen."""
        self._listen()

    def on_predict_start(self, *_: Any, **__: Any) -> None:
        """Listen."""
        self._listen()

    # Between two steps nothing is half written.

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        """Raise ``KeyboardInterrupt`` if Ctrl-C was pressed."""
        self._obey()

    def on_validation_batch_end(self, *_: Any, **__: Any) -> None:
        """Raise ``KeyboardInterrupt`` if Ctrl-C was pressed."""
        self._obey()

    def on_test_batch_end(self, *_: Any, **__: Any) -> None:
        """Raise ``KeyboardInterrupt`` if Ctrl-C was pressed."""
        self._obey()

    def on_predict_batch_end(self, *_: Any, **__: Any) -> None:
        """Raise ``KeyboardInterrupt`` if Ctrl-C was pressed."""
        self._obey()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the signal back."""
        self._restore()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the signal back."""
        self._restore()

"""Lines that a user of the command cannot act on, silenced one by one with the reason; medimg's own are shown.

Everything else that Lightning and torch say stays.
"""

import logging
import re
import sys
import warnings
from typing import TextIO

# Python warnings, by the start of their text.
_WARNINGS = (
    # The run's folder was just made by us, or is the one that the user asked to go on in.
    r"Experiment logs directory .* exists and is not empty",
    r"Checkpoint directory .* exists and is not empty",
    # Resuming from another run's checkpoint: that run keeps its own best score.
    r"The dirpath has changed from",
    # The number of workers is chosen in the config, with its reason beside it.
    r".* does not have many workers which may be a bottleneck",
    # A short epoch logs once at its end, which is what is wanted.
    r"The number of training batches .* is smaller than the logging interval",
    # A trained run is scored with the average, which is what its checkpoint holds.
    r"You're using the WeightAveraging callback, but loading a checkpoint outside",
    # A note of torch to those who write torch's own extensions; Lightning's model summary meets it.
    r"`?torch\.jit\.interface`? is deprecated",
    # Between Lightning and torch.
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    r"Precision bf16-mixed is not supported by the model summary",
)

# Log records of Lightning, by a part of their text.
_RECORDS = re.compile(
    "|".join(
        (
            # Advertisements of services.
            r"💡 Tip",
            r"litlogger",
            # Which device is used is written in the config; the absence of others is no news.
            r"^(GPU|TPU|HPU|IPU) available",
            # Written in config.yaml.
            r"^(\[rank: \d+\] )?Seed set to",
            # Lightning's own business: the checkpoint was named by the user, or by us in the line above.
            r"^Restoring states from|^Loaded model weights|^Restored all states",
            r"^Loading `train_dataloader` to estimate",
            # TensorBoard's folder is made on the first write.
            r"^Missing logger folder",
        )
    )
)


class _Dull(logging.Filter):
    """Keeps the records back that ``_RECORDS`` lists."""

    def filter(self, record: logging.LogRecord) -> bool:
        return _RECORDS.search(record.getMessage()) is None


_DULL = _Dull()


def silence() -> None:
    """Silence these lines in this process; calling it again changes nothing."""
    for message in _WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        # On the handlers, since a logger's own filter does not see the records of its children.
        for handler in logging.getLogger(name).handlers:
            if _DULL not in handler.filters:
                handler.addFilter(_DULL)


def show_own_lines() -> None:
    """Show what medimg reports, such as tables of scores, as plain lines; calling it again changes nothing."""
    logger = logging.getLogger("medimg")
    if not logger.handlers:
        # Looked up at each line, so that it goes where the output goes at that time.
        handler = _Stdout()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)


class _Stdout(logging.StreamHandler[TextIO]):
    """Writes to whatever ``sys.stdout`` is when the line comes."""

    def __init__(self) -> None:
        super().__init__(sys.stdout)

    @property
    def stream(self) -> TextIO:
        return sys.stdout

    @stream.setter
    def stream(self, value: TextIO) -> None:
        pass

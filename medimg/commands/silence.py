"""Lines that a user of the command cannot act on, silenced one by one with the reason.

Everything else that Lightning and torch say stays.
"""

import logging
import re
import warnings

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

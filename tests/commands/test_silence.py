import logging
import warnings

import lightning.pytorch  # noqa: F401  its loggers get their handlers on import
import pytest

from medimg.commands.silence import silence


def test_only_the_listed_lines_are_silenced() -> None:
    shown: list[str] = []

    class Catch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            shown.append(record.getMessage())

    catch = Catch()
    logger = logging.getLogger("lightning.pytorch")
    logger.addHandler(catch)
    try:
        silence()
        silence()
        assert len(catch.filters) == 1
        child = logging.getLogger("lightning.pytorch.utilities.rank_zero")
        for text in (
            "GPU available: False, used: False",
            "💡 Tip: try it",
            "[rank: 1] Seed set to 0",
            "loss is NaN",
        ):
            child.error(text)
    finally:
        logger.removeHandler(catch)
    assert shown == ["loss is NaN"]


def test_python_warnings_are_silenced_by_their_text() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        silence()
        warnings.warn("Checkpoint directory /x/checkpoints exists and is not empty.", stacklevel=1)
        warnings.warn("The learning rate is odd.", stacklevel=1)
    assert [str(warning.message) for warning in caught] == ["The learning rate is odd."]


@pytest.fixture(autouse=True)
def _restore():
    with warnings.catch_warnings():
        yield

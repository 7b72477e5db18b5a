import signal
from types import SimpleNamespace

import pytest

from medimg.commands.interrupt import StopAfterStep

TRAINER, MODULE = SimpleNamespace(), SimpleNamespace()


@pytest.fixture(autouse=True)
def _keep_the_handler():
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("stage", ["train", "validation", "test", "predict"])
def test_the_first_ctrl_c_waits_for_the_step(stage: str, capfd: pytest.CaptureFixture[str]) -> None:
    callback = StopAfterStep()
    getattr(callback, f"on_{stage}_start")(TRAINER, MODULE)
    getattr(callback, f"on_{stage}_batch_end")(TRAINER, MODULE, None, None, 0)
    signal.raise_signal(signal.SIGINT)
    assert "once more stops at once" in capfd.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        getattr(callback, f"on_{stage}_batch_end")(TRAINER, MODULE, None, None, 1)
    assert callback.asked


def test_the_second_ctrl_c_stops_at_once() -> None:
    callback = StopAfterStep()
    callback.on_train_start(TRAINER, MODULE)
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("way", ["teardown", "on_exception"])
def test_the_signal_is_given_back(way: str) -> None:
    before = signal.getsignal(signal.SIGINT)
    callback = StopAfterStep()
    callback.on_train_start(TRAINER, MODULE)
    callback.on_validation_start(TRAINER, MODULE)
    assert signal.getsignal(signal.SIGINT) == callback._note
    getattr(callback, way)(TRAINER, MODULE, "fit")
    assert signal.getsignal(signal.SIGINT) is before

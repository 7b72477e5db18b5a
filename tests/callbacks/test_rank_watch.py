import os
import signal

import pytest

from medimg.callbacks.rank_watch import RankWatch, _cause


def test_causes_in_words() -> None:
    assert _cause(-signal.SIGTERM) == "was killed by SIGTERM"
    assert _cause(3) == "ended with status 3"


def test_one_process_has_nothing_to_watch() -> None:
    import threading

    from lightning.pytorch import Trainer
    from lightning.pytorch.demos.boring_classes import BoringModel

    before = threading.active_count()
    trainer = Trainer(
        fast_dev_run=True, accelerator="cpu", callbacks=[RankWatch()], enable_progress_bar=False
    )
    trainer.fit(BoringModel())
    assert threading.active_count() <= before


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["training", "validating"])
@pytest.mark.parametrize("rank", [0, 1])
def test_all_processes_end_when_one_is_killed(two_ranks, rank: int, stage: str) -> None:
    two_ranks.start()
    two_ranks.wait_for(f"{stage}0", f"{stage}1")

    os.kill(two_ranks.pid(rank), signal.SIGKILL)

    assert two_ranks.seconds_to_end() < 20
    if stage == "validating":  # in training the failed collective call may come first
        said = two_ranks.log.read_text()
        assert ("the main process of the run has died" in said) == (rank == 0)
        # Lightning's own watch, which looks once a second, may come first.
        names = ("process 1 of the run was killed by SIGKILL", "terminated with code -9")
        assert any(name in said for name in names) == (rank == 1)

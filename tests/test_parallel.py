"""Functions mapped over cases; nested ones are pickled by value, so no worker imports the tests."""

import io
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from medimg import parallel
from medimg.errors import ConfigError, DataError, ResourceError
from medimg.parallel import Outcome, map_cases, raise_failures
from medimg.records import Record


def _fussy_square():
    def square(number: int) -> int:
        if number == 3:
            raise ValueError("three is odd")
        if number == 4:
            raise DataError("case 4: no such file")
        return number * number

    return square


@pytest.mark.parametrize("workers", [1, 2])
def test_failing_cases_are_named_and_the_others_go_on(workers: int) -> None:
    names = [f"case_{number}" for number in range(8)]

    outcomes = list(map_cases(_fussy_square(), range(8), names=names, workers=workers, progress=False))

    by_index = sorted(outcomes, key=lambda outcome: outcome.index)
    assert [outcome.name for outcome in by_index] == names
    assert [outcome.value for outcome in by_index] == [0, 1, 4, None, None, 25, 36, 49]
    assert [outcome.error for outcome in by_index if outcome.error] == [
        "ValueError: three is odd",
        "case 4: no such file",
    ]


def test_two_workers_give_what_one_gives_in_the_order_of_the_cases() -> None:
    def slow_first(number: int) -> tuple[int, int]:
        time.sleep(0.1 if number == 0 else 0)
        return number, number**3

    alone = raise_failures(map_cases(slow_first, range(20), progress=False))
    together = raise_failures(map_cases(slow_first, range(20), workers=2, progress=False))

    assert together == alone == [(number, number**3) for number in range(20)]


def test_workers_are_other_processes_with_one_thread() -> None:
    def where(number: int) -> tuple[int, str | None]:
        return os.getpid(), os.environ.get("OPENBLAS_NUM_THREADS")

    places = raise_failures(map_cases(where, range(6), workers=2, progress=False))

    assert os.getpid() not in {pid for pid, _ in places}
    assert {threads for _, threads in places} == {"1"}


def test_raise_failures_names_every_failed_case_after_all_were_tried() -> None:
    seen = []

    def note(number: int) -> int:
        seen.append(number)
        return _fussy_square()(number)

    with pytest.raises(DataError) as caught:
        raise_failures(map_cases(note, range(8), names=list("abcdefgh"), progress=False))

    assert seen == list(range(8))
    assert str(caught.value).splitlines() == [
        "2 of 8 cases failed:",
        "  d: ValueError: three is odd",
        "  e: case 4: no such file",
    ]


def test_many_failures_are_all_named_in_a_short_message() -> None:
    outcomes = [Outcome[int](f"case_{number}", None, "broken", number) for number in range(30)]

    with pytest.raises(DataError) as caught:
        raise_failures(outcomes)

    assert len(str(caught.value).splitlines()) == 22
    assert all(outcome.name in str(caught.value) for outcome in outcomes)


def test_a_killed_worker_names_the_cases_in_flight() -> None:
    def die_on_five(number: int) -> int:
        time.sleep(0.05)
        if number == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    done = []
    with pytest.raises(ResourceError, match=r"killed .*case_5.* fewer than 2 workers") as caught:
        for outcome in map_cases(
            die_on_five, range(12), names=[f"case_{n}" for n in range(12)], workers=2, progress=False
        ):
            done.append(outcome.value)

    assert set(done) >= {0, 1, 2, 3}
    assert "case_11" not in str(caught.value)


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    if not Path("/proc/self").exists():
        pytest.skip("needs /proc to see which processes run")
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from medimg.parallel import map_cases\n"
        "def wait(number):\n"
        "    (Path(sys.argv[1]) / f'{os.getpid()}.pid').touch()\n"
        "    time.sleep(0.1)\n"
        "if __name__ == '__main__':\n"
        "    list(map_cases(wait, range(10_000), workers=2, progress=False))\n"
    )
    package = str(Path(parallel.__file__).parents[1])
    parent = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], env={**os.environ, "PYTHONPATH": package}
    )
    try:
        _wait_until(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    finally:
        parent.kill()
        parent.wait()

    _wait_until(lambda: not any(_runs(path.stem) for path in tmp_path.glob("*.pid")))


def _runs(pid: str) -> bool:
    try:
        state = (Path("/proc") / pid / "stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def _wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_slow_consumer_does_not_let_results_pile_up(tmp_path: Path) -> None:
    def mark(number: int) -> int:
        (tmp_path / str(number)).touch()
        return number

    outcomes = map_cases(mark, range(50), workers=2, progress=False)
    next(outcomes)
    time.sleep(0.5)
    started = len(list(tmp_path.iterdir()))
    outcomes.close()  # type: ignore[attr-defined]

    assert started <= 2 * parallel._WINDOW_PER_WORKER
    time.sleep(0.2)
    assert len(list(tmp_path.iterdir())) == started


def test_a_value_that_does_not_pickle_fails_its_case_only() -> None:
    def opened(number: int) -> object:
        return threading.Lock() if number == 1 else number

    outcomes = sorted(map_cases(opened, range(3), workers=2, progress=False), key=lambda o: o.index)

    assert [outcome.value for outcome in outcomes] == [0, None, 2]
    assert outcomes[1].error is not None
    assert "pickle" in outcomes[1].error


def test_default_names() -> None:
    items = [Record("BRATS_001", "p1", ()), Path("/data/scan.nii.gz"), "plain", 7]

    names = [outcome.name for outcome in map_cases(pickle.dumps, items, progress=False)]

    assert names == ["BRATS_001", "scan.nii.gz", "plain", "item 3"]


def test_no_cases() -> None:
    assert raise_failures(map_cases(len, [], workers=4)) == []


def test_wrong_numbers_are_refused_before_any_work() -> None:
    with pytest.raises(ConfigError, match="at least 1, found 0"):
        map_cases(len, ["a"], workers=0)
    with pytest.raises(ValueError, match="2 cases, found 1"):
        map_cases(len, ["a", "b"], names=["a"])


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    list(map_cases(_fussy_square(), range(5), label="preparing"))

    assert terminal.getvalue().count("\n") == 1
    last = terminal.getvalue().rsplit("\r", 1)[1]
    assert last.startswith("preparing: 5/5 (100 %), 2 failed, ")
    assert "0:00:00 left" in last


def test_progress_in_a_log_is_about_ten_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ticks = iter(range(0, 100_000, 5))
    monkeypatch.setattr(parallel.time, "monotonic", lambda: float(next(ticks)))

    list(map_cases(len, ["x"] * 200, label="scans"))

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[0] == "scans: 20/200 (10 %), 5.0 s each, 0:15:00 left"
    assert lines[-1].startswith("scans: 200/200 (100 %)")


def test_missing_dask_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"medimg\[cluster\]"):
        list(map_cases(len, ["a"], scheduler="tcp://127.0.0.1:1", progress=False))


def test_a_scheduler_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "_CONNECT_SECONDS", 0.5)
    with pytest.raises(ResourceError, match=r"tcp://127\.0\.0\.1:9 .*dask scheduler"):
        list(map_cases(len, ["a"], scheduler="tcp://127.0.0.1:9", progress=False))


@pytest.fixture
def cluster():
    import dask
    from distributed import LocalCluster

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),  # three take half a minute
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
        ) as running,
    ):
        yield running


@pytest.mark.slow
def test_dask_cluster_retries_the_cases_of_a_killed_worker(cluster, tmp_path: Path) -> None:
    def die_once_on_five(number: int) -> int:
        time.sleep(0.02)
        marker = tmp_path / "died"
        if number == 5 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return number * number

    outcomes = map_cases(
        die_once_on_five, range(30), scheduler=cluster.scheduler_address, workers=1, progress=False
    )

    assert raise_failures(outcomes) == [number * number for number in range(30)]
    assert (tmp_path / "died").exists()


@pytest.mark.slow
def test_dask_cluster_gives_up_on_a_case_that_always_kills(cluster) -> None:
    def deadly(number: int) -> int:
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return _fussy_square()(number)

    names = [f"case_{number}" for number in range(8)]
    outcomes = sorted(
        map_cases(deadly, range(8), names=names, scheduler=cluster.scheduler_address, progress=False),
        key=lambda outcome: outcome.index,
    )

    # The others came through, also those that a dying worker took with it.
    assert [outcome.value for outcome in outcomes] == [0, 1, None, None, None, 25, 36, 49]
    assert outcomes[2].name == "case_2"
    assert "died each time" in str(outcomes[2].error)
    assert outcomes[3].error == "ValueError: three is odd"


@pytest.mark.slow
def test_a_cluster_without_workers_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import LocalCluster

    monkeypatch.setattr(parallel, "_NO_WORKER_SECONDS", 1.0)
    with (
        LocalCluster(n_workers=0, processes=True, host="127.0.0.1", dashboard_address=None) as empty,
        pytest.raises(ResourceError, match="no worker"),
    ):
        list(map_cases(len, ["a"], scheduler=empty.scheduler_address, progress=False))

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from medimg.crossval import processes
from medimg.crossval.processes import capture_verb, one_at_a_time, run_verb
from medimg.errors import ResourceError

posix = pytest.mark.skipif(os.name != "posix", reason="locks are inherited on POSIX alone")


def test_a_second_crossval_is_refused_and_the_next_is_not(tmp_path):
    with one_at_a_time(tmp_path / "exp"), pytest.raises(ResourceError, match="another crossval"):  # noqa: SIM117
        with one_at_a_time(tmp_path / "exp", patience_s=0.05):
            pass
    with one_at_a_time(tmp_path / "exp", patience_s=0.05):
        pass


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="cannot be written to"), one_at_a_time(tmp_path / "file" / "exp"):
        pass


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Stand a few lines of Python in for ``python -m medimg``."""

    python = sys.executable

    def write(text):
        path = tmp_path / "child"
        path.write_text(f"#!/bin/sh\nexec {python} -c '{textwrap.dedent(text)}' \"$@\"\n")
        path.chmod(0o755)
        monkeypatch.setattr(processes.sys, "executable", str(path))

    return write


@posix
def test_the_status_of_a_run_is_handed_back(script, tmp_path):
    script("import sys; print(*sys.argv[1:]); sys.exit(3)")
    with one_at_a_time(tmp_path / "exp") as lock:
        assert run_verb(["fit", "--config", "c"], lock) == 3
        done = capture_verb(["fit"])
        assert (done.returncode, done.stdout) == (3, "-m medimg fit\n")
    script("import os; os.kill(os.getpid(), 9)")
    with one_at_a_time(tmp_path / "exp") as lock:
        assert run_verb(["fit"], lock) == 137


PARENT = """
import sys
from pathlib import Path
from medimg.crossval.processes import one_at_a_time, run_verb
sys.executable = sys.argv[2]
with one_at_a_time(Path(sys.argv[1])) as lock:
    run_verb(["fit"], lock)
"""

CHILD = """
import os, signal, sys, time
def end(number, frame):
    time.sleep(0.3)
    open(os.environ["PLACE"] + "/saved", "w").close()
    sys.exit(143)
signal.signal(signal.SIGTERM, end)
open(os.environ["PLACE"] + "/started", "w").close()
time.sleep(60)
"""


@pytest.fixture
def crossval(tmp_path):
    """A process that holds the lock and waits for a run."""
    child = tmp_path / "child"
    (tmp_path / "child.py").write_text(CHILD)
    child.write_text(f"#!/bin/sh\nexec {sys.executable} {tmp_path / 'child.py'}\n")
    child.chmod(0o755)
    environment = {**os.environ, "PLACE": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "exp"), str(child)], env=environment
    )
    end = time.monotonic() + 60
    while not (tmp_path / "started").exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    yield process
    process.kill()
    process.wait()


@posix
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux tells a child of its parent's death")
def test_a_run_ends_in_good_order_when_its_crossval_is_killed_and_keeps_others_out_until_then(
    crossval, tmp_path
):
    crossval.kill()
    crossval.wait()
    with pytest.raises(ResourceError, match="a run of one that was killed"):  # noqa: SIM117
        with one_at_a_time(tmp_path / "exp", patience_s=0):
            pass
    with one_at_a_time(tmp_path / "exp", patience_s=30):
        assert (tmp_path / "saved").exists()


@posix
def test_sigterm_is_handed_on_and_waited_for(crossval, tmp_path):
    crossval.send_signal(signal.SIGTERM)
    assert crossval.wait(timeout=30) == 143
    assert (tmp_path / "saved").exists()

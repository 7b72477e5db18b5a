import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from medimg import runs
from medimg.errors import CheckpointError, ResourceError
from medimg.runs import (
    RunFolder,
    discard_if_empty,
    find_run,
    from_here,
    new_version,
    newest_run,
    next_version,
    probe_writable,
    resolve_checkpoint,
    versions,
)


def train(run: RunFolder, *names: str) -> RunFolder:
    """Leave in a folder what a run leaves there."""
    run.checkpoints.mkdir(parents=True)
    run.config.write_text("seed_everything: 0\n")
    for name in names:
        (run.checkpoints / name).write_bytes(b"weights")
    return run


def test_paths_below_the_current_folder_are_typed_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert from_here(tmp_path / "logs" / "a.csv") == Path("logs/a.csv")
    assert from_here(Path("logs/a.csv")) == Path("logs/a.csv")
    assert from_here(tmp_path.parent / "b") == tmp_path.parent / "b"


def test_versions_count_up_from_zero_and_sort_as_numbers(tmp_path: Path) -> None:
    made = [new_version(tmp_path, "brats") for _ in range(12)]
    assert [run.version for run in made] == list(range(12))
    assert [run.version for run in versions(tmp_path, "brats")] == list(range(12))
    assert made[11].path == tmp_path / "brats" / "version_11"
    assert (made[3].experiment, made[3].logs) == ("brats", tmp_path)


def test_gaps_and_strangers_are_left_alone(tmp_path: Path) -> None:
    for name in ("version_0", "version_7", "version_x", "notes"):
        (tmp_path / "brats" / name).mkdir(parents=True)
    (tmp_path / "brats" / "version_9").write_text("a file, not a run")
    assert next_version(tmp_path, "brats").version == 8
    assert new_version(tmp_path, "brats").version == 8


def test_runs_that_start_together_get_folders_of_their_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: new_version(tmp_path, "brats").version, range(40)))
    assert sorted(made) == list(range(40))


def test_version_of_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="version_<number>"):
        _ = RunFolder(tmp_path / "final").version


@pytest.mark.parametrize("name", ["", "..", ".", "a/b", "../outside", "/tmp"])
def test_an_experiment_stays_inside_the_logs(tmp_path: Path, name: str) -> None:
    with pytest.raises(ResourceError, match="one plain folder name"):
        new_version(tmp_path, name)


def test_discard_removes_only_what_is_empty(tmp_path: Path) -> None:
    kept, empty = new_version(tmp_path, "brats"), new_version(tmp_path, "brats")
    kept.config.write_text("a: 1\n")
    discard_if_empty(kept)
    discard_if_empty(empty)
    assert kept.config.is_file()
    assert not empty.path.exists()
    lone = new_version(tmp_path, "other")
    discard_if_empty(lone)
    assert not lone.path.parent.exists()


def test_a_run_is_known_by_its_own_config_only(tmp_path: Path) -> None:
    run = train(new_version(tmp_path, "brats"))
    assert find_run(run.config) == run
    (run.path / "resumed_0.yaml").write_text("a: 1\n")
    assert find_run(run.path / "resumed_0.yaml") is None
    elsewhere = tmp_path / "config.yaml"
    elsewhere.write_text("a: 1\n")
    assert find_run(elsewhere) is None
    assert find_run(tmp_path / "brats" / "version_5" / "config.yaml") is None
    bare = new_version(tmp_path, "brats")
    bare.config.write_text("a: 1\n")
    assert find_run(bare.config) is None  # it never wrote a checkpoint


def test_a_run_keeps_its_meaning_under_another_name(tmp_path: Path) -> None:
    run = train(new_version(tmp_path, "brats"), "best.ckpt")
    renamed = run.path.rename(tmp_path / "from the cluster")
    found = find_run(renamed / "config.yaml")
    assert found is not None
    assert resolve_checkpoint(found, "best") == renamed / "checkpoints" / "best.ckpt"


def test_find_run_takes_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train(new_version(tmp_path, "brats"))
    monkeypatch.chdir(run.path)
    assert find_run(Path("config.yaml")) == run


def test_newest_run_skips_those_without_checkpoints(tmp_path: Path) -> None:
    assert newest_run(tmp_path / "none", "brats") is None
    assert newest_run(tmp_path / "none") is None
    first = train(new_version(tmp_path, "brats"))
    new_version(tmp_path, "brats")
    assert newest_run(tmp_path, "brats") == first
    other = train(new_version(tmp_path, "other"))
    os.utime(first.config, (2e9, 2e9))
    assert newest_run(tmp_path) == first
    os.utime(other.config, (3e9, 3e9))
    assert newest_run(tmp_path) == other


def test_best_and_last_come_from_the_given_run(tmp_path: Path) -> None:
    run = train(new_version(tmp_path, "brats"), "best.ckpt", "last.ckpt")
    train(new_version(tmp_path, "brats"), "best.ckpt")
    assert resolve_checkpoint(run, "best") == run.checkpoints / "best.ckpt"
    assert resolve_checkpoint(run, "last") == run.checkpoints / "last.ckpt"


def test_best_without_a_run_names_the_newest_one(tmp_path: Path) -> None:
    run = train(new_version(tmp_path, "brats"), "best.ckpt")
    with pytest.raises(CheckpointError, match=r"belongs to no run.*brats/version_0/config\.yaml"):
        resolve_checkpoint(None, "best", logs=tmp_path, experiment="other")
    assert run.config.is_file()


def test_a_missing_checkpoint_says_what_there_is(tmp_path: Path) -> None:
    run = train(new_version(tmp_path, "brats"), "last.ckpt")
    with pytest.raises(CheckpointError, match=r"best\.ckpt: the run has last\.ckpt"):
        resolve_checkpoint(run, "best", logs=tmp_path)
    empty = train(new_version(tmp_path, "brats"))
    with pytest.raises(CheckpointError, match="no checkpoint at all"):
        resolve_checkpoint(empty, "last", logs=tmp_path)


def test_a_path_is_taken_as_it_is_or_refused(tmp_path: Path) -> None:
    run = train(new_version(tmp_path, "brats"), "epoch3.ckpt")
    path = run.checkpoints / "epoch3.ckpt"
    assert resolve_checkpoint(None, path) == path
    assert resolve_checkpoint(run, str(path)) == path
    with pytest.raises(CheckpointError, match="no such file"):
        resolve_checkpoint(run, tmp_path / "nothing.ckpt", logs=tmp_path)
    with pytest.raises(CheckpointError, match="it is a folder"):
        resolve_checkpoint(run, run.checkpoints, logs=tmp_path)
    with pytest.raises(CheckpointError, match="train one first"):
        resolve_checkpoint(None, "nothing.ckpt", logs=tmp_path / "empty")


def test_probe_leaves_nothing_behind(tmp_path: Path) -> None:
    probe_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file stands in the way")
    with pytest.raises(ResourceError, match="--logs DIR"):
        new_version(tmp_path / "logs", "brats")


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may write anywhere, so the refusal is played.
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    with pytest.raises(ResourceError, match=r"brats/version_0: Read-only file system"):
        new_version(tmp_path, "brats")


def test_a_full_disk_is_found_and_the_probe_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runs.os, "write", full)
    with pytest.raises(ResourceError, match="No space left"):
        probe_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_runs_need_no_torch() -> None:
    code = "import sys, medimg.runs; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "lightning", "numpy"} & set(found.stdout.split())

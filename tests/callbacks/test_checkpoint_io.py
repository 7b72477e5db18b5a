import errno
import logging
import multiprocessing
import os
import pickle
import random
import shutil
import time
from collections import namedtuple
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel

from medimg.callbacks import checkpoint_io
from medimg.callbacks.checkpoint_io import SafeCheckpointIO, load_checkpoint, load_newest_readable
from medimg.errors import CheckpointError, ResourceError


def _state(step: int, size: int = 1000) -> dict:
    return {"global_step": step, "state_dict": {"weight": torch.full((size,), float(step))}}


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _truncate(path: Path, keep: float = 0.5) -> None:
    os.truncate(path, int(path.stat().st_size * keep))


def test_saved_and_loaded_alike(tmp_path: Path) -> None:
    plugin = SafeCheckpointIO()
    path = tmp_path / "new" / "epoch=1.ckpt"

    plugin.save_checkpoint(_state(7), path)
    loaded = plugin.load_checkpoint(str(path))

    assert loaded["global_step"] == 7
    assert torch.equal(loaded["state_dict"]["weight"], _state(7)["state_dict"]["weight"])
    assert _names(path.parent) == {"epoch=1.ckpt"}
    plugin.remove_checkpoint(path)
    plugin.remove_checkpoint(path)
    assert _names(path.parent) == set()


def test_last_keeps_its_predecessor(tmp_path: Path) -> None:
    plugin = SafeCheckpointIO()
    for step in (1, 2, 3):
        plugin.save_checkpoint(_state(step), tmp_path / "last.ckpt")

    assert load_checkpoint(tmp_path / "last.ckpt")["global_step"] == 3
    assert load_checkpoint(tmp_path / "last-previous.ckpt")["global_step"] == 2
    assert _names(tmp_path) == {"last.ckpt", "last-previous.ckpt"}


def test_last_keeps_its_predecessor_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no hard links")

    monkeypatch.setattr(os, "link", refuse)
    test_last_keeps_its_predecessor(tmp_path)


def _disk_usage(free: int):
    usage = namedtuple("usage", "total used free")
    return lambda path: usage(10**12, 10**12 - free, free)


def test_a_disk_too_small_is_noticed_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = SafeCheckpointIO()
    plugin.save_checkpoint(_state(1), tmp_path / "last.ckpt")
    monkeypatch.setattr(shutil, "disk_usage", _disk_usage(3_000_000))

    needed = 4 * 1_000_000 + (1 << 20)
    with pytest.raises(ResourceError, match=rf"last\.ckpt: .*{needed} bytes needed, 3000000 free.*untouched"):
        plugin.save_checkpoint(_state(2, size=1_000_000), tmp_path / "last.ckpt")

    assert load_checkpoint(tmp_path / "last.ckpt")["global_step"] == 1
    assert _names(tmp_path) == {"last.ckpt"}


@pytest.mark.parametrize("step", ["write", "fsync"])
def test_a_disk_that_fills_up_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    plugin = SafeCheckpointIO()
    plugin.save_checkpoint(_state(1), tmp_path / "last.ckpt")
    calls = []
    real_write = os.write

    def write(descriptor: int, data: bytes) -> int:
        calls.append(len(data))
        if len(calls) > 3:  # some bytes arrive, as on a real disk
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_write(descriptor, data)

    def fsync(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, {"write": write, "fsync": fsync}[step])
    with pytest.raises(ResourceError, match="disk is full"):
        plugin.save_checkpoint(_state(2), tmp_path / "last.ckpt")

    assert load_checkpoint(tmp_path / "last.ckpt")["global_step"] == 1
    assert _names(tmp_path) == {"last.ckpt"}


def test_a_folder_without_permission_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Mocked, because root may write anywhere.
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ResourceError, match=r"epoch=1\.ckpt: no permission to write in"):
        SafeCheckpointIO().save_checkpoint(_state(1), tmp_path / "epoch=1.ckpt")


def test_a_folder_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(ResourceError, match="could not be written"):
        SafeCheckpointIO().save_checkpoint(_state(1), tmp_path / "run" / "last.ckpt")


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".epoch=0.ckpt.tmp").write_bytes(b"half")
    SafeCheckpointIO().save_checkpoint(_state(1), tmp_path / "epoch=1.ckpt")
    assert _names(tmp_path) == {"epoch=1.ckpt"}


class _Opaque:
    pass


def test_a_value_that_could_not_be_loaded_is_refused_when_saving(tmp_path: Path) -> None:
    plugin = SafeCheckpointIO()
    plugin.save_checkpoint(_state(1), tmp_path / "last.ckpt")

    with pytest.raises(CheckpointError, match=r"not saved.*_Opaque"):
        plugin.save_checkpoint({"hyper_parameters": {"x": _Opaque()}}, tmp_path / "last.ckpt")

    assert load_checkpoint(tmp_path / "last.ckpt")["global_step"] == 1
    assert _names(tmp_path) == {"last.ckpt"}


class _Malicious:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("form", ["torch", "pickle", "legacy"])
@pytest.mark.parametrize("weights_only", [True, False, None])
def test_a_malicious_pickle_is_refused_and_does_not_run(
    tmp_path: Path, form: str, weights_only: bool | None
) -> None:
    marker, path = tmp_path / "marker", tmp_path / "model.ckpt"
    content = {"state_dict": _Malicious(marker)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "torch")

    with pytest.raises(CheckpointError, match=r"model\.ckpt"):
        SafeCheckpointIO().load_checkpoint(path, weights_only=weights_only)

    assert not marker.exists()


def test_an_instantiator_in_the_hyper_parameters_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    for key in ("hyper_parameters", "datamodule_hyper_parameters"):
        torch.save({**_state(1), key: {"_instantiator": "os.system"}}, path)
        with pytest.raises(CheckpointError, match=r"os\.system.*_instantiator"):
            SafeCheckpointIO().load_checkpoint(path)

    torch.save(
        {**_state(1), "hyper_parameters": {"_instantiator": "lightning.pytorch.cli.instantiate_module"}}, path
    )
    assert SafeCheckpointIO().load_checkpoint(path)["global_step"] == 1


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.99])
def test_a_truncated_last_falls_back_to_the_previous_one_and_says_so(
    tmp_path: Path, keep: float, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = SafeCheckpointIO()
    for step in (1, 2):
        plugin.save_checkpoint(_state(step), tmp_path / "last.ckpt")
    _truncate(tmp_path / "last.ckpt", keep)

    with caplog.at_level(logging.WARNING):
        loaded = plugin.load_checkpoint(tmp_path / "last.ckpt")

    assert loaded["global_step"] == 1
    assert str(tmp_path / "last.ckpt") in caplog.text
    assert "last-previous.ckpt (step 1)" in caplog.text


def test_a_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "epoch=1.ckpt"
    SafeCheckpointIO().save_checkpoint(_state(1), path)
    content = bytearray(path.read_bytes())
    content[content.index(torch.full((4,), 1.0).numpy().tobytes()) + 40] ^= 1
    path.write_bytes(content)

    with pytest.raises(CheckpointError, match="checksum"):
        load_checkpoint(path)


def test_another_checkpoint_than_last_is_never_replaced_by_an_older_one(tmp_path: Path) -> None:
    plugin = SafeCheckpointIO()
    for name in ("last.ckpt", "best.ckpt"):
        plugin.save_checkpoint(_state(1), tmp_path / name)
    _truncate(tmp_path / "best.ckpt")

    with pytest.raises(CheckpointError, match=r"best\.ckpt: .*truncated"):
        plugin.load_checkpoint(tmp_path / "best.ckpt")
    with pytest.raises(CheckpointError, match="found no file"):
        plugin.load_checkpoint(tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match="address"):
        plugin.load_checkpoint("https://example.org/best.ckpt")


def test_newest_readable_of_a_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(CheckpointError, match="found none"):
        load_newest_readable(tmp_path)
    for step in (1, 2, 3):
        path = tmp_path / f"step={step}.ckpt"
        SafeCheckpointIO().save_checkpoint(_state(step), path)
        os.utime(path, (step, step))
    (tmp_path / "last.ckpt").symlink_to("gone.ckpt")
    _truncate(tmp_path / "step=3.ckpt")
    os.utime(tmp_path / "step=3.ckpt", (3, 3))

    path, checkpoint = load_newest_readable(tmp_path)

    assert path.name == "step=2.ckpt"
    assert checkpoint["global_step"] == 2
    assert "step=3.ckpt" in caplog.text
    for step in (1, 2):
        _truncate(tmp_path / f"step={step}.ckpt")
    with pytest.raises(CheckpointError, match="No older one could be read"):
        load_newest_readable([tmp_path / "step=2.ckpt", tmp_path / "step=1.ckpt"])


def test_code_in_a_checkpoint_is_no_reason_to_try_an_older_one(tmp_path: Path) -> None:
    torch.save({"state_dict": _Malicious(tmp_path / "marker")}, tmp_path / "last.ckpt")
    torch.save(_state(1), tmp_path / "last-previous.ckpt")

    with pytest.raises(CheckpointError, match="refused"):
        SafeCheckpointIO().load_checkpoint(tmp_path / "last.ckpt")


@pytest.mark.parametrize("save_last", [True, "link"])
def test_model_checkpoint_writes_through_the_plugin_and_a_fit_resumes_from_the_previous_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save_last: bool | str, caplog: pytest.LogCaptureFixture
) -> None:
    written = []
    write = checkpoint_io._write
    monkeypatch.setattr(
        checkpoint_io, "_write", lambda state, path: (written.append(path), write(state, path))
    )

    def trainer(epochs: int) -> Trainer:
        return Trainer(
            max_epochs=epochs,
            limit_train_batches=2,
            limit_val_batches=1,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
            plugins=[SafeCheckpointIO()],
            callbacks=[
                ModelCheckpoint(tmp_path / "ckpt", filename="{epoch}", save_last=save_last, save_top_k=-1)
            ],
        )

    trainer(3).fit(BoringModel())

    last = tmp_path / "ckpt" / "last.ckpt"
    assert last.is_symlink() == (save_last == "link")
    epochs = {f"epoch={epoch}.ckpt" for epoch in range(3)}
    names = _names(tmp_path / "ckpt")
    if save_last == "link":
        assert names == epochs | {"last.ckpt"}
        assert len(written) == 3
        _truncate(tmp_path / "ckpt" / "epoch=2.ckpt")
    else:
        assert names == epochs | {"last.ckpt", "last-previous.ckpt"}
        assert len(written) == 6
        _truncate(last)
    resumed = trainer(4)
    resumed.fit(BoringModel(), ckpt_path=str(last))
    assert resumed.global_step == 8
    assert "last.ckpt" in caplog.text
    assert "step 4" in caplog.text  # two epochs of two steps


def _save_for_ever(path: Path, saved: Event) -> None:
    torch.set_num_threads(1)  # the pool of threads does not survive the fork
    plugin = SafeCheckpointIO()
    step = load_checkpoint(path)["global_step"]
    while True:
        step += 1
        plugin.save_checkpoint(_state(step, size=300_000), path)
        saved.set()


@pytest.mark.slow
@pytest.mark.parametrize("disk", ["same", "other"])
def test_kill_while_saving_leaves_a_checkpoint_that_loads(
    tmp_path: Path, disk: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = Path("/dev/shm")
    if disk == "other":
        if not os.access(shared, os.W_OK) or shared.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("no second file system here")
        # The folder for temporary files is on another disk than the checkpoint.
        temporary = shared / f"medimg-test-{os.getpid()}"
        temporary.mkdir()
        monkeypatch.setenv("TMPDIR", str(temporary))
    path = tmp_path / "last.ckpt"
    SafeCheckpointIO().save_checkpoint(_state(0, size=300_000), path)
    wait = random.Random(0)
    steps = []
    for _ in range(25):
        context = multiprocessing.get_context("fork")
        saved = context.Event()
        process = context.Process(target=_save_for_ever, args=(path, saved))
        process.start()
        # On a busy machine a fork takes longer than the wait: the kill is to fall into the second save or later.
        assert saved.wait(60)
        time.sleep(wait.uniform(0.0, 0.1))
        process.kill()
        process.join()
        loaded = load_checkpoint(path)  # the file itself, without any fall-back
        assert loaded["state_dict"]["weight"].eq(loaded["global_step"]).all()
        steps.append(loaded["global_step"])
    assert len(set(steps)) > 10, "the kills came before anything was saved"
    SafeCheckpointIO().save_checkpoint(_state(1), path)
    assert _names(tmp_path) == {"last.ckpt", "last-previous.ckpt"}
    if disk == "other":
        assert not any(temporary.iterdir())
        shutil.rmtree(temporary)

"""Checkpoints that survive a crash while they are written, and that cannot run code when they are read.

A checkpoint is written beside its destination, forced to the disk, read back and renamed, so that a
file with the final name is always whole. The ``last.ckpt`` it replaces stays as ``last-previous.ckpt``.
"""

import errno
import logging
import os
import pickle
import shutil
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO

from medimg.errors import CheckpointError, ResourceError

_LOGGER = logging.getLogger(__name__)

_LAST = "last"
_HYPER_PARAMETERS = ("hyper_parameters", "datamodule_hyper_parameters", "hparams", "module_arguments")
# What LightningCLI itself writes; any other value names code that a loader would call.
_INSTANTIATORS = ("lightning.pytorch.cli.instantiate_module", "pytorch_lightning.cli.instantiate_module")
_HEADROOM_BYTES = 1 << 20  # pickled structure and zip headers, on top of the tensors
_FULL = (errno.ENOSPC, errno.EDQUOT)
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)


class DamagedCheckpointError(CheckpointError):
    """A checkpoint that is truncated or whose bytes changed; an older one may still be good."""


class SafeCheckpointIO(CheckpointIO):
    """Lightning plugin that writes checkpoints atomically and reads them without running code.

    Set it in a config under ``trainer.plugins``. ``ModelCheckpoint`` and ``Trainer.save_checkpoint``
    then write through it, ``save_last: true`` included. With ``save_last: link`` only a symbolic link
    is made, by Lightning, to a file that was written through it.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint so that a reader sees the old file or the new one, never a part of one.

        Args:
            checkpoint: Tensors and plain values.
            path: Destination on a local or mounted file system.
            storage_options: Not used; must be ``None``.

        Raises:
            CheckpointError: If the checkpoint holds a value that could not be loaded again.
            ResourceError: If the disk is full or the folder cannot be written. The file that stood at
                ``path`` is untouched.
        """
        if storage_options is not None:
            raise TypeError("storage_options: SafeCheckpointIO writes local files and takes none")
        target = _local(path)
        needed = _size_bytes(checkpoint)
        temporary = target.with_name(f".{target.name}.tmp")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _require_space(target, needed)
            try:
                _write(checkpoint, temporary)
                _read_back(temporary, target)
                _keep_previous(target)
                temporary.replace(target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            _sync_folder(target.parent)
        except OSError as error:
            raise _cannot_write(error, target, needed) from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read a checkpoint of tensors and plain values.

        A damaged ``last.ckpt`` is replaced by the newest readable checkpoint of its folder, with a
        warning. Any other file is taken as asked for, or refused.

        Args:
            path: File to read.
            map_location: Where tensors go, as in ``torch.load``.
            weights_only: Ignored: no caller can ask for a checkpoint to run code.

        Raises:
            CheckpointError: If the file is missing, damaged, or holds anything but plain values.
        """
        source = _local(path)
        if source.stem != _LAST:
            return load_checkpoint(source, map_location=map_location)
        others = sorted(source.parent.glob("*.ckpt"), key=_modified, reverse=True)
        older = [other for other in others if other != source]
        older.sort(key=lambda other: other.stem != f"{_LAST}-previous")  # a stable sort: the rest by age
        _, checkpoint = load_newest_readable([source, *older], map_location=map_location)
        return checkpoint

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint; one that is gone already is no error."""
        target = _local(path)
        try:
            target.unlink(missing_ok=True)
        except OSError as error:
            raise ResourceError(f"{target}: could not be deleted: {error.strerror}.") from error


def load_checkpoint(path: Path, *, map_location: Any | None = "cpu") -> dict[str, Any]:
    """Read one checkpoint, with its checksums, as tensors and plain values.

    Args:
        path: File that ``torch.save`` wrote.
        map_location: Where tensors go, as in ``torch.load``.

    Returns:
        The checkpoint.

    Raises:
        DamagedCheckpointError: If the file is truncated or its checksums are wrong.
        CheckpointError: If it is missing, or names code instead of holding plain values.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: expected a checkpoint, found no file. Check the name and the folder.")
    _check_sums(path)
    try:
        checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: refused, because it holds more than tensors and plain values, which could run code "
            f"on loading: {_reason(error)}. Nothing of it ran. Use a checkpoint that medimg wrote, or one "
            "from a source you trust, saved again as a plain state_dict."
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        raise DamagedCheckpointError(
            f"{path}: damaged ({_reason(error)}). Use an older checkpoint."
        ) from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f"{path}: expected a checkpoint (a dict), found a {type(checkpoint).__name__}.")
    _refuse_instantiator(checkpoint, path)
    return checkpoint


def load_newest_readable(
    where: Path | Sequence[Path], *, map_location: Any | None = "cpu"
) -> tuple[Path, dict[str, Any]]:
    """Read the first checkpoint that is whole, and say so when it is not the first one tried.

    Args:
        where: Files in the order in which to try them, or a folder, whose ``*.ckpt`` files are tried
            from the newest to the oldest.
        map_location: Where tensors go, as in ``torch.load``.

    Returns:
        The file that was read, and the checkpoint.

    Raises:
        CheckpointError: If no file is readable, or if one holds code: that is no accident, so nothing
            is tried after it.
    """
    paths = sorted(where.glob("*.ckpt"), key=_modified, reverse=True) if isinstance(where, Path) else where
    damaged: list[DamagedCheckpointError] = []
    for path in paths:
        try:
            checkpoint = load_checkpoint(path, map_location=map_location)
        except DamagedCheckpointError as error:
            damaged.append(error)
            continue
        if damaged:
            _LOGGER.warning(
                "%s Going on from the checkpoint before it instead: %s (step %s)",
                " ".join(str(error) for error in damaged),
                path,
                checkpoint.get("global_step", "unknown"),
            )
        return path, checkpoint
    if damaged:
        raise CheckpointError(" ".join(str(error) for error in damaged) + " No older one could be read.")
    raise CheckpointError(f"{where}: expected a checkpoint (*.ckpt), found none.")


def _local(path: str | Path) -> Path:
    if "://" in str(path):
        raise CheckpointError(
            f"{path}: expected a checkpoint in a local or mounted folder, found an address."
        )
    return Path(path)


def _modified(path: Path) -> float:
    with suppress(FileNotFoundError):  # a link whose target is gone
        return path.stat().st_mtime
    return 0.0


def _size_bytes(checkpoint: object) -> int:
    """Bytes that the tensors of a checkpoint take on disk; a storage that several share counts once."""
    storages: dict[int, int] = {}
    pending = [checkpoint]
    while pending:
        value = pending.pop()
        if isinstance(value, torch.Tensor):
            with suppress(NotImplementedError):  # sparse tensors have no single storage
                storage = value.untyped_storage()
                storages[storage.data_ptr()] = storage.nbytes()
        elif isinstance(value, Mapping):
            pending.extend(value.values())
        elif isinstance(value, list | tuple | set):
            pending.extend(value)
    return sum(storages.values()) + _HEADROOM_BYTES


def _require_space(target: Path, needed: int) -> None:
    # What a killed process left behind would otherwise fill the disk over time.
    for stale in target.parent.glob(".*.ckpt.tmp"):
        stale.unlink(missing_ok=True)
    if shutil.disk_usage(target.parent).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class _Sink:
    """A file for ``torch.save`` that keeps the first error to itself until the end.

    torch writes from C++ and turns an error from ``write`` into another one, or ends the process.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.error: OSError | None = None

    def write(self, data: bytes | memoryview) -> int:
        view = memoryview(data).cast("B")
        start = 0
        while self.error is None and start < len(view):
            try:
                start += os.write(self._descriptor, view[start:])
            except OSError as error:
                self.error = error
        return len(view)

    def flush(self) -> None:
        """There is no buffer."""


def _write(checkpoint: Mapping[str, Any], temporary: Path) -> None:
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        sink = _Sink(descriptor)
        torch.save(checkpoint, sink)  # type: ignore[arg-type]
        if sink.error is not None:
            raise sink.error
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_back(temporary: Path, target: Path) -> None:
    """Refuse to keep what could not be loaded: the time to learn it is now, not after the training."""
    try:
        torch.load(temporary, map_location="cpu", weights_only=True, mmap=True)  # leaves the tensors on disk
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{target}: not saved, because it could not be loaded again: {_reason(error)}. A checkpoint "
            "holds tensors and plain values (numbers, strings, lists, dicts); look for the object in the "
            "state or in the hyper-parameters of the task, the data module or a callback."
        ) from error


def _keep_previous(target: Path) -> None:
    if target.stem != _LAST or not target.exists():
        return
    previous = target.with_name(f"{_LAST}-previous{target.suffix}")
    link = previous.with_name(f".{previous.name}.tmp")
    link.unlink(missing_ok=True)
    try:
        # resolve: ``last.ckpt`` may be a symbolic link that Lightning made.
        os.link(target.resolve(), link)
        link.replace(previous)
        # A rename between two names of one file does nothing: so it is after a kill before the last rename.
        link.unlink(missing_ok=True)
    except OSError:
        # No hard links here (FAT, some network shares): for an instant only the previous one exists.
        target.replace(previous)


def _sync_folder(folder: Path) -> None:
    """Force the new name itself to the disk; without it a power cut may bring the old file back."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems cannot sync a folder; the file itself is synced
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cannot_write(error: OSError, target: Path, needed: int) -> ResourceError:
    kept = "The checkpoint that was there before is untouched. " if target.exists() else ""
    if error.errno in _FULL:
        free = shutil.disk_usage(target.parent).free
        return ResourceError(
            f"{target}: the disk is full: {needed} bytes needed, {free} free. {kept}"
            "Free some space and go on with --ckpt_path last, or write to another disk."
        )
    if error.errno in _DENIED:
        return ResourceError(
            f"{target}: no permission to write in {target.parent} ({error.strerror}). {kept}"
            "Change the folder's owner or mode, or set another folder."
        )
    return ResourceError(f"{target}: could not be written: {error}. {kept}Check the disk.")


def _check_sums(path: Path) -> None:
    """Compare every record with its checksum: torch itself would load flipped bits without a word."""
    if not zipfile.is_zipfile(path):
        raise DamagedCheckpointError(
            f"{path}: {path.stat().st_size} bytes that are no whole checkpoint: truncated, or another "
            "kind of file."
        )
    try:
        with zipfile.ZipFile(path) as archive:
            wrong = archive.testzip()
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        raise DamagedCheckpointError(f"{path}: damaged ({_reason(error)}).") from error
    if wrong is not None:
        raise DamagedCheckpointError(f"{path}: damaged: the checksum of its record {wrong} is wrong.")


def _refuse_instantiator(checkpoint: Mapping[str, Any], path: Path) -> None:
    for parameters in _mappings(checkpoint.get(key) for key in _HYPER_PARAMETERS):
        named = parameters.get("_instantiator")
        if named is not None and named not in _INSTANTIATORS:
            raise CheckpointError(
                f"{path}: refused, because its hyper-parameters name {named!r} to be called on loading "
                "(_instantiator). Nothing of it ran. Only use checkpoints from a source you trust."
            )


def _mappings(values: Iterable[object]) -> list[Mapping[str, Any]]:
    return [value for value in values if isinstance(value, Mapping)]


def _reason(error: BaseException) -> str:
    """The part of torch's message that tells the cause, without its pages of advice."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = next((line for line in lines if "WeightsUnpickler error" in line or "Unsupported" in line), None)
    return (told or (lines[0] if lines else type(error).__name__))[:200].rstrip(".")

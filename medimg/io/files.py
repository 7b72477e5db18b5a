"""Writing files whole or not at all, and keeping paths inside their folder."""

import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medimg.errors import DataError, ResourceError

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
# Longest name that ext4, xfs, NTFS and APFS take, less room for a suffix and the temporary prefix.
_LONGEST_NAME = 200


@contextmanager
def atomic_write(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Hand out a temporary path beside ``path`` and move it there once the block has ended well.

    A reader sees the old file or the new one, never half of it. The temporary name keeps the suffix, which
    some writers look at, and begins with a dot, so that readers of data sets skip it.

    Args:
        path: File to write; its folder is made when it is missing.
        durable: Force the bytes to the disk before the move, so that the file also survives a power cut.
            Leave it off for files that can be made again, where the wait would dominate.

    Yields:
        Path to write to.

    Raises:
        ResourceError: If the folder cannot be made or written to, or the disk is full.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with atomic_write(folder / "a.txt") as temporary:
        ...     _ = temporary.write_text("whole")
        >>> [file.name for file in folder.iterdir()]
        ['a.txt']
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _resource_error(path, error) from error
    temporary = path.parent / f".tmp-{secrets.token_hex(4)}-{path.name}"
    try:
        yield temporary
        if durable:
            _sync(temporary)
        temporary.replace(path)
        if durable:
            _sync(path.parent)
    except OSError as error:
        # Other faults of the block, such as an input that is missing, keep their own type.
        ours = error.filename is not None and Path(os.fsdecode(error.filename)) == temporary
        if ours or error.errno in _DISK_FULL:
            raise _resource_error(path, error) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name that outlives the first, or copy it where the disk has no hard links.

    Raises:
        OSError: If the source cannot be read or the target not written.
    """
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)


def inside(root: Path, path: Path | str) -> Path:
    """Join ``path`` to ``root`` and refuse it when ``..`` or a symbolic link leads out of ``root``.

    Args:
        root: Folder that may not be left; it may itself be a link.
        path: Relative to ``root``, or absolute and below it.

    Returns:
        ``root / path`` as written, so that messages show names the user knows.

    Raises:
        DataError: If the real place of the path lies outside the real place of the root.

    Example:
        >>> inside(Path("data"), "imagesTr/a.nii.gz").as_posix()
        'data/imagesTr/a.nii.gz'
    """
    joined = Path(root) / path
    real_root, real = Path(root).resolve(), joined.resolve()
    if not real.is_relative_to(real_root):
        raise DataError(
            f"{joined}: leads to {real}, outside the data folder {real_root}. Copy the file into the folder, "
            "or give the folder that holds all files as the root."
        )
    return joined


def safe_name(case_id: str) -> str:
    """Return a file name for an identifier, the identifier itself where that is possible.

    Other characters than letters, digits, ``._-`` become ``_``, and a short hash of the whole identifier is
    added so that two identifiers never share a name. The result holds no separator and no leading dot.

    Args:
        case_id: Identifier from a file or a table, not trusted.

    Example:
        >>> safe_name("hippocampus_001")
        'hippocampus_001'
        >>> safe_name("../../x")
        '_.._x-9cdf6a50'
    """
    name = _UNSAFE.sub("_", case_id).lstrip(".")[:_LONGEST_NAME]
    if name == case_id and name:
        return name
    return f"{name}-{hashlib.sha256(case_id.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a folder; the move itself is still atomic there.
        if error.errno not in {errno.EINVAL, errno.ENOTSUP, errno.EBADF}:
            raise
    finally:
        os.close(descriptor)


def _resource_error(path: Path, error: OSError) -> ResourceError:
    if error.errno in _DISK_FULL:
        return ResourceError(f"{path}: the disk is full ({error.strerror}). Free some space and run again.")
    return ResourceError(f"{path}: cannot be written ({error.strerror}). Give a folder you may write to.")

"""Zip archives of masks: written alike every time, and read without trusting them."""

import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medimg.errors import DataError
from medimg.submission.faults import Faults

# The earliest date that zip knows: two equal submissions are equal byte by byte.
_DATE = (1980, 1, 1, 0, 0, 0)
_MODE = stat.S_IFREG | 0o644
_CHUNK = 1 << 20
# A compressed mask is a few megabytes at most; what unpacks to more is not read.
LARGEST_MEMBER = 1 << 28
MOST_MEMBERS = 100_000


def add_file(archive: zipfile.ZipFile, name: str, path: Path) -> None:
    """Put a file into an archive as it is, since masks are compressed already.

    Args:
        archive: Archive that is being written.
        name: Name of the member.
        path: File to copy.
    """
    info = zipfile.ZipInfo(name, _DATE)
    info.create_system, info.external_attr = 3, _MODE << 16  # as Unix writes it, wherever this runs
    info.file_size = path.stat().st_size
    with path.open("rb") as source, archive.open(info, "w") as target:
        shutil.copyfileobj(source, target, _CHUNK)


@contextmanager
def open_archive(path: Path, faults: Faults) -> Iterator[zipfile.ZipFile | None]:
    """Open an archive, or note that it is none.

    Raises:
        DataError: If there is no such file.
    """
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file. Check the path.") from None
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        faults.add("no zip archive", str(error))
        yield None
        return
    with archive:
        yield archive


def safe_members(archive: zipfile.ZipFile, faults: Faults) -> list[zipfile.ZipInfo]:
    """Members that may be unpacked, sorted by name, the others noted.

    An archive with a member that leads out of the folder it is unpacked to was made to harm: none of it is taken.

    Args:
        archive: Archive from elsewhere.
        faults: Takes the faults.
    """
    members = archive.infolist()
    if len(members) > MOST_MEMBERS:
        faults.add("too many files", f"{len(members)}, expected at most {MOST_MEMBERS}")
        return []
    out = [info.filename for info in members if _leads_out(info)]
    for name in out:
        faults.add("files that lead out of the archive; nothing in it was read", repr(name))
    if out:
        return []
    good = []
    for info in members:
        if info.is_dir() or "/" in info.filename:
            faults.add("folders; masks lie at the top of the archive", info.filename)
        elif info.flag_bits & 1:
            faults.add("encrypted files", info.filename)
        elif info.file_size > LARGEST_MEMBER:
            faults.add("files too large to be a mask", f"{info.filename}: {info.file_size:,} bytes")
        else:
            good.append(info)
    return sorted(good, key=lambda info: info.filename)


def _leads_out(info: zipfile.ZipInfo) -> bool:
    name = info.orig_filename.replace("\\", "/")
    link = stat.S_ISLNK(info.external_attr >> 16)
    return link or name.startswith("/") or ":" in name or "\0" in name or ".." in name.split("/")


def unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> str:
    """Unpack one member to a path of ours, stopping where it outgrows what its entry says.

    Args:
        archive: Archive from elsewhere.
        info: Member that ``safe_members`` gave.
        target: File to write.

    Returns:
        Why it cannot be unpacked; empty if it was.
    """
    left = min(info.file_size, LARGEST_MEMBER)
    try:
        with archive.open(info) as source, target.open("wb") as file:
            while block := source.read(_CHUNK):
                left -= len(block)
                if left < 0:
                    return "unpacks to more than its entry says"
                file.write(block)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        return f"damaged ({error})"
    return ""

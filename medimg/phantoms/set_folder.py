"""The folder of a phantom set: a note claims it, and only the studies that it lacks are written."""

from collections.abc import Callable, Sequence
from pathlib import Path

from medimg.errors import ConfigError
from medimg.io.files import atomic_write
from medimg.parallel import map_cases, raise_failures

_NOTE = "README.txt"
_MARK = "These are phantoms, drawn by medimg. They show no patient."


def is_phantom_set(folder: Path) -> bool:
    """Whether a folder was claimed for phantoms, complete or not.

    Args:
        folder: Any path, missing or not.

    Example:
        >>> is_phantom_set(Path("nowhere"))
        False
    """
    return _read(folder / _NOTE).startswith(_MARK)


def claim(out: Path, about: str, settings: Sequence[str]) -> None:
    """Make a folder that of one phantom set by a note in it, or refuse it.

    Args:
        out: Folder to write to: missing, empty, or claimed before with the same note.
        about: What the set holds, in whole paragraphs.
        settings: What its bytes depend on, a line each, such as ``seed 0``.

    Raises:
        ConfigError: If there is a file of this name, or the folder holds other things or phantoms of other
            settings.
        ResourceError: If the note cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(
            f"{out}: expected a folder to write phantoms to, found a file. Name another folder."
        )
    note = f"{_MARK}\n\n{about}\n\n" + "".join(f"{line}\n" for line in settings)
    found = _read(out / _NOTE)
    if found == note:
        return
    if found.startswith(_MARK):
        theirs = ", ".join(found.splitlines()[-len(settings) :])
        raise ConfigError(
            f"{out}: holds phantoms made with other settings ({theirs}) than asked for ({', '.join(settings)}). "
            "Name another folder, or delete this one."
        )
    if out.is_dir() and any(out.iterdir()):
        raise ConfigError(
            f"{out}: expected an empty or new folder, found one with other files in it. "
            "Name another folder, so that phantoms never mix with real cases."
        )
    with atomic_write(out / _NOTE) as temporary:
        temporary.write_text(note, encoding="utf-8")


def write_missing(
    write: Callable[[int], None],
    folders: Sequence[Path],
    is_whole: Callable[[int], bool],
    *,
    workers: int,
) -> None:
    """Write the studies that are not there yet; where none is missing, nothing is said either.

    Args:
        write: Writes the study of a number; pickled where there are several workers.
        folders: Folder of each study, from number 0 on; its name stands for the study in messages.
        is_whole: Whether the study of a number is there already.
        workers: Processes to use.

    Raises:
        ConfigError: If ``workers`` is below 1.
        DataError: If a study could not be made.
    """
    missing = [number for number in range(len(folders)) if not is_whole(number)]
    names = [folders[number].name for number in missing]
    raise_failures(map_cases(write, missing, names=names, workers=workers, label="phantoms"))


def _read(note: Path) -> str:
    return note.read_text(encoding="utf-8", errors="replace") if note.is_file() else ""

"""Faults of a data set, gathered so that a user sees all of them at once."""

import json
from pathlib import Path
from typing import Any

from medimg.errors import DataError
from medimg.io.files import inside, safe_name
from medimg.io.nifti import is_nifti

_SHOWN = 20


class Problems:
    """Collects what is wrong with the cases of one data set.

    Args:
        root: Folder of the data set, named in the message.
        layout: Name of the layout, such as ``"Decathlon"``.

    Example:
        >>> problems = Problems(Path("Task99"), "Decathlon")
        >>> problems.add("case_1", "the mask is missing")
        >>> problems.raise_if_any()
        Traceback (most recent call last):
        medimg.errors.DataError: Task99: 1 fault in this Decathlon data set:
          case_1: the mask is missing
        Mend or remove the cases named, then run again.
    """

    def __init__(self, root: Path, layout: str) -> None:
        self.root = root
        self.layout = layout
        self._found: list[str] = []
        self._owner: dict[str, str] = {}

    def add(self, case: str, fault: str) -> None:
        """Note a fault of a case."""
        self._found.append(f"{case}: {fault}")

    def claim(self, case_id: str, where: str) -> bool:
        """Note that a case id is used, and where; a fault if it is taken, or if it is no plain name.

        Args:
            case_id: Identifier that will name the files a run writes.
            where: Where it stands, for the message.

        Returns:
            Whether the id was free and can be used.
        """
        if safe_name(case_id) != case_id:
            self.add(
                repr(case_id),
                f"({where}) a case id may hold letters, digits, '.', '_' and '-' only; rename it",
            )
            return False
        if case_id in self._owner:
            self.add(case_id, f"the id is used twice, in {self._owner[case_id]} and {where}; keep one")
            return False
        self._owner[case_id] = where
        return True

    def file(self, case: str, path: Path | str, what: str) -> Path:
        """Return a path below the root, noting a fault if it is missing or leads out of the root."""
        try:
            found = inside(self.root, path)
        except DataError as error:
            self.add(case, str(error))
            return self.root / path
        if not found.is_file():
            self.add(case, f"the {what} {path} is missing")
        elif not is_nifti(found):
            self.add(case, f"the {what} {path} does not end in .nii.gz or .nii; convert it to NIfTI")
        return found

    def raise_if_any(self) -> None:
        """Refuse the data set if anything was noted.

        Raises:
            DataError: Lists the faults, the first 20 in full.
        """
        if not self._found:
            return
        count = len(self._found)
        lines = [f"  {line}" for line in self._found[:_SHOWN]]
        if count > _SHOWN:
            lines.append(f"  ... and {count - _SHOWN} more")
        faults = "1 fault" if count == 1 else f"{count} faults"
        raise DataError(
            "\n".join([f"{self.root}: {faults} in this {self.layout} data set:", *lines])
            + "\nMend or remove the cases named, then run again."
        )


def read_json(path: Path) -> Any:
    """Read a JSON file, refusing keys that stand twice, of which JSON would keep the last one silently.

    Raises:
        DataError: If the file is missing, is no JSON or repeats a key.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_unique_keys)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file. Check the folder of the data set.") from None
    except _RepeatedKeyError as error:
        raise DataError(f"{path}: the key {error} stands twice in one object; keep one.") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}). Mend it or get it again.") from error


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds one object.

    Raises:
        DataError: If it cannot be read or holds something else.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(
            f"{path}: expected a JSON object, found {type(content).__name__}. Get the file again."
        )
    return content


class _RepeatedKeyError(ValueError):
    pass


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _RepeatedKeyError(next(repr(key) for key in keys if keys.count(key) > 1))
    return content

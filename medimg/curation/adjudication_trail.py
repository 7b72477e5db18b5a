"""The trail of an adjudication: who said what, when, in which files; and a folder that appears whole or not at all."""

import filecmp
import hashlib
import json
import secrets
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from medimg.errors import DataError
from medimg.io.files import atomic_write

CONFLICTS, TRAIL = "conflicts.json", "trail.json"


def evidence(path: Path) -> dict[str, str]:
    """A file as the trail names it: where it lies, its SHA-256, and when it was last saved (UTC).

    Raises:
        DataError: If the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        saved = datetime.fromtimestamp(int(path.stat().st_mtime), UTC)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Put the file back.") from error
    return {"file": str(path.resolve()), "sha256": digest, "saved": saved.isoformat()}


def check_evidence(stated: dict[str, str]) -> Path:
    """The file that was read, refused where it has changed since.

    Raises:
        DataError: If it is gone or another one.
    """
    path = Path(stated["file"])
    if evidence(path)["sha256"] != stated["sha256"]:
        raise DataError(
            f"{path}: has changed since conflicts were looked for. Run medimg adjudicate conflicts again, so that the "
            "third reader judges what stands there now."
        )
    return path


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a table of facts, sorted, so that the same facts give the same bytes.

    Raises:
        ResourceError: If the file cannot be written.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(
            json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n", "utf-8"
        )


def read_conflicts(folder: Path) -> dict[str, Any]:
    """Read what ``medimg adjudicate conflicts`` found.

    Raises:
        DataError: If there is no such file, or it is another one.
    """
    path = folder / CONFLICTS
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}). Run medimg adjudicate conflicts first."
        ) from error
    if (
        not isinstance(content, dict)
        or content.get("kind") not in ("labels", "masks")
        or "cases" not in content
    ):
        raise DataError(f"{path}: expected what medimg adjudicate conflicts writes, found something else.")
    return content


def write_folder(out: Path, make: Callable[[Path], None], *, overwrite: bool) -> bool:
    """Make a folder whole or not at all; the same content again changes nothing.

    When files were saved is no content, nor are the bytes of a worklist whose decisions are the same: opened and saved
    again in a spreadsheet, it says what it said.

    Args:
        out: The folder.
        make: Fills a folder that it is given.
        overwrite: Replace other content, which is kept beside it as ``<name>.before-1`` and so on.

    Returns:
        Whether anything was changed.

    Raises:
        DataError: If the folder holds something else and may not be replaced.
    """
    draft = out.parent / f".tmp-{secrets.token_hex(4)}-{out.name}"
    try:
        draft.mkdir(parents=True)
        make(draft)
        if not out.exists():
            draft.replace(out)
            return True
        if _files(draft) == _files(out) and all(_same(draft / name, out / name) for name in _files(draft)):
            return False
        if not overwrite:
            raise DataError(f"{out}: holds other decisions. Give another --out, or --overwrite.")
        out.replace(_beside(out))
        draft.replace(out)
        return True
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _beside(out: Path) -> Path:
    """A free name for what is replaced: decisions of people are never deleted."""
    return next(path for n in count(1) if not (path := out.with_name(f"{out.name}.before-{n}")).exists())


def _same(draft: Path, there: Path) -> bool:
    """Whether two files say the same."""
    if filecmp.cmp(draft, there, shallow=False):
        return True
    if draft.suffix != ".json":
        return False
    try:
        first, second = (json.loads(path.read_text("utf-8")) for path in (draft, there))
    except ValueError:
        return False
    return bool(_told(first) == _told(second))


def _told(facts: Any) -> Any:
    """Facts without the times of files and the bytes of the worklist; what it decides stands in the cases."""
    return _untimed({key: value for key, value in facts.items() if key != "decisions"})


def _untimed(facts: Any) -> Any:
    if isinstance(facts, list):
        return [_untimed(one) for one in facts]
    if not isinstance(facts, dict):
        return facts
    # A label may be called "saved" too.
    passed_over = ("saved",) if "sha256" in facts else ()
    return {key: _untimed(value) for key, value in facts.items() if key not in passed_over}


def _files(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())

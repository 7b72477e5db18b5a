"""The folder that postprocessing writes, and what its ``predictions.json`` says."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medimg.errors import ConfigError, DataError
from medimg.io.files import atomic_write
from medimg.postprocessing.cases import CaseReport
from medimg.postprocessing.rules import RULES_FILE

PREDICTIONS = "predictions.json"
_ENDINGS = (".nii", ".nii.gz", ".npz", ".png")
_OWN = "postprocess"


def read_facts(folder: Path) -> dict[str, Any]:
    """What ``predictions.json`` of a folder says; nothing where there is none.

    Raises:
        DataError: If it cannot be read.
    """
    path = folder / PREDICTIONS
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}). Predict again, or mend the file.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected names and values, found {type(content).__name__}. Predict again.")
    return content


def check_out(out: Path, sources: Sequence[Path], *, overwrite: bool) -> None:
    """Refuse a folder whose files would be lost.

    Args:
        out: Folder to write to.
        sources: Folders that are read, none of which it may be.
        overwrite: Whether files of an earlier postprocessing may be replaced.

    Raises:
        ConfigError: If it is a source or a file, or holds files that may not be replaced.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out}: expected a folder, found a file. Give another --out.")
    if any(out.resolve() == source.resolve() for source in sources):
        raise ConfigError(f"--out {out}: is a folder that is read. Give a folder of its own.")
    held = _held(out)
    if held and not overwrite:
        raise ConfigError(f"--out {out}: holds {held[0].name} already. Give another --out, or --overwrite.")
    foreign = sorted(set(held) - set(_written(out)))
    if foreign:
        raise ConfigError(
            f"--out {out}: holds {foreign[0].name}, which no postprocessing wrote, and --overwrite replaces only what "
            "one did. Give another --out."
        )


def _held(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    names = (PREDICTIONS, RULES_FILE)
    return sorted(p for p in folder.iterdir() if p.name in names or p.name.lower().endswith(_ENDINGS))


def _written(folder: Path) -> list[Path]:
    """What an earlier postprocessing wrote, by its ``predictions.json``."""
    if not folder.is_dir():
        return []
    own = read_facts(folder).get(_OWN)
    names = own.get("files", []) if isinstance(own, dict) else []
    # Only what lies in the folder itself, whatever the file says; predictions.json, without which it is none, first.
    found = [path for path in folder.iterdir() if path.name in names]
    return sorted(found, key=lambda path: path.name != PREDICTIONS)


def clear_out(out: Path) -> None:
    """Remove what an earlier postprocessing wrote, once the new files are ready to take its place."""
    for path in _written(out):
        path.unlink(missing_ok=True)


def write_facts(
    folder: Path, facts: Mapping[str, Any], reports: Sequence[CaseReport], how: Mapping[str, Any]
) -> None:
    """Write ``predictions.json``: what the source's said, the cases, and how they were mended.

    Args:
        folder: Where the file goes, and all files of the output are.
        facts: What the source's ``predictions.json`` said.
        reports: What became of each case.
        how: Rules, settings and source, as JSON can hold them.
    """
    kept = {name: value for name, value in facts.items() if name not in ("cases", "ensemble", _OWN)}
    before = {name: facts[name] for name in ("ensemble", _OWN) if name in facts}
    kept["cases"] = {report.case_id: report.grid for report in sorted(reports, key=lambda one: one.case_id)}
    names = sorted([PREDICTIONS, *(path.name for path in folder.iterdir())])
    kept[_OWN] = {**how, "before": before, "files": names}
    with atomic_write(folder / PREDICTIONS) as temporary:
        temporary.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")

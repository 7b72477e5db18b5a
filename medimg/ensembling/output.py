"""The folder of an ensemble: made beside its place, and moved there whole."""

import json
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medimg.ensembling.description import PREDICTIONS, Description
from medimg.ensembling.members import TABLE, Member
from medimg.ensembling.weights_file import WEIGHTS
from medimg.errors import ConfigError, DataError, ResourceError
from medimg.io.files import atomic_write


def check_out(out: Path, members: Sequence[Member], *, overwrite: bool) -> None:
    """Refuse a folder whose files would be lost.

    Args:
        out: Folder to write to.
        members: The members, none of which may be that folder.
        overwrite: Whether predictions of an earlier ensemble may be replaced.

    Raises:
        ConfigError: If it is a member, is a file, or holds predictions that may not be replaced.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out}: expected a folder, found a file. Give another --out.")
    for member in members:
        if out.resolve() in (member.folder.resolve(), Path(member.name).resolve()):
            raise ConfigError(f"--out {out}: is the member {member.name} itself. Give a folder of its own.")
    held = _predictions(out)
    if held and not overwrite:
        raise ConfigError(
            f"--out {out}: holds predictions already, such as {held[0].name}. Give another --out, or --overwrite."
        )
    foreign = sorted(set(held) - set(_written(out)))
    if foreign:
        raise ConfigError(
            f"--out {out}: holds {foreign[0].name}, which no ensemble wrote, and --overwrite replaces only what one "
            "did. Give another --out."
        )


def _predictions(folder: Path) -> list[Path]:
    """Files that a reader of predictions would take."""
    if not folder.is_dir():
        return []
    names = (PREDICTIONS, TABLE)
    endings = (".nii", ".nii.gz", ".npz")
    return sorted(p for p in folder.iterdir() if p.name in names or p.name.lower().endswith(endings))


def _written(folder: Path) -> list[Path]:
    """What an earlier ensemble wrote, by its ``predictions.json``."""
    try:
        content = json.loads((folder / PREDICTIONS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    if not isinstance(content, dict) or "ensemble" not in content:
        return []
    cases = content.get("cases")
    cases = cases if isinstance(cases, dict) else {}
    names = {
        PREDICTIONS,
        TABLE,
        WEIGHTS,
        *(f"{case}{ending}" for case in cases for ending in (".nii.gz", ".npz")),
    }
    # Only what lies in the folder itself, whatever the file says; predictions.json, without which it is none, first.
    found = [path for path in folder.iterdir() if path.name in names]
    return sorted(found, key=lambda path: path.name != PREDICTIONS)


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """Hand out a folder beside ``out``, and move its files there once the block has ended well.

    ``predictions.json`` goes away first and comes back last, so a folder that has it is whole. Of a block that
    fails nothing is left.

    Args:
        out: Folder to write to, checked with ``check_out``; the ensemble in it is replaced.

    Yields:
        Empty folder to write to.

    Raises:
        ResourceError: If a folder cannot be made or a file not moved.
    """
    stage = out.parent / f".tmp-{secrets.token_hex(4)}-{out.name}"
    try:
        try:
            stage.mkdir(parents=True)
        except OSError as error:
            raise _unusable(out, error) from error
        yield stage
        try:
            _move(stage, out)
        except OSError as error:
            raise _unusable(out, error) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _move(stage: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for old in _written(out):
        old.unlink(missing_ok=True)
    files = sorted(stage.iterdir(), key=lambda file: (file.name == PREDICTIONS, file.name))
    for file in files:
        file.replace(out / file.name)


def _unusable(out: Path, error: OSError) -> ResourceError:
    return ResourceError(
        f"--out {out}: cannot be written ({error.strerror or error}). Give a folder you may write to."
    )


def write_description(
    folder: Path,
    common: Description,
    members: Sequence[Member],
    weights: Sequence[float],
    *,
    method: str,
    cases: Mapping[str, Any] | None = None,
) -> None:
    """Write ``predictions.json`` of the ensemble, in the form that its members have.

    Args:
        folder: Where the file goes.
        common: What the members agree on.
        members: The members.
        weights: Weight of each member, adding up to 1.
        method: How they were combined.
        cases: Grid of each case; ``None`` for a table.

    Raises:
        DataError: If there is no case.
    """
    facts: dict[str, Any] = {"classes": list(common.classes) if common.classes else None, "checkpoint": None}
    facts |= {"split": common.split, "fold": common.fold, "part": common.part, "in_split": common.in_split}
    if cases is None:
        facts["task"] = common.task
    else:
        if not cases:
            raise DataError("no case was combined: the members hold no predictions. Predict first.")
        facts |= {"head": common.head, "labels": common.labels, "cases": dict(sorted(cases.items()))}
    facts["ensemble"] = {
        "method": method,
        "members": [
            {"folder": str(member.folder), "weight": weight, "checkpoint": member.description.checkpoint}
            for member, weight in zip(members, weights, strict=True)
        ],
    }
    with atomic_write(folder / PREDICTIONS) as temporary:
        temporary.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

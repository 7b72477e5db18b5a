"""What pseudo-labels of images and of volumes have in common: what is refused, written down and said."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medimg.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medimg.ensembling.members import Member
    from medimg.ensembling.pseudo_choice import Changes
    from medimg.records import Record


def refuse_known_cases(
    records: Sequence[Record], split: Path, labelled: Path | None, config: Path | None, *, skip: bool
) -> set[str]:
    """Refuse cases of the split and copies of labelled images.

    Args:
        records: Cases that are to be labelled.
        split: Folds of the labelled data.
        labelled: Folder of the labelled data; ``None`` takes the root that the config names.
        config: Config of a run.
        skip: Name known cases to leave out instead.

    Returns:
        Ids of known cases; empty unless ``skip``.

    Raises:
        DataError: If there are known cases, and ``skip`` is off.
    """
    from medimg.preparation.pseudo_leaks import known_cases, refuse_known, split_sides

    sides, patients = split_sides(split)
    own = {path for record in records for path in record.images}
    known = labelled_records(labelled, config, own)
    found = known_cases(records, sides=sides, patients=patients, labelled=known, where=str(split))
    if not skip:
        refuse_known(found, "Predict other cases, or leave these out with --skip_known.")
    elif found:
        sys.stderr.write(f"warning: {len(found)} cases are known and left out, such as {min(found)}\n")
    return set(found)


def labelled_records(labelled: Path | None, config: Path | None, own: set[Path]) -> list[Record]:
    """Cases of the labelled data: as the config reads them, else every image file below the folder."""
    from medimg.commands.split_source import index_to_split
    from medimg.preparation.pseudo_leaks import loose_records
    from medimg.preparation.settings import data_section
    from medimg.records import DatasetIndex

    root = labelled
    if root is None and config is not None:
        given = data_section(config)[1].get("root")
        root = None if given is None else Path(str(given))
    if root is None or not root.exists():
        if labelled is not None:
            raise ConfigError(f"--labelled {labelled}: there is no such folder.")
        sys.stderr.write(
            "warning: copies of labelled images under other names are not looked for; name their folder with "
            "--labelled\n"
        )
        return []
    if config is None:
        return loose_records(root, own)
    index, _ = index_to_split(root, config)
    return [*index.records, *index.test] if isinstance(index, DatasetIndex) else list(index.records)


def check_out(out: Path, overwrite: bool) -> None:
    """Refuse to write over what is there.

    Raises:
        ConfigError: If something is there and may not be replaced, or was not written by this verb.
    """
    from medimg.preparation.pseudo_note import note_path

    held = out.is_file() or (out.is_dir() and any(out.iterdir()))
    if held and not overwrite:
        raise ConfigError(
            f"--out {out}: exists already, and runs may refer to it. Give another --out, or --overwrite."
        )
    if held and not note_path(out).is_file():
        raise ConfigError(
            f"--out {out}: was not written by this verb, since {note_path(out).name} is not there. Give another --out."
        )


def provenance(members: Sequence[Member], split: Path, previous: Path | None) -> dict[str, Any]:
    """Where the labels come from, for the note beside them."""
    from medimg.preparation.image_splits import file_hash
    from medimg.preparation.pseudo_note import labels_digest

    return {
        "members": [
            {
                "folder": str(one.folder),
                "checkpoint": one.description.checkpoint,
                "split": one.description.split,
                "fold": one.description.fold,
            }
            for one in members
        ],
        "split": {"file": str(split), "hash": file_hash(split)},
        "previous": None if previous is None else {"path": str(previous), "digest": labels_digest(previous)},
    }


def by_members(members: Sequence[Member]) -> str:
    """How many members decided.

    Example:
        >>> by_members([])
        'by 0 members'
    """
    return f"by {len(members)} member{'s' * (len(members) != 1)}"


def report(round_: int, changes: Changes, out: Path, split: Path, what: str) -> None:
    """Say what changed against the round before, where it lies, and what to run next."""
    if round_ > 1:
        print(
            f"round {round_}: {changes.kept} {what} kept, {changes.new} new, {changes.dropped} dropped, "
            f"{changes.flipped} flipped"
        )
    quoted, folds = shlex.quote(str(out)), shlex.quote(str(split))
    print(f"next: medimg fit --config CONFIG --data.split.file {folds} --data.pseudo.path {quoted}")

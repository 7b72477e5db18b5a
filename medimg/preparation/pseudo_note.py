"""What stands beside pseudo-labels: where they come from, and all that training needs to read them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from medimg.errors import DataError
from medimg.io.files import atomic_write
from medimg.records import TableColumns, Task

NOTE = "pseudolabels.json"
_AGAIN = "Run medimg pseudolabel again."


@dataclass(frozen=True)
class PseudoNote:
    """Content of ``pseudolabels.json``.

    Attributes:
        round: 1, or one more than that of the round before.
        images: Folder below which the images lie.
        settings: Members, thresholds, counts and the like, for the reader.
        task: Kind of the labels of a table.
        classes: Names of the labels of a table.
        middle: Probability above which each label of a table counts as present.
        columns: Which column of a table holds what.
        labels: Value in the masks of each class or region.
        ignore: Value in the masks of voxels without a label.
        weights: Weight by case of the masks.
    """

    round: int
    images: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    task: Task | None = None
    classes: tuple[str, ...] = ()
    middle: tuple[float, ...] = ()
    columns: TableColumns | None = None
    labels: Mapping[str, int] = field(default_factory=dict)
    ignore: int | None = None
    weights: Mapping[str, float] = field(default_factory=dict)


def note_path(labels: Path) -> Path:
    """Where the note of pseudo-labels lies: inside a folder of masks, beside a table.

    Example:
        >>> note_path(Path("labels.csv")).name
        'labels.pseudolabels.json'
    """
    return labels.with_suffix(f".{NOTE}") if labels.suffix.lower() == ".csv" else labels / NOTE


def write_note(path: Path, note: PseudoNote) -> None:
    """Write a note, whole or not at all.

    Raises:
        ResourceError: If the file cannot be written.
    """
    content = {**asdict(note), "images": str(note.images)}
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_note(labels: Path) -> PseudoNote:
    """Read the note of pseudo-labels.

    Args:
        labels: Table, or folder of masks, that `medimg pseudolabel` wrote.

    Raises:
        DataError: If the labels or the note are missing or damaged.
    """
    path = note_path(labels)
    if not labels.exists():
        raise DataError(f"{labels}: there are no such pseudo-labels. Check the path.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        columns = content.pop("columns")
        lists = {name: tuple(content.pop(name)) for name in ("classes", "middle")}
        note = PseudoNote(
            **{**content, **lists, "images": Path(content["images"]), "columns": _columns(columns)}
        )
    except FileNotFoundError:
        raise DataError(
            f"{labels}: expected {path.name}, which medimg pseudolabel writes with the labels, and found none. "
            "Keep the two together."
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: cannot be read ({error}). {_AGAIN}") from error
    return note


def _columns(plain: Mapping[str, Any] | None) -> TableColumns | None:
    if plain is None:
        return None
    whole: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()
    }
    return TableColumns(**whole)


def labels_digest(labels: Path) -> str:
    """Hash of pseudo-labels and their note, by which two rounds are told apart: 12 hexadecimal digits.

    Args:
        labels: Table or folder of masks; of masks the note alone counts, which holds their hash.

    Raises:
        DataError: If a file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for path in [labels] * labels.is_file() + [note_path(labels)]:
            digest.update(path.read_bytes())
    except OSError as error:
        raise DataError(f"{labels}: cannot be read ({error.strerror}). {_AGAIN}") from error
    return digest.hexdigest()[:12]

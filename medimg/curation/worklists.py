"""Who reads what: each case to two readers, blind and balanced, and a worklist for each."""

import csv
import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from medimg.curation.readings import CASE_NAMES, PATIENT_NAME
from medimg.errors import ConfigError, DataError
from medimg.io.files import atomic_write, safe_name
from medimg.io.itksnap import write_label_descriptions, write_workspace
from medimg.io.nifti import is_nifti, read_grid
from medimg.io.nrrd import SUFFIX, write_seg_nrrd
from medimg.io.segments import make_segments
from medimg.scoring.pairs import case_id_of

WORKLIST, LABELS, MASKS = "worklist.csv", "labels.txt", "masks"
CASE, READER = "case_id", "reader"


@dataclass(frozen=True, slots=True)
class Case:
    """A case to read.

    Attributes:
        case_id: Its name.
        patient_id: Whose it is; the case itself where nobody says.
        image: Its image, for masks.
    """

    case_id: str
    patient_id: str
    image: Path | None = None


def find_cases(source: Path) -> list[Case]:
    """List the cases of a table with a column of cases, or of a folder of NIfTI images.

    Raises:
        DataError: If there is none, the table cannot be read, or a case stands twice.
    """
    if source.is_dir():
        images = sorted(path for path in source.iterdir() if is_nifti(path) and path.name[0] not in "._")
        names = [case_id_of(path).removesuffix("_0000") for path in images]
        cases = [Case(name, name, path) for name, path in zip(names, images, strict=True)]
    else:
        cases = _listed(source)
    ids = [one.case_id for one in cases]
    twice = sorted({name for name in ids if ids.count(name) > 1}) if len(set(ids)) < len(ids) else []
    if twice or not cases:
        raise DataError(
            f"{source}: expected each case once, found {f'{twice[0]} twice' if twice else 'no case'}. Give a table "
            f"with a column {CASE}, or a folder of .nii.gz images, one a case."
        )
    return cases


def _listed(source: Path) -> list[Case]:
    try:
        with source.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{source}: cannot be read as a table of cases ({error}). Check the path.") from error
    column = next((name for name in CASE_NAMES if rows and name in rows[0]), None)
    if column is None:
        raise DataError(f"{source}: expected rows and a column {' or '.join(CASE_NAMES)}. Name it so.")
    ids = [(row[column] or "").strip() for row in rows]
    if not all(ids):
        raise DataError(f"{source}, row {ids.index('') + 2}: has no case. Mend the row.")
    patients = [(row.get(PATIENT_NAME) or "").strip() for row in rows]
    return [Case(name, patient or name) for name, patient in zip(ids, patients, strict=True)]


def balanced_pairs(readers: int) -> list[tuple[int, int]]:
    """Every pair of readers once, so ordered that after any number of pairs nobody is two ahead of another.

    An even number of readers plays rounds in which all are paired (the circle method); an odd number runs through
    cycles of all readers (Walecki's), each taken by every second edge and then by the others.

    Example:
        >>> balanced_pairs(4)
        [(0, 3), (1, 2), (3, 2), (0, 1), (1, 3), (2, 0)]
        >>> balanced_pairs(3)
        [(2, 0), (1, 2), (0, 1)]

    Reference:
        É. Lucas, "Récréations mathématiques", vol. 2, 1883 (both constructions).
    """
    ring = readers - 1
    pairs: list[tuple[int, int]] = []
    if readers % 2 == 0:
        for turn in range(ring):
            seats = [(turn * (readers // 2) + step) % ring for step in range(ring)]
            pairs.append((seats[0], ring) if turn % 2 == 0 else (ring, seats[0]))
            pairs += [(seats[step], seats[-step]) for step in range(1, readers // 2)]
        return pairs
    for turn in range(ring // 2):
        zigzag = [(turn + (step + 1) // 2 * (1 if step % 2 else -1)) % ring for step in range(ring)]
        stops = [ring, *zigzag]
        edges = [(stops[step], stops[(step + 1) % readers]) for step in range(readers)]
        pairs += [*edges[::2], *edges[1::2]]
    return pairs


def assign(cases: Sequence[str], readers: Sequence[str], seed: int) -> dict[str, tuple[str, str]]:
    """Give each case to two readers.

    Readers differ by one case at most, and so do pairs of readers; which case falls to whom is drawn by the seed.

    Raises:
        ConfigError: If there are fewer than two readers, or one is named twice.

    Example:
        >>> given = assign([f"c{number}" for number in range(6)], ["a", "b", "c"], seed=0)
        >>> sorted(sorted(pair) for pair in given.values())[::2]
        [['a', 'b'], ['a', 'c'], ['b', 'c']]
    """
    if len(readers) < 2 or len(set(readers)) < len(readers) or not all(readers):
        raise ConfigError(f"--readers: expected two names or more, each once, found {','.join(readers)!r}.")
    draw = random.Random(f"assign {seed}")
    shuffled, order = sorted(cases), sorted(readers)
    draw.shuffle(shuffled)
    draw.shuffle(order)
    turns = islice(cycle(balanced_pairs(len(order))), len(shuffled))
    return {case: (order[a], order[b]) for case, (a, b) in zip(shuffled, turns, strict=True)}


def code_of(reader: str, seed: int) -> str:
    """Name of a reader on worklists, by which nobody knows them who does not know the plan.

    Example:
        >>> code_of("anna", 0) == code_of("anna", 1)
        False
    """
    return "reader-" + hashlib.sha256(f"{seed}:{reader}".encode()).hexdigest()[:8]


def in_own_order(cases: Sequence[str], reader: str, seed: int) -> list[str]:
    """The cases of a reader in an order of their own, so that tiredness falls on other cases for each."""
    order = sorted(cases)
    random.Random(f"order {seed} {reader}").shuffle(order)
    return order


def write_worklist(
    path: Path, reader: str, cases: Sequence[str], columns: Mapping[str, Sequence[str]]
) -> None:
    """Write a table to be filled in: the case, the reader's code, and further columns with what stands in them.

    Raises:
        ResourceError: If the file cannot be written.
    """
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([CASE, READER, *columns])
        for place, case in enumerate(cases):
            writer.writerow([case, reader, *(values[place] for values in columns.values())])


def write_viewer_files(
    folder: Path, images: Mapping[str, Path], labels: Mapping[str, int], *, home: Path | None = None
) -> None:
    """Write what viewers open for masks: ITK-SNAP's labels and workspaces, and 3D Slicer's empty segmentations.

    The empty ones stand apart from ``masks/``, so that a case nobody read is never taken for one without findings.

    Args:
        folder: Folder of the reader.
        images: Image of each case.
        labels: Value of each label.
        home: Where the folder will lie, if it is moved once it is whole.

    Raises:
        DataError: If an image cannot be read.
        ResourceError: If a file cannot be written.
    """
    segments = make_segments(labels)
    write_label_descriptions(folder / LABELS, segments)
    for case, image in images.items():
        grid, name = read_grid(image, form="sform"), safe_name(case)
        write_workspace(
            folder / "itksnap" / f"{name}.itksnap", image, segments, home=(home or folder) / "itksnap"
        )
        empty = np.zeros(grid.shape, np.uint8)
        write_seg_nrrd(folder / "slicer" / f"{name}{SUFFIX}", empty, grid, segments)
    (folder / MASKS).mkdir(exist_ok=True)

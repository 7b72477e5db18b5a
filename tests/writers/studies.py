"""Studies of several slices with labels of their own and labels of their slices, as pictures or as features."""

from pathlib import Path

import numpy as np
from writers.images import write_picture, write_table

from medimg.datamodules.slice_features import FACTS, write_features
from medimg.datasets import ImageTable, TableColumns

STUDY_LABELS = ("sick", "left")
SLICE_LABEL = "seen"
WIDTH = 6  # of the features
TABLE = ImageTable(
    Path("slices.csv"),
    TableColumns("id", "study", ("{file}",), (*STUDY_LABELS, SLICE_LABEL), group="study"),
    "multilabel",
)


def sizes_of(count: int) -> list[int]:
    """Slices of each study: from one on, no two neighbours alike."""
    return [1 + (3 * number) % 5 for number in range(count)]


def write_studies(root: Path, count: int = 8, *, pictures: bool = True, seed: int = 0) -> Path:
    """Write ``slices.csv`` and, for each slice, a 32-square picture; return the root.

    Every second study is sick, which its last slice shows as a bright square; of those every second one on the left.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for number, size in enumerate(sizes_of(count)):
        sick, left = number % 2, int(number % 4 == 1)
        for place in range(size):
            seen = int(sick and place == size - 1)
            name = f"s{number}_{place:02}"
            if pictures:
                pixels = rng.integers(0, 120, (32, 32), dtype=np.uint8)
                pixels[8:24, 2 + 14 * (1 - left) : 16 + 14 * (1 - left)] += np.uint8(120 * seen)
                write_picture(root / f"{name}.png", pixels)
            rows.append([name, f"s{number}", f"{name}.png", sick, left, seen])
    write_table(root / "slices.csv", ["id", "study", "file", *STUDY_LABELS, SLICE_LABEL], rows)
    return root


def write_study_features(folder: Path, root: Path, facts: str, *, seed: int = 0) -> Path:
    """Write features of the studies of ``write_studies``, the first one being the slice's label; return the folder.

    Args:
        folder: Where they go.
        root: What ``write_studies`` gave.
        facts: Content of ``features.json``.
        seed: Another seed gives other noise.
    """
    rng = np.random.default_rng(seed)
    by_study: dict[str, list[tuple[str, float]]] = {}
    for record in TABLE.index(root).records:
        by_study.setdefault(str(record.group), []).append((record.case_id, record.labels[SLICE_LABEL]))
    for study, slices in by_study.items():
        features = rng.normal(0, 0.1, (len(slices), WIDTH))
        features[:, 0] += [seen for _, seen in slices]
        write_features(folder, study, study, [name for name, _ in slices], features.astype(np.float16))
    (folder / FACTS).write_text(facts)
    return folder

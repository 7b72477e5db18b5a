"""The best, the median and the worst cases of a run, with their pictures where the images are at hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from medimg.errors import MedimgError
from medimg.figures.overlay import contour_panel
from medimg.figures.thumbnails import PREDICTION, REFERENCE, outlined, picture_uri
from medimg.io.files import safe_name
from medimg.io.nifti import is_nifti, read_grid, read_image, read_mask
from medimg.io.raster import read_raster
from medimg.preparation.geometry import orientation_change, reorient
from medimg.preparation.image_pixels import ImageOptions, read_pixels
from medimg.records import Record
from medimg.reports.blocks import Block, Figure, Figures, Section, Table, Text, number
from medimg.reports.entries import Entry
from medimg.reports.run_files import RunFiles
from medimg.scoring.label_scores import guessed_task
from medimg.scoring.table import CASE_COLUMN

_SIDE = 320  # pixels of a picture's longer side
_OF_LABELS, _OF_VOLUMES = 4, 1  # cases of each kind


@dataclass(frozen=True)
class Pictures:
    """Where a report finds images.

    Attributes:
        records: Files of each case; without them there are no pictures.
        labels: Value of each class in masks.
        why_none: Why there are no records, in words.
    """

    records: Mapping[str, Record] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)
    why_none: str = ""


def case_names(entry: Entry, *, ids: bool) -> dict[str, str]:
    """What each case is called in the report.

    Args:
        entry: The scored cases.
        ids: Whether their own names may be told; otherwise they are numbered in the order of the table.
    """
    cases = [str(row[CASE_COLUMN]) for row in entry.rows]
    return {case: case if ids else f"case {position}" for position, case in enumerate(cases, 1)}


def case_section(run: RunFiles, pictures: Pictures, *, ids: bool) -> Section:
    """The best, median and worst cases.

    Args:
        run: The run.
        pictures: Where images are.
        ids: Whether the cases' own names may be told.
    """
    names = case_names(run.entry, ids=ids)
    found = _ranked_labels(run.entry) if run.entry.kind == "labels" else _ranked_volumes(run.entry)
    each = _OF_LABELS if run.entry.kind == "labels" else _OF_VOLUMES
    chosen = _chosen(found, each)
    what = "probability of what is true" if run.entry.kind == "labels" else "mean Dice"
    rows = [
        (kind, names[one.case], number(one.score), one.told) for kind, ones in chosen.items() for one in ones
    ]
    blocks: list[Block] = [Table(f"By {what}", ("", "case", what, "result"), tuple(rows))]
    missing = pictures.why_none
    for kind, ones in chosen.items():
        figures = []
        for one in ones:
            try:
                uri = _picture(run, one.case, pictures)
            except (MedimgError, ValueError, OSError) as error:
                missing = missing or (str(error) if ids else f"{names[one.case]} cannot be drawn")
                continue
            if uri:
                told = f"{names[one.case]}: {one.told}"
                figures.append(
                    Figure(f"{kind}, {told}", f"Image of {told}", uri=uri, wide=run.entry.kind == "volumes")
                )
        if figures:
            blocks.append(Figures(tuple(figures)))
    if missing or len(blocks) == 1:
        blocks.append(Text(f"Pictures are missing: {missing or 'no image file of these cases was found'}."))
    elif run.entry.kind == "volumes" and not any(map(_is_volume, pictures.records.values())):
        blocks.append(Text("Reference: blue. Prediction: vermilion."))
    return Section("Best, median and worst cases", tuple(blocks))


@dataclass(frozen=True, slots=True)
class _Ranked:
    case: str
    score: float
    told: str


def _ranked_labels(entry: Entry) -> list[_Ranked]:
    """Cases by the probability that was given to the truth; of several labels the least sure one counts."""
    arrays = entry.arrays()
    exclusive = (entry.task or guessed_task(arrays)) == "multiclass"
    ranked = []
    for case, truth, prob in zip(arrays.case_ids, arrays.truth, arrays.prob, strict=True):
        known = ~np.isnan(truth)
        if not known.any() or (exclusive and not (truth == 1).any()):
            continue
        given = np.where(truth == 1, prob, 1 - prob)
        label = int(np.argmax(truth)) if exclusive else int(np.nanargmin(np.where(known, given, np.nan)))
        score = float(prob[label] if exclusive else given[label])
        name = arrays.labels[label]
        is_so = name if truth[label] == 1 else f"not {name}"
        called = arrays.labels[int(prob.argmax())] if exclusive else name
        ranked.append(
            _Ranked(case, score, f"is {is_so}, {called} {prob.max() if exclusive else prob[label]:.2f}")
        )
    return ranked


def _ranked_volumes(entry: Entry) -> list[_Ranked]:
    ranked = []
    for row in entry.rows:
        dice = {name.removeprefix("dice_"): float(row[name]) for name in row if name.startswith("dice_")}
        values = [value for value in dice.values() if value == value]
        if values:
            told = ", ".join(f"{name} {number(value)}" for name, value in dice.items())
            ranked.append(_Ranked(str(row[CASE_COLUMN]), sum(values) / len(values), f"Dice {told}"))
    return ranked


def _chosen(ranked: Sequence[_Ranked], each: int) -> dict[str, list[_Ranked]]:
    """Some of the best, around the median and of the worst, each case once."""
    order = sorted(ranked, key=lambda one: (-one.score, one.case))
    each = min(each, max(len(order) // 3, 1))
    middle = max((len(order) - each) // 2, 0)
    places = {
        "worst": order[::-1][:each],
        "median": order[middle : middle + each],
        "best": order[:each],
    }
    seen: set[str] = set()
    kept: dict[str, list[_Ranked]] = {}
    for kind, ones in places.items():
        kept[kind] = [one for one in ones if one.case not in seen]
        seen |= {one.case for one in ones}
    return {kind: ones for kind, ones in kept.items() if ones}


def _picture(run: RunFiles, case: str, pictures: Pictures) -> str:
    record = pictures.records.get(case)
    if record is None:
        return ""
    if run.entry.kind == "volumes" and _is_volume(record):
        return _volume(run, record, pictures.labels)
    return _image(run, record)


def _is_volume(record: Record) -> bool:
    return is_nifti(record.images[0])


def _mask_file(run: RunFiles, case: str, suffix: str) -> Path | None:
    folder = run.entry.table.parent
    places = [place / f"{safe_name(case)}{suffix}" for place in (folder / "masks", folder)]
    return next((path for path in places if path.is_file()), None)


def _volume(run: RunFiles, record: Record, labels: Mapping[str, int]) -> str:
    grid = read_grid(record.images[0])
    change = orientation_change(grid.affine, "RAS")
    image = reorient(read_image(record.images[0], channel=0)[0], *change)
    files = (record.mask, _mask_file(run, record.case_id, ".nii.gz"))
    masks = [None if path is None else reorient(read_mask(path), *change) for path in files]
    spacing = tuple(grid.spacing_mm[axis] for axis in change[0])
    panel = contour_panel(image, *masks, classes=labels, spacing_mm=spacing)  # type: ignore[arg-type]
    return picture_uri(panel)


def _image(run: RunFiles, record: Record) -> str:
    pixels = read_pixels(record, ImageOptions(size=(_SIDE, _SIDE), channels=3, keep_aspect=True))
    picture = np.moveaxis(pixels, 0, -1)
    if run.entry.kind != "volumes":
        return picture_uri(picture)
    files = {REFERENCE: record.mask, PREDICTION: _mask_file(run, record.case_id, ".png")}
    masks = {colour: None if path is None else _boxed(read_raster(path)[0]) for colour, path in files.items()}
    return picture_uri(outlined(picture, masks))


def _boxed(mask: NDArray[np.generic]) -> NDArray[np.integer]:
    """A mask brought to the picture's square as its image was: in proportion, in the middle."""
    height, width = mask.shape
    scale = _SIDE / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    small = cv2.resize(np.asarray(mask, np.float32), size, interpolation=cv2.INTER_NEAREST)
    whole = np.zeros((_SIDE, _SIDE), np.int32)
    top, left = (_SIDE - size[1]) // 2, (_SIDE - size[0]) // 2
    whole[top : top + size[1], left : left + size[0]] = small
    return whole

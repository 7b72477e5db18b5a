"""What ``medimg explain`` leaves of a case: pictures, heat maps, curves and weights; and the table of all."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medimg.commands.explain_cases import CaseInput, Floats
from medimg.commands.explain_task import Subject
from medimg.explain import Curve, Explanation
from medimg.figures.heat_map import HeatTile, heat_panel, write_heat_panel
from medimg.io.files import atomic_write, safe_name
from medimg.io.nifti import write_image
from medimg.io.nrrd import write_seg_nrrd
from medimg.io.segments import make_segments

_MOST_IMAGES = 12  # of a group in one picture
_HOTTEST = {"hottest 10 %": 10, "hottest 5 %": 5, "hottest 1 %": 1}


@dataclass(frozen=True)
class Row:
    """One answer about one case, a line of ``table.csv``; an empty cell was not computed or does not apply."""

    case_id: str
    label: str
    probability: float
    method: str
    layer: str
    peak_d: int | None
    peak_h: int
    peak_w: int
    peak_in_reference: bool | None
    heat_in_reference: float | None
    deletion_area: float | None
    insertion_area: float | None
    completeness_error: float | None
    steps: int | None
    random_correlation: float | None
    warning: str
    picture: str


def make_row(
    case: CaseInput,
    subject: Subject,
    found: Explanation,
    *,
    method: str,
    curve: Curve | None,
    random: float | None,
) -> Row:
    """Judge a heat map; the peak is counted on the network's grid, of groups with the image's number as depth."""
    peak = [int(place) for place in np.unravel_index(int(found.heat.argmax()), found.heat.shape)]
    volume = subject.dims == 3
    depth = peak[1] if volume else peak[0] if case.sizes is not None else None
    inside = case.reference(subject.label)
    hit = share = None
    if inside is not None and inside.any() and found.heat.any():
        whole = inside.reshape(found.heat.shape)
        hit = bool(whole[tuple(peak)])
        share = float(found.heat[whole].sum() / found.heat.sum())
    return Row(
        case.case_id, subject.label, subject.probability, method, found.layer, depth, peak[-2], peak[-1], hit, share,
        curve.deletion_area if curve else None, curve.insertion_area if curve else None,
        found.completeness, found.steps, random, found.warning,
        f"{safe_name(case.case_id)}/{safe_name(subject.label)}.png",
    )  # fmt: skip


def draw(
    case: CaseInput,
    subject: Subject,
    found: Explanation,
    *,
    method: str,
    channel: int,
    weights: Sequence[float] | None,
) -> NDArray[np.uint8]:
    """The picture of one answer."""
    contours = {}
    reference = case.reference(subject.label)
    if reference is not None:
        contours["reference"] = reference.reshape(found.heat.shape)
    if subject.region is not None:
        contours["prediction"] = subject.region.reshape(found.heat.shape)
    values = case.image.detach().float().cpu().numpy()
    if subject.dims == 3:
        tiles = _planes(case, values[0, channel], found.heat[0], {name: m[0] for name, m in contours.items()})
    else:
        tiles = _images(case, values, found.heat, contours, weights, channel)
    return heat_panel(
        tiles, title=case.case_id, answer=f"{subject.label}, {method}", prob=subject.probability,
        top=float(found.heat.max()),
    )  # fmt: skip


def _images(
    case: CaseInput,
    values: Floats,
    heat: Floats,
    contours: dict[str, NDArray[np.bool_]],
    weights: Sequence[float] | None,
    channel: int,
) -> list[HeatTile]:
    order = list(range(len(heat)))
    if len(order) > _MOST_IMAGES:  # the most telling ones, in their order
        telling = weights if weights is not None else heat.max((1, 2))
        order = sorted(sorted(order, key=lambda at: -telling[at])[:_MOST_IMAGES])
    tiles = []
    for at in order:
        colours = values.shape[1] == 3
        picture = values[at].transpose(1, 2, 0) if colours else values[at, channel]
        caption = case.image_ids[at] if case.image_ids else ""
        if weights is not None:
            caption = f"{weights[at]:.2f}  {caption}"
        tiles.append(HeatTile(picture, heat[at], {name: m[at] for name, m in contours.items()}, caption))
    return tiles


def _planes(
    case: CaseInput, volume: Floats, heat: Floats, contours: dict[str, NDArray[np.bool_]]
) -> list[HeatTile]:
    """The three planes through the peak, patient's right on the left where the volume lies in RAS order."""
    peak = np.unravel_index(int(heat.argmax()), heat.shape)
    turn = (slice(None, None, -1),) * 2 if case.turned else (slice(None),) * 2
    names = ("axial", "coronal", "sagittal") if case.turned else ("plane D", "plane H", "plane W")
    tiles = []
    for axis, name in enumerate(names):
        rows, columns = (step for dim, step in enumerate(case.spacing_mm) if dim != axis)
        image, hot, *masks = (
            np.take(one, int(peak[axis]), axis=axis)[turn] for one in (volume, heat, *contours.values())
        )
        lines = dict(zip(contours, masks, strict=True))
        tiles.append(HeatTile(image, hot, lines, f"{name}, {int(peak[axis])}", (rows, columns)))
    return tiles


def write_case(
    out: Path,
    case: CaseInput,
    row: Row,
    found: Explanation,
    panel: NDArray[np.uint8],
    *,
    curve: Curve | None,
    weights: Sequence[float] | None,
    save_as: str,
) -> None:
    """Write everything of one answer below ``out/<case>/``."""
    picture = out / row.picture
    write_heat_panel(picture, panel)
    if curve is not None:
        lines = zip(curve.shares.tolist(), curve.deletion.tolist(), curve.insertion.tolist(), strict=True)
        _write_csv(
            picture.with_name(f"{picture.stem}_curves.csv"),
            ("share", "deletion", "insertion"),
            [tuple(f"{value:.6g}" for value in line) for line in lines],
        )
    if case.sizes is not None:
        ids = case.image_ids or tuple(str(number) for number in range(case.sizes))
        heat = found.heat.sum((1, 2))
        shares = heat / heat.sum() if heat.sum() > 0 else heat
        rows = [
            (name, "" if weights is None else f"{weights[at]:.6g}", f"{shares[at]:.6g}")
            for at, name in enumerate(ids)
        ]
        _write_csv(picture.with_name(f"{picture.stem}_images.csv"), ("image_id", "weight", "heat"), rows)
    if case.to_source is not None:
        _write_volume(picture.with_suffix(""), case, found.heat[0], save_as)


def _write_volume(stem: Path, case: CaseInput, heat: Floats, save_as: str) -> None:
    assert case.to_source is not None
    whole, grid = case.to_source(heat)
    if save_as == "nifti":
        write_image(stem.with_name(f"{stem.name}.nii.gz"), whole.astype(np.float32), grid.affine)
        return
    labels = np.zeros(whole.shape, np.uint8)
    for value, percent in enumerate(_HOTTEST.values(), start=1):
        limit = float(np.percentile(whole, 100 - percent))
        labels[(whole >= limit) & (whole > 0)] = value
    segments = make_segments({name: value for value, name in enumerate(_HOTTEST, start=1)})
    write_seg_nrrd(stem.with_name(f"{stem.name}.seg.nrrd"), labels, grid, segments)


def write_table(out: Path, rows: Sequence[Row]) -> Path:
    """Write ``table.csv``."""
    path = out / "table.csv"
    names = [one.name for one in fields(Row)]
    _write_csv(path, names, [tuple(_cell(asdict(row)[name]) for name in names) for row in rows])
    return path


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with atomic_write(path, durable=False) as temporary, temporary.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])

"""Archives of masks: what ``medimg submit`` does for them."""

from dataclasses import replace
from pathlib import Path

from medimg.ensembling.members import find_member
from medimg.errors import ConfigError, DataError
from medimg.submission.faults import Faults
from medimg.submission.formats import ZipFormat
from medimg.submission.ids import read_id_map
from medimg.submission.relabel import meaning_of, value_map
from medimg.submission.request import Outcome, Request
from medimg.submission.volumes import (
    VolumeTask,
    asked_cases,
    case_files,
    check_archive,
    dataset_labels,
    write_empty,
    write_volumes,
)


def submit_volumes(request: Request, layout: ZipFormat) -> Outcome:
    """Write or check an archive of masks.

    Args:
        request: What the user asked for.
        layout: What the competition asks for.

    Raises:
        ConfigError: If options do not fit.
        DataError: If a file cannot be read, or for all faults of the masks together.
    """
    faults = Faults()
    own_labels = layout.labels  # not those of a data set, which its masks have anyway
    layout = _with_labels(request, layout)
    images = None if request.images is None else case_files(request.images)
    asked = () if request.sample is None else asked_cases(request.sample)
    if not asked and request.constant is not None:
        asked = tuple(images or ())
    keys = VolumeTask(layout)
    task = VolumeTask(
        layout,
        asked,
        values={} if request.predictions == () else value_map(stated_meaning(request), layout),
        allowed=_allowed(request, layout),
        images=None if images is None else {keys.key(name): path for name, path in images.items()},
    )
    notes: tuple[str, ...] = () if asked else ("no --sample: whether cases are missing was not checked",)
    if images is None and layout.affine is None:
        notes += ("no --images: whether masks lie on the grid of their image was not checked",)
    if request.predictions and own_labels and not task.values:
        taken = ", ".join(f"{name}={value}" for name, value in own_labels.items())
        notes += (f"nothing says what the values of the masks mean (--labels): they were taken for {taken}",)
    if not task.allowed:
        notes += ("no --labels: which label values may occur was not checked",)
    if request.validate is not None:
        return Outcome(f"{check_archive(request.validate, task, faults)} masks", faults, notes)
    if request.constant is not None:
        return Outcome(f"{write_empty(request.file, task, faults)} masks", faults, notes)
    return Outcome(
        f"{write_volumes(request.file, task, _masks(request, faults), faults)} masks", faults, notes
    )


def _with_labels(request: Request, layout: ZipFormat) -> ZipFormat:
    """The Decathlon's labels stand in the ``dataset.json`` beside the images."""
    if layout.labels or request.images is None:
        return layout
    return replace(layout, labels=dataset_labels(request.images))


def _allowed(request: Request, layout: ZipFormat) -> frozenset[int]:
    values = layout.labels or stated_meaning(request)
    return frozenset(values.values())


def mask_folder(request: Request) -> Path:
    """Folder of the masks to submit.

    Raises:
        ConfigError: If several are given.
        DataError: If there is no such folder.
    """
    if len(request.predictions) != 1:
        raise ConfigError(f"{request.format} takes one folder of masks, found {len(request.predictions)}.")
    if request.predictions[0].is_file():
        raise DataError(f"{request.predictions[0]}: expected a folder of masks, found a file.")
    return find_member(request.predictions[0], part=request.part).folder


def stated_meaning(request: Request) -> dict[str, int]:
    """Value of each class in the masks, as the user or else their ``predictions.json`` says; empty if neither does."""
    if request.labels is not None:
        return meaning_of(request.labels)
    if not request.predictions:
        return {}
    return dict(find_member(request.predictions[0], part=request.part).description.labels or {})


def _masks(request: Request, faults: Faults) -> dict[str, Path]:
    """Mask of each case, by the organisers' name."""
    found = dict(find_member(mask_folder(request), part=request.part).masks)
    if request.id_map is None:
        return found
    names = read_id_map(request.id_map)
    masks: dict[str, Path] = {}
    for path, name in zip(found.values(), names.apply(list(found), faults), strict=True):
        if name in masks:
            faults.add("ids of several cases", f"{name}: {masks[name]} and {path}")
        masks[name] = path
    return masks

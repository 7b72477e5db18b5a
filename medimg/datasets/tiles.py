"""Histopathology tiles with masks, as in the HuBMAP challenges: a table of run-length codes, or mask files."""

import re
from dataclasses import dataclass
from pathlib import Path

from medimg.datasets.image_cases import ImageCases, patient_in, patient_pattern
from medimg.datasets.image_masks import ImageMask, RunLengths
from medimg.datasets.image_set import ListedImages, image_files
from medimg.datasets.image_table import Table, find_table, read_table
from medimg.errors import DataError
from medimg.records import ImageIndex

_CODES = ("rle", "encoding", "EncodedPixels", "predicted", "segmentation")
_PATIENTS = ("patient_id", "patient", "patient_number")
_FOLDERS = ("train_images", "train", "images", ".")
_MASK_FOLDERS = ("masks", "train_masks", "labels")
_SUFFIXES = (".tiff", ".tif", ".png", ".jpg")


@dataclass(frozen=True, kw_only=True)
class HistologyTiles(ListedImages):
    r"""Tiles of tissue with masks: ``train.csv`` with ``train_images/<id>.tiff``, or ``images`` beside ``masks``.

    The table has ``id`` and the run-length code of each tile (absolute, column-major).
    The label of a tile is whether its code is empty, and unknown where masks are files, which stand in
    ``Record.mask``.

    Attributes:
        label: Name of what the masks show.
        patient: Regular expression whose group finds the patient in a tile's id, such as ``(\w+)_\d+``; ``None``
            takes the table's patient column, and without one declares every tile a patient of its own.
    """

    label: str = "foreground"
    patient: str | None = None

    def index(self, root: Path) -> ImageIndex:
        """List the tiles of the table, and without one those of the folders: a binary index.

        Raises:
            DataError: If there is neither a table nor a folder of masks, or a tile cannot be used.
        """
        found = self._codes(root)
        pattern = patient_pattern(self.patient)
        cases = ImageCases(root, found or root, self.missing)
        if found is None:
            _add_files(cases, root, pattern)
        else:
            _add_rows(cases, read_table(found), self.label, pattern)
        return ImageIndex(root.resolve().name, root, "binary", (self.label,), cases.records())

    def masks(self, index: ImageIndex) -> dict[str, ImageMask]:
        """Masks by tile: those of the table's codes, or the files."""
        table = self._codes(index.root)
        if table is None:
            return super().masks(index)
        codes = tile_masks(table)
        return {record.case_id: RunLengths((codes[record.case_id],)) for record in index.records}

    def _codes(self, root: Path) -> Path | None:
        return find_table(root, ["train.csv"]) if self.table is None else root / self.table


def tile_masks(table: Path) -> dict[str, str]:
    """Run-length code of each tile: absolute, column-major, empty for an empty mask.

    Args:
        table: Table with ``id`` and a column of codes.

    Raises:
        DataError: If there is no column of codes, or a tile stands twice.
    """
    content = read_table(table)
    masks: dict[str, str] = {}
    for line, (tile, code) in content.select(["id", _code_column(content)]):
        if tile in masks:
            raise DataError(f"{table}, line {line}: the id {tile} stands twice; keep one row")
        masks[tile] = code
    return masks


def _add_rows(cases: ImageCases, table: Table, label: str, pattern: re.Pattern[str] | None) -> None:
    owner_column = next((name for name in _PATIENTS if table.has(name)), "id")
    folder = cases.files.folder_of(_FOLDERS)
    for line, (tile, code, owner) in table.select(["id", _code_column(table), owner_column]):
        if code not in ("", "-1") and (len(code.split()) % 2 or not code.replace(" ", "").isdecimal()):
            cases.fault(line, f"expected pairs of a start and a length, found {code[:40]!r}")
            continue
        who = owner if pattern is None else patient_in(tile, pattern)
        if who is None:
            cases.fault(
                line, f"the pattern {pattern.pattern if pattern else ''!r} finds no patient in {tile}"
            )
            continue
        stem = tile if folder == "." else f"{folder}/{tile}"
        path = cases.files.suffix_of(stem, _SUFFIXES)
        cases.add(tile, who, [path], where=line, labels={label: float(code not in ("", "-1"))})


def _add_files(cases: ImageCases, root: Path, pattern: re.Pattern[str] | None) -> None:
    masks = next((root / name for name in _MASK_FOLDERS if (root / name).is_dir()), None)
    images = next((root / name for name in _FOLDERS[:-1] if (root / name).is_dir()), None)
    if masks is None or images is None:
        raise DataError(
            f"{root}: expected train.csv, or a folder images beside a folder masks; found neither. "
            "Give the folder that holds them, or name the table."
        )
    mask_of = {path.stem: path for path in sorted(masks.iterdir()) if path.suffix in _SUFFIXES}
    for path in image_files(images):
        name = path.relative_to(root).as_posix()
        mask = mask_of.get(path.stem) or mask_of.get(f"{path.stem}_mask")
        who = patient_in(path.stem, pattern)
        if mask is None:
            cases.fault(name, f"has no mask {masks.name}/{path.name}")
        elif who is None:
            cases.fault(name, f"the pattern {pattern.pattern if pattern else ''!r} finds no patient in it")
        else:
            cases.add(path.stem, who, [name], where=name, mask=mask.relative_to(root).as_posix())


def _code_column(table: Table) -> str:
    column = next((name for name in _CODES if table.has(name)), None)
    if column is None:
        raise DataError(
            f"{table.path}: expected a column of run-length codes ({', '.join(_CODES)}); "
            f"found {', '.join(table.header)}."
        )
    return column

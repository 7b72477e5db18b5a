"""ITK-SNAP's label descriptions, and workspaces that open an image with them."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medimg.errors import DataError
from medimg.io.files import atomic_write
from medimg.io.segments import Segment, make_segments

_HEAD = """################################################
# ITK-SnAP Label Description File
# File format:
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
# Fields:
#    IDX:   Zero-based index
#    -R-:   Red color component (0..255)
#    -G-:   Green color component (0..255)
#    -B-:   Blue color component (0..255)
#    -A-:   Label transparency (0.00 .. 1.00)
#    VIS:   Label visibility (0 or 1)
#    IDX:   Label mesh visibility (0 or 1)
#  LABEL:   Label description
################################################
"""
_LINE = re.compile(r'\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+([\d.]+)\s+([01])\s+([01])\s+"(.*)"\s*')
_DOCTYPE = """<?xml version="1.0" encoding="UTF-8" ?>
<!--ITK-SNAP (itksnap.org) Project File-->
<!DOCTYPE registry [
<!ELEMENT registry (entry*,folder*)>
<!ELEMENT folder (entry*,folder*)>
<!ELEMENT entry EMPTY>
<!ATTLIST folder key CDATA #REQUIRED>
<!ATTLIST entry key CDATA #REQUIRED>
<!ATTLIST entry value CDATA #REQUIRED>
]>
"""


@dataclass(frozen=True, slots=True)
class Workspace:
    """What a workspace opens.

    Attributes:
        image: The main image.
        masks: Its segmentations.
        segments: Its labels.
    """

    image: Path
    masks: tuple[Path, ...]
    segments: tuple[Segment, ...]


def write_label_descriptions(path: Path, segments: Sequence[Segment]) -> None:
    """Write the labels as ITK-SNAP imports them (Segmentation, Import Label Descriptions).

    Raises:
        ResourceError: If the file cannot be written.
    """
    lines = ['    0     0    0    0        0  0  0    "Clear Label"']
    for one in segments:
        red, green, blue = one.colour
        lines.append(f'{one.value:5d} {red:5d} {green:4d} {blue:4d}        1  1  1    "{_quoted(one.name)}"')
    with atomic_write(path, durable=False) as temporary:
        temporary.write_text(_HEAD + "\n".join(lines) + "\n", encoding="utf-8")


def _quoted(name: str) -> str:
    return name.replace('"', "'").replace("\n", " ")


def read_label_descriptions(path: Path) -> tuple[Segment, ...]:
    """Read the labels that ITK-SNAP exported, the clear one left out.

    Raises:
        DataError: If the file cannot be read, a line is no label, or a value stands twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: cannot be read as label descriptions ({error}). Export them again."
        ) from error
    segments: dict[int, Segment] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None or int(found[1]) in segments or max(int(found[part]) for part in (2, 3, 4)) > 255:
            raise DataError(
                f'{path}, line {number}: expected a new value, its colour and "its name", found {line.strip()[:60]!r}. '
                "Export the labels from ITK-SNAP again."
            )
        (plain,) = make_segments({found[8]: int(found[1])})
        segments[plain.value] = replace(plain, colour=(int(found[2]), int(found[3]), int(found[4])))
    segments.pop(0, None)
    return tuple(segments.values())


def write_workspace(
    path: Path,
    image: Path,
    segments: Sequence[Segment],
    masks: Sequence[Path] = (),
    *,
    home: Path | None = None,
) -> None:
    """Write a workspace that opens an image with its labels.

    ITK-SNAP finds the files again after a move if they still lie where they did, seen from the workspace.

    Args:
        path: ``.itksnap`` to write.
        image: The image.
        segments: The labels.
        masks: Segmentations to open; they must exist when the workspace is opened.
        home: Folder in which it will lie, where that is not the one it is written to.

    Raises:
        ResourceError: If the file cannot be written.
    """
    root = ET.Element("registry")
    _entries(root, {"SaveLocation": str((home or path.parent).resolve()), "Version": "20190612"})
    layers = _folder(root, "Layers")
    for number, file in enumerate((image, *masks)):
        layer = _folder(layers, f"Layer[{number:03d}]")
        role = "SegmentationRole" if number else "MainRole"
        _entries(layer, {"AbsolutePath": str(file.resolve()), "Role": role, "Tags": ""})
        if number:
            continue
        table = _folder(_folder(_folder(layer, "ProjectMetaData"), "IRIS"), "LabelTable")
        _entries(table, {"NumberOfElements": str(len(segments))})
        for place, one in enumerate(segments):
            element = _folder(table, f"Element[{place}]")
            colour = " ".join(map(str, one.colour))
            about = {"Alpha": "255", "Color": colour, "Flags": "1 1"}
            _entries(element, about | {"Index": str(one.value), "Label": _quoted(one.name)})
    ET.indent(root)
    with atomic_write(path, durable=False) as temporary:
        temporary.write_text(_DOCTYPE + ET.tostring(root, encoding="unicode") + "\n", encoding="utf-8")


def _folder(parent: ET.Element, key: str) -> ET.Element:
    return ET.SubElement(parent, "folder", key=key)


def _entries(parent: ET.Element, values: dict[str, str]) -> None:
    for key, value in values.items():
        ET.SubElement(parent, "entry", key=key, value=value)


def read_workspace(path: Path) -> Workspace:
    """Read which files a workspace opens, found again where it was moved with them, and its labels.

    Raises:
        DataError: If the file is no workspace.
    """
    try:
        text = path.read_text(encoding="utf-8")
        # Entities could blow up, and ITK-SNAP writes none.
        root = ET.fromstring(text) if "<!ENTITY" not in text else ET.Element("entities")
    except (OSError, UnicodeDecodeError, ET.ParseError) as error:
        raise DataError(
            f"{path}: cannot be read as an ITK-SNAP workspace ({error}). Save it again."
        ) from error
    layers = root.findall("./folder[@key='Layers']/folder")
    saved = _value(root, "SaveLocation")
    files: dict[str, list[Path]] = {"MainRole": [], "SegmentationRole": []}
    for layer in layers:
        files.get(_value(layer, "Role"), []).append(_moved(Path(_value(layer, "AbsolutePath")), saved, path))
    if root.tag != "registry" or len(files["MainRole"]) != 1:
        raise DataError(f"{path}: expected an ITK-SNAP workspace with one main image. Save it again.")
    try:
        segments = [_label(one) for one in root.findall(".//folder[@key='LabelTable']/folder")]
    except ValueError as error:
        raise DataError(
            f"{path}: has a label whose value or colour is no number ({error}). Save it again."
        ) from error
    ordered = tuple(sorted((one for one in segments if one.value), key=lambda one: one.value))
    return Workspace(files["MainRole"][0], tuple(files["SegmentationRole"]), ordered)


def _label(element: ET.Element) -> Segment:
    (plain,) = make_segments({_value(element, "Label"): int(_value(element, "Index"))})
    red, green, blue = (int(part) for part in _value(element, "Color").split())
    return replace(plain, colour=(red, green, blue))


def _value(parent: ET.Element, key: str) -> str:
    entry = parent.find(f"./entry[@key='{key}']")
    return "" if entry is None else entry.get("value", "")


def _moved(file: Path, saved: str, workspace: Path) -> Path:
    """Where a file lies now: in the same place seen from the workspace, where there is one."""
    if not file.is_absolute():
        return workspace.parent / file
    if saved and file.is_relative_to(saved) and (here := workspace.parent / file.relative_to(saved)).exists():
        return here
    return file

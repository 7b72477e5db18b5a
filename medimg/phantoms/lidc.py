"""LIDC-IDRI phantoms: chest CT as DICOM series, each with the XML of four readers."""

from functools import partial
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, register_namespace, tostring

import numpy as np

from medimg.io.dicom.slices import read_slices
from medimg.io.dicom.write_series import write_series
from medimg.io.files import atomic_write
from medimg.io.nifti import write_image
from medimg.phantoms.chest import SHAPE, SMALLEST_MM
from medimg.phantoms.chest_scan import (
    FIRST_PATIENT,
    check_scans,
    draw_chest,
    draw_scan,
    scan_settings,
    truth_file,
    write_truth,
)
from medimg.phantoms.lidc_readers import Finding, read_nodules
from medimg.phantoms.set_folder import claim, write_missing

_NAMESPACE = "http://www.nih.gov"
_ABOUT = f"""\
Chest CT with known lung nodules in the layout of LIDC-IDRI: DICOM series, each with an XML file
of four readers who disagree, to try programs on. No figure reached on them says anything about
patients.

truth.csv: place, size and malignancy of every nodule.
truth/<patient>.nii.gz: the number of the nodule at each voxel.
Patient numbers start at {FIRST_PATIENT}, which no patient of LIDC-IDRI has."""


def write_lidc(
    out: Path,
    *,
    cases: int = 8,
    seed: int = 0,
    size: tuple[int, int, int] = SHAPE,
    smallest_mm: float = SMALLEST_MM,
    workers: int = 1,
) -> list[Path]:
    """Write chest CT scans with the annotations of four readers, laid out as LIDC-IDRI.

    ``LIDC-IDRI-<number>/<study>/<series>/0001.dcm`` and so on, with one XML beside them; ``truth.csv`` and
    ``truth/`` as for `medimg.phantoms.chest_scan.write_ct`. The readers' outlines run on the first pixels
    outside the nodule. They differ by about half a millimetre, scores differ around the truth, and small nodules
    are missed by up to three of the four. Same seed, same bytes.

    Args:
        out: Folder to write to: missing, empty, or written by this function with the same settings.
        cases: Number of patients with one scan each, 1 to 999.
        seed: Any number from 0 on.
        size: Volume (D, H, W), at least 24, 64, 64; it always shows 300 x 340 x 340 mm.
        smallest_mm: Smallest diameter of a nodule, 3 to 20.
        workers: Processes to use.

    Returns:
        The folder of each patient, in order.

    Raises:
        ConfigError: If an argument is out of range, or the folder holds other things.
        DataError: If a case could not be made.
        ResourceError: If a file cannot be written.
    """
    out = Path(out)
    check_scans(cases, seed, size, smallest_mm)
    claim(out, _ABOUT, scan_settings(seed, size, smallest_mm))
    names = [f"LIDC-IDRI-{FIRST_PATIENT + index}" for index in range(cases)]
    write = partial(_write_case, out=out, names=names, seed=seed, size=size, smallest_mm=smallest_mm)
    folders = [out / name for name in names]
    # The truth is written last, so a case that has it is whole.
    write_missing(write, folders, lambda index: truth_file(out, names[index]).exists(), workers=workers)
    write_truth(out, names, seed, size, smallest_mm)
    return folders


def _write_case(
    index: int, *, out: Path, names: list[str], seed: int, size: tuple[int, int, int], smallest_mm: float
) -> None:
    name = names[index]
    study, series = (f"1.2.826.0.1.3680043.8.498.{kind}.{seed}.{FIRST_PATIENT + index}" for kind in (1, 2))
    voxels, labels, grid = draw_scan(index, seed=seed, size=size, smallest_mm=smallest_mm)
    folder = out / name / study / series
    files = write_series(
        folder,
        voxels,
        grid,
        patient_id=name,
        study_uid=study,
        series_uid=series,
        description="medimg phantom",
    )
    slices = [read_slices(file).slices[0] for file in files]
    places = [(one.position[2], one.sop_uid) for one in slices]
    chest = draw_chest(index, seed=seed, size=size, smallest_mm=smallest_mm, vessels=False)
    findings = read_nodules(chest.nodules, grid, (seed, index, 2))
    rng = np.random.default_rng([seed, index, 3])
    content = reading_xml(study, series, findings, places, size, rng)
    with atomic_write(folder / f"{index + 1:03d}.xml", durable=False) as temporary:
        temporary.write_bytes(content)
    write_image(truth_file(out, name), labels, grid.affine)


def reading_xml(
    study: str,
    series: str,
    findings: tuple[tuple[Finding, ...], ...],
    places: list[tuple[float, str]],
    size: tuple[int, int, int],
    rng: np.random.Generator,
) -> bytes:
    """Write what the readers found as LIDC's XML.

    Every reader also marks a nodule below 3 mm by a point, and a non-nodule, as in real files.

    Args:
        study: Study Instance UID.
        series: Series Instance UID.
        findings: Of each reader.
        places: Position z in millimetres and SOP Instance UID of each slice.
        size: Volume (D, H, W), for the marks.
        rng: Source of the marks.

    Returns:
        The file's bytes.
    """
    register_namespace("", _NAMESPACE)
    root = Element(_tag("LidcReadMessage"), {"uid": f"{series}.1"})
    header = SubElement(root, _tag("ResponseHeader"))
    for name, text in (
        ("Version", "1.8"),
        ("TaskDescription", "Second unblinded read"),
        ("SeriesInstanceUid", series),
        ("StudyInstanceUID", study),
    ):
        _add(header, name, text)
    for reader, found in enumerate(findings):
        session = SubElement(root, _tag("readingSession"))
        _add(session, "annotationVersion", "3.12")
        _add(session, "servicingRadiologistID", "phantom")
        for finding in found:
            _add_finding(session, f"{1000 * (reader + 1) + finding.nodule}", finding, places)
        for kind, name in (("unblindedReadNodule", "noduleID"), ("nonNodule", "nonNoduleID")):
            mark = SubElement(session, _tag(kind))
            _add(mark, name, f"{9000 + reader}")
            at = int(rng.integers(len(places)))
            point = (int(rng.integers(size[2])), int(rng.integers(size[1])))
            holder = SubElement(mark, _tag("roi")) if kind == "unblindedReadNodule" else mark
            _add_place(holder, places[at])
            if kind == "unblindedReadNodule":
                _add(holder, "inclusion", "TRUE")
            _add_point(holder, "edgeMap" if kind == "unblindedReadNodule" else "locus", point)
    indent(root, space="")
    content: bytes = tostring(root, encoding="UTF-8", xml_declaration=True)
    return content


def _add_finding(session: Element, name: str, finding: Finding, places: list[tuple[float, str]]) -> None:
    nodule = SubElement(session, _tag("unblindedReadNodule"))
    _add(nodule, "noduleID", name)
    scores = SubElement(nodule, _tag("characteristics"))
    for key, value in finding.scores.items():
        _add(scores, key, str(value))
    for outline in finding.outlines:
        roi = SubElement(nodule, _tag("roi"))
        _add_place(roi, places[outline.slice])
        _add(roi, "inclusion", "TRUE")
        for x, y in outline.points.tolist():
            _add_point(roi, "edgeMap", (x, y))


def _add_place(holder: Element, place: tuple[float, str]) -> None:
    _add(holder, "imageZposition", f"{place[0]:.6f}")
    _add(holder, "imageSOP_UID", place[1])


def _add_point(holder: Element, name: str, point: tuple[int, int]) -> None:
    mark = SubElement(holder, _tag(name))
    _add(mark, "xCoord", str(point[0]))
    _add(mark, "yCoord", str(point[1]))


def _add(holder: Element, name: str, text: str) -> None:
    SubElement(holder, _tag(name)).text = text


def _tag(name: str) -> str:
    return f"{{{_NAMESPACE}}}{name}"

import numpy as np
import pytest

from medimg.datasets.lidc import read_xml
from medimg.errors import ConfigError
from medimg.io.dicom.series import find_series
from medimg.phantoms.chest import chest_grid
from medimg.phantoms.chest_scan import draw_chest
from medimg.phantoms.lidc import reading_xml, write_lidc
from medimg.phantoms.lidc_readers import read_nodules

SMALL = (24, 64, 64)


def test_what_the_readers_found_is_read_back(tmp_path):
    nodules = draw_chest(2, seed=0, size=SMALL).nodules
    findings = read_nodules(nodules, chest_grid(SMALL), (0, 2, 2))
    places = [(-150 + 12.5 * n, f"1.2.{n}") for n in range(SMALL[0])]
    file = tmp_path / "a.xml"
    file.write_bytes(reading_xml("1.1", "1.2", findings, places, SMALL, np.random.default_rng(0)))
    found = read_xml(file)
    assert (found.study_uid, found.series_uid, found.readers) == ("1.1", "1.2", 4)
    expected = [(reader, one) for reader, own in enumerate(findings) for one in own]
    assert len(found.annotations) == len(expected)
    for annotation, (reader, finding) in zip(found.annotations, expected, strict=True):
        assert annotation.reader == reader
        assert annotation.characteristics == finding.scores
        for contour, traced in zip(annotation.contours, finding.outlines, strict=True):
            assert (contour.z_mm, contour.sop_uid) == places[traced.slice]
            np.testing.assert_array_equal(contour.points, traced.points)


def test_xml_and_slices_belong_together_and_come_out_the_same_again(tmp_path):
    write_lidc(tmp_path / "a", cases=1, seed=2, size=SMALL)
    write_lidc(tmp_path / "b", cases=2, seed=2, size=SMALL)
    (xml,) = (tmp_path / "a").rglob("*.xml")
    assert xml.relative_to(tmp_path / "a").parts[0] == "LIDC-IDRI-9001"
    reading = read_xml(xml)
    (series,) = find_series(xml.parent)
    assert reading.series_uid == series.uid == xml.parent.name
    by_uid = {one.sop_uid: one.position[2] for one in series.slices}
    for annotation in reading.annotations:
        for contour in annotation.contours:
            assert by_uid[contour.sop_uid] == pytest.approx(contour.z_mm, abs=1e-4)
    for file in (tmp_path / "a" / "LIDC-IDRI-9001").rglob("*.*"):
        if file.is_file():
            assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes()
    with pytest.raises(ConfigError, match="holds phantoms made with other settings"):
        write_lidc(tmp_path / "a", cases=1, seed=3, size=SMALL)


def test_the_readers_see_the_nodules_of_the_size_asked_for(tmp_path):
    write_lidc(tmp_path, cases=1, seed=0, size=SMALL, smallest_mm=18.0)
    (xml,) = tmp_path.rglob("*.xml")
    widths = [
        np.ptp(np.concatenate([contour.points for contour in one.contours]), axis=0).max() * 340 / 64
        for one in read_xml(xml).annotations
    ]
    assert min(widths) >= 18

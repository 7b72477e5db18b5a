import logging

import pytest

from medimg.datasets.lidc_scans import find_scans
from medimg.errors import DataError
from medimg.phantoms.lidc import write_lidc


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lidc") / "set"
    write_lidc(folder, cases=2, seed=3, size=(24, 64, 64))
    return folder


def test_series_and_annotations_are_matched_by_their_uids(phantom, tmp_path, caplog):
    scans = find_scans(phantom)
    assert [scan.patient_id for scan in scans] == ["LIDC-IDRI-9001", "LIDC-IDRI-9002"]
    assert all(scan.xml.parent == scan.folder for scan in scans)
    assert [scan.case_id for scan in scans] == ["LIDC-IDRI-9001-9001", "LIDC-IDRI-9002-9002"]
    # The XML files apart, under other names, and one of them missing.
    (tmp_path / "tcia").mkdir()
    (tmp_path / "tcia" / "a.xml").write_bytes(scans[1].xml.read_bytes())
    with caplog.at_level(logging.WARNING):
        (scan,) = find_scans(phantom, xml=tmp_path / "tcia")
    assert scan.patient_id == "LIDC-IDRI-9002"
    assert "1 series without annotations and 0 annotation files without series" in caplog.text
    (tmp_path / "tcia" / "b.xml").write_bytes(scans[1].xml.read_bytes())
    with pytest.raises(DataError, match=r"annotates the series .*a\.xml does\. Keep one"):
        find_scans(phantom, xml=tmp_path / "tcia")


def test_a_folder_without_scans_is_refused(tmp_path):
    with pytest.raises(
        DataError, match="expected CT series of LIDC-IDRI with their XML, found 0 series and 0"
    ):
        find_scans(tmp_path)
    with pytest.raises(DataError, match="expected a folder with XML files"):
        find_scans(tmp_path, xml=tmp_path / "none")

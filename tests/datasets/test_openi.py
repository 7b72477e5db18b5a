"""Reports out of the archive: sections, terms, images; and what is no such archive."""

import io
import os
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from medimg.datasets import OpenI
from medimg.datasets.openi import ARCHIVE, read_reports
from medimg.errors import ConfigError, DataError


def report(number, major, findings="", impression="", images=()):
    terms = "".join(f"<major>{term}</major>" for term in major)
    films = "".join(f'<parentImage id="{name}"><caption>Chest</caption></parentImage>' for name in images)
    return f"""<?xml version="1.0" encoding="utf-8"?>
<eCitation><uId id="CXR{number}"/><MedlineCitation><Article><Abstract>
<AbstractText Label="COMPARISON">None.</AbstractText>
<AbstractText Label="INDICATION">Cough &amp; fever</AbstractText>
<AbstractText Label="FINDINGS">{findings}</AbstractText>
<AbstractText Label="IMPRESSION">{impression}</AbstractText>
</Abstract></Article></MedlineCitation><MeSH>{terms}<automatic>x</automatic></MeSH>{films}</eCitation>"""


REPORTS = {
    "1.xml": report(1, ["normal"], "Clear\n   lungs.", "Normal.", ["CXR1_1_IM-1", "CXR1_1_IM-2"]),
    "2.xml": report(2, ["Opacity/lung", "Cardiomegaly"], "", "Large heart."),
    "3.xml": report(3, ["No Indexing"], "clear lungs.", "normal.", ["CXR3_IM-1"]),
    "4.xml": report(4, ["Nodule"]),
}


@pytest.fixture
def pack(tmp_path):
    """``pack(files, kind)``: an archive with these files."""

    def write(files=REPORTS, kind=tarfile.REGTYPE, folder="ecgen-radiology/"):
        path = tmp_path / ARCHIVE
        with tarfile.open(path, "w:gz") as archive:
            for name, text in files.items():
                member = tarfile.TarInfo(folder + name)
                member.type, member.linkname = kind, "x"
                content = text.encode()
                member.size = len(content) if kind == tarfile.REGTYPE else 0
                archive.addfile(member, io.BytesIO(content))
        return path

    return write


def test_reports_are_read_as_they_stand(pack):
    reports = read_reports(pack())
    assert [one.report_id for one in reports] == ["CXR1", "CXR2", "CXR3", "CXR4"]
    first = reports[0]
    assert first.sections == {
        "comparison": "None.",
        "indication": "Cough & fever",
        "findings": "Clear lungs.",
        "impression": "Normal.",
    }
    assert first.images == ("CXR1_1_IM-1", "CXR1_1_IM-2")
    assert reports[1].major == ("Opacity/lung", "Cardiomegaly")
    np.testing.assert_array_equal([one.abnormal for one in reports], [0, 1, np.nan, 1])


def test_cases_are_those_with_text_and_the_same_words_stay_together(pack):
    path = pack()
    for root in (path.parent, path):
        cases = OpenI().cases(root)
        assert [r.case_id for r in cases.index.records] == ["CXR1", "CXR2", "CXR3"]
        assert cases.texts == ("Clear lungs. Normal.", "Large heart.", "clear lungs. normal.")
        assert cases.copies == ({"CXR1", "CXR3"},)
        assert OpenI().inputs == ("text",)
    indication = OpenI(sections=("indication",)).cases(path.parent)
    assert indication.texts == ("Cough & fever",) * 4
    assert not OpenI().cases(path, labelled=False).index.records[0].labels


def test_published_films_become_the_pictures(pack, write_picture):
    root = pack().parent
    for name in ("CXR1_1_IM-1", "CXR1_1_IM-2", "CXR3_IM-1", "other"):
        write_picture(root / "films" / f"{name}.png")
    films = OpenI(images=Path("films"))
    assert films.inputs == ("image", "image_2", "text")
    cases = films.cases(root)
    first, second = (cases.pictures[name].records for name in ("image", "image_2"))
    assert [r.images[0].name for r in first] == ["CXR1_1_IM-1.png", "CXR3_IM-1.png"]
    assert [(r.case_id, r.images[0].name) for r in second] == [("CXR1", "CXR1_1_IM-2.png")]
    with pytest.raises(DataError, match=r"expected the PNG files of NLMCXR_png\.tgz, found none"):
        OpenI(images=Path("nowhere")).cases(root)


WRONG = [
    ({"files": {"../1.xml": REPORTS["1.xml"]}}, r"holds 'ecgen-radiology/\.\./1\.xml', which is no report"),
    ({"files": {"1.sh": "x"}}, r"holds 'ecgen-radiology/1\.sh', which is no report"),
    ({"files": {"1.xml": ""}, "kind": tarfile.SYMTYPE}, "which is no report"),
    ({"folder": "/etc/"}, "which is no report"),
    (
        {"files": {"1.xml": "x" * (1 << 21)}},
        "of 2097152 bytes, number 1: no archive of reports is that large",
    ),
    ({"files": {"1.xml": "<a>"}}, r"1\.xml: cannot be read as XML"),
    ({"files": {"1.xml": "<eCitation/>"}}, "expected the id of a report, such as CXR1, found ''"),
    ({"files": {"1.xml": "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"}}, "declares a document type"),
    ({"files": {"1.xml": REPORTS["1.xml"], "9.xml": REPORTS["1.xml"]}}, "the id CXR1 stands twice"),
    ({"files": {}}, "holds no report"),
]


@pytest.mark.parametrize(("options", "said"), WRONG, ids=[said[:30] for _, said in WRONG])
def test_what_is_no_archive_of_reports_is_refused(pack, options, said):
    with pytest.raises(DataError, match=said):
        read_reports(pack(**options))


def test_a_damaged_or_missing_archive_is_named(tmp_path, pack):
    with pytest.raises(DataError, match="there is no such archive"):
        read_reports(tmp_path / "none.tgz")
    path = pack()
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(DataError, match=r"cannot be read as a \.tgz"):
        read_reports(path)
    path.write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"cannot be read as a \.tgz"):
        read_reports(path)


def test_a_section_that_no_report_has_is_refused():
    with pytest.raises(ConfigError, match=r"sections: expected some of comparison, .* found title"):
        OpenI(sections=("title",))


@pytest.mark.real
def test_the_published_archive_has_the_published_counts():
    reports = read_reports(Path(os.environ["MEDIMG_REAL_DATA"]) / "tables" / "NLMCXR_reports.tgz")
    assert len(reports) == 3955
    assert sum(len(one.images) for one in reports) == 7470
    assert len({name for one in reports for name in one.images}) == 7470
    counts = Counter(str(one.abnormal) for one in reports)
    assert counts == {"0.0": 1391, "1.0": 2469, "nan": 95}
    assert sum(not one.images for one in reports) == 104
    assert sum(not (one.sections["findings"] or one.sections["impression"]) for one in reports) == 28
    cases = OpenI().cases(Path(os.environ["MEDIMG_REAL_DATA"]) / "tables")
    assert len(cases.index.records) == 3955 - 28
    assert max(map(len, cases.copies)) >= 53

import csv
import stat

import numpy as np
import pytest
from writers.dicom import write_dicom

from medimg.commands import deidentify as verb
from medimg.commands.parser import call
from medimg.errors import ConfigError

CT = {
    "Modality": "CT",
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
    "PatientName": "Doe^Jane",
    "StudyDate": "20240229",
}


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    write_dicom(tmp_path / "src" / "Doe_Jane" / "a.dcm", pixels, elements=CT)
    write_dicom(tmp_path / "src" / "Doe_Jane" / "b.dcm", pixels, elements=CT | {"Modality": "US"})
    return tmp_path


def run(*words):
    return call(
        verb.PARSER, verb.deidentify, ["src", "dst", "--key_file", "key", *words], prog="medimg deidentify"
    )


def test_from_a_dry_run_to_a_verified_copy(study, capsys):
    assert run("--new_key", "--dry_run") == 1
    assert not (study / "dst").exists()
    found = capsys.readouterr()
    assert "DICOM    would be written" in found.out
    assert "refused: Doe_Jane/b.dcm: the picture may show a name" in found.err
    assert found.out.splitlines()[-1] == "next: read the reasons above, and run again"
    (study / "boxes.csv").write_text("match,left,top,width,height\n*/b.dcm,0,0,8,2\n")
    words = ["--boxes", "boxes.csv", "--retain", "dates", "patient", "--verify"]
    assert run(*words, "--mapping", "map.csv") == 0
    out = capsys.readouterr().out
    assert "verified: originals found again in 0 files" in out
    assert out.splitlines()[-1] == "next: medimg convert dst --out dst-nifti"
    with (study / "map.csv").open(newline="") as file:
        mapping = {(row["kind"], row["original"]): row["new"] for row in csv.DictReader(file)}
    assert stat.S_IMODE((study / "map.csv").stat().st_mode) == 0o600
    assert (study / "dst" / mapping["file", "Doe_Jane/a.dcm"]).is_file()
    assert mapping["PatientID", "P1"].startswith("P")
    key = (study / "key").read_text().strip()
    assert not [secret for secret in (key, *mapping.values()) if secret in out]
    assert "Doe" not in (study / "dst" / "deidentified.csv").read_text()


def test_a_reason_of_many_files_is_given_once(study, capsys):
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    for number in range(30):
        write_dicom(study / "src" / f"u{number}.dcm", pixels, elements=CT | {"Modality": "US"})
    assert run("--new_key") == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("refused")]
    assert len(said) == 1
    assert said[0].startswith("refused: Doe_Jane/b.dcm: the picture may show a name")
    assert said[0].endswith("(and 30 more for the same reason)")


def test_refused_files_are_named_and_the_others_written(study, capsys):
    assert run("--new_key") == 1
    out = capsys.readouterr().out.splitlines()
    assert [line.split() for line in out[:2]] == [["DICOM", "refused", "1"], ["DICOM", "written", "1"]]
    assert out[-1] == "next: read the reasons above and in dst/deidentified.csv, and run again"
    (study / "src" / "Doe_Jane" / "b.dcm").unlink()
    assert run() == 0
    assert (
        capsys.readouterr().out.splitlines()[-1] == "next: medimg deidentify with the same words and --verify"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "add --new_key"),
        (["--new_key", "--retain", "dates", "full_dates"], "not both"),
        (["--new_key", "--mapping", "dst/map.csv"], "--mapping dst/map.csv: lies in dst"),
        (["--new_key", "--mapping", "boxes.csv"], "exists already"),
        (["--new_key", "--boxes", "none.csv"], "--boxes none.csv: cannot be read"),
        (["--new_key", "--key_file", "src/key"], "--key_file src/key: lies in src"),
        (["--retain", "names"], "names"),
    ],
)
def test_words_that_cannot_be_meant_are_refused(study, words, message):
    (study / "boxes.csv").write_text("match,left,top,width,height\n")
    with pytest.raises(ConfigError, match=message):
        run(*words)
    assert not (study / "dst").exists()
    assert not (study / "src" / "key").exists()

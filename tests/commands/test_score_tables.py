import csv
import json

import pytest

from medimg.cli import main
from medimg.commands.score import score
from medimg.errors import ConfigError
from medimg.scoring.embolism import EXAM_LABELS


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "per_case.csv"
    path.write_text("case_id,patient_id,target_mass,prob_mass\na,p,1,0.9\nb,p,0,0.4\nc,q,1,0.6\nd,r,0,0.7\n")
    return path


def test_every_score_of_a_table(table, tmp_path, capsys):
    assert main(["score", str(table), "--out", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    assert "4 cases of 3 patients" in text
    assert "mass: 2 positive and 2 negative" in text
    assert text.splitlines()[-1].startswith("next: medimg calibrate")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["labels"]["auroc"]["mass"]["mean"] == 0.75
    assert summary["task"] == "binary"
    assert (
        (tmp_path / "out" / "per_case.csv").read_text().startswith("case_id,patient_id,target_mass,prob_mass")
    )


def test_a_submission_against_the_labels_of_its_competition(tmp_path, capsys):
    (tmp_path / "sub.csv").write_text("image_name,target\na,0.9\nb,0.4\nc,0.6\nd,0.7\n")
    (tmp_path / "train.csv").write_text("image_name,patient_id,target\na,p,1\nb,p,0\nc,q,1\nd,r,0\n")
    words = ["score", str(tmp_path / "sub.csv"), str(tmp_path / "train.csv"), "--metric", "isic2020"]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ISIC 2020: AUROC, ")
    assert lines[1] == "4 images of 3 patients, 4 rows of predictions"
    assert lines[5].split()[:2] == ["AUROC", "0.7500"]
    assert lines[-1] == "next: keep the rows of all cases by adding --out FOLDER"
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    with (tmp_path / "out" / "per_case.csv").open() as stream:
        assert [row["patient_id"] for row in csv.DictReader(stream)] == ["p", "p", "q", "r"]
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["score"]["mean"] == 0.75
    assert main(["score", str(tmp_path / "out" / "per_case.csv")]) == 0  # what the last line says to do


def test_a_faulty_submission_gives_no_score_and_writes_nothing(tmp_path, capsys):
    (tmp_path / "sub.csv").write_text("image_name,target\na,0.9\na,0.4\n")
    (tmp_path / "train.csv").write_text("image_name,patient_id,target\na,p,1\nb,p,0\n")
    words = ["score", str(tmp_path / "sub.csv"), str(tmp_path / "train.csv"), "--metric", "isic2020"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert "1 doubled: a" in captured.err
    assert "1 missing: b" in captured.err
    assert captured.out == ""
    assert not (tmp_path / "out").exists()


def test_exams_that_contradict_themselves_are_counted(tmp_path, capsys):
    labels = ",".join(EXAM_LABELS)
    (tmp_path / "train.csv").write_text(
        f"StudyInstanceUID,SeriesInstanceUID,SOPInstanceUID,pe_present_on_image,{labels}\ne,s,i,0,1{',0' * 8}\n"
    )
    rows = [f"e_{label},0.5" for label in EXAM_LABELS]
    (tmp_path / "sub.csv").write_text("\n".join(["id,label", *rows, "i,0.5"]) + "\n")
    words = ["score", str(tmp_path / "sub.csv"), str(tmp_path / "train.csv"), "--metric", "rsna-pe"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    assert "0.6931" in text  # ln 2, whatever the weights
    assert "consistency: 1 of 1 exams break a rule" in text
    assert "1  no positive image: exactly one of negative and indeterminate (such as e)" in text
    assert "--enforce-consistency" in text.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"regions": "brats2023"}, "--regions: means nothing for a table without --metric"),
        (
            {"metric": "isic2020", "lesionwise": True, "labels": "a=1"},
            "--labels, --lesionwise: means nothing",
        ),
        ({"metric": "aptos", "task": "binary"}, "--task: means nothing for --metric aptos"),
        ({"metric": "hubmap", "images": "."}, "--images: means nothing for --metric hubmap"),
        ({"metric": "hubmap"}, "expected the table of labels behind"),
        ({"metric": "rsna-pe"}, "expected the table of labels behind"),
    ],
)
def test_options_that_would_do_nothing_and_missing_references(table, options, message):
    with pytest.raises(ConfigError, match=message):
        score(table, **options)

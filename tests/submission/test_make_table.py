from dataclasses import replace
from pathlib import Path

import pytest

from medimg.ensembling.calibration_file import Calibration, write_calibration
from medimg.ensembling.calibrators import Temperature
from medimg.errors import ConfigError, DataError
from medimg.scoring.embolism import EXAM_LABELS
from medimg.scoring.label_table import label_row, write_label_table
from medimg.submission.formats import FORMATS
from medimg.submission.make_table import submit_table
from medimg.submission.request import Request


@pytest.fixture
def request_for(tmp_path):
    """``request_for("isic2020", sample=...)``: a request that writes ``out.csv``."""
    plain = dict.fromkeys(Request.__dataclass_fields__)
    plain |= {"predictions": (), "out": tmp_path / "out.csv", "part": "predict", "enforce_consistency": False}
    return lambda name, **changes: Request(**{**plain, "format": name, **changes})


def run(request):
    return submit_table(request, FORMATS[request.format])


def predictions(path, cases, label="x"):
    write_label_table(path, [label_row(case, "", [label], [prob]) for case, prob in cases.items()])
    return path


def isic(write_table, tmp_path, ids="ab"):
    return write_table(tmp_path / "sample.csv", ["image_name", "target"], [[name, 0] for name in ids])


def test_rows_stand_as_in_the_sample(write_table, request_for, tmp_path):
    preds = predictions(tmp_path / "p.csv", {"a": 0.25, "b": 0.75})
    request = request_for("isic2020", predictions=(preds,), sample=isic(write_table, tmp_path, "ba"))
    outcome = run(request)
    assert (outcome.summary, outcome.notes, bool(outcome.faults)) == ("2 rows", (), False)
    assert request.out.read_text() == "image_name,target\nb,0.75\na,0.25\n"
    again = run(replace(request, predictions=(), out=None, validate=request.out))
    assert not again.faults


def test_all_faults_together_and_no_file(write_table, request_for, tmp_path):
    rows = [["a", "0.5"], ["a", "0.5"], ["z", "2"], ["b", "nan"]]
    preds = write_table(tmp_path / "p.csv", ["case_id", "prob_x"], rows)
    sample = isic(write_table, tmp_path, "abc")
    with pytest.raises(DataError) as caught:
        run(request_for("isic2020", predictions=(preds,), sample=sample))
    for part in (
        "missing rows (1):\n    c",
        "unknown rows (1):\n    z",
        "a (2 times)",
        "column prob_x: 2",
        "blank or",
    ):
        assert part in str(caught.value)
    assert not (tmp_path / "out.csv").exists()


def test_a_constant_needs_the_sample_alone(write_table, request_for, tmp_path):
    request = request_for("isic2020", constant=0.5, sample=isic(write_table, tmp_path))
    run(request)
    assert request.out.read_text() == "image_name,target\na,0.5\nb,0.5\n"
    with pytest.raises(ConfigError, match="--sample"):
        run(replace(request, sample=None))
    with pytest.raises(ConfigError, match="holds no ids"):
        run(replace(request, sample=isic(write_table, tmp_path, "")))


def test_a_sample_without_rows_checks_what_it_can(write_table, request_for, tmp_path):
    preds = predictions(tmp_path / "p.csv", {"b": 0.25, "a": 0.75})
    sample = isic(write_table, tmp_path, "")
    outcome = run(request_for("isic2020", predictions=(preds,), sample=sample))
    assert "holds no ids" in outcome.notes[0]
    assert (tmp_path / "out.csv").read_text().splitlines()[1:] == ["a,0.75", "b,0.25"]


def test_a_model_of_breasts_needs_no_map_and_one_of_images_the_competitions_table(
    write_table, request_for, tmp_path
):
    sample = write_table(tmp_path / "s.csv", ["prediction_id", "cancer"], [["1_L", 0], ["1_R", 0]])
    breasts = predictions(tmp_path / "b.csv", {"1_L": 0.5, "1_R": 0.125}, "cancer")
    run(request_for("rsna-mammography", predictions=(breasts,), sample=sample))
    expected = (tmp_path / "out.csv").read_text()
    images = predictions(tmp_path / "i.csv", {"1_7": 0.25, "1_8": 0.75, "1_9": 0.125}, "cancer")
    rows = [["1", "7", "L"], ["1", "8", "L"], ["1", "9", "R"]]
    cases = write_table(tmp_path / "test.csv", ["patient_id", "image_id", "laterality"], rows)
    request = request_for("rsna-mammography", predictions=(images,), sample=sample, cases=cases)
    with pytest.raises(DataError, match=r"--join mean or max makes one of them\) \(1\):\n    1_L"):
        run(request)
    run(replace(request, join="mean"))
    assert (tmp_path / "out.csv").read_text() == expected == "prediction_id,cancer\n1_L,0.5\n1_R,0.125\n"


def pe(write_table, tmp_path):
    ids = [f"s1_{name}" for name in EXAM_LABELS] + ["i1", "i2"]
    sample = write_table(tmp_path / "s.csv", ["id", "label"], [[name, 0.5] for name in ids])
    header = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
    return sample, write_table(tmp_path / "test.csv", header, [["s1", "r", "i1"], ["s1", "r", "i2"]])


def test_exams_are_made_consistent_and_counted(write_table, request_for, tmp_path):
    sample, cases = pe(write_table, tmp_path)
    request = request_for("rsna-pe", constant=0.25, sample=sample, cases=cases)
    with pytest.raises(DataError, match=r"s1: no positive image: exactly one of negative(.|\n)*") as caught:
        run(request)
    assert "--enforce_consistency mends" in str(caught.value)
    outcome = run(replace(request, enforce_consistency=True))
    assert outcome.notes == ("exams that were changed to be consistent: 1",)
    again = run(request_for("rsna-pe", validate=tmp_path / "out.csv", sample=sample, cases=cases))
    assert not again.faults
    changed = [line for line in (tmp_path / "out.csv").read_text().splitlines() if not line.endswith(",0.25")]
    assert len(changed) == 2  # the header and one label


def test_the_exams_of_cases_ask_for_their_rows_without_a_sample(write_table, request_for, tmp_path):
    _, cases = pe(write_table, tmp_path)
    folder = tmp_path / "p"
    folder.mkdir()
    write_label_table(folder / "per_case.csv", [label_row("s1", "", list(EXAM_LABELS), [0.25] * 9)])
    request = request_for("rsna-pe", predictions=(folder,), cases=cases, enforce_consistency=True)
    with pytest.raises(DataError, match=r"missing rows \(2\):\n    i1"):
        run(request)
    predictions(folder / "per_image.csv", {"i1": 0.1, "i2": 0.2}, "pe_present_on_image")
    assert run(request).summary == "11 rows"


def test_a_file_from_elsewhere_is_checked_with_what_is_there(write_table, request_for, tmp_path):
    rows = [[f"s1_{name}", 0.5] for name in EXAM_LABELS[1:]] + [["i1", "-1"]]
    outcome = run(request_for("rsna-pe", validate=write_table(tmp_path / "x.csv", ["id", "label"], rows)))
    text = outcome.faults.text("x")
    assert "s1 lacks negative_exam_for_pe" in text
    assert "i1, column label: -1" in text
    assert len(outcome.notes) == 2
    other = write_table(tmp_path / "y.csv", ["name", "label"], rows)
    assert "not to be read (1)" in run(request_for("rsna-pe", validate=other)).faults.text("y")
    with pytest.raises(DataError, match="no such table"):
        run(request_for("rsna-pe", validate=tmp_path / "none.csv"))


def test_thresholds_and_calibration_are_read_from_their_file(write_table, request_for, tmp_path):
    calibration = tmp_path / "calibration.json"
    maps = {"x": Temperature(2.0)}
    write_calibration(calibration, Calibration("temperature", "binary", ("x",), maps, {"x": 0.7}))
    preds = predictions(tmp_path / "p" / "per_case.csv", {"a": 0.9, "b": 0.8})
    request = request_for(
        "isic2020", predictions=(preds,), sample=isic(write_table, tmp_path), calibration=calibration
    )
    run(request)
    values = [float(line.split(",")[1]) for line in request.out.read_text().splitlines()[1:]]
    assert values == pytest.approx([0.75, 2 / 3])
    for text in ("calibration", "x=0.7", "0.7"):
        run(replace(request, thresholds=text))
        assert request.out.read_text() == "image_name,target\na,1.0\nb,0.0\n"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"thresholds": "calibration"}, "there are none"),
        ({"thresholds": "x=2"}, "cannot read 'x=2'"),
        ({"thresholds": "=0.5"}, "cannot read '=0.5'"),
        ({"thresholds": "x=0.1,x=0.2"}, "cannot read 'x=0.2'"),
        ({"labels": "target"}, "expected COLUMN=LABEL"),
    ],
)
def test_words_that_cannot_be_read(write_table, request_for, tmp_path, changes, message):
    preds = predictions(tmp_path / "p.csv", {"a": 0.9, "b": 0.8})
    with pytest.raises(ConfigError, match=message):
        run(
            request_for("isic2020", predictions=(Path(preds),), sample=isic(write_table, tmp_path), **changes)
        )


def test_images_and_exams_that_cases_name_are_missed_without_a_sample(write_table, request_for, tmp_path):
    cases = write_table(
        tmp_path / "test.csv",
        ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"],
        [["s1", "x", "i1"], ["s1", "x", "i2"], ["s2", "x", "i3"]],
    )
    rows = [[f"s1_{label}", 0.9 if label == "negative_exam_for_pe" else 0.1] for label in EXAM_LABELS]
    file = write_table(tmp_path / "x.csv", ["id", "label"], [*rows, ["i1", 0.1], ["i9", 0.1]])
    outcome = run(request_for("rsna-pe", out=None, validate=file, cases=cases))
    text = outcome.faults.text("x")
    assert "missing rows (11):" in text
    for part in ("    i2\n", "    s2_chronic_pe\n", "unknown rows (1):\n    i9"):
        assert part in text


def test_a_sample_and_cases_of_other_exams_are_faults(write_table, request_for, tmp_path):
    sample, cases = pe(write_table, tmp_path)
    rows = cases.read_text().splitlines()
    cases.write_text("\n".join([*rows[:-1], "s9,x,i9"]) + "\n")
    with pytest.raises(DataError, match=r"rows that only one of --sample and --cases names \(\d+\):\n    i"):
        run(request_for("rsna-pe", constant=0.25, sample=sample, cases=cases))

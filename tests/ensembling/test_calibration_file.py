import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from medimg.ensembling.calibration_file import (
    Calibration,
    predictions_facts,
    read_calibration,
    refuse_calibrated,
    write_calibration,
)
from medimg.ensembling.calibrators import Isotonic, Platt, Temperature
from medimg.errors import DataError
from medimg.scoring.label_table import label_row

PLATT = Calibration(
    "platt", "multilabel", ("a", "b"), {"a": Platt(0.5, 0.1)}, {"a": 0.3, "b": 0.7}, "f1",
    cases=40, patients=20, split="abc",
)  # fmt: skip
JOINT = Calibration("temperature", "multiclass", ("a", "b"), dict.fromkeys("ab", Temperature(1.7)))
STEPS = Calibration("isotonic", "binary", ("x",), {"x": Isotonic((0.1, 0.9), (0.2, 0.6))})


@pytest.mark.parametrize("calibration", [PLATT, JOINT, STEPS])
def test_what_is_written_is_read(tmp_path, calibration):
    path = tmp_path / "calibration.json"
    write_calibration(path, calibration)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    assert read_calibration(path) == replace(calibration, digest=digest)
    assert json.loads(path.read_text())["version"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["calibration.json"]


def test_columns_are_found_by_name():
    probs = np.array([[0.2, 0.4], [0.6, 0.8]])
    straight = PLATT.apply(probs, ["a", "b"])
    np.testing.assert_array_equal(PLATT.apply(probs[:, ::-1], ["b", "a"]), straight[:, ::-1])
    np.testing.assert_array_equal(straight[:, 1], probs[:, 1])
    np.testing.assert_allclose(
        JOINT.apply([[0.9, 0.1]], ["b", "a"]), JOINT.apply([[0.1, 0.9]], "ab")[:, ::-1]
    )


def test_rows_are_calibrated_and_called():
    rows = [
        label_row("c1", "p", "ab", [0.2, 0.9], [1, -1]) | {"note": "x"},
        label_row("c2", "p", "ab", [0, 0.7]),
    ]
    first, second = PLATT.calibrate_rows(rows[:1])[0], PLATT.calibrate_rows(rows[1:])[0]
    probs = PLATT.apply([[0.2, 0.9], [0, 0.7]], "ab")
    assert list(first) == [
        "case_id", "patient_id", "target_a", "prob_a", "pred_a", "target_b", "prob_b", "pred_b", "note",
    ]  # fmt: skip
    assert (first["prob_a"], first["pred_a"]) == (probs[0, 0], 1.0)
    assert (first["prob_b"], first["pred_b"], first["note"]) == (0.9, 1.0, "x")
    assert (second["pred_a"], second["pred_b"]) == (0.0, 0.0)  # at the threshold is not above it
    assert rows[0]["prob_a"] == 0.2
    assert STEPS.calibrate_rows([]) == []
    assert list(STEPS.calibrate_rows([label_row("c", "p", "x", [0.5])])[0]) == [
        "case_id",
        "patient_id",
        "prob_x",
    ]


def test_unfit_predictions_are_refused():
    with pytest.raises(
        DataError, match=r"for multilabel with the labels a, b, the predictions are a table with a, c"
    ):
        PLATT.apply([[0.1, 0.2]], ["a", "c"])
    with pytest.raises(DataError, match="the predictions are binary with a, b"):
        PLATT.check(["a", "b"], "binary")
    with pytest.raises(DataError, match=r"row 2: expected a probability of b in \[0, 1\], found nan"):
        PLATT.apply([[0.1, 0.2], [0.3, np.nan]], ["a", "b"])
    with pytest.raises(DataError, match=r"case c1: expected a probability of a in \[0, 1\], found 1.2"):
        PLATT.calibrate_rows([label_row("c1", "p", "ab", [1.2, 0.1])])
    with pytest.raises(ValueError, match=r"shape \(N, 2\) expected"):
        PLATT.apply([0.1, 0.2], ["a", "b"])
    once = PLATT.calibrate_rows([label_row("c1", "p", "ab", [0.2, 0.9])])
    with pytest.raises(DataError, match="column pred_a: it was calibrated before"):
        PLATT.calibrate_rows(once)


def test_a_second_calibration_is_refused(tmp_path):
    refuse_calibrated(tmp_path)
    file = tmp_path / "predictions.json"
    file.write_text('{"split": "s"}')
    refuse_calibrated(tmp_path)
    assert predictions_facts(tmp_path) == {"split": "s"}
    file.write_text('{"calibration": "123abc"}')
    with pytest.raises(DataError, match="went through the calibration 123abc already"):
        refuse_calibrated(tmp_path)
    for text, said in (("{", "cannot be read"), ("[]", "names and values, found list")):
        file.write_text(text)
        with pytest.raises(DataError, match=said):
            refuse_calibrated(tmp_path)


FAULTS = [
    ({"version": 2}, "expected version 1, found 2"),
    ({"version": None}, "found None"),
    ({"kind": "beta"}, "expected the kind temperature, platt, isotonic, found 'beta'"),
    ({"task": "regression"}, "expected the task binary, multiclass, multilabel, found 'regression'"),
    ({"labels": ["a", "c"]}, "expected parameters for a, c, found a, b"),
    ({"labels": ["a", "a"]}, "names of labels, each once"),
    ({"labels": []}, "names of labels"),
    ({"labels": "ab"}, "another kind of value as labels"),
    ({"cases": True}, "another kind of value as cases"),
    ({"thresholds": {"c": 0.5}}, "expected thresholds of a, b only, found c"),
    ({"thresholds": {"a": float("nan")}}, "expected finite numbers, found NaN"),
    ({"thresholds": {"a": "0.5"}}, "finite number as threshold of a, found '0.5'"),
    (
        {"parameters": {"a": {"a": float("inf"), "b": 0}, "b": None}},
        "expected finite numbers, found Infinity",
    ),
    ({"parameters": {"a": {"a": 10**400, "b": 0}, "b": None}}, "calibration.json: "),
    ({"parameters": {"a": {"a": -1, "b": 0}, "b": None}}, "a: expected a above 0"),
    ({"parameters": {"a": {"a": 1}, "b": None}}, "expected a and b for a, found"),
    ({"parameters": {"a": {"temperature": 1}, "b": None}}, "expected a and b for a, found"),
    ({"parameters": {"a": 3, "b": None}}, "expected a and b for a, found 3"),
    ({"more": 1}, "missing or unknown: more"),
]


@pytest.mark.parametrize(("change", "said"), FAULTS)
def test_a_file_that_was_changed_is_refused_by_name(tmp_path, change, said):
    path = tmp_path / "calibration.json"
    write_calibration(path, PLATT)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=said) as fault:
        read_calibration(path)
    assert str(path) in str(fault.value) and "medimg calibrate" in str(fault.value)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "calibration.json"
    for text in ("", "{}", "[1]", "\xff", "[" * 100000):
        path.write_text(text)
        with pytest.raises(DataError, match=r"calibration\.json: "):
            read_calibration(path)
    with pytest.raises(DataError, match="No such file"):
        read_calibration(tmp_path / "none.json")


@pytest.mark.parametrize("other", [{"temperature": 2.0}, None])
def test_classes_share_one_temperature(tmp_path, other):
    path = tmp_path / "calibration.json"
    write_calibration(path, JOINT)
    content = json.loads(path.read_text())
    content["parameters"]["b"] = other
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="one temperature for all classes, found several"):
        read_calibration(path)


def test_points_that_fall_are_refused(tmp_path):
    path = tmp_path / "calibration.json"
    write_calibration(path, STEPS)
    path.write_text(path.read_text().replace("0.9", "0.05"))
    with pytest.raises(DataError, match="x: expected rising points"):
        read_calibration(path)

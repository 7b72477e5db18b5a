import json

import numpy as np
import pytest

from medimg.ensembling.calibration_file import Calibration
from medimg.ensembling.calibrators import Temperature
from medimg.errors import ConfigError, DataError
from medimg.scoring.embolism import EXAM_LABELS
from medimg.scoring.label_table import label_row, write_label_table
from medimg.submission.answers import Recipe, read_answers
from medimg.submission.faults import Faults
from medimg.submission.formats import FORMATS
from medimg.submission.ids import IdMap
from medimg.submission.sheet import Asked


def predictions(folder, cases, labels=("x",)):
    rows = [label_row(case, "p", labels, np.atleast_1d(prob)) for case, prob in cases.items()]
    write_label_table(folder / "per_case.csv", rows)
    return folder


def answers(paths, name, header, recipe=None, faults=None):
    faults = Faults() if faults is None else faults
    return read_answers(paths, FORMATS[name], Asked(header, ()), recipe or Recipe(), faults, part="predict")


ISIC = ("image_name", "target")


def test_a_single_label_answers_a_single_column(tmp_path):
    folder = predictions(tmp_path / "p", {"a": 0.25, "b": 0.75}, ["melanoma"])
    for path in (folder, folder / "per_case.csv"):
        sheet = answers([path], "isic2020", ISIC)
        assert (sheet.ids, sheet.values.tolist()) == (("a", "b"), [[0.25], [0.75]])


def test_a_run_gives_its_part(tmp_path):
    (tmp_path / "config.yaml").touch()
    predictions(tmp_path / "predict", {"a": 0.25})
    assert answers([tmp_path], "isic2020", ISIC).ids == ("a",)


def test_several_labels_go_by_name_in_the_order_of_the_sample(tmp_path):
    folder = predictions(tmp_path, {"a": [0.1, 0.2, 0.3]}, ["x", "y", "z"])
    assert answers([folder], "table", ("id", "z", "x")).values.tolist() == [[0.3, 0.1]]
    renamed = answers([folder], "isic2020", ISIC, Recipe(labels={"target": "y"}))
    assert renamed.values.tolist() == [[0.2]]
    with pytest.raises(DataError, match=r"expected prob_target, found prob_x, .*--labels 'target'=LABEL"):
        answers([folder], "isic2020", ISIC)


def test_own_columns_are_taken_as_they_stand(write_table, tmp_path):
    path = write_table(tmp_path / "x.csv", ["target", "image_name"], [["0.5", "b"], ["0.25", "a"]])
    sheet = answers([path], "isic2020", ISIC)
    assert (sheet.ids, sheet.values.tolist()) == (("b", "a"), [[0.5], [0.25]])
    with pytest.raises(ConfigError, match="sample's own columns"):
        answers([path], "isic2020", ISIC, Recipe(calibration=Calibration("platt", "binary", ("x",))))


def test_a_table_of_something_else_is_refused(write_table, tmp_path):
    path = write_table(tmp_path / "x.csv", ["image", "score"], [["a", "1"]])
    with pytest.raises(DataError, match="or image_name, target as in the sample; found image, score"):
        answers([path], "isic2020", ISIC)
    with pytest.raises(DataError, match=r"expected a per_case\.csv"):
        answers([tmp_path], "isic2020", ISIC)


def test_exams_and_images_of_two_tables_give_all_rows(tmp_path):
    labels = sorted(EXAM_LABELS)
    exam = predictions(tmp_path / "exam", {"s1": np.arange(9) / 10}, labels)
    image = predictions(tmp_path / "image", {"i1": 0.5, "i2": 0.75}, ["pe_present_on_image"])
    sheet = answers([exam, image], "rsna-pe", ("id", "label"))
    found = dict(zip(sheet.ids, sheet.values[:, 0].tolist(), strict=True))
    expected = {f"s1_{name}": number / 10 for number, name in enumerate(labels)}
    assert found == expected | {"i1": 0.5, "i2": 0.75}


def test_images_beside_the_exams_are_found(tmp_path):
    folder = predictions(tmp_path / "p", {"s1": np.arange(9) / 10}, sorted(EXAM_LABELS))
    alone = answers([folder], "rsna-pe", ("id", "label"))
    predictions(tmp_path / "image", {"i1": 0.5}, ["pe_present_on_image"])
    (tmp_path / "image" / "per_case.csv").rename(folder / "per_image.csv")
    sheet = answers([folder], "rsna-pe", ("id", "label"))
    assert set(sheet.ids) - set(alone.ids) == {"i1"}
    # Named by itself, it counts once.
    assert answers([folder, folder / "per_image.csv"], "rsna-pe", ("id", "label")).ids == sheet.ids


def test_vertebrae_become_rows(tmp_path):
    labels = FORMATS["spine2022"].labels
    folder = predictions(tmp_path, {"s": np.arange(8) / 10}, labels)
    sheet = answers([folder], "spine2022", ("row_id", "fractured"))
    assert sheet.ids[0] == "s_C1"
    assert sheet.values[-1].tolist() == [0.7]
    with pytest.raises(DataError, match="expected prob_C2"):
        answers(
            [predictions(tmp_path / "few", {"s": [0, 0]}, ["C1", "x"])], "spine2022", ("row_id", "fractured")
        )


@pytest.mark.parametrize(("join", "expected"), [("mean", 0.5), ("max", 0.75)])
def test_images_are_joined_to_breasts(tmp_path, join, expected):
    folder = predictions(tmp_path, {"1_7": 0.25, "1_8": 0.75, "1_9": 0.125})
    names = IdMap({"1_7": "1_L", "1_8": "1_L", "1_9": "1_R"}, tmp_path)
    sheet = answers([folder], "rsna-mammography", ("prediction_id", "cancer"), Recipe(names, join))
    assert dict(zip(sheet.ids, sheet.values[:, 0], strict=True)) == {"1_L": expected, "1_R": 0.125}


def test_several_cases_of_one_id_are_a_fault_unless_told(tmp_path):
    names, faults = IdMap({"a": "z", "b": "z"}, tmp_path), Faults()
    answers([predictions(tmp_path, {"a": 0.1, "b": 0.3})], "isic2020", ISIC, Recipe(names), faults)
    assert "--join mean or max makes one of them) (1):\n    z" in faults.text("x")


def test_ids_are_padded(tmp_path):
    folder = predictions(tmp_path, {"BraTS2021_00012": 0.5, "7": 0.25})
    assert set(answers([folder], "rsna-miccai", ("BraTS21ID", "MGMT_value")).ids) == {"00012", "00007"}


def test_a_doubled_case_and_a_bad_value_are_named_once(write_table, tmp_path):
    path = write_table(
        tmp_path / "per_case.csv", ["case_id", "prob_x"], [["a", "0.5"], ["a", "0.5"], ["b", "7"]]
    )
    faults = Faults()
    sheet = answers([path], "isic2020", ISIC, faults=faults)
    assert "a (2 times)" in faults.text("x")
    assert "b, column prob_x: 7" in faults.text("x")
    assert sheet.ids == ("a", "b")


def test_calibration_comes_before_joining_and_thresholds_after(tmp_path):
    folder = predictions(tmp_path, {"a": 0.9, "b": 0.5})
    calibration = Calibration("temperature", "binary", ("x",), {"x": Temperature(2.0)})  # 0.9 becomes 0.75
    names = IdMap({"a": "z", "b": "z"}, tmp_path)
    recipe = Recipe(names, "mean", calibration=calibration)
    assert answers([folder], "isic2020", ISIC, recipe).values[0, 0] == pytest.approx(0.625)
    for cut, called in ((0.6, 1.0), (0.65, 0.0)):
        recipe = Recipe(names, "mean", calibration=calibration, thresholds={"x": cut})
        assert answers([folder], "isic2020", ISIC, recipe).values.tolist() == [[called]]
    with pytest.raises(ConfigError, match="none for x of"):
        answers([folder], "isic2020", ISIC, Recipe(names, "mean", thresholds={"y": 0.5}))


def test_calibration_is_refused_where_it_does_not_fit(tmp_path):
    calibration = Calibration("temperature", "binary", ("y",), {"y": Temperature(2.0)})
    folder = predictions(tmp_path / "a", {"a": 0.9})
    with pytest.raises(DataError, match=r"per_case\.csv: the calibration is for binary with the labels y"):
        answers([folder], "isic2020", ISIC, Recipe(calibration=calibration))
    with pytest.raises(ConfigError, match="of one table"):
        answers([folder, folder], "isic2020", ISIC, Recipe(calibration=calibration))
    (folder / "predictions.json").write_text(json.dumps({"calibration": "abc"}))
    with pytest.raises(DataError, match="went through the calibration abc"):
        answers([folder], "isic2020", ISIC, Recipe(calibration=calibration))


def test_a_blank_value_survives_calibration_and_threshold_as_a_fault(write_table, tmp_path):
    path = write_table(tmp_path / "per_case.csv", ["case_id", "prob_x"], [["a", ""], ["b", "0.9"]])
    calibration = Calibration("temperature", "binary", ("x",), {"x": Temperature(2.0)})
    faults = Faults()
    sheet = answers([path], "isic2020", ISIC, Recipe(calibration=calibration, thresholds={"": 0.5}), faults)
    assert np.isnan(sheet.values[0, 0])
    assert sheet.values[1, 0] == 1
    assert "blank or NaN (1)" in faults.text("x")

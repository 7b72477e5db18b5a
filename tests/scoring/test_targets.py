import math

import numpy as np
import pytest
from sklearn import metrics

from medimg.errors import ConfigError, DataError
from medimg.scoring.table import read_per_case, write_per_case
from medimg.scoring.targets import Target, check_targets, summarise_targets, target_row

NAN = float("nan")
TARGETS = (
    Target("malignant", "binary"),
    Target("texture", "ordinal", classes=("1", "2", "3")),
    Target("position", "regression", columns=("z", "y"), unit="mm"),
)


def make_rows(n=40, seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(n):
        grade, place = rng.integers(3), rng.normal(0, 5, 2)
        hot = np.eye(3)[grade]
        probs = rng.dirichlet(1 + 3 * hot)
        yes = NAN if number < 3 else float(rng.random() < 0.5)
        prob = rng.random() * 0.6 + 0.4 * np.nan_to_num(yes)
        truth = [yes, *(hot if number % 5 else [NAN] * 3), *place]
        said = [prob, *probs, *(place + rng.normal(0, 2, 2))]
        rows.append(target_row(f"c{number:02d}", f"p{number // 2}", TARGETS, said, truth))
    return rows


def column(rows, name):
    return np.array([row[name] for row in rows])


def test_each_target_scores_as_it_would_alone():
    rows = make_rows()
    found = summarise_targets(rows, TARGETS, constants={"z": 1.0}, resamples=50)
    assert (found["n_cases"], found["n_patients"]) == (40, 20)
    scores = found["targets"]
    known = ~np.isnan(column(rows, "target_malignant"))
    area = metrics.roc_auc_score(
        column(rows, "target_malignant")[known], column(rows, "prob_malignant")[known]
    )
    malignant = scores["malignant"]["labels"]["labels"]["auroc"]["malignant"]
    assert malignant["mean"] == pytest.approx(area)
    assert (malignant["n"], malignant["n_left_out"]) == (37, 3)
    assert malignant["low"] < area < malignant["high"]
    truth, probs = (
        np.stack([column(rows, f"{p}_texture_{c}") for c in "123"], 1) for p in ("target", "prob")
    )
    there = ~np.isnan(truth[:, 0])
    kappa = metrics.cohen_kappa_score(truth[there].argmax(1), probs[there].argmax(1), weights="quadratic")
    assert scores["texture"]["labels"]["overall"]["quadratic_kappa"]["mean"] == pytest.approx(kappa)
    assert list(scores["texture"]["labels"]["counts"]) == ["1", "2", "3"]
    values = scores["position"]["values"]
    mae = metrics.mean_absolute_error(column(rows, "target_y"), column(rows, "pred_y"))
    assert values["mae"]["y"]["mean"] == pytest.approx(mae)
    assert values["mae_of_mean"].keys() == {"z"}  # of y no mean is known
    assert values["mae_of_mean"]["z"]["mean"] == pytest.approx(abs(column(rows, "target_z") - 1).mean())


def test_the_table_is_read_back_and_scores_the_same(tmp_path):
    rows = make_rows()
    write_per_case(tmp_path / "per_case.csv", rows)
    again = summarise_targets(read_per_case(tmp_path / "per_case.csv"), TARGETS, resamples=5)
    assert again == summarise_targets(rows, TARGETS, resamples=5)


def test_a_target_that_is_unknown_everywhere_has_no_score():
    rows = [target_row(name, name, TARGETS, [0.5, 0.2, 0.3, 0.5, 1, 2], [NAN] * 6) for name in "ab"]
    found = summarise_targets(rows, TARGETS, resamples=5)["targets"]
    assert math.isnan(found["malignant"]["labels"]["labels"]["auroc"]["malignant"]["mean"])
    assert math.isnan(found["texture"]["labels"]["overall"]["quadratic_kappa"]["mean"])
    row = found["position"]["values"]["mae"]["z"]
    assert math.isnan(row["mean"]) and (row["n"], row["n_left_out"]) == (0, 2)


def test_predictions_without_truth_cannot_be_scored():
    rows = [target_row("a", "a", TARGETS, [0.5, 0.2, 0.3, 0.5, 1, 2])]
    assert list(rows[0]) == ["case_id", "patient_id", "prob_malignant", "prob_texture_1", "prob_texture_2",
                             "prob_texture_3", "pred_z", "pred_y"]  # fmt: skip
    with pytest.raises(DataError, match="expected the column target_malignant, found case_id"):
        summarise_targets(rows, TARGETS)


WRONG = [
    (("a", "binary", ("x", "y")), "a yes or no has one column and no classes"),
    (("a", "binary", (), ("x",)), "a yes or no has one column and no classes"),
    (("a", "regression", (), ("x",)), "numbers have no classes"),
    (("a", "multiclass", (), ("x",)), "two classes or more, each once"),
    (("a", "ordinal", (), ("1", "1")), "two classes or more, each once"),
    (("a", "multiclass", ("x", "y"), ("1", "2", "3")), "one column, or one a class"),
    (("a", "ordinal", (), ("3", "1", "2")), "ordinal classes in rising order"),
    (("a", "binary", (), (), 0.0), "a weight above 0 expected, found 0"),
]


@pytest.mark.parametrize(("words", "said"), WRONG, ids=[said for _, said in WRONG])
def test_a_target_that_makes_no_sense_is_refused(words, said):
    with pytest.raises(ConfigError, match=f"target a, {words[1]}: {said}"):
        Target(*words)


def test_names_and_outputs_stand_once():
    with pytest.raises(ConfigError, match="z stands twice"):
        check_targets([TARGETS[2], Target("z", "regression")])
    with pytest.raises(ConfigError, match="malignant stands twice"):
        check_targets([TARGETS[0], Target("malignant", "regression", ("size",))])
    with pytest.raises(ConfigError, match="expected at least one, found none"):
        check_targets([])


GRADE = Target("grade", "multiclass", classes=("2", "3", "4"))
FAULTS = [
    (TARGETS[0], [0.25], ""),
    (TARGETS[0], [NAN], ""),
    (TARGETS[0], [-1.0], "malignant is -1; expected 1, 0, a share between, or blank"),
    (GRADE, [3.0], ""),
    (GRADE, [3.25], "grade is 3.25; expected 2, 3, 4, or blank"),
    (TARGETS[1], [3.4], ""),
    (TARGETS[1], [3.75], "texture is 3.75; expected values near 1, 2, 3, or blank"),
    (Target("g", "multiclass", ("a", "b"), ("x", "y")), [1.0, 0.0], ""),
    (Target("g", "multiclass", ("a", "b"), ("x", "y")), [1.0, 1.0], "the classes of g sum to 2; expected 1"),
    (Target("g", "multiclass", ("a", "b"), ("x", "y")), [1.0, NAN], "the classes of g sum to 1; expected 1"),
    (TARGETS[2], [-900.0, NAN], ""),
    (TARGETS[2], [math.inf, 0.0], "position is infinite"),
]


@pytest.mark.parametrize(("target", "values", "said"), FAULTS)
def test_values_that_mean_nothing_are_named(target, values, said):
    assert target.fault(values).startswith(said) and bool(target.fault(values)) == bool(said)

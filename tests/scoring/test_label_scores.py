import json

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from medimg.scoring.label_forms import RANZCR_LABELS
from medimg.scoring.label_scores import guessed_task, score_labels, stated_task
from medimg.scoring.label_table import label_arrays, label_row, summarise_labels, write_label_table
from medimg.scoring.medmnist import medmnist_scores

GENERATOR = np.random.default_rng(5)


def values(score):
    return {one.name.strip(): one.row["mean"] for one in score.figures}


def test_probabilistic_f1_of_the_published_vector(tmp_path):
    (tmp_path / "sub.csv").write_text("prediction_id,cancer\n1_L,.9\n1_R,.2\n2_L,.1\n3_L,.4\n3_R,0\n")
    (tmp_path / "train.csv").write_text("patient_id,laterality,cancer\n1,L,1\n1,R,0\n2,L,0\n3,L,1\n3,R,0\n")
    score = score_labels(tmp_path / "sub.csv", tmp_path / "train.csv", "rsna-mammography", resamples=20)
    assert score.figures[0].row["mean"] == pytest.approx(0.7222222222, abs=1e-10)
    assert (score.n_patients, len(score.rows), score.n_answers) == (3, 5, 5)


def test_mean_column_auc(tmp_path):
    target, prob = GENERATOR.integers(0, 2, (40, 11)), GENERATOR.random((40, 11)).round(2)
    target[:, 3] = 0  # undefined, left out and counted
    header = "StudyInstanceUID," + ",".join(RANZCR_LABELS)
    for name, matrix in (("sub", prob), ("train", target)):
        lines = [f"s{n}," + ",".join(map(str, row)) for n, row in enumerate(matrix.tolist())]
        (tmp_path / f"{name}.csv").write_text("\n".join([header, *lines]))
    score = score_labels(tmp_path / "sub.csv", tmp_path / "train.csv", "ranzcr", resamples=20)
    kept = [column for column in range(11) if column != 3]
    assert score.figures[0].row["mean"] == pytest.approx(
        roc_auc_score(target[:, kept], prob[:, kept]), rel=1e-12
    )
    assert (score.figures[0].row["n"], score.figures[0].row["n_left_out"]) == (10, 1)
    assert len(score.figures) == 12


def test_quadratic_kappa_of_grades(tmp_path):
    target, pred = GENERATOR.integers(0, 4, 60), GENERATOR.integers(0, 5, 60)  # grade 4 is never true
    for name, grades in (("sub", pred), ("train", target)):
        lines = [f"i{n},{grade}" for n, grade in enumerate(grades)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["id_code,diagnosis", *lines]))
    score = score_labels(tmp_path / "sub.csv", tmp_path / "train.csv", "aptos", resamples=20)
    expected = cohen_kappa_score(target, pred, weights="quadratic", labels=range(5))
    assert score.figures[0].row["mean"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_medmnist_from_a_table_is_the_plain_function(tmp_path, task):
    k = 1 if task == "binary" else 4
    target, prob = GENERATOR.integers(0, 2, (50, k)), GENERATOR.random((50, k))
    if task == "multiclass":
        target, prob = np.eye(k)[GENERATOR.integers(0, k, 50)], GENERATOR.dirichlet(np.ones(k), 50)
    labels = [f"l{number}" for number in range(k)]
    rows = [label_row(f"c{n}", "", labels, prob[n], target[n]) for n in range(50)]
    write_label_table(tmp_path / "per_case.csv", rows)
    assert guessed_task(label_arrays(rows)) == task
    found = values(score_labels(tmp_path / "per_case.csv", None, "medmnist", resamples=20))
    area, share = medmnist_scores(target, prob, task)
    assert found["AUROC" if k == 1 else "mean AUROC"] == pytest.approx(area, rel=1e-9)
    assert found["mean ACC" if task == "multilabel" else "ACC"] == pytest.approx(share, rel=1e-9)


def test_the_task_is_read_beside_the_table(tmp_path):
    table = tmp_path / "per_case.csv"
    assert stated_task(table) is None
    (tmp_path / "predictions.json").write_text(json.dumps({"task": "multilabel"}))
    assert stated_task(table) == "multilabel"
    (tmp_path / "predictions.json").write_text(json.dumps({"task": "guessing"}))
    assert stated_task(table) is None


def test_auroc_alone_has_the_intervals_of_the_whole_summary(tmp_path):
    target = np.where(GENERATOR.random((60, 3)) < 0.1, np.nan, GENERATOR.integers(0, 2, (60, 3)))
    rows = [
        label_row(f"c{n:02}", f"p{n // 3}", ["a", "b", "c"], prob, target[n])
        for n, prob in enumerate(GENERATOR.random((60, 3)))
    ]
    write_label_table(tmp_path / "per_case.csv", rows)
    mean, *labels = score_labels(tmp_path / "per_case.csv", None, "auroc", resamples=50).figures
    summary = summarise_labels(rows, "multilabel", resamples=50)
    assert mean.row == pytest.approx(summary["macro"]["auroc"])
    assert [one.row for one in labels] == [summary["labels"]["auroc"][name] for name in "abc"]

import numpy as np
import pytest

from medimg.scoring.label_forms import LABEL_FORMS, RANZCR_LABELS, SPINE_FORM
from medimg.scoring.label_table import label_row, summarise_labels
from medimg.scoring.spine import SPINE_LABELS


@pytest.mark.parametrize("name", LABEL_FORMS)
def test_every_form_names_metrics_that_the_summary_holds(name):
    form = LABEL_FORMS[name]
    labels = form.labels or ("a", "b")
    rng = np.random.default_rng(0)
    targets, probs = rng.integers(2, size=(40, len(labels))), rng.random((40, len(labels)))
    if form.grades:
        labels = tuple(str(grade) for grade in range(form.grades))
        targets = np.eye(form.grades, dtype=int)[rng.integers(form.grades, size=40)]
        probs = rng.dirichlet(np.ones(form.grades), 40)
    task = "multiclass" if form.grades else "binary" if len(labels) == 1 else "multilabel"
    rows = [label_row(str(n), str(n), labels, probs[n], targets[n].astype(float)) for n in range(40)]
    summary = summarise_labels(rows, task, resamples=2, ordinal=bool(form.grades))
    known = {**summary["labels"], **summary["macro"], **summary["overall"]}
    assert set(form.metrics) <= set(known), form.title


def test_catheters_have_eleven_labels():
    assert len(RANZCR_LABELS) == len(set(RANZCR_LABELS)) == 11


def test_a_spine_has_seven_vertebrae_and_the_whole():
    assert SPINE_FORM.labels == SPINE_LABELS and len(SPINE_LABELS) == 8

import numpy as np
from scipy.special import expit

from medimg.ensembling.calibration_judge import judge, reliability
from medimg.ensembling.calibration_report import picture, reliability_text, report, threshold_text
from medimg.ensembling.unseen import UnseenTable
from medimg.scoring.label_table import LabelArrays
from medimg.scoring.thresholds import ThresholdRule

LABELS = ("a", "b", "never")


def unseen(n=300) -> UnseenTable:
    rng = np.random.default_rng(0)
    z = rng.normal(-0.5, 1.5, (n, 3))
    target = (rng.random((n, 3)) < expit(z)).astype(float)
    target[:, 2], target[::7, 0] = 0, np.nan
    cases, patients = tuple(f"c{i:03d}" for i in range(n)), tuple(f"p{i // 2}" for i in range(n))
    return UnseenTable(LabelArrays(cases, patients, LABELS, target, expit(3 * z)), "multilabel", None, None)


def test_the_text_names_every_label():
    found, rule = unseen(), ThresholdRule("fbeta", beta=2)
    for method, shown in (("temperature", "temperature 3"), ("platt", "a 0.3"), ("isotonic", " points")):
        judged = judge(found, method, rule)
        figures = reliability("multilabel", LABELS, found.truth, judged.outside)
        lines = reliability_text({"before": figures, "unseen": figures}, judged.maps).splitlines()
        assert [line.split()[0] for line in lines] == ["label", "before", "a", "b", "never", "mean"]
        assert shown in lines[2] or shown in lines[3]
        assert lines[4].split() == ["never", *"-" * 6]
    table = threshold_text(judged, LABELS, found.truth, rule).splitlines()
    assert [line.split()[0] for line in table] == ["label", "a", "b"]
    called = judged.called_outside[:, 1]
    specificity = (called[found.truth[:, 1] == 0] == 0).mean()
    assert table[2].split()[-1] == f"{specificity:.4f}"


def test_the_report_shows_three_stages_and_warns():
    found = unseen()
    text, warnings = report(found, judge(found, "platt"), None)
    assert text.splitlines()[1].split() == ["before", "after", "unseen"] * 3 + ["map"]
    assert [warning.split(":")[0] for warning in warnings] == ["never stays as it is"]
    assert "threshold" not in text
    text, _ = report(found, judge(found, "platt", ThresholdRule("youden")), ThresholdRule("youden"))
    assert "threshold" in text


def test_the_picture_has_a_curve_of_every_defined_label():
    found = unseen()
    drawn = picture(found, judge(found, "platt"))
    assert (drawn.dtype, drawn.shape[0], drawn.shape[2]) == (np.uint8, 3, 1200)
    one = LabelArrays(
        found.table.case_ids,
        found.table.patient_ids,
        ("a",),
        found.table.target[:, :1],
        found.table.prob[:, :1],
    )
    single = UnseenTable(one, "binary", None, None)
    assert (picture(single, judge(single, "platt")) > 0).sum() < (drawn > 0).sum()

import json
import math

from medimg.scoring.bootstrap import Interval
from medimg.scoring.official import OfficialScore, figure, format_official, write_official

SCORE = OfficialScore(
    title="RSNA: loss",
    figures=(
        figure("loss", Interval(0.5, 0.4, 0.6, 3, 1), "exams"),
        figure("  images", Interval(math.nan, math.nan, math.nan, 0, 4), "exams"),
    ),
    unit="exams",
    rows=[{"case_id": case} for case in "abcd"],
    n_patients=4,
    n_answers=1234,
    broken={"first rule": ["a", "b"], "second rule": ["b"], "third rule": []},
)


def test_text_says_what_is_in_and_left_out_and_which_rules_are_broken():
    assert format_official(SCORE, "sub.csv").splitlines() == [
        "RSNA: loss, sub.csv",
        "4 exams, patients not known, 1,234 rows of predictions",
        "95 % interval, exams resampled",
        "",
        "score       value           interval   over",
        "loss       0.5000   0.4000 to 0.6000   3 exams, 1 left out",
        "  images        -                  -   0 exams, 4 left out",
        "",
        "consistency: 2 of 4 exams break a rule",
        "       2  first rule (such as a)",
        "       1  second rule (such as b)",
        "       0  third rule",
    ]


def test_json_holds_the_same(tmp_path):
    write_official(tmp_path / "summary.json", SCORE, {"metric": "rsna-pe"})
    content = json.loads((tmp_path / "summary.json").read_text())
    assert content["score"] == {"mean": 0.5, "low": 0.4, "high": 0.6, "n": 3, "n_left_out": 1}
    assert content["parts"]["images"]["mean"] is None
    assert content["broken_rules"] == {"first rule": 2, "second rule": 1, "third rule": 0}
    assert (content["n_rows"], content["settings"]["metric"]) == (1234, "rsna-pe")

import json
import math

import numpy as np
import pytest

from medimg.errors import DataError
from medimg.scoring.regions import BRATS_REGIONS
from medimg.scoring.table import (
    deduplicate,
    format_table,
    read_per_case,
    score_case,
    summarise,
    write_per_case,
    write_summary,
)

NAN = math.nan


def row(case_id, patient_id, **scores):
    return {"case_id": case_id, "patient_id": patient_id, **scores}


def labels(*values):
    return np.array(values, np.uint8).reshape(1, 1, -1)


def test_a_row_holds_one_column_a_metric_and_class():
    target = np.zeros((6, 6, 6), np.uint8)
    target[1:5, 1:5, 1:5] = 2
    target[2:4, 2:4, 2:4] = 3
    found = score_case(
        "c", "p", target, target, (1, 1, 1), BRATS_REGIONS["brats2023"], empty="brats", nsd_tolerance_mm=1.0
    )
    names = [f"{metric}_{region}" for metric in ("dice", "hd95", "nsd") for region in ("WT", "TC", "ET")]
    assert list(found) == ["case_id", "patient_id", *names]
    assert [found[name] for name in names] == [1, 1, 1, 0, 0, 0, 1, 1, 1]


def test_classes_join_label_values_and_ignored_voxels_do_not_count():
    pred, target = labels(1, 2, 1, 0, 2), labels(2, 2, 9, 0, 0)
    found = score_case(
        "c", "p", pred, target, (1, 1, 1), {"any": (1, 2), "two": [2]},
        metrics=["dice"], empty="brats", nsd_tolerance_mm=1.0, ignore_label=9,
    )  # fmt: skip
    assert found["dice_any"] == pytest.approx(2 * 2 / (3 + 2))
    assert found["dice_two"] == pytest.approx(2 * 1 / (2 + 2))


def test_masks_of_two_shapes_name_the_case():
    with pytest.raises(DataError, match=r"case c7: the prediction has shape \(1, 1, 2\)"):
        score_case(
            "c7", "p", labels(1, 1), labels(1), (1, 1, 1), {"a": [1]}, empty="brats", nsd_tolerance_mm=1
        )


def test_written_and_read_the_table_is_the_same(tmp_path):
    rows = [row("b", "p1", dice_ET=1 / 3, hd95_ET=NAN), row("a", "007", dice_ET=0.1 + 0.2, hd95_ET=1e-17)]
    write_per_case(tmp_path / "run" / "per_case.csv", rows)
    back = read_per_case(tmp_path / "run" / "per_case.csv")
    assert [found["case_id"] for found in back] == ["a", "b"]
    assert back[0] == rows[1]  # every digit, and the leading zeros of an id
    assert back[1]["dice_ET"] == 1 / 3
    assert math.isnan(back[1]["hd95_ET"])
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["per_case.csv"]


def test_a_case_scored_twice_is_written_once():
    rows = [row("a", "p", dice_ET=0.5), row("b", "p", dice_ET=NAN), row("b", "p", dice_ET=NAN)]
    assert [found["case_id"] for found in deduplicate(rows)] == ["a", "b"]
    assert deduplicate([*rows, row("a", "p", dice_ET=0.5 + 1e-9)])[0]["dice_ET"] == 0.5


def test_two_results_for_one_case_are_refused():
    with pytest.raises(DataError, match="case a was scored twice with different results in dice_ET"):
        deduplicate([row("a", "p", dice_ET=0.5), row("a", "p", dice_ET=0.6)])
    with pytest.raises(DataError, match="columns"):
        deduplicate([row("a", "p", dice_ET=0.5), row("b", "p", dice_WT=0.6)])
    with pytest.raises(DataError, match="no case was scored"):
        deduplicate([])


def test_a_broken_table_is_refused(tmp_path):
    path = tmp_path / "per_case.csv"
    with pytest.raises(DataError, match="cannot be read"):
        read_per_case(path)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="case_id"):
        read_per_case(path)
    path.write_text("case_id,dice_ET\nx,good\n")
    with pytest.raises(DataError, match="case x: expected a number in column dice_ET, found 'good'"):
        read_per_case(path)
    path.write_text("case_id,dice_ET\nx,0.5,0.6\n")
    with pytest.raises(DataError, match="case x: more values than columns"):
        read_per_case(path)


def test_summary_by_hand():
    rows = [
        row("a", "p", dice_WT=0.9, dice_ET=NAN, hd95_WT=2.0, lesions_WT=1.0),
        row("b", "p", dice_WT=0.7, dice_ET=0.4, hd95_WT=4.0, lesions_WT=3.0),
        row("c", "q", dice_WT=0.8, dice_ET=0.2, hd95_WT=NAN, lesions_WT=0.0),
    ]
    summary = summarise(rows)
    assert (summary["n_cases"], summary["n_patients"]) == (3, 2)
    assert set(summary["metrics"]) == {"dice", "hd95"}  # counts are rows' business
    assert summary["metrics"]["dice"]["WT"]["mean"] == pytest.approx(0.8)
    et, hd = summary["metrics"]["dice"]["ET"], summary["metrics"]["hd95"]["WT"]
    assert (et["mean"], et["n"], et["n_left_out"]) == (pytest.approx(0.3), 2, 1)
    assert (hd["mean"], hd["n"], hd["n_left_out"]) == (3.0, 2, 1)
    assert summary["mean_dice"]["mean"] == pytest.approx((0.8 + 0.3) / 2)
    assert summary["metrics"]["dice"]["WT"]["low"] <= 0.8 <= summary["metrics"]["dice"]["WT"]["high"]


def test_summary_does_not_depend_on_the_order_or_on_repeats():
    rows = [row(str(i), str(i // 2), dice_a=i / 10) for i in range(8)]
    assert summarise(rows) == summarise([*rows[::-1], rows[3]])


def test_classes_with_underscores_keep_their_names():
    summary = summarise([row("a", "p", dice_left_lung=0.5, lesion_dice_left_lung=0.25)])
    assert summary["metrics"]["dice"]["left_lung"]["mean"] == 0.5
    assert summary["metrics"]["lesion_dice"]["left_lung"]["mean"] == 0.25


def test_summary_file_is_plain_json(tmp_path):
    summary = summarise([row("a", "p", dice_ET=NAN, dice_WT=1.0)])
    write_summary(tmp_path / "summary.json", summary, title="Fold 0", settings={"empty": "skip"})
    content = json.loads(
        (tmp_path / "summary.json").read_text(), parse_constant=lambda name: pytest.fail(name)
    )
    assert content["metrics"]["dice"]["ET"]["mean"] is None
    assert content["metrics"]["dice"]["ET"]["n_left_out"] == 1
    assert (content["title"], content["settings"]) == ("Fold 0", {"empty": "skip"})


def test_text_names_cases_left_out_and_the_interval():
    rows = [
        row("a", "p", dice_WT=0.5, dice_ET=NAN, hd95_WT=1.0, hd95_ET=NAN),
        row("b", "q", dice_WT=0.7, dice_ET=NAN, hd95_WT=2.0, hd95_ET=NAN),
    ]
    text = format_table(summarise(rows), "Validation cases of fold 0")
    lines = text.splitlines()
    assert lines[0] == "Validation cases of fold 0"
    assert lines[1].startswith("2 cases of 2 patients; 95 % interval")
    assert len({len(line) for line in lines[3:]}) == 1  # aligned
    assert lines[4].split() == ["Dice", "WT", "0.6000", "0.5000", "to", "0.7000", "2", "0"]
    assert lines[5].split() == ["Dice", "ET", "-", "-", "0", "2"]
    assert lines[6].split()[:5] == ["Dice", "mean", "over", "classes", "0.6000"]
    assert lines[7].split() == ["HD95", "mm", "WT", "1.50", "1.00", "to", "2.00", "2", "0"]


def test_a_table_that_a_spreadsheet_saved_keeps_its_ids(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b"\xef\xbb\xbfcase_id,patient_id,dice_ET\r\n00002,p,0.5\r\n")
    assert read_per_case(path) == [row("00002", "p", dice_ET=0.5)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"case_id,dice_ET,dice_ET\na,0.5,0.9\n", "dice_ET stands twice"),
        (b"case_id,dice_ET\n\xe9,0.5\n", "cannot be read"),
    ],
)
def test_a_table_that_would_be_read_wrongly_is_refused(tmp_path, content, message):
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_per_case(tmp_path / "x.csv")

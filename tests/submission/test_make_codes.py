import csv
import json

import numpy as np
import pytest

from medimg.errors import ConfigError, DataError
from medimg.submission.formats import FORMATS
from medimg.submission.make_codes import submit_codes
from medimg.submission.request import Request


@pytest.fixture
def request_for(tmp_path):
    plain = dict.fromkeys(Request.__dataclass_fields__)
    plain |= {"predictions": (), "out": tmp_path / "out.csv", "part": "predict"}
    return lambda name, **changes: Request(**{**plain, "format": name, **changes})


def run(request):
    return submit_codes(request, FORMATS[request.format])


def codes(path):
    with path.open() as stream:
        return {(row["id"], row.get("class")): row["predicted"] for row in csv.DictReader(stream)}


def test_tiles_are_written_checked_and_renamed(write_picture, write_table, request_for, tmp_path):
    mask = np.zeros((4, 5), np.uint8)
    mask[1:3, 0] = 1
    write_picture(tmp_path / "m" / "a.png", mask)
    write_picture(tmp_path / "i" / "tile_1.png", np.zeros((4, 5), np.uint8))
    sample = write_table(tmp_path / "s.csv", ["id", "predicted"], [["tile_1", ""]])
    names = write_table(tmp_path / "ids.csv", ["case_id", "submission_id"], [["a", "tile_1"]])
    request = request_for(
        "hubmap", predictions=(tmp_path / "m",), sample=sample, id_map=names, images=tmp_path / "i"
    )
    outcome = run(request)
    assert (outcome.summary, outcome.notes) == ("1 rows", ())
    assert codes(request.out) == {("tile_1", None): "2 2"}
    outcome = run(request_for("hubmap", validate=request.out))
    assert not outcome.faults
    assert len(outcome.notes) == 2
    other = write_table(tmp_path / "x.csv", ["name", "predicted"], [])
    assert "not to be read (1)" in run(request_for("hubmap", validate=other)).faults.text("x")


def test_values_are_those_of_the_description_the_option_or_the_format(
    write_volume, write_table, request_for, tmp_path
):
    mask = np.zeros((1, 2, 2), np.uint8)
    mask[0, 0, 0], mask[0, 1, 1] = 1, 3
    write_volume(tmp_path / "m" / "case1_day2.nii.gz", mask)
    keys = [("case1_day2_slice_0001", name) for name in FORMATS["uw-madison"].classes]
    sample = write_table(tmp_path / "s.csv", ["id", "class", "predicted"], [[*key, ""] for key in keys])
    request = request_for("uw-madison", predictions=(tmp_path / "m",), sample=sample)
    run(request)
    assert list(codes(request.out).values()) == ["1 1", "", "4 1"]
    labels = {"labels": {"large_bowel": 3, "small_bowel": 2, "stomach": 1}}
    (tmp_path / "m" / "predictions.json").write_text(json.dumps(labels))
    run(request)
    assert list(codes(request.out).values()) == ["4 1", "", "1 1"]
    (tmp_path / "m" / "predictions.json").write_text(json.dumps({"labels": {"liver": 1}}))
    with pytest.raises(ConfigError, match="the masks hold liver, and uw-madison asks for large_bowel"):
        run(request)


def test_what_is_missing_is_said(write_table, request_for, tmp_path):
    sample = write_table(tmp_path / "s.csv", ["id", "predicted"], [["a", ""]])
    run(request_for("hubmap", constant=0.0, sample=sample))
    assert codes(tmp_path / "out.csv") == {("a", None): ""}
    with pytest.raises(ConfigError, match="which masks are asked for"):
        run(request_for("hubmap", constant=0.0))
    with pytest.raises(ConfigError, match="takes one folder of masks, found 2"):
        run(request_for("hubmap", predictions=(tmp_path, tmp_path), sample=sample))
    with pytest.raises(DataError, match="expected a folder of masks, found a file"):
        run(request_for("hubmap", predictions=(sample,), sample=sample))

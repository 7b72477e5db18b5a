from dataclasses import replace
from pathlib import Path

import pytest

from medimg.errors import ConfigError
from medimg.submission.request import Request, check_request


def request(name="isic2020", **changes):
    plain = Request(
        predictions=(Path("p"),),
        format=name,
        out=Path("out.csv"),
        sample=None,
        images=None,
        cases=None,
        id_map=None,
        join=None,
        labels=None,
        calibration=None,
        thresholds=None,
        enforce_consistency=False,
        constant=None,
        validate=None,
        part="predict",
        overwrite=False,
    )
    return replace(plain, **changes)


def test_options_that_fit():
    check_request(request())
    check_request(request("rsna-pe", enforce_consistency=True, cases=Path("test.csv")))
    check_request(request("rsna-pe", predictions=(), constant=0.5))
    check_request(request("brats2023", out=Path("out.zip")))
    check_request(request(predictions=(), out=None, validate=Path("x.csv")))


NOTHING = {"predictions": (), "out": None}


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("isic2020", {"images": Path("i")}, "--images is for masks"),
        ("brats2023", {"calibration": Path("c")}, "--calibration is for tables"),
        ("hubmap", {"enforce_consistency": True}, "--enforce_consistency is for tables"),
        ("isic2020", {"enforce_consistency": True}, "is for rsna-pe"),
        ("rsna-pe", {"enforce_consistency": True}, r"test\.csv as --cases"),
        ("hubmap", {"labels": "a=1"}, "--labels has no meaning"),
        ("isic2020", {"predictions": (), "constant": 0.5, "labels": "a=b"}, "--labels has no meaning"),
        (
            "rsna-pe",
            {"enforce_consistency": True, "cases": Path("c"), "thresholds": "0.5"},
            "moves probabilities",
        ),
        ("isic2020", {"cases": Path("c")}, "--cases is for"),
        ("rsna-mammography", {"cases": Path("c"), "id_map": Path("m")}, "Give one of them"),
        ("isic2020", {"predictions": ()}, "found 0 of them"),
        ("isic2020", {"constant": 0.5}, "found 2 of them"),
        ("isic2020", {"predictions": (), "constant": 1.5}, r"in \[0, 1\], found 1.5"),
        ("hubmap", {"predictions": (), "constant": 0.5}, "--constant 0"),
        (
            "isic2020",
            {"predictions": (), "constant": 0.0, "id_map": Path("m")},
            "no meaning beside --constant",
        ),
        ("isic2020", {**NOTHING, "validate": Path("v"), "thresholds": "0.5"}, "no meaning beside --validate"),
        ("isic2020", {"predictions": (), "validate": Path("v")}, "--out has no meaning"),
        ("isic2020", {"out": None}, "--out: name the file"),
        ("brats2023", {}, "ends in .zip for brats2023"),
        ("isic2020", {"sample": Path("out.csv")}, "would replace what is read"),
    ],
)
def test_options_that_do_not(name, changes, message):
    with pytest.raises(ConfigError, match=message):
        check_request(request(name, **changes))


def test_a_file_that_is_there_is_kept_unless_told(tmp_path):
    out = tmp_path / "out.csv"
    out.touch()
    with pytest.raises(ConfigError, match="is there already"):
        check_request(request(out=out))
    check_request(request(out=out, overwrite=True))


def test_a_table_that_is_read_from_a_folder_is_not_replaced(tmp_path):
    table = tmp_path / "run" / "predict" / "per_case.csv"
    table.parent.mkdir(parents=True)
    table.write_text("case_id,prob_x\n")
    gathered = tmp_path / "cv" / "out_of_fold" / "per_case.csv"
    for folder, out in ((table.parent, table), (table.parents[1], table), (gathered.parents[1], gathered)):
        with pytest.raises(ConfigError, match="would replace what is read"):
            check_request(request(predictions=(folder,), out=out, overwrite=True))
    check_request(request(predictions=(table.parent,), out=table.with_name("sub.csv"), overwrite=True))

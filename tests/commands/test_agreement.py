import csv
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medimg.commands.agreement import PARSER, agreement
from medimg.commands.parser import call
from medimg.errors import ConfigError, DataError
from medimg.scoring.label_table import label_row, write_label_table


def run(*words):
    return call(PARSER, agreement, [str(word) for word in words], prog="medimg agreement")


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    lines = ["case_id,patient_id,reader,grade,lump"]
    for case in range(40):
        truth = rng.integers(1, 6)
        for reader in ("anna", "ben", "carla"):
            grade = min(max(truth + rng.integers(-1, 2), 1), 5)
            lines.append(f"c{case:02d},p{case // 2},{reader},{grade},{'yes' if grade > 3 else 'no'}")
    path = tmp_path / "readings.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_table_of_readers(table, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(table, "--labels", "lump", "--out", out, "--resamples", "50") == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "40 cases of 20 patients, 3 readers"
    assert re.match(r"lump +40 +0\.\d{3} \[0\.\d{3}, [01]\.\d{3}\]", printed[2])
    assert printed[3] == "[95% intervals of 50 resamples of patients, seed 0]"
    assert printed[-2] == f"consensus in {out / 'consensus.csv'}: 40 of 40 labels decided"
    assert printed[-1] == f"next: medimg adjudicate conflicts {table} --third NAME --out DIR"
    assert [row["label"] for row in rows_of(out / "agreement.csv")] == ["lump"]
    assert len(rows_of(out / "pairs.csv")) == 3
    assert {row["lump"] for row in rows_of(out / "consensus.csv")} == {"yes", "no"}
    for name in ("agreement.png", "pairs.png"):
        with Image.open(out / name) as picture:
            assert min(picture.size) > 100
    with pytest.raises(ConfigError, match=r"agreement\.csv exists already"):
        run(table, "--out", out)
    assert run(table, "--labels", "grade", "--kind", "ordinal", "--out", out, "--overwrite") == 0
    assert "quadratic kappa" in capsys.readouterr().out
    assert "quadratic_kappa" in rows_of(out / "pairs.csv")[0]


def test_grades_by_dawid_and_skene_and_no_consensus(table, tmp_path, capsys):
    words = ("--labels", "grade", "--kind", "ordinal", "--resamples", "10")
    run(table, *words, "--consensus", "dawid_skene", "--out", tmp_path / "ds")
    assert all(0 < float(row["grade_support"]) <= 1 for row in rows_of(tmp_path / "ds" / "consensus.csv"))
    run(table, *words, "--consensus", "none", "--out", tmp_path / "none")
    assert not (tmp_path / "none" / "consensus.csv").exists()
    capsys.readouterr()


def test_many_pairs_are_written_and_not_printed(tmp_path, capsys):
    lines = ["case,reader,x", *(f"c{c},r{r},{(c + (r == c)) % 2}" for c in range(8) for r in range(6))]
    (tmp_path / "r.csv").write_text("\n".join(lines))
    run(tmp_path / "r.csv", "--out", tmp_path / "out", "--resamples", "10")
    assert f"15 pairs of readers by label in {tmp_path / 'out' / 'pairs.csv'}" in capsys.readouterr().out


def test_suspects(tmp_path, capsys):
    rng = np.random.default_rng(0)
    rows = []
    for case in range(200):
        truth = case % 2
        prob = 1 / (1 + np.exp(-(rng.normal() + 6 * (truth - 0.5))))
        given = 1 - truth if case in (10, 33) else truth
        rows.append(label_row(f"c{case:03d}", f"p{case}", ["mass"], [prob], [given]))
    write_label_table(tmp_path / "oof" / "per_case.csv", rows)
    out = tmp_path / "suspects.csv"
    assert run(tmp_path / "oof", "--suspects", "--out", out) == 0
    printed = capsys.readouterr().out.splitlines()
    assert re.match(r"  1  c0(10|33): given (no )?mass, predicted (no )?mass, margin -0\.\d{3}", printed[0])
    assert {row["case_id"] for row in rows_of(out)[:2]} == {"c010", "c033"}
    assert printed[-2].endswith(" of mass")
    assert printed[-1].startswith("next: look at the first of them")
    with pytest.raises(ConfigError, match=r"expected a table whose name ends in \.csv with --suspects"):
        run(tmp_path / "oof", "--suspects", "--out", tmp_path / "folder")
    with pytest.raises(ConfigError, match="exists already"):
        run(tmp_path / "oof", "--suspects", "--out", out)


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["--level", "1"], ConfigError, "--level and --resamples"),
        (["--consensus", "staple"], ConfigError, "--consensus staple is for masks"),
        (["--consensus", "median"], DataError, "--consensus median is not for labels of kind nominal"),
        (["--kind", "ordinal"], DataError, "label lump: expected numbers for --kind ordinal"),
        (["--case", "who"], DataError, "expected a column of cases, who; found case_id"),
        (["{table}"], ConfigError, "expected one table, or folders of masks"),
    ],
)
def test_what_is_refused(table, tmp_path, words, error, message):
    more = [word.format(table=table) for word in words]
    with pytest.raises(error, match=message):
        run(table, *more, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="expected a folder"):
        run(table, "--out", tmp_path / "out.csv")


@pytest.mark.real
def test_the_three_readers_of_vinbigdata(tmp_path, capsys):
    table = Path(os.environ["MEDIMG_REAL_DATA"]) / "tables" / "vinbigdata-train.csv.gz"
    words = ("--finding", "class_name", "--no_finding", "No finding", "--resamples", "20")
    run(table, *words, "--out", tmp_path / "out")
    assert capsys.readouterr().out.startswith("15000 cases of 15000 patients, 17 readers")
    rows = rows_of(tmp_path / "out" / "agreement.csv")
    assert [(row["n_cases"], row["n_readings"]) for row in rows] == [("15000", "45000")] * 14
    # Three readings an image: alpha is Fleiss' kappa but for the correction of small samples.
    for row in rows:
        small = (1 - float(row["fleiss_kappa"])) / 45_000
        assert float(row["alpha"]) == pytest.approx(float(row["fleiss_kappa"]) + small, abs=2e-6)

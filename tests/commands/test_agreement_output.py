import csv

import numpy as np
import pytest

from medimg.commands.agreement_output import report
from medimg.curation.agreement import AgreementRow, Bootstrap
from medimg.io.raster import read_raster


def row(label, readers, kappa):
    return AgreementRow(label, readers, 20, 40, {"kappa": (kappa, kappa - 0.1, kappa + 0.1)})


@pytest.mark.parametrize(("labels", "printed"), [(4, True), (5, False)])
def test_tables_and_pictures_are_written_and_few_pairs_printed(labels, printed, tmp_path, capsys):
    readers = ["anna", "ben", "carla"]
    names = [f"l{number}" for number in range(labels)]
    pairs = [
        row(name, pair, 0.5)
        for name in names
        for pair in (("anna", "ben"), ("anna", "carla"), ("ben", "carla"))
    ]
    report([row(name, (), 0.6) for name in names], pairs, tmp_path, readers, "kappa", Bootstrap(resamples=30))
    said = capsys.readouterr().out
    assert "95% intervals of 30 resamples of patients" in said
    assert ("anna ben" in said) is printed and (f"{3 * labels} pairs of readers" in said) is not printed
    with (tmp_path / "agreement.csv").open() as stream:
        assert [line["label"] for line in csv.DictReader(stream)] == names
    with (tmp_path / "pairs.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 3 * labels
    for name in ("agreement.png", "pairs.png"):
        assert len(np.unique(read_raster(tmp_path / name))) > 10


def test_readers_without_names_have_no_pairs(tmp_path, capsys):
    report([row("mass", (), 0.6)], [], tmp_path, ["a", "b"], "kappa", Bootstrap(resamples=30))
    assert {path.name for path in tmp_path.iterdir()} == {"agreement.csv", "agreement.png"}

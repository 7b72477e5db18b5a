import csv

import numpy as np
import pytest

from medimg.cli import main
from medimg.commands.score_masks import parse_labels
from medimg.errors import ConfigError
from medimg.io.nifti import write_image


def test_labels_with_names_and_joined_values():
    assert parse_labels("anterior=1, whole=1+2,3") == {"anterior": (1,), "whole": (1, 2), "3": (3,)}


@pytest.mark.parametrize("text", ["", "a=", "a=x", "=1", "a=1,a=2", "0", "-1", "1,,2"])
def test_labels_that_cannot_be_read(text):
    with pytest.raises(ConfigError, match="--labels: cannot read"):
        parse_labels(text)


def test_the_evaluator_of_transunet_is_said_to_be_for_comparison(tmp_path, capsys):
    mask = np.zeros((6, 6, 6), np.uint8)
    mask[1:4, 1:4, 1:4] = 1
    write_image(tmp_path / "ref" / "a.nii.gz", mask, np.eye(4))
    mask[5, 5, 5] = 2  # the reference holds no 2
    write_image(tmp_path / "pred" / "a.nii.gz", mask, np.eye(4))
    words = ["score", str(tmp_path / "pred"), str(tmp_path / "ref"), "--labels", "liver=1,stomach=2,spleen=3"]
    assert main([*words, "--metric", "transunet", "--out", str(tmp_path / "out")]) == 0
    assert "to compare with its figures only" in capsys.readouterr().out
    with (tmp_path / "out" / "per_case.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert [float(row[f"dice_{name}"]) for name in ("liver", "stomach", "spleen")] == [1.0, 1.0, 0.0]
    assert main([*words, "--metric", "transunet", "--lesionwise"]) == 2
    assert "knows no lesions" in capsys.readouterr().err

import pytest

from medimg.errors import DataError
from medimg.scoring.hubmap import score_hubmap


def test_mean_dice_by_hand(tmp_path):
    (tmp_path / "train.csv").write_text("id,encoding,patient_number\na,1 4,7\nb,,7\nc,10 2,8\nd,,8\n")
    (tmp_path / "sub.csv").write_text("id,predicted\nd,1 1\nc,\nb,\na,3 4\n")
    score = score_hubmap(tmp_path / "sub.csv", tmp_path / "train.csv", resamples=50)
    assert [row["dice"] for row in score.rows] == [0.5, 1.0, 0.0, 0.0]
    assert score.figures[0].row["mean"] == pytest.approx(0.375)
    assert (score.n_patients, score.figures[0].row["n"]) == (2, 4)
    assert (score.figures[0].row["low"], score.figures[0].row["high"]) == (
        0.0,
        0.75,
    )  # one patient or the other


def test_a_picture_that_is_missing_or_cannot_be_read(tmp_path):
    (tmp_path / "train.csv").write_text("id,encoding\na,1 4\nb,\n")
    (tmp_path / "sub.csv").write_text("id,predicted\na,4 1 1 2\nx,\n")
    with pytest.raises(DataError) as fault:
        score_hubmap(tmp_path / "sub.csv", tmp_path / "train.csv")
    for line in ("1 runs that overlap or are not sorted: a", "1 unknown to the reference: x", "1 missing: b"):
        assert line in str(fault.value)

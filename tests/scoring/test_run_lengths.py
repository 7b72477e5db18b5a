import math

import numpy as np
import pytest

from medimg.errors import DataError
from medimg.io.rle import encode, read_runs
from medimg.scoring.overlap import dice
from medimg.scoring.run_lengths import runs_dice


def test_runs_of_the_published_example():
    assert read_runs("1 3 10 5").tolist() == [[0, 3], [9, 14]]  # pixels 1 to 3 and 10 to 14
    assert read_runs("").size == read_runs("-1").size == read_runs(" nan ").size == 0


@pytest.mark.parametrize("seed", range(6))
def test_dice_is_that_of_the_masks(seed):
    generator = np.random.default_rng(seed)
    share = generator.choice([0.0, 0.02, 0.5, 1.0], 2)
    pred, target = (generator.random((17, 13)) < part for part in share)
    found = runs_dice(read_runs(encode(pred)), read_runs(encode(target)))
    assert found == pytest.approx(dice(pred, target, empty="one"), rel=1e-12)


def test_two_empty_masks_score_one_unless_said_otherwise():
    none = read_runs("")
    assert runs_dice(none, none) == 1.0
    assert math.isnan(runs_dice(none, none, both_empty=math.nan))
    assert runs_dice(none, read_runs("1 1")) == runs_dice(read_runs("1 1"), none) == 0.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 x", "whole numbers"),
        ("1 3 10", "start without its length"),
        ("1 0", "without pixels"),
        ("0 2", "before pixel 1"),
        ("1 3 3 1", "overlap"),
        ("10 5 1 3", "not sorted"),
        ("98 4", "leave the picture"),
        ("99999999999999999999 1", "whole numbers"),
    ],
)
def test_masks_that_cannot_be_read(text, message):
    with pytest.raises(DataError, match=message):
        read_runs(text, pixels=100)

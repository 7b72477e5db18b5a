"""What is kept is taken for what it is, and nothing half done is lost or believed."""

import pickle

import numpy as np
import pytest

from medimg.datamodules.kept import KeptArrays, fill_rows
from medimg.errors import DataError, ResourceError

SHAPES = {"rows": ((3, 2), np.float32), "done": ((3,), np.bool_)}


def test_arrays_stay_while_the_facts_stay(tmp_path):
    kept = KeptArrays(tmp_path / "a", SHAPES)
    kept.write({"size": (2, 3)})["rows"][1] = 7
    again = KeptArrays(tmp_path / "a", SHAPES)
    assert again.write({"size": [2, 3]})["rows"][1].tolist() == [7, 7]
    assert pickle.loads(pickle.dumps(again)).read("rows")[1].tolist() == [7, 7]
    assert not again.write({"size": [2, 4]})["rows"].any()


def test_an_array_that_is_missing_is_made_with_the_others(tmp_path):
    kept = KeptArrays(tmp_path, SHAPES)
    kept.write({})["done"][:] = True
    (tmp_path / "rows.npy").unlink()
    assert not kept.write({})["done"].any()


def test_a_folder_that_cannot_be_written_says_which_setting_names_it(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match=r"cannot be written .*cache\.folder"):
        KeptArrays(tmp_path / "file" / "below", SHAPES).write({})


def double(number):
    if number < 0:
        raise DataError(f"{number} is below 0")
    return 2 * number


def test_good_rows_are_put_away_before_bad_ones_are_named():
    found = {}
    with pytest.raises(
        DataError, match=r"2 of 4 things cannot be used:\n  b: -1 is below 0\n  d: -2 is below 0"
    ):
        fill_rows(double, [5, -1, 6, -2], found.__setitem__, names=list("abcd"), workers=2, what="things")
    assert found == {0: 10, 2: 12}

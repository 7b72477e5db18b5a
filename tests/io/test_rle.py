import csv
import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from medimg.errors import DataError
from medimg.io.rle import decode, encode, read_runs


def slow_encode(mask, *, relative, order):
    """Walk the pixels one by one, as the definition reads."""
    height, width = mask.shape
    if order == "columns":
        pixels = [mask[row, column] for column in range(width) for row in range(height)]
    else:
        pixels = [mask[row, column] for row in range(height) for column in range(width)]
    numbers, gap, run = [], 0, 0
    for place, inside in enumerate([*pixels, 0]):
        if inside:
            if run == 0:
                numbers.append(gap if relative else place + 1)
            run += 1
        else:
            if run:
                numbers.append(run)
                gap = 0
            run = 0
            gap += 1
    return " ".join(map(str, numbers))


def test_the_published_vector():
    mask = decode("1 3 10 5", (4, 5))
    inside = {row + 4 * column + 1 for row, column in zip(*np.nonzero(mask), strict=True)}
    assert inside == {1, 2, 3, 10, 11, 12, 13, 14}
    assert encode(mask) == "1 3 10 5"


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("order", ["columns", "rows"])
def test_both_ways_and_as_the_definition_reads(relative, order):
    random = np.random.default_rng(0)
    for density in (0.0, 0.02, 0.3, 0.5, 0.98, 1.0):
        for shape in ((1, 1), (1, 9), (7, 1), (13, 8), (8, 13)):
            mask = (random.random(shape) < density).astype(np.uint8)
            text = encode(mask, relative=relative, order=order)
            assert text == slow_encode(mask, relative=relative, order=order)
            back = decode(text, shape, relative=relative, order=order)
            assert back.dtype == np.uint8
            np.testing.assert_array_equal(back, mask)


@pytest.mark.parametrize("relative", [False, True])
def test_text_comes_back_as_it_was(relative):
    random = np.random.default_rng(1)
    for _ in range(50):
        gaps, runs = random.integers(1, 6, 8), random.integers(1, 6, 8)
        starts = gaps if relative else np.cumsum(gaps) + np.concatenate([[0], np.cumsum(runs)[:-1]])
        text = " ".join(f"{start} {run}" for start, run in zip(starts, runs, strict=True))
        assert encode(decode(text, (10, 10), relative=relative), relative=relative) == text


@pytest.mark.parametrize("text", ["", " ", "-1", " -1", "nan"])
def test_an_empty_mask_has_many_names(text):
    assert decode(text, (4, 5)).sum() == 0
    assert encode(np.zeros((4, 5))) == ""


def test_label_values_count_as_inside():
    assert encode(np.array([[0, 7], [0, 255]])) == "3 2"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 3 3 2", "overlap"),
        ("10 2 1 2", "not sorted"),
        ("18 4", r"leave the picture \(pixel 21 of 20\)"),
        ("0 2", "before pixel 1"),
        ("1 0", "without pixels"),
        ("5 -2", "without pixels"),
        ("1 3 10", "start without its length"),
        ("1 three", "whole numbers"),
        ("1.5 3", "whole numbers"),
        ("99999999999999999999 3", "whole numbers"),
        ("9223372036854775807 9223372036854775807", "whole numbers"),  # their sum is -2 in 64 bits
        ("1_0 3", "whole numbers"),
        ("+1 3", "whole numbers"),
        ("\u0661 3", "whole numbers"),  # an Arabic one
    ],
)
def test_wrong_runs_are_refused(text, words):
    with pytest.raises(DataError, match=words):
        decode(text, (4, 5))


def test_a_volume_is_refused():
    with pytest.raises(DataError, match=r"\(H, W\)"):
        encode(np.zeros((2, 3, 4)))


@pytest.mark.real
def test_every_mask_of_the_pneumothorax_table_comes_back():
    table = Path(os.environ["MEDIMG_REAL_DATA"]) / "tables" / "siim-pneumothorax-train-rle.csv.gz"
    with gzip.open(table, "rt", newline="") as file:
        rows = [row[" EncodedPixels"] for row in csv.DictReader(file)]
    filled = [row for row in rows if row.strip() != "-1"]
    assert len(filled) > 1000
    for text in filled[::20]:
        mask = decode(text, (1024, 1024), relative=True)
        assert mask.sum() == sum(int(word) for word in text.split()[1::2])
        np.testing.assert_array_equal(decode(encode(mask, relative=True), (1024, 1024), relative=True), mask)


def test_runs_are_read_from_either_form():
    assert read_runs("1 3 10 5").tolist() == read_runs("0 3 6 5", relative=True).tolist() == [[0, 3], [9, 14]]
    with pytest.raises(DataError, match="before pixel 1"):
        read_runs("-1 2", relative=True)

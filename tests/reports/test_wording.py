import pytest

from medimg.reports.wording import counted, joined, number, sentence, spelled, times


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (-1000, "-1,000"), (2.5, "2.5"), (1e-6, "0.000001"), (3e-5, "0.00003"), (0.1 + 0.2, "0.3"),
        (1 / 3, "0.333333"), ("auto", "auto"), (True, "True"), (12000.0, "12,000"), (float("inf"), "inf"),
    ],
)  # fmt: skip
def test_numbers_read_as_people_write_them(value, text):
    assert number(value) == text


def test_lists_sizes_and_counts():
    assert joined(("x" for _ in range(3)), last="or") == "x, x or x"
    assert (times([96]), times([]), times([96, 120.0])) == ("96", "", "96 x 120")
    assert (counted(0, "fold"), counted(10, "fold"), counted(1200, "step")) == (
        "no folds", "ten folds", "1,200 steps",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("HorizontalFlip", "horizontal flip"),
        ("RandomResizedCrop", "random resized crop"),
        ("MyNLLLoss", "my NLL loss"),
        ("_", "_"),
    ],
)
def test_class_names_become_words(name, words):
    assert spelled(name) == words


def test_sentences():
    assert sentence("mean Dice was .9") == "Mean Dice was .9."

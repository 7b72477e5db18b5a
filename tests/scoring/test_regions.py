import numpy as np
import pytest

from medimg.scoring.regions import BRATS_REGIONS, BRATS_WRITE_ORDER, region_mask, regions_to_labels


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("brats2018", {"WT": {1, 2, 4}, "TC": {1, 4}, "ET": {4}}),
        ("brats2021", {"WT": {1, 2, 4}, "TC": {1, 4}, "ET": {4}}),
        ("brats2022", {"WT": {1, 2, 4}, "TC": {1, 4}, "ET": {4}}),
        ("brats2023", {"WT": {1, 2, 3}, "TC": {1, 3}, "ET": {3}}),
        ("brats2024-gli", {"WT": {1, 2, 3}, "TC": {1, 3}, "ET": {3}, "RC": {4}}),
        ("brats2024-ped", {"WT": {1, 2, 3, 4}, "TC": {1, 2, 3}, "ET": {1}}),
        ("decathlon-brats", {"WT": {1, 2, 3}, "TC": {2, 3}, "ET": {3}}),
    ],
)
def test_label_values_of_each_region(rule, expected):
    assert {name: set(values) for name, values in BRATS_REGIONS[rule].items()} == expected


@pytest.mark.parametrize("rule", BRATS_REGIONS)
def test_regions_written_back_give_the_labels_again(rule):
    values = sorted({0}.union(*BRATS_REGIONS[rule].values()))
    labels = np.random.default_rng(0).choice(values, size=(4, 5, 6)).astype(np.uint8)
    masks = {name: region_mask(labels, region) for name, region in BRATS_REGIONS[rule].items()}
    back = regions_to_labels(masks, BRATS_WRITE_ORDER[rule])
    if rule == "brats2024-ped":  # cystic cannot be told from non-enhancing tumour
        labels = np.where(labels == 3, 2, labels)
    assert np.array_equal(back, labels)
    assert back.dtype == np.uint8


def test_an_inner_region_wins_even_outside_the_outer_one():
    masks = {"WT": np.array([0, 0], bool), "TC": np.array([0, 0], bool), "ET": np.array([1, 0], bool)}
    assert regions_to_labels(masks, BRATS_WRITE_ORDER["brats2021"]).tolist() == [4, 0]


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="one mask for each of"):
        regions_to_labels({"WT": np.zeros(2, bool)}, BRATS_WRITE_ORDER["brats2023"])
    with pytest.raises(ValueError, match="one shape"):
        regions_to_labels({"a": np.zeros(2, bool), "b": np.zeros(3, bool)}, [("a", 1), ("b", 2)])
    with pytest.raises(ValueError, match="from 1 to 255"):
        regions_to_labels({"a": np.zeros(2, bool)}, [("a", 300)])

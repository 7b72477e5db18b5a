import numpy as np
import pytest

from medimg.ensembling.averages import RunningAverage, check_channels, labels_of, winners
from medimg.ensembling.description import ChannelScheme
from medimg.errors import DataError

SHAPE = (3, 4, 5, 6)


def softmax(seed, shape=SHAPE):
    values = np.exp(np.random.default_rng(seed).normal(size=shape))
    return (values / values.sum(0)).astype(np.float16)


def average(members, weights, kind="mean", exclusive=True):
    running = RunningAverage(kind, members[0].shape, exclusive=exclusive)
    for member, weight in zip(members, weights, strict=True):
        running.add(member, weight, "a.npz")
    return running.result()


def test_the_mean_is_that_of_numpy():
    members = [softmax(seed) for seed in range(4)]
    weights = [0.4, 0.3, 0.2, 0.1]
    expected = np.average([member.astype(np.float64) for member in members], axis=0, weights=weights)
    np.testing.assert_allclose(average(members, weights), expected, atol=1e-6)


def test_the_geometric_mean_by_hand():
    one, two = np.array([0.2, 0.8]).reshape(2, 1, 1, 1), np.array([0.8, 0.2]).reshape(2, 1, 1, 1)
    # 0.2^0.75 0.8^0.25 = 0.28284 and 0.8^0.75 0.2^0.25 = 0.56569: a third and two thirds.
    np.testing.assert_allclose(
        average([one, two], [0.75, 0.25], "geometric").ravel(), [1 / 3, 2 / 3], rtol=1e-5
    )
    # Regions are not made to add up to 1.
    apart = average([one, two], [0.75, 0.25], "geometric", exclusive=False)
    np.testing.assert_allclose(apart.ravel(), [0.28284, 0.56569], rtol=1e-4)


def test_a_zero_of_float16_is_small_and_no_veto():
    one, two = np.array([0.0, 1.0]).reshape(2, 1, 1, 1), np.array([1.0, 0.0]).reshape(2, 1, 1, 1)
    np.testing.assert_allclose(average([one, two], [0.5, 0.5], "geometric").ravel(), [0.5, 0.5], rtol=1e-5)


@pytest.mark.parametrize("kind", ["mean", "geometric"])
def test_members_that_agree_are_their_average(kind):
    member = softmax(0)
    np.testing.assert_allclose(average([member] * 3, [0.2, 0.3, 0.5], kind), member, atol=1e-3)


@pytest.mark.parametrize("kind", ["mean", "geometric"])
def test_a_member_of_weight_zero_does_not_count(kind):
    np.testing.assert_allclose(average([softmax(0), softmax(1)], [1, 0], kind), softmax(0), atol=1e-3)


@pytest.mark.parametrize(
    ("value", "found"), [(np.nan, "NaN"), (1.5, "1.5"), (-0.25, "-0.25"), (np.inf, "inf"), (-np.inf, "-inf")]
)
@pytest.mark.parametrize("exclusive", [True, False])
def test_what_is_no_probability_is_refused(value, found, exclusive):
    probs = softmax(0)
    probs[1, 2, 3, 4] = value
    with pytest.raises(DataError, match=rf"a\.npz: expected probabilities in \[0, 1\], found .*{found}"):
        average([probs], [1], exclusive=exclusive)


def test_regions_read_as_exclusive_classes_are_refused():
    with pytest.raises(DataError, match=r"add up to 1 in each voxel.*head sigmoid"):
        average([np.full(SHAPE, 0.9)], [1])


def test_another_number_of_channels_is_refused():
    with pytest.raises(ValueError, match="zip"):
        RunningAverage("mean", SHAPE, exclusive=False).add(np.zeros((2, 4, 5, 6)), 1, "a.npz")
    with pytest.raises(DataError, match=r"a\.npz: expected 3 channels with the background, found 2"):
        check_channels(2, ChannelScheme("softmax", (0, 1, 2)), "a.npz")


def test_exclusive_classes_take_the_largest_and_of_equal_ones_the_first():
    probs = np.array([[0.4, 0.2, 0.2], [0.4, 0.5, 0.2], [0.2, 0.3, 0.6]]).reshape(3, 1, 1, 3)
    assert labels_of(probs, ChannelScheme()).ravel().tolist() == [0, 1, 2]
    assert labels_of(probs, ChannelScheme("softmax", (0, 2, 400))).ravel().tolist() == [0, 2, 400]
    random = softmax(3)
    np.testing.assert_array_equal(labels_of(random, ChannelScheme()), random.argmax(0))


def test_regions_are_written_in_their_order_above_a_half():
    #          ET   WT   TC
    voxels = [(0.1, 0.9, 0.1), (0.1, 0.9, 0.9), (0.9, 0.9, 0.9), (0.5, 0.5, 0.5), (0.9, 0.1, 0.1)]
    probs = np.array(voxels).T.reshape(3, 1, 1, 5)
    scheme = ChannelScheme("sigmoid", (3, 2, 1), (1, 2, 0))
    assert labels_of(probs, scheme).ravel().tolist() == [2, 1, 3, 0, 3]


@pytest.mark.parametrize("scheme", [ChannelScheme(), ChannelScheme("sigmoid", (3, 2, 1), (1, 2, 0))])
@pytest.mark.parametrize("kind", ["mean", "geometric"])
def test_what_all_members_say_every_average_says(scheme, kind):
    rng = np.random.default_rng(0)
    members = [softmax(seed, (3, 10, 10, 10)) for seed in range(3)]
    if scheme.head == "sigmoid":
        members = [rng.random((3, 10, 10, 10)).astype(np.float16) for _ in members]
    each = np.array([winners(member, scheme) for member in members])
    agreed = (each == each[0]).all(0)
    assert 0.05 < agreed.mean() < 0.5
    for _ in range(5):
        mean = average(members, rng.dirichlet([1, 1, 1]), kind, exclusive=scheme.head == "softmax")
        np.testing.assert_array_equal(winners(mean, scheme)[agreed], each[0][agreed])


def test_winners_need_a_channel():
    with pytest.raises(ValueError, match="one channel or more"):
        winners([], ChannelScheme())

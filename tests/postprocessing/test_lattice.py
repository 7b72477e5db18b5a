import subprocess
import sys

import numpy as np
import pytest

from medimg.errors import ConfigError
from medimg.postprocessing import lattice as room
from medimg.postprocessing.lattice import build_lattice, choose_each, choose_one


def gaussian_sums(features, values):
    """The sum that the lattice approximates, pair by pair."""
    squared = ((features[:, None].astype(float) - features[None].astype(float)) ** 2).sum(-1)
    return np.exp(-squared / 2) @ values


def filtered(features, values):
    sums = np.zeros_like(values)
    build_lattice(features).add_filtered(values, sums)
    return sums


@pytest.mark.parametrize("axes", [1, 2, 3, 5, 7])
def test_normalised_sums_are_those_of_a_gaussian(axes):
    rng = np.random.default_rng(axes)
    features = rng.uniform(0, 2.5, (700, axes)).astype(np.float32)
    values = np.stack([features[:, 0], np.sin(features).sum(1)], axis=1).astype(np.float32)
    ones = np.ones((len(features), 1), np.float32)
    found = filtered(features, values) / filtered(features, ones)
    expected = gaussian_sums(features, values) / gaussian_sums(features, ones)
    for column in range(2):  # what is left of the values' spread is what the approximation errs by
        assert np.corrcoef(found[:, column], expected[:, column])[0, 1] > 0.98
        assert abs(found[:, column] - expected[:, column]).mean() < 0.15 * values[:, column].std()


@pytest.mark.parametrize("axes", [2, 6])
def test_every_point_shares_all_it_has_between_its_corners(axes):
    features = np.random.default_rng(0).normal(scale=5, size=(400, axes)).astype(np.float32)
    lattice = build_lattice(features)
    np.testing.assert_allclose(lattice.weights.sum(1), 1, atol=1e-5)
    assert lattice.weights.min() > -1e-4
    assert lattice.ids.min() >= 1
    assert lattice.ids.max() == lattice.rows - 1
    assert all(len(set(corners)) == axes + 1 for corners in lattice.ids.tolist())


def test_the_way_ahead_leads_back():
    features = np.random.default_rng(1).normal(size=(300, 3)).astype(np.float32)
    lattice = build_lattice(features)
    for ahead, behind in zip(lattice.ahead, lattice.behind, strict=True):
        start = np.flatnonzero(ahead)
        assert len(start)
        np.testing.assert_array_equal(behind[ahead[start]], start)


def test_the_filter_is_symmetric_where_all_vertices_are_there():
    """What i hears of j is what j hears of i."""
    steps = np.linspace(0, 6, 31, dtype=np.float32)
    features = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    inner = np.flatnonzero((np.abs(features - 3) < 1).all(axis=1))
    values = np.zeros((len(features), len(inner)), np.float32)
    values[inner, np.arange(len(inner))] = 1
    found = filtered(features, values)[inner]
    np.testing.assert_allclose(found, found.T, atol=1e-4)


def test_more_vertices_than_the_first_table_holds():
    features = np.arange(3 * room._FIRST_CAPACITY, dtype=np.float32)[:, None] * 50  # far from one another
    assert build_lattice(features).rows - 1 == 2 * len(features)  # two corners each
    together = filtered(features, np.ones((len(features), 1), np.float32))
    for point in (0, 7, len(features) - 1):
        alone = filtered(features[point : point + 1], np.ones((1, 1), np.float32))
        np.testing.assert_allclose(together[point], alone[0], rtol=1e-5)


def test_the_order_of_points_does_not_matter():
    rng = np.random.default_rng(3)
    features = rng.normal(size=(500, 4)).astype(np.float32)
    values = rng.normal(size=(500, 3)).astype(np.float32)
    order = rng.permutation(500)
    np.testing.assert_allclose(
        filtered(features[order], values[order]), filtered(features, values)[order], atol=1e-4
    )


def test_marginals_of_exclusive_labels_are_a_softmax():
    rng = np.random.default_rng(4)
    scores = rng.normal(size=(50, 4)).astype(np.float32)
    messages = rng.uniform(size=(50, 4)).astype(np.float32)
    found = np.empty((50, 3), np.float32)
    choose_one(scores, messages[:, :3].copy(), messages.sum(1), found)
    shares = np.exp(scores + messages)
    np.testing.assert_allclose(found, (shares / shares.sum(1, keepdims=True))[:, :3], atol=1e-5)


def test_marginals_of_labels_by_themselves_are_a_softmax_of_two():
    rng = np.random.default_rng(5)
    odds = rng.normal(size=(50, 2)).astype(np.float32)
    there = rng.uniform(size=(50, 2)).astype(np.float32)
    found = np.empty((50, 2), np.float32)
    choose_each(odds, there, np.ones(50, np.float32), found)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-(odds + there - (1 - there)))), atol=1e-5)
    extreme = np.array([[1e4, -1e4]], np.float32)
    choose_each(extreme, np.zeros((1, 2), np.float32), np.zeros(1, np.float32), found[:1])
    np.testing.assert_allclose(found[0], [1, 0], atol=1e-6)


def test_too_many_voxels_are_refused():
    with pytest.raises(ConfigError, match="Crop the images first"):
        build_lattice(np.broadcast_to(np.float32(0), (2**30, 7)))


def test_without_numba_the_extra_is_named():
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "from medimg.errors import ConfigError\n"
        "try:\n    import medimg.postprocessing.lattice\n"
        "except ConfigError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'medimg[crf]'" in done.stdout

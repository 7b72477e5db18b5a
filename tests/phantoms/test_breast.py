from dataclasses import replace

import numpy as np
import pytest

from medimg.phantoms.breast import make_breast, project

SIZE = (128, 104)


def breast(side="L", *, cancer=False, benign=False, density=1, seed=3):
    return make_breast(np.random.default_rng(seed), side, density=density, cancer=cancer, benign=benign)


@pytest.mark.parametrize("view", ["CC", "MLO"])
def test_the_chest_wall_is_at_the_side_of_the_breast(view):
    left, right = (project(breast(side), view, SIZE).astype(float) for side in ("L", "R"))
    assert left[:, :20].mean() > 3 * left[:, -20:].mean()
    np.testing.assert_array_equal(right, left[:, ::-1])


def test_the_same_breast_gives_the_same_picture():
    np.testing.assert_array_equal(project(breast(), "CC", SIZE), project(breast(), "CC", SIZE))
    assert (project(breast(), "CC", SIZE) != project(breast(seed=4), "CC", SIZE)).any()


def test_denser_breasts_are_brighter():
    means = [project(breast(density=density), "CC", SIZE).mean() for density in range(4)]
    assert means == sorted(means)


@pytest.mark.parametrize("view", ["CC", "MLO"])
def test_a_cancer_is_brighter_than_the_same_breast_without_it(view):
    with_it = breast(cancer=True)
    without = replace(with_it, masses=())
    change = project(with_it, view, SIZE).astype(int) - project(without, view, SIZE)
    assert change.max() > 700
    assert change.min() >= -1
    # The rest of the breast is the same.
    assert (change == 0).mean() > 0.7


def test_spicules_tell_cancers_from_round_masses():
    assert all(mass.spicules for mass in breast(cancer=True).masses)
    assert not any(mass.spicules for mass in breast(benign=True).masses)


def test_only_mlo_shows_the_muscle():
    corner = np.s_[:12, :6]
    assert project(breast(), "MLO", SIZE)[corner].mean() > 1500
    assert project(breast(), "CC", SIZE)[corner].mean() < 300


def test_twelve_bits_are_not_left():
    for seed in range(5):
        assert project(breast(cancer=True, density=3, seed=seed), "CC", SIZE).max() < 4096

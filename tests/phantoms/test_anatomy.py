import numpy as np
from scipy import ndimage

from medimg.phantoms.anatomy import Bulge, build_anatomy, cerebrum
from medimg.phantoms.fields import LATTICE_AXES, STEP_MM, lattice_points


def _volume_ml(distance):
    return (distance < 0).sum() * STEP_MM**3 / 1000


def test_a_brain_is_one_piece_of_the_right_size_inside_the_lattice():
    anatomy = build_anatomy(np.random.default_rng(0))
    brain = anatomy.hull < 0
    assert ndimage.label(brain)[1] == 1
    assert 1100 < _volume_ml(anatomy.hull) < 1700
    for axis in range(3):
        assert not np.take(brain, (0, -1), axis=axis).any()


def test_the_parts_lie_where_they_belong():
    anatomy = build_anatomy(np.random.default_rng(1))
    brain, ventricles = anatomy.hull < 0, anatomy.ventricles < 0
    assert brain[ventricles].all()
    assert ventricles[anatomy.choroid < 0].all()
    assert 10 < _volume_ml(anatomy.ventricles) < 80
    assert (anatomy.choroid < 0).any()
    assert brain[anatomy.nuclei < 0].all()
    # Left and right alike, but not the same.
    x = lattice_points()[2]
    left, right = (anatomy.nuclei[side] < 0 for side in (x < 0, x > 0))
    assert 0.7 < left.sum() / right.sum() < 1.4
    # The fissure lies at the midline and spares the middle of the brain.
    z, y, x = lattice_points()
    assert np.abs(x[(anatomy.fissure < 0)]).max() < 15
    assert (anatomy.fissure[(np.abs(z) < 5) & (np.abs(y) < 10)] > 0).all()


def test_brains_follow_their_seed():
    same = [build_anatomy(np.random.default_rng(7)).pial for _ in range(2)]
    np.testing.assert_array_equal(*same)
    assert (same[0] != build_anatomy(np.random.default_rng(8)).pial).any()


def test_a_mass_pushes_the_ventricles_away_and_closes_sulci_but_leaves_the_hull():
    mass = Bulge((15.0, 0.0, 25.0), 30.0, 0.4)
    before, after = build_anatomy(np.random.default_rng(2)), build_anatomy(np.random.default_rng(2), (mass,))
    np.testing.assert_array_equal(before.hull, after.hull)
    x = lattice_points()[2]
    right = (x > 5) & (before.hull < 0)

    def middle(anatomy):
        return x[right & (anatomy.ventricles < 0)].mean()

    assert middle(after) < middle(before) - 0.4  # the mass is on the far right
    near = tuple(int(np.abs(axis - c).argmin()) for axis, c in zip(LATTICE_AXES, mass.centre, strict=True))
    around = tuple(slice(i - 6, i + 7) for i in near)
    assert (after.pial[around] < 0).sum() <= (before.pial[around] < 0).sum()


def test_the_cerebrum_is_largest_along_y():
    points = lattice_points()
    inside = cerebrum(points) < 0
    assert points[1][inside].max() > points[2][inside].max() > points[0][inside].max() - 12

import numpy as np

from medimg.phantoms.chest import build_chest
from medimg.phantoms.chest_nodules import make_nodule


def test_nodules_lie_within_the_lungs_and_apart():
    for seed in range(6):
        chest = build_chest(np.random.default_rng(seed), 4, vessels=False)
        assert len(chest.nodules) == 4
        for number, one in enumerate(chest.nodules):
            place = tuple(np.array([c], np.float32) for c in one.centre)
            assert float(chest.lung(place)[0]) < -one.radius_mm
            for other in chest.nodules[:number]:
                gap = np.linalg.norm(np.subtract(one.centre, other.centre))
                assert gap > one.reach_mm + other.reach_mm + 5


def test_malignant_nodules_are_larger_and_spiculated_with_overlap():
    found = [
        n for seed in range(60) for n in build_chest(np.random.default_rng(seed), 2, vessels=False).nodules
    ]
    ill = [n for n in found if n.malignancy > 3]
    well = [n for n in found if n.malignancy < 3]
    assert np.mean([n.radius_mm for n in ill]) > 1.4 * np.mean([n.radius_mm for n in well])
    assert max(n.radius_mm for n in well) > min(n.radius_mm for n in ill)
    assert np.mean([n.spike_mm for n in ill]) > np.mean([n.spike_mm for n in well])
    assert not any(n.calcified for n in ill if n.malignancy > 4.8)


def test_the_surface_lies_within_the_reach_and_around_the_radius():
    for seed in range(20):
        nodule = make_nodule(np.random.default_rng(seed), least_mm=6.0)
        assert nodule.radius_mm >= 3
        axis = np.arange(-40, 41, dtype=np.float32)
        inside = nodule.distance((axis[:, None, None], axis[None, :, None], axis[None, None, :])) < 0
        away = np.linalg.norm(np.argwhere(inside) - 40.0, axis=1)
        assert away.max() < nodule.reach_mm
        ball = 4 / 3 * np.pi * nodule.radius_mm**3
        assert 0.7 * ball < inside.sum() < 2.0 * ball

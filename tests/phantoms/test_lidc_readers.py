import numpy as np

from medimg.datasets.lidc_consensus import fill
from medimg.datasets.lidc_xml import CHARACTERISTICS
from medimg.phantoms.chest import chest_grid
from medimg.phantoms.chest_scan import draw_chest
from medimg.phantoms.lidc_readers import outline, read_nodules, score

SMALL = (24, 64, 64)


def test_outlines_run_on_the_first_pixels_outside():
    """Filled without their own pixels, they give the nodule back, but for narrow bays."""
    grid = chest_grid((60, 128, 128))
    for nodule in draw_chest(1, seed=0, size=grid.shape, vessels=False).nodules:
        traced = outline(nodule, grid)
        held = np.zeros(grid.shape, bool)
        for one in traced:
            assert np.abs(np.diff(one.points, axis=0)).max() == 1
            held[one.slice] |= fill(one.points, grid.shape[1:])
        z, y, x = (np.indices(grid.shape, sparse=True)[axis] for axis in range(3))
        a = grid.affine
        points = (a[2, 3] + a[2, 2] * z, a[1, 3] + a[1, 1] * y, a[0, 3] + a[0, 0] * x)
        near = nodule.distance(tuple(axis.astype(np.float32) for axis in points)) < 0
        assert not (near & ~held).any()
        assert held.sum() <= 1.05 * near.sum()


def test_readers_differ_as_people_do():
    """Small nodules are missed more often, every nodule is seen by one, and scores lie around the truth."""
    small, large, errors = [], [], []
    for case in range(12):
        nodules = draw_chest(case, seed=0, size=(120, 128, 128), vessels=False).nodules
        readings = read_nodules(nodules, chest_grid((120, 128, 128)), (0, case, 2))
        for number, nodule in enumerate(nodules):
            seen = [one for own in readings for one in own if one.nodule == number]
            assert seen
            (small if nodule.radius_mm < 5 else large).append(len(seen))
            errors += [one.scores["malignancy"] - nodule.malignancy for one in seen]
            assert all(set(one.scores) == set(CHARACTERISTICS) for one in seen)
    assert np.mean(small) < np.mean(large) <= 4
    assert abs(np.mean(errors)) < 0.3
    assert 0.3 < np.std(errors) < 1.0


def test_scores_keep_to_the_ranges_of_the_form():
    rng = np.random.default_rng(0)
    nodules = [n for case in range(10) for n in draw_chest(case, seed=7, size=SMALL, vessels=False).nodules]
    for nodule in nodules:
        for name, value in score(nodule, rng).items():
            assert 1 <= value <= CHARACTERISTICS[name]

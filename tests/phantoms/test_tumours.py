import numpy as np
import pytest
from scipy import ndimage

from medimg.phantoms.anatomy import cerebrum
from medimg.phantoms.fields import STEP_MM
from medimg.phantoms.tumours import Kind, grow, kind_of, place_lesions

_SEEDS = range(6)


def _draw(kind, seed):
    rng = np.random.default_rng(seed)
    lesions = place_lesions(rng, kind)
    return lesions, grow(rng, lesions)


def test_eight_cases_in_a_row_hold_every_kind():
    for start in (0, 5, 100):
        kinds = [kind_of(index) for index in range(start, start + 8)]
        assert set(kinds) == set(Kind)
        assert kinds.count(Kind.DARK) == 1


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("seed", _SEEDS)
def test_each_part_lies_within_the_one_around_it(kind, seed):
    _, tumour = _draw(kind, seed)
    whole, core, necrosis = (field < 0 for field in (tumour.whole, tumour.core, tumour.necrosis))
    assert whole[core].all()
    assert core[necrosis].all()
    assert core.sum() < 0.7 * whole.sum()


@pytest.mark.parametrize("seed", _SEEDS)
def test_kinds_show_what_they_are_named_for(seed):
    for kind in Kind:
        lesions, tumour = _draw(kind, seed)
        core, necrosis = tumour.core < 0, tumour.necrosis < 0
        assert len(lesions) == (2 if kind is Kind.TWO else 1)
        match kind:
            case Kind.SOLID:
                assert not necrosis.any()
            case Kind.DARK:
                np.testing.assert_array_equal(core, necrosis)
            case _:
                assert 0 < necrosis.sum() < 0.6 * core.sum()


@pytest.mark.parametrize("seed", _SEEDS)
def test_the_rim_is_thick_and_closed(seed):
    _, tumour = _draw(Kind.RIM, seed)
    around = ndimage.binary_dilation(tumour.necrosis < 0)
    assert (tumour.core < 0)[around].all()
    volume = STEP_MM**3 * ((tumour.core < 0).sum() - (tumour.necrosis < 0).sum())
    assert volume > 5_000  # cubic millimetres


@pytest.mark.parametrize("seed", _SEEDS)
def test_two_lesions_stand_apart(seed):
    lesions, tumour = _draw(Kind.TWO, seed)
    gap = np.linalg.norm(np.subtract(lesions[0].centre, lesions[1].centre))
    assert gap > lesions[0].radius_mm + lesions[1].radius_mm - 3
    pieces, number = ndimage.label(tumour.core < 0)
    sizes = np.sort(np.bincount(pieces.ravel())[1:])[::-1]
    assert number >= 2
    assert sizes[1] * STEP_MM**3 > 500


@pytest.mark.parametrize("seed", _SEEDS)
def test_lesions_lie_inside_the_cerebrum(seed):
    for kind in Kind:
        for lesion in place_lesions(np.random.default_rng(seed), kind):
            at = tuple(np.float32([c]) for c in lesion.centre)
            assert cerebrum(at)[0] < -lesion.core * lesion.radius_mm
            assert abs(lesion.centre[2]) >= 16  # off the midline

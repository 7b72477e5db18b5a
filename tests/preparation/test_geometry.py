import json
from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from writers.nifti import OBLIQUE

from medimg.preparation.geometry import Geometry, nonzero_box, orientation_change, reorient

SHAPE = (3, 4, 5)


def affines():
    for order in permutations(range(3)):
        for signs in product((-1, 1), repeat=3):
            affine = np.zeros((4, 4))
            affine[3, 3] = 1
            for axis, (row, sign) in enumerate(zip(order, signs, strict=True)):
                affine[row, axis] = sign * (axis + 1)
            yield affine


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR"])
def test_reorienting_equals_nibabels(codes):
    array = np.arange(60).reshape(SHAPE)
    for affine in affines():
        image = nib.Nifti1Image(array.T.astype(np.int16), affine)
        target = nib.orientations.axcodes2ornt(tuple(codes))
        change = nib.orientations.ornt_transform(nib.io_orientation(affine), target)
        expected = np.asarray(image.as_reoriented(change).dataobj).T
        axes, flips = orientation_change(affine, codes)
        np.testing.assert_array_equal(reorient(array, axes, flips), expected)


def geometry_of(affine, codes, box):
    axes, flips = orientation_change(affine, codes)
    return Geometry(SHAPE, (1.0, 2.0, 3.0), axes, flips, box, (1, 1, 1), (1.0, 1.0, 1.0))


def test_the_way_back_undoes_turning_and_cropping():
    array = np.arange(1, 61).reshape(SHAPE)
    for affine in affines():
        axes, flips = orientation_change(affine, "RAS")
        turned = reorient(array, axes, flips)
        high = tuple(n - 1 for n in turned.shape)
        geometry = geometry_of(affine, "RAS", ((1, 1, 1), high))
        crop = turned[1 : high[0], 1 : high[1], 1 : high[2]]
        assert geometry.cropped_shape == crop.shape
        assert geometry.reoriented_shape == turned.shape
        back = geometry.to_source(np.stack([crop, -crop]), fill=0)
        assert back.shape == (2, *SHAPE)
        inside = back[0] != 0
        assert inside.sum() == crop.size
        np.testing.assert_array_equal(back[0][inside], array[inside])
        np.testing.assert_array_equal(back[1], -back[0])


def test_no_codes_leave_the_array_alone():
    assert orientation_change(OBLIQUE, None) == ((0, 1, 2), ())


def test_fill_outside_the_crop():
    geometry = geometry_of(np.eye(4), None, ((0, 0, 0), (1, 1, 1)))
    assert (geometry.to_source(np.zeros((1, 1, 1)), fill=-1) == -1).sum() == 59


def test_through_json_and_back():
    geometry = geometry_of(OBLIQUE, "RAS", ((0, 1, 2), (3, 4, 5)))
    assert Geometry.from_dict(json.loads(json.dumps(geometry.as_dict()))) == geometry


def test_box_of_what_is_not_zero_in_any_channel():
    image = np.zeros((2, 5, 6, 7))
    image[0, 1, 2, 3] = 1
    image[1, 3, 2, 6] = -1
    assert nonzero_box(image) == ((1, 2, 3), (4, 3, 7))
    assert nonzero_box(np.zeros((1, 5, 6, 7))) == ((0, 0, 0), (5, 6, 7))

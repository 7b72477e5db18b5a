import numpy as np
import pytest

from medimg.datasets.lidc_consensus import consensus_mask
from medimg.datasets.lidc_nodules import Nodule, find_nodules, nodule_row
from medimg.datasets.lidc_xml import CHARACTERISTICS, Annotation, Contour

SLICES = np.array([-10.0, -7.5, -5.0, -2.5])


def square(x, y, size):
    corners = [(x, y), (x + size, y), (x + size, y + size), (x, y + size), (x, y)]
    return Contour(-7.5, "", True, np.array(corners, np.int32))


def annotation(reader, *contours, malignancy=3):
    scores = dict.fromkeys(CHARACTERISTICS, 3) | {"malignancy": malignancy}
    return Annotation(f"n{reader}", reader, scores, contours)


@pytest.mark.parametrize(
    ("scores", "label"), [((4, 3), True), ((2, 3, 3), False), ((2, 4), None), ((0, 4), True), ((0,), None)]
)
def test_the_label_is_the_mean_of_the_scores_that_were_given(scores, label):
    readers = [annotation(r, square(10, 10, 6), malignancy=score) for r, score in enumerate(scores)]
    (nodule,) = find_nodules(readers, (0.7, 0.7), SLICES)
    assert nodule.malignant is label
    assert nodule.readers == len(scores)


def test_a_row_says_where_the_nodule_lies_and_how_large_it_is():
    one = annotation(2, square(10, 20, 6), malignancy=5)
    nodule = Nodule((one,), consensus_mask([one], SLICES))
    np.testing.assert_array_equal(nodule.centre(), [1, 23, 13])
    row = nodule_row(
        nodule,
        nodule_id="a-n01",
        patient_id="a",
        case_id="a-1",
        image="crops/a-n01.nii.gz",
        place_mm=np.array([1.0, 2.0, 3.0]),
        voxel_mm3=2.0,
    )
    assert (row["malignant"], row["readers"], row["malignancy"], row["z_mm"]) == ("1", "1", "5", "3")
    assert float(row["volume_mm3"]) == 2 * 25
    assert float(row["diameter_mm"]) == pytest.approx((6 * 50 / np.pi) ** (1 / 3), rel=1e-3)


def test_a_nodule_without_an_agreed_voxel_has_no_volume():
    """Two readers who outline by a line each: nothing lies inside."""
    line = Contour(-7.5, "", True, np.array([(3, 3), (9, 3)], np.int32))
    nodule = Nodule((annotation(0, line),), consensus_mask([annotation(0, line)], SLICES))
    assert not nodule.consensus.mask.any()
    np.testing.assert_array_equal(nodule.centre(), [1, 3, 6])

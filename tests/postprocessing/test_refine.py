from dataclasses import replace

import numpy as np
import pytest

from medimg.errors import DataError
from medimg.io.raster import read_raster, write_png
from medimg.postprocessing.cases import MaskFile
from medimg.postprocessing.dense_crf import CrfSettings, dense_crf
from medimg.postprocessing.refine import Refinement, nest_regions

SHAPE = (20, 24)
MASK = MaskFile(np.zeros(SHAPE, np.uint8), (1.0, 1.0))


def argmax(probs):
    return probs.argmax(0)


@pytest.fixture
def refinement(tmp_path):
    rng = np.random.default_rng(0)
    probs = rng.random((3, 1, *SHAPE))
    np.savez(tmp_path / "a.npz", probs=(probs / probs.sum(0)).astype(np.float16))
    write_png(tmp_path / "a.png", rng.integers(1, 255, SHAPE, np.uint8))
    return Refinement(tmp_path, argmax, exclusive=True)


def test_the_crf_sees_the_image_in_units_of_its_spread(refinement, tmp_path):
    settings = CrfSettings(sigma_mm=4.0)
    found = replace(refinement, images=tmp_path, crf=settings, out=tmp_path / "out")("a", MASK)
    probs = np.load(tmp_path / "a.npz")["probs"].astype(np.float32)[:, 0]
    image = read_raster(tmp_path / "a.png").astype(np.float32)
    expected = dense_crf(probs, image / image.std(), settings=settings)
    np.testing.assert_array_equal(found, expected.argmax(0))
    np.testing.assert_allclose(np.load(tmp_path / "out" / "a.npz")["probs"][:, 0], expected, atol=1e-3)
    assert (found != probs.argmax(0)).any()


def test_sure_background_far_from_any_doubt_is_left_out(refinement, tmp_path):
    probs = np.load(tmp_path / "a.npz")["probs"].astype(np.float32)
    probs[:, :, :10], probs[0, :, :10] = 0, 1
    np.savez(tmp_path / "a.npz", probs=probs)
    settings = CrfSettings(sigma_mm=1.5)
    replace(refinement, images=tmp_path, crf=settings, out=tmp_path / "out")("a", MASK)
    found = np.load(tmp_path / "out" / "a.npz")["probs"][:, 0]
    np.testing.assert_array_equal(found[:, :5], probs[:, 0, :5])
    image = read_raster(tmp_path / "a.png").astype(np.float32)
    cropped = dense_crf(probs[:, 0, 5:], image[:, 5:] / image.std(), settings=settings)
    np.testing.assert_allclose(found[:, 5:], cropped, atol=3e-3)  # stored as float16
    whole = dense_crf(probs[:, 0], image / image.std(), settings=settings)
    assert (whole.argmax(0) != found.argmax(0)).mean() < 0.03  # of noise, the worst case


def test_a_case_that_is_all_background_stays(refinement, tmp_path):
    probs = np.zeros((3, 1, *SHAPE), np.float16)
    probs[0] = 1
    np.savez(tmp_path / "a.npz", probs=probs)
    assert not replace(refinement, images=tmp_path)("a", MASK).any()


def test_regions_nest(refinement):
    plain = replace(refinement, to_labels=lambda probs: (probs > 0.3).sum(0), exclusive=False)("a", MASK)
    nested = replace(
        refinement,
        to_labels=lambda probs: (probs[:-1] < probs[1:]).sum(0),
        exclusive=False,
        nest=(0, 1, 2),
    )("a", MASK)
    assert plain.shape == nested.shape == SHAPE
    assert not nested.any()


def test_masks_nest_too():
    masks = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 1, 0]], np.float32)
    nest_regions(masks, (0, 1, 2))
    np.testing.assert_array_equal(masks, [[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]])


def test_files_that_do_not_fit_are_refused(refinement, tmp_path):
    with pytest.raises(DataError, match=r"b\.npz: there are no probabilities. Predict again with --prob"):
        refinement("b", MASK)
    with pytest.raises(DataError, match=r"expected the shape of the mask, \(5, 5\), found \(1, 20, 24\)"):
        refinement("a", MaskFile(np.zeros((5, 5), np.uint8), (1.0, 1.0)))
    for odd, said in (
        (np.nan, "found nan to nan"),
        (np.inf, "to inf"),
        (-np.inf, "found -inf"),
        (3.0, "0 to 3"),
    ):
        probs = np.zeros((2, 1, *SHAPE), np.float32)
        probs[1, 0, 0, 0] = odd  # not in the first channel, and beside sure background
        np.savez(tmp_path / "a.npz", probs=probs)
        for how in ({"images": tmp_path}, {"nest": (0, 1)}):
            with pytest.raises(DataError, match=rf"a\.npz: expected probabilities in \[0, 1\].*{said}"):
                replace(refinement, exclusive=False, **how)("a", MASK)

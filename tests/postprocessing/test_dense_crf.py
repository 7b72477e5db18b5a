import os
from pathlib import Path

import numpy as np
import pytest
from pydensecrf import densecrf
from scipy.ndimage import gaussian_filter

from medimg.io.nifti import read_grid, read_image, read_mask
from medimg.postprocessing.dense_crf import SMALLEST_PROB, CrfSettings, dense_crf, make_kernels


def make_case(shape, classes, channels, seed=0):
    """Noisy probabilities of smooth regions, an image that tells them apart, and the truth."""
    rng = np.random.default_rng(seed)
    fields = np.stack([gaussian_filter(rng.standard_normal(shape), 5) for _ in range(classes)])
    truth = fields.argmax(0)
    image = np.stack(
        [rng.permutation(classes)[truth] + 0.3 * rng.standard_normal(shape) for _ in range(channels)]
    )
    onehot = np.stack([truth == label for label in range(classes)]).astype(float)
    return noisy_probs(onehot, rng), image.astype(np.float32), truth


def noisy_probs(onehot, rng):
    logits = 3 * np.stack([gaussian_filter(one, 1.5) for one in onehot]) + rng.standard_normal(onehot.shape)
    shares = np.exp(logits)
    return (shares / shares.sum(0)).astype(np.float32)


def of_pydensecrf(probs, image, settings, spacing_mm):
    """Marginals by pydensecrf2 with its default normalisation and kernel."""
    shape = probs.shape[1:]
    crf = densecrf.DenseCRF(int(np.prod(shape)), len(probs))
    energy = -np.log(np.clip(probs, SMALLEST_PROB, 1)).reshape(len(probs), -1)
    crf.setUnaryEnergy(np.ascontiguousarray(energy, np.float32))
    steps = [np.arange(size) * step for size, step in zip(shape, spacing_mm, strict=True)]
    places = np.stack(np.meshgrid(*steps, indexing="ij")).reshape(len(shape), -1)
    near = np.ascontiguousarray(places / settings.smooth_sigma_mm, np.float32)
    crf.addPairwiseEnergy(near, compat=settings.smooth_weight)
    if image is not None:
        values = image.reshape(len(image), -1) / settings.sigma_value
        alike = np.ascontiguousarray(np.vstack([places / settings.sigma_mm, values]), np.float32)
        crf.addPairwiseEnergy(alike, compat=settings.weight)
    return np.array(crf.inference(settings.iterations)).reshape(probs.shape)


CASES = {
    "2d-2": ((90, 110), 2, 1, (1.0, 1.0)),
    "2d-5": ((90, 110), 5, 1, (0.7, 1.3)),
    "2d-rgb": ((90, 110), 3, 3, (1.0, 1.0)),
    "3d-2": ((20, 36, 32), 2, 1, (3.0, 1.0, 1.0)),
    "3d-4": ((20, 36, 32), 4, 4, (1.0, 1.0, 1.0)),
}


@pytest.mark.parametrize("name", CASES)
def test_labels_and_marginals_are_those_of_pydensecrf2(name):
    shape, classes, channels, spacing = CASES[name]
    probs, image, truth = make_case(shape, classes, channels)
    settings = CrfSettings(2.0, 2.0, 5.0, 8.0, 0.6)
    found = dense_crf(probs, image, spacing_mm=spacing, settings=settings)
    expected = of_pydensecrf(probs, image, settings, spacing)
    assert (found.argmax(0) != expected.argmax(0)).mean() < 0.001  # 0.01 is what is promised
    # Features on the border of two simplices fall to either by their last bit, which the processor decides.
    apart = abs(found - expected)
    assert (apart > 0.01).mean() < 0.01
    assert apart.max() < 0.1
    assert (found.argmax(0) == truth).mean() > (probs.argmax(0) == truth).mean()


@pytest.mark.parametrize(("smooth_sigma_mm", "weight"), [(0.8, 1.0), (25.0, 40.0)])
def test_other_reaches_and_weights_too(smooth_sigma_mm, weight):
    probs, image, _ = make_case((64, 70), 3, 1, seed=1)
    settings = CrfSettings(weight, smooth_sigma_mm, weight, 30.0, 0.1, iterations=10)
    found, expected = (
        dense_crf(probs, image, settings=settings),
        of_pydensecrf(probs, image, settings, (1.0, 1.0)),
    )
    assert (found.argmax(0) != expected.argmax(0)).mean() < 0.01


def test_without_an_image_only_smoothness_counts():
    probs, _, _ = make_case((60, 60), 3, 1)
    found = dense_crf(probs, None)
    np.testing.assert_allclose(found, of_pydensecrf(probs, None, CrfSettings(), (1.0, 1.0)), atol=0.01)
    assert len(make_kernels((4, 4), None, (1.0, 1.0), CrfSettings())) == 1


def test_without_kernels_nothing_changes():
    probs, image, _ = make_case((20, 20), 3, 1)
    settings = CrfSettings(smooth_weight=0, weight=0)
    np.testing.assert_allclose(dense_crf(probs, image, settings=settings), probs, atol=1e-4)


def test_marginals_add_up_and_stay_in_range():
    probs, image, _ = make_case((10, 20, 20), 4, 2)
    found = dense_crf(probs.astype(np.float16), image)
    assert (found.dtype, found.shape) == (np.float32, probs.shape)
    assert found.min() >= 0
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)


def test_a_region_by_itself_is_one_of_two_exclusive_classes():
    probs, image, _ = make_case((50, 60), 2, 1)
    other = np.roll(probs[1], 7, axis=0)
    alone = dense_crf(np.stack([probs[1], other]), image, exclusive=False)
    for found, region in zip(alone, (probs[1], other), strict=True):
        np.testing.assert_allclose(found, dense_crf(np.stack([1 - region, region]), image)[1], atol=1e-3)


def test_an_axis_of_one_voxel_makes_no_difference():
    probs, image, _ = make_case((50, 60), 3, 1)
    np.testing.assert_array_equal(dense_crf(probs[:, None], image[:, None])[:, 0], dense_crf(probs, image))


def test_spacing_and_sigma_are_of_one_unit():
    probs, image, _ = make_case((12, 30, 30), 2, 1)
    plain, doubled = (CrfSettings(smooth_sigma_mm=2.0 * n, sigma_mm=5.0 * n) for n in (1, 2))
    found = dense_crf(probs, image, spacing_mm=(2.0, 2.0, 2.0), settings=doubled)
    np.testing.assert_allclose(found, dense_crf(probs, image, settings=plain), atol=1e-5)


@pytest.mark.parametrize(
    ("probs", "image", "message"),
    [
        (np.full((2, 4), 0.5), None, r"shape \(K, H, W\)"),
        (np.ones((1, 4, 4)), None, "two exclusive classes or more expected, found one"),
        (np.full((2, 4, 4), 0.5), np.ones((1, 4, 5)), r"grid \(4, 4\) expected, found \(4, 5\)"),
        (np.full((2, 4, 4), np.nan), None, "finite probabilities expected"),
        (np.full((2, 4, 4), 0.5), np.full((1, 4, 4), np.inf), "finite image values expected"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(probs, image, message):
    with pytest.raises(ValueError, match=message):
        dense_crf(probs, image)


@pytest.mark.parametrize(
    "wrong", [{"sigma_mm": 0.0}, {"weight": -1.0}, {"sigma_value": np.inf}, {"iterations": 0}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="expected, found"):
        CrfSettings(**wrong)


@pytest.mark.real
@pytest.mark.parametrize("case", ["hippocampus_001", "hippocampus_033"])
def test_on_a_hippocampus_it_is_pydensecrf2(case):
    root = Path(os.environ["MEDIMG_REAL_DATA"]) / "Task04_Hippocampus"
    image = read_image(root / "imagesTr" / f"{case}.nii.gz")
    truth = read_mask(root / "labelsTr" / f"{case}.nii.gz")
    spacing = read_grid(root / "labelsTr" / f"{case}.nii.gz").spacing_mm
    onehot = np.stack([truth == label for label in range(3)]).astype(float)
    probs = noisy_probs(onehot, np.random.default_rng(0))
    image /= image.std()
    settings = CrfSettings()
    found = dense_crf(probs, image, spacing_mm=spacing, settings=settings)
    expected = of_pydensecrf(probs, image, settings, spacing)
    assert (found.argmax(0) != expected.argmax(0)).mean() < 0.01
    assert (found.argmax(0) == truth).mean() > (probs.argmax(0) == truth).mean()

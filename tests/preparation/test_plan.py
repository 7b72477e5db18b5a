from math import prod

import numpy as np
import pytest

from medimg.errors import ConfigError
from medimg.preparation.fingerprint import ChannelStats, Fingerprint
from medimg.preparation.plan import (
    fit_batch,
    fit_patch,
    make_plan,
    median_shape,
    normalizations,
    target_spacing,
)
from medimg.preparation.topology import memory_bytes

CT = ChannelStats(-160.123, 240.456, 60.7891, 30.5)


def alike(shape, spacing=(1.0, 1.0, 1.0), cases=260, kept=1.0, channels=1):
    return Fingerprint((shape,) * cases, (spacing,) * cases, (kept,) * cases, (CT,) * channels)


# Patch and batch of nnU-Net's published 3d_fullres plans for 8 GB.
def test_hippocampus_as_published():
    plan = make_plan(alike((36, 50, 35)), ["MRI"], 3)
    assert plan.network.patch == (40, 56, 40)
    assert (plan.batch_size, plan.batch_limit) == (9, "data")
    assert make_plan(alike((36, 50, 35), cases=200), ["MRI"], 3).batch_size == 7


def test_brats_as_published():
    names = ["FLAIR", "T1w", "T1gd", "T2w"]
    plan = make_plan(alike((138, 170, 138), cases=484, kept=0.35, channels=4), names, 4)
    assert plan.network.patch == (128, 128, 128)
    assert (plan.batch_size, plan.batch_limit) == (2, "memory")
    assert plan.normalization == ("zscore_nonzero",) * 4
    assert plan.window_hu is plan.mean_std is None
    assert not plan.batch_dice


def test_prostate_as_published():
    shape, spacing = (20, 320, 319), (3.6, 0.625, 0.625)
    plan = make_plan(alike(shape, spacing, cases=32, channels=2), ["T2", "ADC"], 3)
    assert plan.network.patch == (20, 320, 256)
    assert plan.batch_size == 2


def test_ct_takes_the_data_sets_window():
    plan = make_plan(alike((200, 400, 400), channels=2, cases=100), ["CT", "PET"], 3)
    assert plan.normalization == ("ct", "zscore")
    assert plan.window_hu == (-160.12, 240.46)
    assert plan.mean_std == (60.789, 30.5)
    assert plan.batch_dice
    with pytest.raises(ConfigError, match="2 channels are CT"):
        make_plan(alike((20, 40, 40), channels=2), ["CT", "CT"], 3)


@pytest.mark.parametrize("memory_gb", [3, 6, 8, 11, 24, 80])
@pytest.mark.parametrize(
    ("median", "spacing"), [((250, 512, 512), (1.2, 0.8, 0.8)), ((9, 300, 300), (10, 1.4, 1.4))]
)
def test_the_plan_fits_the_memory(memory_gb, median, spacing):
    network = fit_patch(spacing, median, 1, 3, memory_gb * 1e9)
    batch, _ = fit_batch(network, 1, 3, memory_gb * 1e9, data_voxels=100 * prod(median))
    assert batch >= 2
    assert memory_bytes(network, batch, 1, 3) <= memory_gb * 1e9


def test_more_memory_is_used():
    sizes = [prod(fit_patch((1, 1, 1), (300, 300, 300), 1, 3, gb * 1e9).patch) for gb in (4, 8, 16, 40)]
    assert sizes == sorted(set(sizes))


def test_patches_keep_the_shape_of_the_cases():
    patch = fit_patch((1.0, 1.0, 1.0), (80, 400, 400), 1, 2, 8e9).patch
    assert patch[0] <= 80
    assert min(patch[1:]) > 2 * patch[0]


def test_too_little_memory_is_refused_with_what_is_needed():
    with pytest.raises(ConfigError, match=r"--memory-gb 0\.5: .*give at least 1\.0"):
        fit_patch((1.0, 1.0, 1.0), (100, 100, 100), 1, 2, 0.5e9)
    assert fit_patch((1.0, 1.0, 1.0), (100, 100, 100), 1, 2, 1.0e9)


@pytest.mark.parametrize(
    ("steps", "shape", "expected", "axis"),
    [
        # Ten spacings from 1 to 10 mm: the 10 % percentile is 1.9 mm.
        ([(float(n), 0.5, 0.5) for n in range(1, 11)], (20, 90, 90), (1.9, 0.5, 0.5), 0),
        # As thick, but with as many slices as pixels.
        ([(float(n), 0.5, 0.5) for n in range(1, 11)], (80, 90, 90), (5.5, 0.5, 0.5), None),
        # The finest tenth is finer than the pixels: the pixels count.
        ([(0.2, 0.5, 0.5)] * 3 + [(5.0, 0.5, 0.5)] * 7, (20, 90, 90), (0.5, 0.5, 0.5), 0),
        ([(1.0, 1.0, 6.0)] * 3, (90, 90, 10), (1.0, 1.0, 6.0), 2),
        ([(0.7, 0.8, 0.9), (0.9, 0.8, 0.7), (0.8, 0.8, 0.8)], (50, 50, 50), (0.8, 0.8, 0.8), None),
    ],
)
def test_spacing_is_the_median_but_finer_across_thick_slices(steps, shape, expected, axis):
    spacing, thick = target_spacing(steps, [shape] * len(steps))
    assert spacing == pytest.approx(expected)
    assert thick == axis


def test_median_shape_is_taken_after_resampling():
    shapes, steps = (
        [(10, 20, 20), (20, 20, 20), (40, 30, 10)],
        [(4.0, 1.0, 1.0), (2.0, 1.0, 1.0), (1.0, 1.0, 2.0)],
    )
    assert median_shape(shapes, steps, (1.0, 1.0, 1.0)) == (40, 20, 20)
    assert median_shape([(1, 5, 5)], [(0.1, 1.0, 1.0)], (9.0, 1.0, 1.0)) == (1, 5, 5)


def test_background_counts_as_removed_when_the_median_crop_takes_a_quarter():
    assert normalizations(["T1"], [0.7, 0.74, 1.0]) == ("zscore_nonzero",)
    assert normalizations(["T1"], [0.7, 0.76, 1.0]) == ("zscore",)
    assert normalizations(["ct", "noNorm", "T1"], [1.0]) == ("ct", "none", "zscore")


def test_one_slice_data_sets_are_planned_flat():
    plan = make_plan(alike((1, 256, 256), cases=50), ["MRI"], 2)
    assert plan.network.patch == (1, 256, 256)
    assert plan.batch_size >= 2
    assert np.all(np.array(plan.network.kernels)[:, 0] == 1)

import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch.nn import functional

from medimg.errors import ConfigError, DataError
from medimg.inference import export
from medimg.inference.export import export_labels, export_probs

SHAPES = [((6, 7, 5), (11, 16, 9)), ((12, 9, 10), (5, 4, 7)), ((6, 7, 5), (6, 13, 3)), ((4, 1, 5), (9, 2, 5))]


def noise(number, shape):
    return torch.randn((number, *shape), generator=torch.Generator().manual_seed(3))


def reference(values, shape):
    """Linear interpolation at half-pixel centres, from scipy."""
    axes = [(np.arange(n) + 0.5) * old / n - 0.5 for n, old in zip(shape, values.shape[1:], strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"))
    return np.stack([map_coordinates(v, grid, order=1, mode="nearest") for v in values.double().numpy()])


def resampled(values, shape, slab=export.SLAB_VOXELS):
    """All classes, as both exports see them slab by slab."""
    slabs = export._slabs(values, shape, slab)
    return torch.cat([torch.stack([export._interpolate(v, s, shape[1:]) for v in values]) for s in slabs], 1)


@pytest.mark.parametrize(("old", "new"), SHAPES)
@pytest.mark.parametrize("slab", [1, 200, 1 << 19])
def test_resampling_equals_scipy_and_torch(old, new, slab):
    values = noise(3, old)
    found = resampled(values, new, slab)
    np.testing.assert_allclose(found.numpy(), reference(values, new), atol=1e-5)
    expected = functional.interpolate(values[None], new, mode="trilinear", align_corners=False)[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_same_size_is_left_alone():
    values = noise(2, (4, 5, 6))
    assert torch.equal(resampled(values, (4, 5, 6)), values)
    assert np.array_equal(export_labels(values, (4, 5, 6)), values.argmax(0).numpy())


def test_probabilities_stay_probabilities():
    values = noise(4, (5, 6, 7)).softmax(0)
    found = resampled(values, (9, 4, 13))
    torch.testing.assert_close(found.sum(0), torch.ones(9, 4, 13))
    assert found.min() >= 0


@pytest.mark.parametrize(("old", "new"), SHAPES)
@pytest.mark.parametrize("slab", [1, 1 << 19])
def test_softmax_labels_are_the_argmax_of_resampled_logits(old, new, slab):
    logits = noise(6, old)
    expected = np.array([0, 3, 1, 9, 200, 7])[reference(logits, new).argmax(0)]
    found = export_labels(logits, new, labels=[0, 3, 1, 9, 200, 7], slab_voxels=slab)
    assert found.dtype == np.uint8
    assert np.mean(found == expected) > 0.999


def test_of_equal_logits_the_first_wins():
    assert export_labels(torch.zeros(3, 2, 2, 2), (3, 3, 3), labels=[4, 5, 6]).tolist() == [[[4] * 3] * 3] * 3


def test_large_labels_need_sixteen_bits():
    found = export_labels(noise(2, (3, 3, 3)), (4, 4, 4), labels=[0, 1024])
    assert found.dtype == np.int16
    assert set(np.unique(found)) <= {0, 1024}


@pytest.mark.parametrize(("old", "new"), SHAPES)
def test_regions_are_written_in_order_where_sigmoid_exceeds_half(old, new):
    logits = noise(3, old)  # WT, TC, ET
    probs = 1 / (1 + np.exp(-reference(logits, new)))
    expected = np.zeros(new, np.uint8)
    for channel, value in zip(range(3), [2, 1, 3], strict=True):
        expected[probs[channel] > 0.5] = value
    found = export_labels(logits, new, activation="sigmoid", labels=[2, 1, 3])
    assert np.mean(found == expected) > 0.999


def test_region_order_is_followed():
    logits = torch.full((3, 1, 1, 1), 5.0)  # all regions everywhere: the last written stands
    assert export_labels(logits, (1, 1, 1), activation="sigmoid", labels=[2, 1, 3]) == 3
    order = [2, 0, 1]
    assert export_labels(logits, (1, 1, 1), activation="sigmoid", labels=[2, 1, 3], region_order=order) == 1
    nothing = torch.zeros(3, 1, 1, 1)  # exactly one half is not inside
    assert export_labels(nothing, (1, 1, 1), activation="sigmoid", labels=[2, 1, 3]) == 0


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_probabilities_come_from_resampled_logits(activation):
    logits = noise(5, (6, 5, 4))
    resampled = torch.from_numpy(reference(logits, (9, 11, 7)))
    expected = resampled.softmax(0) if activation == "softmax" else resampled.sigmoid()
    found = export_probs(logits, (9, 11, 7), activation=activation, slab_voxels=50)
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_interpolated_in_float32(dtype):
    logits = noise(3, (6, 5, 4)).to(dtype)
    expected = export_labels(logits.float(), (9, 11, 7))
    assert np.array_equal(export_labels(logits, (9, 11, 7)), expected)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"activation": "sigmoid"}, "labels"),
        ({"labels": [0, 1]}, "labels"),
        ({"labels": [0, 1, -1]}, "labels"),
        ({"labels": [0, 1, 40000]}, "labels"),
        ({"activation": "relu"}, "activation"),
        ({"region_order": [0, 1, 2]}, "region_order"),
        ({"activation": "sigmoid", "labels": [1, 2, 3], "region_order": [0, 1]}, "region_order"),
    ],
)
def test_wrong_arguments_are_named(arguments, word):
    with pytest.raises(ConfigError, match=word):
        export_labels(torch.zeros(3, 2, 2, 2), (2, 2, 2), **arguments)


def test_wrong_shapes_are_named():
    with pytest.raises(DataError, match=r"\(K, d, h, w\)"):
        export_labels(torch.zeros(1, 3, 2, 2, 2), (2, 2, 2))
    with pytest.raises(DataError, match="three positive sizes"):
        export_labels(torch.zeros(3, 2, 2, 2), (2, 2))


MEASURE = """
import resource, sys, torch
from medimg.inference.export import export_labels
torch.set_num_threads(1)
logits = torch.zeros(1, 24, 24, 24).expand(int(sys.argv[1]), -1, -1, -1)
export_labels(logits[:2], (8, 8, 8))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
export_labels(logits, (192, 256, 256))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts kilobytes on Linux only")
def test_memory_does_not_grow_with_the_classes():
    grown = []
    for number in ("4", "64"):
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, number], capture_output=True, text=True, check=True
        )
        grown.append(int(done.stdout) / 1024)
    volume = 192 * 256 * 256 * 4 / 2**20  # one float32 volume in MB
    assert max(grown) < 2 * volume  # 64 of them if the classes were held together
    assert grown[1] - grown[0] < 0.25 * volume

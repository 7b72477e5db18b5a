import pytest
import torch
from torch.nn import functional

from medimg.errors import ConfigError
from medimg.inference.image_tta import CropTTA, FlipTTA, ScaleTTA


def seen_by(tta, image):
    """The views that the network gets."""
    views = []

    def network(view):
        views.append(view)
        return view.mean((2, 3))

    tta(image, network)
    return views


def test_flips_are_those_of_the_image():
    image = torch.rand(2, 1, 4, 6)
    plain, across, down, both = seen_by(FlipTTA(axes=("horizontal", "vertical")), image)
    assert plain is image
    assert torch.equal(across, image[..., [5, 4, 3, 2, 1, 0]])
    assert torch.equal(down, image[..., [3, 2, 1, 0], :])
    assert torch.equal(both, image.flip(2, 3))


def test_one_flip_is_the_mean_of_two_probabilities_to_the_bit():
    image, weights = torch.rand(3, 1, 5, 5), torch.rand(5)

    def network(view):
        return (view * weights).sum((2, 3)).sigmoid()

    assert torch.equal(FlipTTA()(image, network), (network(image) + network(image.flip(3))) / 2)


def test_sizes_are_factors_of_the_image_s():
    image = torch.rand(1, 1, 30, 41)
    assert [tuple(view.shape[2:]) for view in seen_by(ScaleTTA(factors=(0.5, 1.0, 1.5)), image)] == [
        (15, 20),
        (30, 41),
        (45, 62),
    ]
    rounded = ScaleTTA(factors=(1.0, 0.75, 0.01), multiple_of=8)
    # The image as it is stays so.
    assert [tuple(view.shape[2:]) for view in seen_by(rounded, image)] == [(30, 41), (24, 32), (8, 8)]


def test_a_smaller_view_is_the_mean_of_what_it_covers():
    image = torch.tensor([[[[0.0, 4.0, 1.0, 1.0]] * 2]]).repeat(1, 1, 2, 1)  # (1, 1, 4, 4)
    half = seen_by(ScaleTTA(factors=(0.5,)), image)[0]
    expected = functional.interpolate(image, (2, 2), mode="bilinear", antialias=True)
    assert torch.equal(half, expected)
    assert half[0, 0, 0, 0] > 1  # between 0 and 4, not one of them


def test_five_crops_are_the_corners_and_the_centre_at_the_size_of_the_image():
    image = torch.arange(256.0).view(1, 1, 16, 16)
    whole, *crops = seen_by(CropTTA(share=0.5, enlarge=False), image)
    assert whole is image
    corners = [(0, 0), (0, 8), (8, 0), (8, 8), (4, 4)]
    for crop, (top, left) in zip(crops, corners, strict=True):
        assert torch.equal(crop, image[..., top : top + 8, left : left + 8])
    enlarged = seen_by(CropTTA(share=0.5, crops=1, whole=False), image)
    expected = functional.interpolate(image[..., 4:12, 4:12], (16, 16), mode="bilinear")
    torch.testing.assert_close(enlarged[0], expected)


@pytest.mark.parametrize(("crops", "views"), [(1, 1), (4, 4), (5, 5), (9, 9), (16, 16)])
def test_crops_cover_the_edges_and_no_two_are_alike(crops, views):
    image = torch.arange(400.0).view(1, 1, 20, 20)
    found = seen_by(CropTTA(crops=crops, share=0.75, enlarge=False, whole=False), image)
    assert len({float(view[0, 0, 0, 0]) for view in found}) == len(found) == views
    if crops > 1:
        assert {0.0, 399.0} <= {float(v) for view in found for v in view.flatten()}


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: FlipTTA(axes=("left",)), "expected horizontal, vertical or both"),
        (lambda: FlipTTA(axes=("vertical", "vertical")), "expected horizontal, vertical or both"),
        (lambda: ScaleTTA(factors=()), "different numbers above 0"),
        (lambda: ScaleTTA(factors=(1.0, 0.0)), "different numbers above 0"),
        (lambda: ScaleTTA(factors=(1.0, 1.0)), "different numbers above 0"),
        (lambda: ScaleTTA(multiple_of=0), "whole number above 0"),
        (lambda: CropTTA(share=1.0), r"in \(0, 1\), found 1.0"),
        (lambda: CropTTA(crops=3), "expected 1, 5, or a square"),
        (lambda: CropTTA(crops=0), "expected 1, 5, or a square"),
    ],
)
def test_settings_that_make_no_sense_are_refused(build, words):
    with pytest.raises(ConfigError, match=words):
        build()


def test_crops_of_maps_and_of_volumes_are_refused():
    with pytest.raises(ConfigError, match=r"found a map \(1, 1, 4, 4\). For maps name a sliding window"):
        CropTTA(share=0.5, whole=False)(torch.rand(1, 1, 4, 4), lambda view: view)
    for tta in (CropTTA(), ScaleTTA()):
        with pytest.raises(ConfigError, match=r"expected images \(B, C, H, W\).*Volumes take MirrorTTA"):
            tta(torch.rand(1, 1, 4, 4, 4), lambda view: view)

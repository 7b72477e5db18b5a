"""Explanations tested and not only drawn: on phantoms whose lesions are known."""

import resource

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from medimg.errors import ConfigError
from medimg.explain import METHODS, Settings, explain_score, randomised, rank_correlation
from medimg.explain.cam import CAMS
from medimg.models import TimmClassifier

CNN_METHODS = [method for method in METHODS if method != "attention_rollout"]


def phantoms(count, seed, dims=2):
    """Noise and spots over stripes, half of them with a lesion, in which the stripes run the other way.

    A lesion is neither brighter nor darker nor richer in edges than what surrounds it: only a network that learned
    its pattern can tell it. It fades into the stripes around it.

    Returns:
        Images (N, 1, ...), labels (N,), lesions (N, ...).
    """
    rng = np.random.default_rng(seed)
    size = (32, 32) if dims == 2 else (16, 24, 24)
    axes = np.meshgrid(*(np.arange(side) for side in size), indexing="ij")
    images = rng.normal(0, 0.3, (count, 1, *size))
    labels, lesions = np.arange(count) % 2, np.zeros((count, *size), bool)

    def far(centre):
        return np.sqrt(sum((axis - middle) ** 2 for axis, middle in zip(axes, centre, strict=True)))

    for number in range(count):
        for _ in range(rng.integers(1, 4)):
            spot = np.exp(-((far([rng.uniform(0, side) for side in size]) / rng.uniform(2, 5)) ** 2))
            images[number, 0] += rng.choice([-1, 1]) * rng.uniform(0.5, 1.2) * spot
        radius = rng.uniform(4.5, 6)
        distance = far([rng.uniform(radius, side - radius) for side in size])
        share = 0.5 ** ((distance / radius) ** 2) * labels[number]
        lesions[number] = share >= 0.5
        across, along = (np.sin(axes[axis] * np.pi / 2 + rng.uniform(0, 2 * np.pi)) for axis in (-1, -2))
        images[number, 0] += np.sqrt(1 - share**2) * across + share * along  # as strong everywhere
    return torch.from_numpy(images).float(), torch.from_numpy(labels).float(), lesions


class Net(nn.Module):
    """Three convolutions, a mean and a linear head; the last map has half the image's size."""

    def __init__(self, dims):
        super().__init__()
        conv, norm = (nn.Conv2d, nn.BatchNorm2d) if dims == 2 else (nn.Conv3d, nn.BatchNorm3d)
        layers = []
        for cin, cout, stride in ((1, 8, 1), (8, 16, 2), (16, 16, 1)):
            layers += [conv(cin, cout, 3, stride=stride, padding=1, bias=False), norm(cout), nn.ReLU()]
        self.body, self.head = nn.Sequential(*layers), nn.Linear(16, 1)

    def forward(self, image):
        return self.head(self.body(image).flatten(2).mean(2))


def trained(dims, steps):
    torch.manual_seed(0)
    network = Net(dims).train()
    images, labels, _ = phantoms(384 if dims == 2 else 96, 1, dims)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for step in range(steps):
        rows = torch.arange(step * 16, step * 16 + 16) % len(images)
        loss = functional.binary_cross_entropy_with_logits(network(images[rows])[:, 0], labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


@pytest.fixture(scope="module")
def flat():
    return trained(2, 200)


@pytest.fixture(scope="module")
def solid():
    return trained(3, 80)


def true_positives(network, dims, count):
    images, labels, lesions = phantoms(count, 2, dims)
    with torch.no_grad():
        called = network(images)[:, 0] > 0
    assert ((called == labels.bool()).float().mean()) > 0.9  # a network that learned nothing shows nothing
    return [(images[n : n + 1], lesions[n]) for n in range(count) if labels[n] and called[n]]


def hits(network, dims, method, cases):
    """Share of peaks in the lesion, and the explanations."""
    settings = Settings(method, samples=400 if method == "kernel_shap" else 16)
    found = [explain_score(network, lambda x: network(x)[:, 0], image, dims, settings) for image, _ in cases]
    inside = [lesion.ravel()[one.heat[0].argmax()] for one, (_, lesion) in zip(found, cases, strict=True)]
    return float(np.mean(inside)), found


@pytest.mark.slow
@pytest.mark.parametrize("method", CNN_METHODS)
def test_the_peak_lies_in_the_lesion(flat, method, record_property):
    share, found = hits(flat, 2, method, true_positives(flat, 2, 80 if method in CAMS else 40))
    record_property("share", share)
    assert share >= 0.9
    if method == "integrated_gradients":
        assert max(one.completeness for one in found) <= 0.01


@pytest.mark.slow
@pytest.mark.parametrize("method", [*CAMS, "integrated_gradients", "occlusion"])
def test_the_peak_lies_in_the_lesion_of_volumes(solid, method, record_property):
    share, found = hits(solid, 3, method, true_positives(solid, 3, 40 if method in CAMS else 20))
    record_property("share", share)
    assert share >= 0.9
    if method == "integrated_gradients":
        assert max(one.completeness for one in found) <= 0.01


@pytest.mark.slow
@pytest.mark.parametrize("method", CNN_METHODS)
def test_random_weights_destroy_the_map(flat, method, record_property):
    cases = true_positives(flat, 2, 16 if method in CAMS else 6)
    _, found = hits(flat, 2, method, cases)
    values = []
    for seed in range(6):
        _, random = hits(randomised(flat, seed), 2, method, cases)
        values += [rank_correlation(a.signed, b.signed) for a, b in zip(found, random, strict=True)]
    record_property("rank correlation", [float(np.mean(values)), float(np.mean(np.abs(values)))])
    assert abs(np.mean(values)) < 0.2
    # The few windows of occlusion correlate by chance with one set of weights, and against it with the next.
    assert np.mean(np.abs(values)) < (0.35 if method == "occlusion" else 0.2)


@pytest.mark.slow
def test_memory_is_flat_over_cases(flat):
    image = phantoms(2, 3)[0][1:]

    def work(times):
        for _ in range(times):
            explain_score(flat, lambda x: flat(x)[:, 0], image, 2, Settings("integrated_gradients"))
            explain_score(flat, lambda x: flat(x)[:, 0], image, 2, Settings("gradcam"))
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    before = work(20)
    assert work(60) - before < 8  # MB


def test_every_method_gives_a_map_of_the_images_size():
    torch.manual_seed(0)
    network = TimmClassifier("test_vit", 2, in_channels=1).eval()
    image = torch.randn(1, 1, 32, 48)
    for method in METHODS:
        found = explain_score(network, lambda x: network(x)[:, 1], image, 2, Settings(method, samples=70))
        assert found.signed.shape == found.heat.shape == (1, 32, 48)
        assert found.heat.min() >= 0
        assert bool(found.layer) == ("cam" in method)
        assert (found.completeness is not None) == (method == "integrated_gradients")


def test_a_named_layer_is_taken_and_an_empty_map_warns():
    network = TimmClassifier("test_vit", 2, in_channels=1).eval()
    image = torch.randn(1, 1, 32, 32)
    settings = Settings("gradcam", layer="body.blocks.2.norm1")
    assert (
        explain_score(network, lambda x: network(x)[:, 0], image, 2, settings).layer == "body.blocks.2.norm1"
    )
    none = explain_score(network, lambda x: 0 * network(x)[:, 0], image, 2, settings)
    assert none.warning == "nothing speaks for this answer"
    with pytest.raises(ConfigError, match="no such layer"):
        explain_score(network, lambda x: network(x)[:, 0], image, 2, Settings("gradcam", layer="body.block"))

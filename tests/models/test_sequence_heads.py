"""Sequence networks see each study's own slices and nothing else, however studies are padded."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from medimg.errors import ConfigError
from medimg.models.sequence_heads import (
    AttentionSequence,
    GRUSequence,
    SlicesAlone,
    StudyPooling,
    pad_studies,
    unpad_studies,
)

NETWORKS = [SlicesAlone(8), GRUSequence(5, 2, dim=8), AttentionSequence(8, 2, 2, reach=5)]
name_of = lambda network: type(network).__name__  # noqa: E731


@pytest.mark.parametrize("network", NETWORKS, ids=name_of)
def test_a_study_is_read_as_if_alone(network):
    network.eval()
    sizes = torch.tensor([3, 1, 140, 7])
    slices = torch.randn(int(sizes.sum()), 8)
    padded, lengths = pad_studies(slices, sizes)
    with torch.no_grad():
        found = unpad_studies(network(padded, lengths), lengths)
        alone = [network(part[None], None)[0] for part in slices.split(sizes.tolist())]
    assert found.shape == (151, network.out_features)
    assert_close(found, torch.cat(alone), atol=1e-5, rtol=0)


@pytest.mark.parametrize("network", NETWORKS[1:], ids=name_of)
def test_each_slice_hears_of_both_ends_and_of_their_order(network):
    network.eval()
    slices = torch.randn(1, 9, 8, requires_grad=True)
    middle = network(slices, None)[0, 4]
    # Not the plain sum: that of a normalised layer is constant.
    (heard,) = torch.autograd.grad(middle @ torch.arange(1.0, 1 + len(middle)), slices)
    assert (heard[0].abs().sum(1) > 0).all()
    with torch.no_grad():
        assert not torch.allclose(network(slices.flip(1), None)[0, 4], middle, atol=1e-4)


def test_a_gru_has_the_parameters_of_the_formula():
    count = sum(parameter.numel() for parameter in GRUSequence(64, 2, dim=32).parameters())
    gates = 3 * 64
    assert count == 2 * gates * (32 + 64 + 2) + 2 * gates * (128 + 64 + 2)


def test_attention_has_the_parameters_of_its_library_and_a_convolution():
    layer = nn.TransformerEncoderLayer(32, 4, 128)
    count = sum(parameter.numel() for parameter in AttentionSequence(32, 4, 3, reach=7).parameters())
    assert count == 3 * sum(p.numel() for p in layer.parameters()) + 32 * (7 + 1) + 2 * 32


def test_a_study_is_summed_up_by_attention_maximum_and_mean():
    pooling = StudyPooling(2, hidden=3)
    sizes = torch.tensor([2, 4])
    slices = torch.randn(6, 2) - 5  # all below the 0 of the padding
    padded, lengths = pad_studies(slices, sizes)
    found = pooling(padded, lengths)
    for row, part in zip(found, slices.split([2, 4]), strict=True):
        share = pooling.score(part).softmax(0)
        expected = torch.cat([(share * part).sum(0), part.max(0).values, part.mean(0)])
        assert_close(row, expected)


def test_studies_of_one_length_are_not_padded():
    slices = torch.arange(6.0).view(6, 1)
    padded, lengths = pad_studies(slices, torch.tensor([3, 3]))
    assert lengths is None
    assert padded[:, :, 0].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert torch.equal(unpad_studies(padded, lengths), slices)


@pytest.mark.parametrize("sizes", [[2, 2], [5, 0]])
def test_sizes_that_do_not_add_up_are_refused(sizes):
    with pytest.raises(ConfigError, match=r"add up to 5 expected, found sizes \["):
        pad_studies(torch.zeros(5, 1), torch.tensor(sizes))


def test_settings_that_do_not_work_name_the_nearest_that_do():
    with pytest.raises(ConfigError, match="multiple of heads expected, found 250 and 4: take dim 248"):
        AttentionSequence(250, 4)
    with pytest.raises(ConfigError, match="an odd reach expected, found 4: take 5"):
        AttentionSequence(8, 2, reach=4)
    with pytest.raises(
        ConfigError, match="GRUSequence: hidden, layers and dim of 1 or more expected, found 0, 1, 256"
    ):
        GRUSequence(0)

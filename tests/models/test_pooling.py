"""Several images of a case become one answer, whatever the other cases of the batch."""

import pytest
import torch
from torch.testing import assert_close

from medimg.errors import ConfigError
from medimg.models.pooling import GatedAttentionPooling, MaxPooling, MeanPooling, NoisyOrPooling

SIZES = torch.tensor([3, 1, 2])


@pytest.fixture
def values():
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def parts(values):
    return values.split(SIZES.tolist())


@pytest.mark.parametrize(
    ("pooling", "reference"),
    [
        (MeanPooling(), lambda part: part.mean(0)),
        (MaxPooling(), lambda part: part.amax(0)),
        (NoisyOrPooling(), lambda part: torch.logit(1 - (1 - part.sigmoid()).prod(0))),
    ],
)
def test_each_case_is_pooled_by_itself(pooling, reference, values):
    expected = torch.stack([reference(part) for part in parts(values)])
    assert_close(pooling(values, SIZES).double(), expected, rtol=1e-5, atol=1e-6)


def test_noisy_or_stays_finite_and_has_a_slope_for_sure_images():
    logits = torch.tensor([[60.0], [-60.0], [-60.0]], requires_grad=True)
    pooled = NoisyOrPooling()(logits, torch.tensor([2, 1]))
    assert torch.isfinite(pooled).all()
    pooled.sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_attention_is_a_weighted_mean_of_each_case(values):
    torch.manual_seed(0)
    pooling = GatedAttentionPooling(4, hidden=8).double()
    weights = pooling.attention(values, SIZES)
    for part in weights.split(SIZES.tolist()):
        assert_close(part.sum().double(), torch.tensor(1.0, dtype=torch.float64), rtol=1e-6, atol=1e-6)
    # The published form, case by case.
    for pooled, part in zip(pooling(values, SIZES), parts(values), strict=True):
        score = pooling.score(torch.tanh(pooling.content(part)) * torch.sigmoid(pooling.gate(part)))
        assert_close(pooled, (score.softmax(0) * part).sum(0), rtol=1e-5, atol=1e-6)


def test_one_image_is_itself(values):
    single = torch.ones(6, dtype=torch.int64)
    for pooling in (MeanPooling(), MaxPooling(), GatedAttentionPooling(4).double()):
        assert_close(pooling(values, single), values)
    assert_close(NoisyOrPooling()(values, single).double(), values, rtol=1e-4, atol=1e-5)


def test_attention_of_another_width_says_which_to_set(values):
    with pytest.raises(ConfigError, match=r"in_features.* to it, found 5"):
        GatedAttentionPooling(5)(values, SIZES)

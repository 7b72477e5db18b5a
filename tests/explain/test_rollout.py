import pytest
import torch
from torch import nn

from medimg.errors import ConfigError
from medimg.explain.rollout import _through, attention_rollout
from medimg.models import TimmClassifier, TransUNetClassifier


def test_two_blocks_by_hand():
    first = torch.tensor([[[1.0, 0.0], [0.5, 0.5]]])
    second = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])
    flow = _through(second, _through(first, None))
    # (I + A) / 2 of each, multiplied.
    assert torch.allclose(flow, torch.tensor([[[0.625, 0.375], [0.25, 0.75]]]))


@pytest.mark.parametrize(
    "network",
    [
        TimmClassifier("test_vit", 1, in_channels=1),
        TransUNetClassifier(
            1, in_channels=1, image_size=48, width=64, depth=2, backbone_layers=(1, 1, 1), backbone_width=32
        ),
    ],
)
def test_shares_of_attention_sum_to_one(network):
    network.eval()
    fused = [module.fused_attn for module in network.modules() if hasattr(module, "fused_attn")]
    found = attention_rollout(network, lambda x: network(x)[:, 0], torch.randn(1, 1, 48, 48), 2)
    assert found.shape == (1, 48, 48) and found.min() >= 0
    # The class token keeps a share for itself; places alone share everything.
    assert 0.2 < found.mean() * 9 <= 1.01
    assert [module.fused_attn for module in network.modules() if hasattr(module, "fused_attn")] == fused


def test_a_network_without_attention_is_refused():
    network = nn.Conv2d(1, 1, 1)
    with pytest.raises(ConfigError, match="Conv2d has no attention over all places"):
        attention_rollout(network, network, torch.zeros(1, 1, 4, 4), 2)

"""Layers learn at their own rates, and every parameter stands in one group."""

from functools import partial

import pytest
import torch
from torch import nn

from medimg.errors import ConfigError
from medimg.models import GatedAttentionPooling, TimmClassifier
from medimg.tasks.learning_rates import RateOptions, grouped_optimizer

ADAMW = partial(torch.optim.AdamW, lr=0.1, weight_decay=0.5)


def rates_of(optimizer, module):
    rate_of = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    return {rate_of[id(parameter)] for parameter in module.parameters()}


@pytest.fixture
def parts():
    network = TimmClassifier("test_efficientnet", 2)
    pooling = GatedAttentionPooling(network.num_features)
    return network, pooling, [*network.parameters(), *pooling.parameters()]


@pytest.mark.parametrize(
    "rates", [RateOptions(), RateOptions(0.1), RateOptions(1, 0.5), RateOptions(0.1, 0.5)]
)
def test_every_parameter_once(parts, rates):
    network, _, params = parts
    optimizer = grouped_optimizer(ADAMW, network, rates, params)
    listed = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert sorted(listed) == sorted(id(parameter) for parameter in params)


def test_the_backbone_is_slower_than_head_and_pooling(parts):
    network, pooling, params = parts
    optimizer = grouped_optimizer(ADAMW, network, RateOptions(backbone_lr_scale=0.1), params)
    assert rates_of(optimizer, network.head_module) == rates_of(optimizer, pooling) == {0.1}
    (stem,) = rates_of(optimizer, network.body.conv_stem)
    assert stem == pytest.approx(0.01)


def test_layers_decay_from_the_head_to_the_stem(parts):
    network, _, params = parts
    optimizer = grouped_optimizer(ADAMW, network, RateOptions(layer_decay=0.5), params)
    (stem,), (head,) = rates_of(optimizer, network.body.conv_stem), rates_of(optimizer, network.head_module)
    assert head == pytest.approx(0.1)
    assert stem < 0.1 * 0.5**3
    decays = {group["weight_decay"] for group in optimizer.param_groups}
    assert decays == {0.0, 0.5}  # biases and norms are spared, all else as the optimizer says


def test_frozen_parameters_are_left_out():
    network = TimmClassifier("test_efficientnet", 2, frozen_backbone=True)
    params = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = grouped_optimizer(ADAMW, network, RateOptions(0.1), params)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 2


def test_a_network_without_a_head_says_which_has_one():
    network = nn.Linear(2, 2)
    with pytest.raises(ConfigError, match="TimmClassifier"):
        grouped_optimizer(ADAMW, network, RateOptions(0.1), network.parameters())


def test_a_factor_outside_its_range_is_refused():
    with pytest.raises(ConfigError, match=r"layer_decay: expected a factor in \(0, 1\]"):
        RateOptions(layer_decay=1.5)

"""Learning rates that differ between the layers of a pretrained network and its new head."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from timm.optim._param_groups import param_groups_layer_decay
from torch import nn

from medimg.errors import ConfigError


@dataclass(frozen=True)
class RateOptions:
    """How fast the layers learn, relative to the optimizer's rate, which the head takes.

    Attributes:
        backbone_lr_scale: Factor for everything before the head, in (0, 1].
        layer_decay: Factor from each layer to the one before it, in (0, 1]; 0.65 to 0.8 for transformers. Biases
            and norms are then spared from weight decay.
    """

    backbone_lr_scale: float = 1.0
    layer_decay: float = 1.0

    def __post_init__(self) -> None:
        for name in ("backbone_lr_scale", "layer_decay"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"rates.{name}: expected a factor in (0, 1], found {getattr(self, name)}")


def grouped_optimizer(
    optimizer: OptimizerCallable, network: nn.Module, rates: RateOptions, params: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    """Build an optimizer whose groups learn at their own rates.

    Args:
        optimizer: Takes parameters or groups of them.
        network: The network; parameters outside it, such as a pooling's, learn at the full rate.
        rates: How fast the layers learn.
        params: All parameters to be trained.

    Returns:
        The optimizer; schedules that end at zero keep the proportions.

    Raises:
        ConfigError: If the network does not tell its head from its backbone.

    Reference:
        Layer-wise decay: Clark et al. 2020, "ELECTRA", arXiv:2003.10555.
    """
    params = list(params)
    if rates == RateOptions():
        return optimizer(params)
    body, head = getattr(network, "body", None), getattr(network, "head_module", None)
    if body is None or head is None:
        raise ConfigError(
            f"rates need a network that tells its head from its backbone, such as medimg.models.TimmClassifier; "
            f"{type(network).__name__} does not"
        )
    of_head = {id(parameter) for parameter in head.parameters()}
    of_body = {id(parameter) for parameter in body.parameters()} - of_head
    groups = _layers(body, of_body, rates.layer_decay)
    for group in groups:
        if any(id(parameter) in of_body for parameter in group["params"]):
            group["lr_scale"] *= rates.backbone_lr_scale
    listed = {id(parameter) for group in groups for parameter in group["params"]}
    if rest := [parameter for parameter in params if id(parameter) not in listed]:
        groups.append({"params": rest, "lr_scale": 1.0})
    wanted = {id(parameter) for parameter in params}
    for group in groups:
        group["params"] = [parameter for parameter in group["params"] if id(parameter) in wanted]
    built = optimizer([group for group in groups if group["params"]])
    for group in built.param_groups:
        group["lr"] *= group.pop("lr_scale")
    return built


def _layers(body: nn.Module, of_body: set[int], layer_decay: float) -> list[dict[str, Any]]:
    """Groups of the network's parameters with ``lr_scale``."""
    if layer_decay == 1:
        backbone = [parameter for parameter in body.parameters() if id(parameter) in of_body]
        return [{"params": backbone, "lr_scale": 1.0}]
    groups: list[dict[str, Any]] = []
    for group in param_groups_layer_decay(body, weight_decay=1.0, layer_decay=layer_decay):
        kept = {"params": group["params"], "lr_scale": group["lr_scale"]}
        if group["weight_decay"] == 0:
            kept["weight_decay"] = 0.0  # otherwise the optimizer's own
        groups.append(kept)
    return groups

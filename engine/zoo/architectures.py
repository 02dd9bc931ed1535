"""The networks that can be trained and loaded, all from torchvision. Listing them does not import torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.registry import Registry

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Architecture:
    """A network: `build(outputs)` makes it untrained, for three channels; `head` names its last linear layer;
    `cam_layers` are the layers a heatmap may use, default first."""

    name: str
    title: str
    sentence: str
    paper: str
    build: Callable[[int], nn.Module]
    head: str
    cam_layers: tuple[str, ...]


ARCHITECTURES: Registry[Architecture] = Registry("architecture")


def _resnet18(outputs: int) -> nn.Module:
    from torchvision.models import resnet18

    return resnet18(weights=None, num_classes=outputs)


def _densenet121(outputs: int) -> nn.Module:
    from torchvision.models import densenet121

    return densenet121(weights=None, num_classes=outputs)


ARCHITECTURES.add("resnet18", Architecture(
    name="resnet18",
    title="ResNet-18",
    sentence="Eighteen layers with shortcut connections; small and quick.",
    paper="He et al. 2016, arXiv:1512.03385",
    build=_resnet18,
    head="fc",
    cam_layers=("layer4", "layer3", "layer2", "layer1"),
))
ARCHITECTURES.add("densenet121", Architecture(
    name="densenet121",
    title="DenseNet-121",
    sentence="Each layer sees all earlier ones; the usual choice for chest X-rays (CheXNet).",
    paper="Huang et al. 2017, arXiv:1608.06993",
    build=_densenet121,
    head="classifier",
    cam_layers=("features", "features.denseblock3", "features.denseblock2", "features.denseblock1"),
))

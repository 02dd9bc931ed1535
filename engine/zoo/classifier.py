"""The one form in which every model is attacked: images in [0,1] go in, logits come out."""

import copy
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine import digest
from engine.errors import EngineError, UnknownName
from engine.zoo.hooks import hooked
from engine.zoo.numerics import NUMERICS

OUTPUTS = ("logits", "sigmoid", "softmax")
TOO_SMALL = ("Output size is too small", "Kernel size can't be greater")  # how PyTorch puts it

_numbers = itertools.count()


def too_small(error: RuntimeError) -> bool:
    """Whether a network failed as nothing of a picture was left in its last layers."""
    return any(words in str(error) for words in TOO_SMALL)


class Classifier(nn.Module):
    """A frozen model in eval mode that takes [N, 1 or 3, H, W] in [0,1] and returns logits [N, K].

    Normalisation, grey-to-RGB, bringing pictures to the side that the network takes (`size`, 0: any) and the
    single-logit head (logit z becomes [0, z], whose softmax is the sigmoid of z) happen inside, so attacks and pages
    never see them. `name` and `arch` are for people; `digest` identifies the
    weights and everything else that decides an output; copies of a classifier share its `number`. `numerics` is the
    quickest arithmetic its gradients may be computed with (engine.serving.prepare).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, module: nn.Module, classes: Sequence[str], *, mean: Sequence[float] = (0.0,),
                 std: Sequence[float] = (1.0,), channels: int = 3, name: str = "custom", arch: str = "",
                 numerics: str = "fast", size: int = 0) -> None:
        super().__init__()
        if len(classes) < 2:
            raise EngineError(f"a classifier needs at least two classes, got {len(classes)}")
        if channels not in (1, 3):
            raise EngineError(f"a model takes 1 or 3 channels, not {channels}")
        if any(len(values) not in (1, channels) for values in (mean, std)):
            raise EngineError(f"mean and std need one value, or one for each of {channels} channels")
        if min(std) <= 0:
            raise EngineError(f"std must be above 0, not {min(std):g}")
        exact = [known.name for known in NUMERICS.values() if known.exact]
        if numerics not in exact:
            raise UnknownName("numerics", numerics, exact)
        self.module = module.eval().requires_grad_(False)
        self.classes = tuple(classes)
        self.channels = channels
        self.name = name
        self.arch = arch
        self.numerics = numerics
        self.size = size
        self.number = next(_numbers)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).reshape(1, -1, 1, 1))
        self.eval()
        self.digest = self._digest()

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, K] of images [N, 1 or 3, H, W] in [0,1]."""
        try:
            logits = self.module(self.normalised(images))
        except RuntimeError as error:
            if too_small(error):
                raise EngineError(f"{self.name} cannot look at pictures as small as {images.shape[-1]} x "
                                  f"{images.shape[-2]}: nothing is left of them in its last layers; choose larger "
                                  "pictures, or another model") from None
            raise
        if logits.ndim == 1:
            logits = logits[:, None]
        if logits.shape[1] == 1:
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        if logits.shape[1] != len(self.classes):
            raise EngineError(f"{self.name} gives {logits.shape[1]} logits for {len(self.classes)} classes; "
                              "name as many classes as it has outputs")
        return logits

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The network's last feature map [N, K, h, w] larger than 1 x 1, before it is pooled away, and the logits.

        Raises EngineError where it has none.
        """
        seen, logits = self.feature_map(images)
        return seen.detach().clone(), logits

    def feature_map(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The same, through which gradients go: to be left as it is."""
        last: list[Tensor] = []

        def note(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim == 4 and output.shape[-2:].numel() > 1:
                last[:] = [output]

        with hooked(dict(self.module.named_modules()), lambda _: note):
            logits = self(images)
        if not last:
            raise EngineError(f"model '{self.name}' has no layer with a feature map; take a convolutional model, or an "
                              "attack that looks at images only")
        return last[0], logits

    def normalised(self, images: Tensor) -> Tensor:
        """What the network itself sees."""
        return (self.as_channels(self.resized(images)) - self.mean) / self.std

    def resized(self, images: Tensor) -> Tensor:
        """`images` with as many pixels a side as the network takes."""
        return resized(images, self.size) if self.size else images

    def as_channels(self, images: Tensor) -> Tensor:
        """`images` with as many channels as the network takes: grey is repeated, colours are averaged."""
        if images.shape[1] == 1 and self.channels == 3:
            return images.expand(-1, 3, -1, -1)
        if images.shape[1] == 3 and self.channels == 1:
            return images.mean(dim=1, keepdim=True)
        return images

    @property
    def device(self) -> torch.device:
        return self.mean.device

    def train(self, mode: bool = True) -> "Classifier":
        """Stays in eval mode: an attack on a model whose batch-norm moves attacks another model at each step."""
        return super().train(False)

    def _digest(self) -> str:
        names, arrays = [], []
        for name, value in (*self.named_parameters(), *self.named_buffers()):
            names.append(f"{name} {value.dtype}")
            arrays.append(value.detach().cpu().contiguous()[None].view(torch.uint8).numpy())
        facts = {"classes": self.classes, "channels": self.channels, "structure": list(_structure(self.module)),
                 "names": names, "weights": digest.of_arrays(*arrays)}
        if self.size:  # left out otherwise, so that digests are those of before there were sizes
            facts["size"] = self.size
        return digest.of_spec(facts)


def resized(images: Tensor, side: int) -> Tensor:
    """Images [N, C, H, W] with `side` pixels a side."""
    if images.shape[-2:] == (side, side):
        return images
    return F.interpolate(images, (side, side), mode="bilinear", align_corners=False)


class OneFinding(nn.Module):
    """One output of a multi-label network [N, K], as a single logit [N]."""

    def __init__(self, module: nn.Module, index: int) -> None:
        super().__init__()
        self.module = module
        self.index = index

    def forward(self, images: Tensor) -> Tensor:
        return self.module(images)[:, self.index]


class Logits(nn.Module):
    """The logits behind a network's probabilities, which are those of a sigmoid each, or of a softmax over all.

    They are exact, of a softmax up to a number common to all classes, but where a sigmoid is 0 or 1 in float32, or a
    class of a softmax 0: that gives a large logit, whose gradient is 0 as the probability's own is.
    """

    def __init__(self, module: nn.Module, outputs: str) -> None:
        super().__init__()
        self.module = module
        self.outputs = outputs

    def forward(self, images: Tensor) -> Tensor:
        probabilities = self.module(images).float()
        return log_odds(probabilities) if self.outputs == "sigmoid" else probabilities.clamp_min(_LEAST).log()


_LEAST, _EPS = torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).eps


def log_odds(probabilities: Tensor) -> Tensor:
    """log p - log(1 - p) of float32 p, the sigmoid's inverse; at 0 and 1 as at the numbers next to them."""
    inside = probabilities.clamp(_LEAST, 1 - _EPS / 2)
    return inside.log() - torch.log1p(-inside)


def wrap(module: nn.Module, classes: Sequence[str], *, mean: Sequence[float] = (0.0,), std: Sequence[float] = (1.0,),
         channels: int = 3, numerics: str = "fast", name: str = "custom", finding: str | None = None,
         outputs: str = "logits") -> Classifier:
    """Any network as a Classifier; `module` itself stays as it is (a copy is frozen). Raises EngineError.

    `module` takes [N, channels, H, W] normalised by `mean` and `std` and returns logits [N, K], or one logit for two
    classes. Where it returns probabilities, say which `outputs` they are: "sigmoid" (each for itself) or "softmax"
    (together 1); they are turned back into logits. Of a multi-label network, whose classes do not exclude each other
    (a sigmoid each), name the `finding` to attack: the classifier then tells "no finding" (label 0) from the finding
    (label 1). With `numerics` "fast" gradients may come from a rearranged copy that agrees; "reference" forbids that.
    """
    module = copy.deepcopy(module)
    if outputs not in OUTPUTS:
        raise UnknownName("outputs", outputs, OUTPUTS)
    if finding is not None:
        if finding not in classes:
            raise UnknownName("finding", finding, classes)
        module, classes = OneFinding(module, classes.index(finding)), (f"no {finding}", finding)
    if outputs != "logits":
        # One class of a softmax against all others is a sigmoid.
        module = Logits(module, outputs if finding is None else "sigmoid")
    return Classifier(module, classes, mean=mean, std=std, channels=channels, name=name, numerics=numerics)


def _structure(module: nn.Module) -> Iterator[str]:
    """The kind and settings of every layer: two networks with the same weights may still compute different things."""
    for name, layer in module.named_modules():
        # Of an ensemble's member: what says nothing of it, and a size only where it has one.
        passing = () if not isinstance(layer, Classifier) else ("number",) if layer.size else ("number", "size")
        settings = {k: v for k, v in sorted(vars(layer).items()) if not k.startswith("_") and k not in passing
                    and isinstance(v, bool | int | float | str | tuple | None)}
        yield f"{name}: {type(layer).__module__}.{type(layer).__qualname__} {settings}"

"""The quick twin of a classifier, for gradients: same logits, rearranged arithmetic."""

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch import Tensor

from engine.device import out_of_memory
from engine.serving.fold import folded
from engine.zoo.classifier import Classifier
from engine.zoo.ensemble import Ensemble, MeanOfLogits, Reordered
from engine.zoo.numerics import NUMERICS
from engine.zoo.variants import EXPORTED

_KEPT = 4

C = TypeVar("C", bound=Classifier)


class Prepared(Classifier):
    """A classifier whose gradients are cheap; `original` has the last word on what an image is classified as.

    It is compared with the original on first sight of every shape of images, and does as the original does where the
    two differ. `numerics` is what it really is: "fast", "draft" (bfloat16) or "reference"; `note` says why not faster.
    """

    def __init__(self, original: Classifier, quick: torch.nn.Module | None, numerics: str, note: str = "") -> None:
        # Not Classifier's: the weights of the two are the same, and so are their facts and digest.
        torch.nn.Module.__init__(self)
        for fact in ("classes", "channels", "name", "arch", "digest", "number", "size"):
            setattr(self, fact, getattr(original, fact))
        self.register_buffer("mean", original.mean)
        self.register_buffer("std", original.std)
        self._original = (original,)  # in a tuple, so that it is no part of this module
        self._proven: set[tuple[int, ...]] = set()
        self.module = original.module if quick is None else quick
        self.numerics = "reference" if quick is None else numerics
        self.note = note
        self.eval()

    @property
    def original(self) -> Classifier:
        return self._original[0]

    @property
    def behind(self) -> list[str]:
        """Of an ensemble, the members that compute as the original does, and why."""
        members = self.module.members if isinstance(self.module, MeanOfLogits) else ()
        return [f"{m.name}: {m.note}" for m in members if isinstance(m, Prepared) and m.note]

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, K] of images [N, 1 or 3, H, W] in [0,1], float32."""
        if self.numerics != "reference" and images.shape[1:] not in self._proven:
            self._prove(images)
        return super().forward(images).float()

    def normalised(self, images: Tensor) -> Tensor:
        if self.numerics == "reference":
            return super().normalised(images)
        images = self.resized(images)
        return self.as_channels(images) if self.channels == 1 else images

    def _prove(self, images: Tensor) -> None:
        """Compare with the original on random images of this shape; step back where they differ."""
        self._proven.add(tuple(images.shape[1:]))
        noise = torch.rand(2, *images.shape[1:], generator=torch.Generator().manual_seed(0)).to(images.device)
        try:
            found = _difference(self, self.original, noise)
        except RuntimeError as error:
            if out_of_memory(error):  # says nothing about the arithmetic: the caller tries again with fewer images
                self._proven.discard(tuple(images.shape[1:]))
                raise
            reason = f"the rearranged network fails ({str(error).splitlines()[0][:100]})"
        else:
            allowed = NUMERICS[self.numerics].tolerances
            if all(difference <= most for difference, most in zip(found, allowed, strict=True)):
                return
            reason = f"logits differ by {found[0]:.1e} and gradients by {found[1]:.1e} of their size"
        self.module, self.numerics, self.note = self.original.module, "reference", reason


def prepare(classifier: Classifier, device: torch.device | str = "cpu", *, draft: bool = False) -> Prepared:
    """The quick twin of `classifier` on `device`; the classifier itself stays as it is.

    Batch-norm is folded into convolutions, memory is channels-last, and a strided first convolution is rearranged.
    With `draft` it computes in bfloat16. A network that cannot be rearranged comes back unchanged, `note` saying why.
    """
    classifier = placed(classifier, device)
    if classifier.arch == EXPORTED:
        return Prepared(classifier, None, "reference", "an exported program is computed as it stands")
    if classifier.numerics == "reference":
        return Prepared(classifier, None, "reference", "the model was wrapped with reference numerics")
    if isinstance(classifier, Ensemble):
        return _together(classifier, [prepare(member, device, draft=draft) for member in classifier.members])
    if isinstance(classifier.module, Reordered):
        inner = prepare(classifier.module.model, device, draft=draft)
        quick = None if inner.numerics == "reference" else Reordered(inner, classifier.module.places)
        return Prepared(classifier, quick, inner.numerics, inner.note)
    try:
        # A mean for every channel: from it the network's normalisation knows that a grey image is to become three.
        mean = classifier.mean.expand(-1, classifier.channels, -1, -1)
        folded_network = folded(classifier.module, mean, classifier.std)
    except Exception as error:  # torch.fx runs the module's own code, which may raise anything
        reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        return Prepared(classifier, None, "reference", f"torch.fx cannot trace the model ({reason})")
    if draft:
        return Prepared(classifier, folded_network.to(torch.bfloat16), "draft")
    return Prepared(classifier, folded_network, "fast")


def _together(original: Ensemble, members: list[Prepared]) -> Prepared:
    """The quick twin of an ensemble, whose members are prepared one by one."""
    quick = next((m.numerics for m in members if m.numerics != "reference"), None)
    if quick is None:
        return Prepared(original, None, "reference", "; ".join(f"{m.name}: {m.note}" for m in members))
    return Prepared(original, MeanOfLogits(members), quick)


def placed(classifier: Classifier, device: torch.device | str) -> Classifier:
    """`classifier` itself where all of it is on `device`, otherwise a copy: the caller's model stays where it is. The
    copies of the classifiers used last are remembered, so that they need not go to the device again."""
    there = torch.empty(0, device=device).device
    if all(tensor.device == there for tensor in classifier.state_dict().values()):
        return classifier
    return _copies.get((classifier.number, classifier.digest, str(there)),
                       lambda: copy.deepcopy(classifier).to(there))


def prepared(classifier: Classifier, device: torch.device | str = "cpu", *, draft: bool = False) -> Prepared:
    """`prepare`, remembered for the classifiers used last; copies of a classifier share one twin."""
    return _twins.get((classifier.number, classifier.digest, str(device), draft),
                      lambda: prepare(classifier, device, draft=draft))


class _Memory(Generic[C]):
    """The models used last, each by what it was made of."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[object, ...], C] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[object, ...], make: Callable[[], C]) -> C:
        with self._lock:
            if key not in self._kept:
                self._kept[key] = make()
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]


_copies: _Memory[Classifier] = _Memory()
_twins: _Memory[Prepared] = _Memory()


def _difference(quick: Classifier, exact: Classifier, images: Tensor) -> tuple[float, float]:
    """Relative difference of logits (largest) and of the gradient of the summed margin (L2)."""
    (logits, gradient), (wanted, wanted_gradient) = (_probe(m, images) for m in (quick, exact))
    return (_relative((logits - wanted).abs().max(), wanted.abs().max()),
            _relative((gradient - wanted_gradient).norm(), wanted_gradient.norm()))


@torch.enable_grad()
def _probe(classifier: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
    images = images.clone().requires_grad_(True)
    logits = classifier(images)
    objective = (logits[:, 0] - logits[:, 1]).sum()
    if not objective.requires_grad:
        return logits, torch.zeros_like(images)
    return logits.detach(), torch.autograd.grad(objective, images)[0]


def _relative(difference: Tensor, size: Tensor) -> float:
    return float(difference / size) if difference else 0.0

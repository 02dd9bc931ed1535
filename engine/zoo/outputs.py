"""Networks whose outputs are probabilities though they are taken for logits: how they are noticed."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engine.zoo.classifier import Classifier, Logits, OneFinding, log_odds
from engine.zoo.hooks import hooked

# How far the pictures that a network is judged by go beyond [0,1]: logits follow, probabilities never.
_SCALES = (1, 8, 64)
_LINEAR = (nn.Linear, nn.Conv2d)


def doubts(model: Classifier, images: Tensor) -> Iterator[str]:
    """A line for every network in `model` whose outputs look like probabilities, from the first of `images`.

    Such a network is as good as unattackable, and nothing else shows it. An honest network whose logits stay between
    0 and 1 whatever it is shown looks the same, so this is for a warning only.
    """
    for classifier in _networks(model):
        kind = _ending(classifier, images)
        if kind is not None:
            yield _line(classifier, kind)


def saturated(model: Classifier, logits: np.ndarray) -> np.ndarray:
    """Which rows of `logits` [N, K], made from probabilities, hold one that was 0 or 1 (or beyond): bool [N]."""
    if not isinstance(model.module, Logits):
        return np.zeros(len(logits), bool)
    lowest, highest = log_odds(torch.tensor([0.0, 1.0])).tolist()
    return ((logits < lowest + 0.01) | (logits > highest - 0.01)).any(axis=1)


def _networks(model: Classifier) -> Iterator[Classifier]:
    """The members of an ensemble, or `model` itself."""
    for part in model.modules():
        if isinstance(part, Classifier) and not any(isinstance(m, Classifier) for m in part.module.modules()):
            yield part


def _line(classifier: Classifier, kind: str) -> str:
    single = kind == "sigmoid" and len(classifier.classes) == 2
    harm = (f"so every image counts as '{classifier.classes[1]}' and no attack can change that" if single else
            "so gradients vanish and attacks look too weak")
    return (f"the outputs of {classifier.name} look like probabilities and are taken for logits, {harm}; give its "
            f'logits, or say engine.wrap(..., outputs="{kind}")')


@torch.no_grad()
def _ending(classifier: Classifier, images: Tensor) -> str | None:
    """ "sigmoid" or "softmax" where the network seems to end in one. All its outputs are looked at, also those that are
    not attacked."""
    network = classifier.module
    if isinstance(network, Logits):
        return None
    network = network.module if isinstance(network, OneFinding) else network
    first, last = _look(network, classifier.normalised(images[:1].to(classifier.device)))
    if isinstance(last, nn.Sigmoid):
        return "sigmoid"
    if isinstance(last, nn.Softmax):
        return "softmax"
    if isinstance(last, _LINEAR) or not _within(first):
        return None
    return _by_values(torch.cat([first, *_answers(classifier, network, images)]))


def _by_values(outputs: Tensor) -> str | None:
    """What outputs [N, K] for very different pictures say."""
    if not _within(outputs):
        return None
    if outputs.shape[1] > 1 and float((outputs.sum(dim=1) - 1).abs().max()) < 1e-3:
        return "softmax"
    return "sigmoid" if bool((outputs != outputs[0]).any()) else None


def _within(outputs: Tensor) -> bool:
    return bool(((outputs >= 0) & (outputs <= 1 + 1e-5)).all())


def _answers(classifier: Classifier, network: nn.Module, images: Tensor) -> Iterator[Tensor]:
    """The network's outputs for black, white and noise, ever further beyond [0,1], one after another."""
    like = images[:1].cpu()
    noise = torch.rand(like.shape, generator=torch.Generator().manual_seed(0))
    for scale in _SCALES:
        for picture in (torch.zeros_like(like), torch.ones_like(like), noise):
            probe = (0.5 + scale * (picture - 0.5)).to(classifier.device)
            try:
                yield _look(network, classifier.normalised(probe))[0]
            except Exception:  # a stranger's network may refuse such pictures in any way; others remain
                continue


def _look(network: nn.Module, x: Tensor) -> tuple[Tensor, nn.Module | None]:
    """Outputs [N, K] as the network gives them, and the layer they come from unchanged, if they come from one."""
    made: list[tuple[nn.Module, Tensor, int]] = []

    def note(layer: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            made[:] = [(layer, output, output._version)]

    leaves = {name: layer for name, layer in network.named_modules() if not any(layer.children())}
    with hooked(leaves, lambda _: note):
        out = network(x)
    last = None
    if made:
        layer, seen, version = made[0]
        # The same memory, perhaps in another shape, and not written to since.
        if (seen.data_ptr(), seen.numel(), version) == (out.data_ptr(), out.numel(), out._version):
            last = layer
    return out.reshape(len(x), -1).float(), last

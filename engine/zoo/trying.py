"""A stranger's network tried on a few pictures: how many it gets right, and what it may have been mistaken for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from engine.wording import counted
from engine.zoo.adopting import NORMALISATIONS
from engine.zoo.classifier import Classifier
from engine.zoo.outputs import doubts

BETTER = 3  # pictures more that are right under another assumption, from which that is worth a word


def remarks(model: Classifier, images: Tensor, labels: np.ndarray | None) -> tuple[int | None, tuple[str, ...]]:
    """How many of `images` [N, C, H, W] in [0,1] the model gets right (None: nobody knows their `labels`), and a line
    for each doubt."""
    with torch.no_grad():
        logits = model(images.to(model.device)).cpu()
    said = logits.argmax(dim=1).numpy()
    right = None if labels is None else int((said == labels).sum())
    lines = [*doubts(model, images), *unmoved(model, images[:2]), *_constant(model, logits)]
    if labels is not None and not lines:
        lines += [*_other_order(model.classes, said, labels), *_other_range(model, images, labels, int(right or 0))]
    return right, tuple(lines)


def unmoved(model: Classifier, images: Tensor) -> Iterator[str]:
    """Whether the answers do not depend on the pictures at all."""
    images = images.to(model.device).clone().requires_grad_()
    logits = model(images)
    (gradient,) = torch.autograd.grad((logits[:, 0] - logits[:, 1]).sum(), images)
    if not bool(gradient.any()):
        yield "its answers do not depend on the picture: gradients are 0, so no attack can change them; is it trained?"


def _constant(model: Classifier, logits: Tensor) -> Iterator[str]:
    if not bool(logits.isfinite().all()):
        yield "its outputs are not all finite numbers on these pictures; another normalisation may mend that"
    elif len(logits) > 2 and len(said := logits.argmax(dim=1).unique()) == 1:
        yield (f"it says {model.classes[int(said)]} of all {len(logits)} pictures; is its normalisation another?")


def _other_order(classes: Sequence[str], said: np.ndarray, labels: np.ndarray) -> Iterator[str]:
    """Whether the same answers would be right more often with the classes in another order."""
    from scipy.optimize import linear_sum_assignment

    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, (said, labels), 1)
    # Where it makes no difference an output keeps its class.
    outputs, means = linear_sum_assignment(-(counts + 0.01 * np.eye(len(classes))))
    best = int(counts[outputs, means].sum())
    if best - np.trace(counts) >= BETTER:
        order = ", ".join(classes[place] for place in means)
        yield f"{best} of {len(labels)} would be right if its classes were, in this order: {order}"


def _other_range(model: Classifier, images: Tensor, labels: np.ndarray, right: int) -> Iterator[str]:
    """Whether it gets more right where pictures are normalised as another network's are."""
    images = model.as_channels(images.to(model.device))
    found = {}
    for name, (mean, std) in NORMALISATIONS.items():
        m, s = (torch.tensor(values).reshape(1, -1, 1, 1) for values in (mean, std))
        # What the network sees then, brought to where its own normalisation leads to that.
        shifted = (images - m.to(images)) / s.to(images) * model.std + model.mean
        with torch.no_grad():
            found[name] = int((model(shifted).argmax(dim=1).cpu().numpy() == labels).sum())
    best = max(found, key=lambda name: found[name])
    if found[best] - right >= BETTER:
        yield (f"{found[best]} of {counted(len(labels), 'picture')} would be right, not {right}, if pictures were "
               f"{best}")

"""Our transfer attacks against torchattacks, where it has them: on the model they are made on, as strong or stronger.

Real X-rays of 28 x 28 pixels, grey in three channels. torchattacks' DI resizes and pads a whole batch alike, ours every
image by itself; its TI takes colours only.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from engine.attacks.result import AttackResult
from tests.xrays import XRays, as_many

pytestmark = pytest.mark.peers

EPS = 0.03
STEPS = 5


@pytest.fixture(scope="module")
def colours(xrays: XRays) -> XRays:
    def coloured(images: Tensor) -> Tensor:
        return images.expand(-1, 3, -1, -1).contiguous()

    return replace(xrays, images=coloured(xrays.images),
                   others=replace(xrays.others, images=coloured(xrays.others.images)))


def _ours(subject: XRays, name: str, **options: object) -> AttackResult:
    return subject.ours(name, "linf", EPS, steps=STEPS, keep_steps=True, **options)


def _theirs(subject: XRays, name: str, steps: int = STEPS, **options: object) -> Tensor:
    return subject.torchattacks(name, eps=EPS, alpha=EPS / STEPS, steps=steps, **options)


def _loss(subject: XRays, images: Tensor) -> float:
    with torch.no_grad():
        return float(F.cross_entropy(subject.model(images), subject.labels))


SI_NI = {"kind": "none", "scales": 5, "diversity": 0.0, "rule": "plain", "acceleration": "ni"}
VNI = {"kind": "none", "scales": 1, "diversity": 0.0, "rule": "vmi", "neighbours": 5, "acceleration": "ni"}
EXACT = [
    ("nifgsm", {}, "NIFGSM", {}),
    ("combined", SI_NI | {"scales": 3}, "SINIFGSM", {"m": 3}),
    ("tifgsm", {}, "TIFGSM", {"decay": 1.0, "diversity_prob": 0.0}),
]
RANDOM = [
    ("difgsm", {}, "DIFGSM", {"decay": 1.0}),
    ("vmifgsm", {"neighbours": 5}, "VMIFGSM", {}),
    ("combined", VNI, "VNIFGSM", {}),
]


def _differs(ours: np.ndarray, theirs: Tensor) -> float:
    """The share of the pixels that moved otherwise, those aside whose gradient is float noise on either side."""
    return float((np.abs(ours - theirs.numpy()) > 1e-5).mean())


@pytest.mark.parametrize(("name", "options", "their_name", "their_options"), EXACT)
def test_where_nothing_is_random_the_first_step_and_the_strength_are_theirs(
        colours: XRays, name: str, options: dict, their_name: str, their_options: dict) -> None:
    ours = _ours(colours, name, **options)
    assert ours.trace.images is not None
    assert _differs(ours.trace.images[1], _theirs(colours, their_name, steps=1, **their_options)) < 2e-3
    theirs = _theirs(colours, their_name, **their_options)
    assert _loss(colours, torch.tensor(ours.adversarial)) == pytest.approx(_loss(colours, theirs), rel=0.01)
    as_many(ours.success, colours.fooled(theirs))
    as_many(colours.fooled(theirs), ours.success)


@pytest.mark.parametrize(("name", "options", "their_name", "their_options"), RANDOM)
def test_where_something_is_random_ours_is_no_weaker(colours: XRays, name: str, options: dict, their_name: str,
                                                     their_options: dict) -> None:
    ours, theirs = _ours(colours, name, **options), _theirs(colours, their_name, **their_options)
    as_many(ours.success, colours.fooled(theirs))
    assert _loss(colours, torch.tensor(ours.adversarial)) > 0.97 * _loss(colours, theirs)

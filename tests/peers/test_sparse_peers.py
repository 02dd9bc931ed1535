"""Attacks on few pixels, against ART and torchattacks: real X-rays of 28 x 28 pixels at the same budget.

Numbers of pixels are compared for those that show pneumonia: a network that was trained to see opacities takes dots
for normal lungs, and normal X-rays hardly ever fall to anybody's.
"""

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.xrays import Metered, XRays, as_many, as_near

pytestmark = pytest.mark.peers

PIXELS = 80  # the peers go on for as long as no more than a tenth, 78.4, is changed, and then by two


@pytest.fixture(scope="module")
def ill(xrays: XRays) -> XRays:
    return xrays.of_class(1)


def _other(xrays: XRays) -> np.ndarray:
    return 1 - xrays.one_hot


@pytest.mark.parametrize("direction", ["brighter", "both"])
def test_jsma_changes_no_more_pixels_than_arts(ill: XRays, direction: str) -> None:
    """With two classes away from one is towards the other. Theirs can only brighten, or only darken."""
    ours = ill.ours("jsma", "l0", pixels=PIXELS, direction=direction)
    theirs = ill.art("SaliencyMapMethod", _other(ill), theta=1.0, gamma=0.1, batch_size=100)
    as_near(ill.sizes(ours.adversarial, "l0"), ill.sizes(theirs, "l0"))


@pytest.mark.parametrize(("direction", "theta"), [("brighter", 1.0), ("darker", -1.0)])
def test_jsma_fools_as_often_as_arts(xrays: XRays, direction: str, theta: float) -> None:
    theirs = xrays.art("SaliencyMapMethod", _other(xrays), theta=theta, gamma=0.1, batch_size=100)
    as_many(xrays.ours("jsma", "l0", pixels=PIXELS, direction=direction).success, xrays.fooled(theirs))


def test_jsma_changes_no_more_pixels_than_torchattacks(ill: XRays) -> None:
    """Theirs has a table of all pairs, 784 x 784 numbers here."""
    torchattacks = pytest.importorskip("torchattacks")
    few = ill.first(8)
    attack = torchattacks.JSMA(few.model, theta=1.0, gamma=0.1)
    attack.set_mode_targeted_by_function(lambda images, labels: 1 - labels, quiet=True)
    theirs = attack(few.images.clone(), few.labels).detach()
    ours = few.ours("jsma", "l0", pixels=PIXELS, direction="brighter")
    as_near(few.sizes(ours.adversarial, "l0"), few.sizes(theirs, "l0"))


def test_pgd_l0_fools_with_no_more_pixels_than_sparsefool(ill: XRays) -> None:
    """SparseFool looks for the fewest pixels; PGD-L0 is given as many as that took in the median, and 20 gradients."""
    few = ill.first(6)
    found = few.sizes(few.torchattacks("SparseFool", steps=20), "l0")
    pixels = int(np.median(found))
    as_many(few.ours("pgdl0", "l0", pixels=pixels, steps=20).success, found <= pixels)


@pytest.mark.parametrize("pixels", [5, pytest.param(20, marks=pytest.mark.slow)])
def test_evolution_fools_as_often_as_torchattacks(xrays: XRays, pixels: int) -> None:
    """At the same queries. Chance decides at these rates, so three images are allowed."""
    few, queries = xrays.first(40), 400

    def theirs(model: Metered, image: Tensor, label: Tensor) -> object:
        torchattacks = pytest.importorskip("torchattacks")
        np.random.seed(0)
        with torch.random.fork_rng(devices=[]):
            return torchattacks.OnePixel(model, pixels=pixels, steps=1000, popsize=50, inf_batch=256)(image, label)

    ours = few.ours("onepixel", "l0", pixels=pixels, population=50, queries=queries)
    assert (ours.queries <= queries).all()
    as_many(ours.success, np.isfinite(few.one_by_one(theirs, "l0", queries=queries)), grain=3)

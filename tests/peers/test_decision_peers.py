"""HopSkipJump and Boundary against foolbox and ART: real X-rays of 28 x 28 pixels, at the same number of queries.

The peers run on one image at a time, from the start that ours takes, and a model that counts ends them where the budget
does. All draw at random, so a median that is more than 3 % farther counts only where a sign test of the pairs agrees.
"""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binomtest
from torch import Tensor, nn

from tests.xrays import XRays, art_classifier

pytestmark = pytest.mark.peers

QUERIES = 500
Attack = Callable[[nn.Module, Tensor, Tensor], object]


def _start(xrays: XRays, image: Tensor, label: Tensor) -> Tensor:
    """The nearest image that the attacker has and that the model takes for another class."""
    candidates = xrays.others.images[xrays.model(xrays.others.images).argmax(1) != label]
    return candidates[(candidates - image).flatten(1).norm(dim=1).argmin()][None]


def _foolbox(xrays: XRays, name: str, **options: object) -> Attack:
    foolbox = pytest.importorskip("foolbox")

    def attack(model: nn.Module, image: Tensor, label: Tensor) -> object:
        return getattr(foolbox.attacks, name)(**options).run(
            foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu"), image,
            foolbox.criteria.Misclassification(label), starting_points=_start(xrays, image, label))

    return attack


def _art(xrays: XRays, name: str, **options: object) -> Attack:
    evasion = pytest.importorskip("art.attacks.evasion")

    def attack(model: nn.Module, image: Tensor, label: Tensor) -> object:
        one_hot = np.eye(2, dtype=np.float32)[label.numpy()]
        return getattr(evasion, name)(art_classifier(model), verbose=False, **options).generate(
            image.numpy(), one_hot, x_adv_init=_start(xrays, image, label).numpy())

    return attack


def _no_farther(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Ours is as near in the median, within 3 %, unless chance explains which of the two is nearer."""
    nearer, farther = int((ours < theirs).sum()), int((ours > theirs).sum())
    print(f"median {np.median(ours):.4g} against {np.median(theirs):.4g}; nearer {nearer} times, farther {farther}")
    assert np.isfinite(ours).all() and np.isfinite(theirs).any(), "this compares nothing"
    chance = binomtest(nearer, nearer + farther, alternative="less").pvalue
    assert np.median(ours) <= 1.03 * np.median(theirs) or chance > 0.05


@pytest.mark.parametrize(("ours", "norm", "peer"), [
    ("hopskipjump", "l2", lambda x: _foolbox(x, "HopSkipJumpAttack", steps=200, constraint="l2")),
    pytest.param("hopskipjump", "linf", lambda x: _foolbox(x, "HopSkipJumpAttack", steps=200, constraint="linf"),
                 marks=pytest.mark.slow),
    ("hopskipjump", "l2", lambda x: _art(x, "HopSkipJump", norm=2, max_iter=200)),
    ("hopskipjump", "linf", lambda x: _art(x, "HopSkipJump", norm="inf", max_iter=200)),
    pytest.param("boundary", "l2", lambda x: _foolbox(x, "BoundaryAttack", steps=5000), marks=pytest.mark.slow),
    ("boundary", "l2", lambda x: _art(x, "BoundaryAttack", targeted=False, max_iter=5000)),
], ids=["hopskipjump-l2-foolbox", "hopskipjump-linf-foolbox", "hopskipjump-l2-ART", "hopskipjump-linf-ART",
        "boundary-foolbox", "boundary-ART"])
def test_as_near_at_equal_queries(xrays: XRays, ours: str, norm: str, peer: Callable[[XRays], Attack]) -> None:
    few = xrays.first(20)
    found = few.ours(ours, norm, queries=QUERIES)
    assert (found.queries <= QUERIES).all()
    _no_farther(few.sizes(found.adversarial, norm), few.one_by_one(peer(few), norm, queries=QUERIES))

"""APGD, Square and AutoAttack against torchattacks and ART: real X-rays, two classes, the same steps and queries.

torchattacks' difference of logits ratio needs a third class and fails with two; ours is then the margin.
"""

import pytest
import torch

from tests.xrays import XRays, as_many

pytestmark = pytest.mark.peers

NORMS = [("linf", "Linf", 0.02), ("l2", "L2", 0.4)]


@pytest.mark.parametrize("steps", [5, 20])
@pytest.mark.parametrize(("norm", "their_norm", "eps"), NORMS)
def test_apgd_fools_as_many_as_torchattacks(xrays: XRays, norm: str, their_norm: str, eps: float, steps: int) -> None:
    ours = xrays.ours("apgd", norm, eps, steps=steps)
    as_many(ours.success, xrays.fooled(xrays.torchattacks("APGD", norm=their_norm, eps=eps, steps=steps)))


@pytest.mark.parametrize(("norm", "their_norm", "eps"), NORMS)
def test_with_two_classes_the_ratio_still_works(xrays: XRays, norm: str, their_norm: str, eps: float) -> None:
    few = xrays.first(8)
    with pytest.raises(IndexError):
        few.torchattacks("APGD", norm=their_norm, eps=eps, steps=5, loss="dlr")
    ratio, entropy = (xrays.ours("apgd", norm, eps, steps=20, loss=loss)
                      for loss in ("difference of logits ratio", "cross-entropy"))
    as_many(ratio.success, entropy.success)


@pytest.mark.parametrize(("norm", "their_norm", "eps"), NORMS)
def test_square_fools_as_many_as_torchattacks(xrays: XRays, norm: str, their_norm: str, eps: float) -> None:
    """At twice the eps, as neither sees much else; both search at random, so two images are allowed."""
    ours = xrays.ours("square", norm, 2 * eps, queries=100)
    theirs = xrays.torchattacks("Square", norm=their_norm, eps=2 * eps, n_queries=100)
    as_many(ours.success, xrays.fooled(theirs), grain=2)


@pytest.mark.parametrize(("norm", "their_norm", "eps"), NORMS)
def test_autoattack_leaves_no_more_than_torchattacks(xrays: XRays, norm: str, their_norm: str, eps: float) -> None:
    """Theirs ends with the ratio's error where there are two classes, so its other three are taken one by one."""
    few = xrays.first(20)
    with pytest.raises(IndexError):
        few.torchattacks("AutoAttack", norm=their_norm, eps=eps, n_classes=2)
    options = {"norm": their_norm, "eps": eps}
    theirs = (few.fooled(few.torchattacks("APGD", steps=10, **options))
              | torch.from_numpy(few.sizes(few.torchattacks("FAB", steps=10, n_classes=2, **options), norm) <= eps)
              | few.fooled(few.torchattacks("Square", n_queries=100, **options)))
    as_many(few.ours("autoattack", norm, eps, steps=10, queries=100).success, theirs)

"""The non-sign forms of FGSM, BIM and PGD are stronger than the sign forms where eps is small.

Clipping to the budget cuts off what a non-sign step does to the pixels that matter most, so one step is also compared
without that limit, at the length (L2) of the sign step.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import engine
from engine.attacks.base import ATTACKS
from engine.attacks.gradient import non_sign
from tests.claims.report import share, table
from tests.claims.small import CT, SIDE, XRAY, Scene, scene

PAIRS = (("fgnm", "fgsm"), ("binm", "bim"), ("pgdnm", "pgd"))
EPS = (1 / 255, 2 / 255, 4 / 255)
STEPS = 10
COUNT = 100
ARCH = "resnet18"


def _fooled_unlimited(of: Scene, eps: float) -> np.ndarray:
    """Whether one non-sign step fools which no pixel's budget limits."""
    model, images = of.models[ARCH], of.images.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(images), of.labels, reduction="sum"), images)
    with torch.no_grad():
        return (model((of.images + eps * non_sign(gradient)).clamp(0, 1)).argmax(1) != of.labels).numpy()


def _steps(attack: str, eps: float) -> dict[str, float]:
    """Settings that give every iterated attack the same steps: PGD's own default is 2.5 times as long as PGDNM's."""
    return {} if attack in PAIRS[0] else {"steps": STEPS, "step_size": eps / STEPS}


@pytest.mark.parametrize("dataset", [XRAY, CT])
def test_nonsign(dataset: str, home: Path, found: Callable[[str, list[str]], None]) -> None:
    of = scene(dataset, (ARCH,), COUNT, home)
    fooled = {(attack, eps): engine.attack(attack, of.models[ARCH], of.images, of.labels, eps=eps, batch=50,
                                           device="cpu", **_steps(attack, eps)).arrays.success
              for pair in PAIRS for attack in pair for eps in EPS}
    rows = [(attack, *(share(fooled[attack, eps]) for eps in EPS)) for pair in PAIRS for attack in pair]
    rows.append(("fgnm, pixels unlimited", *(share(_fooled_unlimited(of, eps)) for eps in EPS)))
    weaker = [f"{ATTACKS[other].info.title} at {eps * 255:g}/255" for other, sign in PAIRS for eps in EPS
              if fooled[other, eps].sum() <= fooled[sign, eps].sum() < len(of.labels)]
    found(f"## Sign or not, {ARCH} on {dataset}\n\n{len(of.labels)} pictures of {SIDE} x {SIDE}; how many are fooled. "
          "No pixel moves by more than eps, but in the last row, whose steps are as long (L2) as those of FGSM. "
          f"All iterated attacks take {STEPS} steps of eps / {STEPS}. "
          "Claim: at small eps the non-sign forms (NM) fool more.\n\n"
          + table(("attack", *(f"eps {eps * 255:g}/255" for eps in EPS)), rows), weaker)

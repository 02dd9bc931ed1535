"""PwP, a patch on the hottest region and noise elsewhere, fools more often than a patch in a random place."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.attacks.runner import run_attack
from engine.attacks.spec import AttackSpec, make_spec
from tests.claims.report import share, table
from tests.claims.small import CT, SIDE, XRAY, scene

ATTACKS = ("pwp", "campatch", "randompatch")
SHARES = (0.06, 0.12, 0.2)  # a patch's side, of the picture's
EPS = 0.5 / 255  # of PwP outside the patch, and of the FGSM that it is compared with
COUNT = 100
ARCH = "resnet18"


def _spec(attack: str, side: float) -> AttackSpec:
    around = {"eps": EPS} if attack == "pwp" else {}
    return make_spec(attack, batch=50, params={"height": side, "width": side, **around})


@pytest.mark.parametrize("dataset", [XRAY, CT])
def test_patch(dataset: str, home: Path, found: Callable[[str], None]) -> None:
    of = scene(dataset, (ARCH,), COUNT, home)

    def fooled(spec: AttackSpec) -> np.ndarray:
        return run_attack(spec, of.models[ARCH], of.images, of.labels, device="cpu").success

    hits = {(attack, side): fooled(_spec(attack, side)) for attack in ATTACKS for side in SHARES}
    rows = [(attack, *(share(hits[attack, side]) for side in SHARES)) for attack in ATTACKS]
    alone = share(fooled(make_spec("fgsm", eps=EPS, batch=50)))
    found(f"## Patches, {ARCH} on {dataset}\n\n{len(of.labels)} pictures of {SIDE} x {SIDE}; how many are fooled by a "
          f"patch of so many pixels. PwP moves the rest by {EPS * 255:g}/255, with which FGSM alone fools {alone}. "
          "Claim: PwP fools more than a patch in a random place.\n\n"
          + table(("attack", *(f"{round(side * SIDE)} x {round(side * SIDE)}" for side in SHARES)), rows))
    weaker = [side for side in SHARES
              if hits["pwp", side].sum() <= hits["randompatch", side].sum() < len(of.labels)]
    assert not weaker, "PwP fools no more than a random patch"

"""The non-sign forms of FGSM, BIM and PGD are stronger than the sign forms where eps is small."""

from collections.abc import Callable
from pathlib import Path

import pytest

import engine
from engine.attacks.base import ATTACKS
from tests.claims.report import share, table
from tests.claims.small import CT, SIDE, XRAY, scene

PAIRS = (("fgnm", "fgsm"), ("binm", "bim"), ("pgdnm", "pgd"))
EPS = (1 / 255, 2 / 255, 4 / 255)
COUNT = 100
ARCH = "resnet18"


@pytest.mark.parametrize("dataset", [XRAY, CT])
def test_nonsign(dataset: str, home: Path, found: Callable[[str, list[str]], None]) -> None:
    of = scene(dataset, (ARCH,), COUNT, home)
    fooled = {(attack, eps): engine.attack(attack, of.models[ARCH], of.images, of.labels, eps=eps, batch=50,
                                           device="cpu").success
              for pair in PAIRS for attack in pair for eps in EPS}
    rows = [(attack, *(share(fooled[attack, eps]) for eps in EPS)) for pair in PAIRS for attack in pair]
    weaker = [f"{ATTACKS[other].info.title} at {eps * 255:g}/255" for other, sign in PAIRS for eps in EPS
              if fooled[other, eps].sum() <= fooled[sign, eps].sum() < len(of.labels)]
    found(f"## Sign or not, {ARCH} on {dataset}\n\n{len(of.labels)} pictures of {SIDE} x {SIDE}; how many are fooled. "
          "No pixel moves by more than eps. Claim: at small eps the non-sign forms (NM) fool more.\n\n"
          + table(("attack", *(f"eps {eps * 255:g}/255" for eps in EPS)), rows), weaker)

"""PwP, a patch on the hottest region and noise elsewhere, fools more often than a patch in a random place.

On the bundled models and pictures of full size: a heatmap of smaller ones would be too coarse to aim by.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch

import engine
from engine.attacks.base import ATTACKS
from engine.attacks.runner import run_attack
from engine.attacks.spec import AttackSpec, make_spec
from engine.data.splits import evenly
from tests.claims.report import share, table
from tests.claims.small import CT, XRAY

PATCHES = ("pwp", "campatch", "randompatch")
SIDE = 0.1  # of a patch, as a share of the picture's
EPS = 0.5 / 255  # of PwP outside the patch, and of the FGSM that it is compared with
COUNT = 40
ARCH = "densenet121"


def _spec(attack: str) -> AttackSpec:
    eps = EPS if attack == "pwp" else None
    return make_spec(attack, eps=eps, batch=20, params={"height": SIDE, "width": SIDE})


@pytest.mark.parametrize("dataset", [XRAY, CT])
def test_patch(dataset: str, found: Callable[[str, list[str]], None]) -> None:
    model, data = engine.load_model(f"{dataset}/{ARCH}"), engine.load_dataset(dataset, "test")
    chosen = evenly(range(len(data)), COUNT)
    images, labels = torch.from_numpy(data.images(chosen)), torch.from_numpy(data.labels[chosen])

    def fooled(spec: AttackSpec) -> np.ndarray:
        result = run_attack(spec, model, images, labels, device="cpu")
        return result.success[result.attacked]

    hits = {attack: fooled(_spec(attack)) for attack in PATCHES}
    rows = [(ATTACKS[attack].info.title, share(hits[attack])) for attack in PATCHES]
    alone = share(fooled(make_spec("fgsm", eps=EPS, batch=20)))
    weaker = ["PwP fools no more"] if hits["pwp"].sum() <= hits["randompatch"].sum() < len(hits["pwp"]) else []
    found(f"## Patches, {ARCH} on {dataset}\n\n{len(hits['pwp'])} pictures of full size; how many are fooled by a "
          f"square patch with a side of {SIDE:.0%} of the picture's. PwP moves the rest by {EPS * 255:g}/255, at which "
          f"FGSM alone fools {alone}. Claim: PwP fools more than a patch in a random place.\n\n"
          + table(("attack", "fools"), rows), weaker)

"""PGN, SIA, USMM and STM: made on one network they fool another more often than MI-FGSM does."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import engine
from engine.attacks.base import ATTACKS
from engine.attacks.runner import Resources
from tests.claims.report import share, table
from tests.claims.small import SIDE, XRAY, Scene, scene

EPS = 16 / 255  # that of the papers
COUNT = 100
ARCHS = ("resnet18", "densenet121")
BASELINE, CLAIMED = "mifgsm", ("pgn", "sia", "usmm", "stm")


def _fooled(of: Scene, attack: str, surrogate: str, target: str) -> np.ndarray:
    """Whether each picture, attacked on `surrogate`, fools `target`."""
    resources = Resources(surrogate=of.models[surrogate], others=of.others)
    return engine.attack(attack, of.models[target], of.images, of.labels, eps=EPS, batch=50, resources=resources,
                         device="cpu").arrays.success


def _only(one: np.ndarray, other: np.ndarray) -> int:
    return int((one & ~other).sum())


@pytest.mark.parametrize(("surrogate", "target"), [ARCHS, ARCHS[::-1]], ids=lambda arch: arch)
def test_transfer(surrogate: str, target: str, home: Path, found: Callable[[str, list[str]], None]) -> None:
    of = scene(XRAY, ARCHS, COUNT, home)
    fooled = {attack: _fooled(of, attack, surrogate, target) for attack in (BASELINE, *CLAIMED)}
    rows = [(attack, share(hits), _only(hits, fooled[BASELINE]), _only(fooled[BASELINE], hits))
            for attack, hits in fooled.items()]
    weaker = [ATTACKS[attack].info.title for attack in CLAIMED if fooled[attack].sum() <= fooled[BASELINE].sum()]
    found(f"## Transfer from {surrogate} to {target}, chest X-rays\n\n{len(of.labels)} pictures of {SIDE} x {SIDE}, "
          f"eps {EPS * 255:g}/255, settings of the papers. Claim: each fools the other more often than MI-FGSM.\n\n"
          + table(("attack", "fools the target", "only this one", "only MI-FGSM"), rows), weaker)

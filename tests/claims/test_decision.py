"""GBBA finds nearer images than HopSkipJump, and that nearer ones than OPT, at equal queries."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

import engine
from engine.attacks.decision import hopskipjump
from engine.attacks.declared.decision import GBBA
from engine.attacks.result import Walk
from engine.attacks.runner import Resources
from tests.claims.report import table
from tests.claims.small import CT, XRAY, Scene, full_size_scene, scene

CLAIMED = ("gbba", "hopskipjump", "opt")  # nearest first


@dataclass(frozen=True)
class Setting:
    """Small pictures, so that each can be given tens of thousands of queries, or whole ones and fewer queries."""

    dataset: str
    arch: str
    side: int
    count: int
    queries: tuple[int, ...]

    def scene(self, home: Path) -> Scene:
        if self.side == WHOLE:
            return full_size_scene(self.dataset, self.arch, self.count)
        return scene(self.dataset, (self.arch,), self.count, home, self.side)


WHOLE = 224
SETTINGS = [*(Setting(dataset, "resnet18", 32, 20, (1_000, 5_000, 10_000)) for dataset in (XRAY, CT)),
            *(Setting(dataset, "densenet121", WHOLE, 10, (250, 500, 1_000)) for dataset in (XRAY, CT)),
            *(Setting(dataset, "densenet121", WHOLE, 2, (1_000, 5_000, 10_000)) for dataset in (XRAY, CT))]


class Corrections:
    """Counts how often GBBA corrects its direction, which is all that tells it from HopSkipJump."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directions = self.corrected = 0
        corrected = hopskipjump.corrected

        def counted(attack: GBBA, direction: Tensor, change: Tensor) -> Tensor:
            adjusted = corrected(attack, direction, change)
            self.directions += 1
            self.corrected += adjusted is not direction
            return adjusted

        monkeypatch.setattr(hopskipjump, "corrected", counted)


def _distances(walk: Walk, queries: int) -> np.ndarray:
    """How far from each picture the nearest image lies that was found with so many queries [N]; infinite if none."""
    known = np.where((walk.queries <= queries) & (walk.distances > 0), walk.distances, np.inf)
    return known.min(axis=0)


def _walk(attack: str, of: Scene, setting: Setting) -> Walk:
    result = engine.attack(attack, of.models[setting.arch], of.images, of.labels, norm="l2",
                           queries=max(setting.queries), batch=setting.count, resources=Resources(others=of.others),
                           device="cpu")
    assert result.trace.walk is not None
    return result.trace.walk


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: f"{s.dataset}-{s.side}-{s.count}")
def test_decision(setting: Setting, home: Path, found: Callable[[str, list[str]], None],
                  monkeypatch: pytest.MonkeyPatch) -> None:
    corrections = Corrections(monkeypatch)
    of = setting.scene(home)
    walks = {attack: _walk(attack, of, setting) for attack in CLAIMED}
    far = {(attack, queries): _distances(walk, queries) for attack, walk in walks.items()
           for queries in setting.queries}
    rows = [(attack, *(f"{far[attack, q].mean():.3f} / {np.median(far[attack, q]):.3f}" for q in setting.queries),
             f"{(far[attack, setting.queries[-1]] <= far['hopskipjump', setting.queries[-1]]).mean():.0%}")
            for attack in CLAIMED]
    wrong = [f"{nearer} against {farther}, {statistic.__name__} at {queries:,}"
             for nearer, farther in pairwise(CLAIMED) for queries in setting.queries
             for statistic in (np.mean, np.median)
             if not statistic(far[nearer, queries]) < statistic(far[farther, queries])]
    found(f"## Distance by decisions alone, {setting.arch} on {setting.dataset}, {setting.side} x {setting.side}\n\n"
          f"{len(of.labels)} pictures; mean and median L2 of the nearest image found. Claim: GBBA nearer than "
          "HopSkipJump, that nearer than OPT. GBBA is HopSkipJump with a correction, which was called for in "
          f"{corrections.corrected} of {corrections.directions} directions.\n\n"
          + table(("attack", *(f"{q:,} queries" for q in setting.queries), "no farther than HopSkipJump"), rows), wrong)

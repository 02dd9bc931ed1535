"""GBBA finds nearer images than HopSkipJump, and that nearer ones than OPT, at equal queries."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import engine
from engine.attacks.result import Walk
from engine.attacks.runner import Means
from tests.claims.report import table
from tests.claims.small import CT, XRAY, Scene, scene

QUERIES = (1_000, 5_000, 10_000)
COUNT = 20
SIDE = 32  # as each picture takes tens of thousands of queries
CLAIMED = ("gbba", "hopskipjump", "opt")  # nearest first
ARCH = "resnet18"


def _distances(walk: Walk, queries: int) -> np.ndarray:
    """How far from each picture the nearest image lies that was found with so many queries [N]; infinite if none."""
    known = np.where((walk.queries <= queries) & (walk.distances > 0), walk.distances, np.inf)
    return known.min(axis=0)


def _walk(of: Scene, attack: str) -> Walk:
    result = engine.attack(attack, of.models[ARCH], of.images, of.labels, norm="l2", queries=max(QUERIES), batch=COUNT,
                           means=Means(others=of.others), device="cpu")
    assert result.trace.walk is not None
    return result.trace.walk


@pytest.mark.parametrize("dataset", [XRAY, CT])
def test_decision(dataset: str, home: Path, found: Callable[[str, list[str]], None]) -> None:
    of = scene(dataset, (ARCH,), COUNT, home, SIDE)
    walks = {attack: _walk(of, attack) for attack in CLAIMED}
    far = {(attack, queries): _distances(walk, queries) for attack, walk in walks.items() for queries in QUERIES}
    rows = [(attack, *(f"{far[attack, q].mean():.3f} / {np.median(far[attack, q]):.3f}" for q in QUERIES),
             f"{(far[attack, QUERIES[-1]] <= far['hopskipjump', QUERIES[-1]]).mean():.0%}") for attack in CLAIMED]
    wrong = [f"{nearer} against {farther}, {statistic.__name__} at {queries:,}"
             for nearer, farther in pairwise(CLAIMED) for queries in QUERIES for statistic in (np.mean, np.median)
             if not statistic(far[nearer, queries]) < statistic(far[farther, queries])]
    found(f"## Distance by decisions alone, {ARCH} on {dataset}\n\n{len(of.labels)} pictures of {SIDE} x {SIDE}; mean "
          "and median L2 of the nearest image found. Claim: GBBA nearer than HopSkipJump, that nearer than OPT.\n\n"
          + table(("attack", *(f"{q:,} queries" for q in QUERIES), "no farther than HopSkipJump"), rows), wrong)

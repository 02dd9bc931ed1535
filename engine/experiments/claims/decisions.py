"""GBBA finds nearer images than HopSkipJump, and that nearer ones than OPT, at equal queries.

Small pictures, of which each can be given many queries with several networks; and whole ones, with the bundled models
that answer soonest, and so many queries as these can afford.
"""

from engine.experiments.claims.declared import Bundled, Claim, Network, declare, entry
from engine.experiments.claims.measures import NEARNESS

QUERIES = (1_000, 5_000, 10_000)
PICTURES = 10  # of fewer the sign test could say nothing at so many comparisons, even if all agreed
BATCH = 128  # images that a network sees together: of ten, reading its weights takes longer than the arithmetic


def _claim(data: str, size: str, target: Network | Bundled, counts: tuple[int, ...], kind: str = "") -> Claim:
    name = data.partition("@")[0]
    budgets = [{"norm": "l2", "batch": BATCH, "params": {"queries": queries}} for queries in counts]
    nearest, middle, farthest = (entry(attack, budgets) for attack in ("gbba", "hopskipjump", "opt"))
    return Claim(
        name=f"decisions-{name}{kind}",
        title=f"Distance by decisions alone, {name}, {size}",
        sentence="at equal queries GBBA gets nearer than HopSkipJump, and that nearer than OPT",
        dataset=data,
        target=target,
        pictures=PICTURES,
        budgets=tuple(f"{queries:,} queries" for queries in counts),
        entries=(nearest, middle, farthest),
        contests=((nearest.label, middle.label), (middle.label, farthest.label)),
        measure=NEARNESS,
        because="GBBA is HopSkipJump with a correction of directions that lead back to where it came from, which is "
                "seldom called for: the point on the boundary was found by halving the way along the very change that "
                "the direction is compared with, so the true direction never points against it, and the estimated one "
                "only where probes are few. Counted once, it was called for in 5 of 1,120 directions on pictures of "
                "32 x 32, and on whole ones in 27 of the 120 up to 1,000 queries and 8 of the 108 up to 10,000.",
    )


for dataset, epochs, model, counts in (
        ("kermany", 10, "mobilenet_v3_small", (250, 1_000, 5_000)),
        ("covid-ct", 60, "efficientnet_lite0", (250, 1_000))):
    declare(_claim(f"{dataset}@32", "32 x 32", Network("resnet18", epochs), QUERIES))
    declare(_claim(dataset, "whole pictures", Bundled(f"{dataset}/{model}"), counts, "-whole"))

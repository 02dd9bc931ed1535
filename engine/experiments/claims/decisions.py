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
        because="GBBA is HopSkipJump with a correction of directions that lead back to where it came from. The point "
                "on the boundary was found by halving the way along the very change that the direction is compared "
                "with, so the true direction never points against it; the estimated one does by its noise, the more "
                "often the fewer probes there are for the pixels. Counted once, in 3 of 136 directions on pictures of "
                "32 x 32 up to 5,000 queries; on whole X-rays in 26 of 60 up to 1,000 queries and 29 of 160 up to "
                "5,000, on whole CT slices in 31 of 60 up to 1,000. And there the two are all but at right angles (a "
                "cosine of -0.04 at most on small pictures, -0.005 on whole X-rays), so that next to nothing is "
                "taken away.",
    )


for dataset, epochs, model, counts in (
        ("kermany", 10, "mobilenet_v3_small", (250, 1_000, 5_000)),
        ("covid-ct", 60, "efficientnet_lite0", (250, 1_000))):
    declare(_claim(f"{dataset}@32", "32 x 32", Network("resnet18", epochs), QUERIES))
    declare(_claim(dataset, "whole pictures", Bundled(f"{dataset}/{model}"), counts, "-whole"))

"""Noise on every query (RND), or on query and answer (DND), keeps attacks by decisions alone farther away.

What the source does not say is chosen here: how much noise, and which models. An attacker who asks several times and
takes the majority is measured beside it, which the source does not do. Pictures are shrunk, so that so many queries are
affordable.
"""

from dataclasses import asdict

from engine.attacks import ATTACKS
from engine.attacks.spec import ADAPTIVE
from engine.experiments.claims.decisions import BATCH, PICTURES, QUERIES
from engine.experiments.claims.declared import RESNET18, Claim, Entry, declare, entry
from engine.experiments.claims.measures import FARNESS
from engine.experiments.defended import Front
from engine.papers import thesis_of_li_yang

REPEATS = 5
PUBLISHED = {
    "kermany": "GBBA, mean L2 at 1k, 5k and 10k queries: undefended 29.35, 11.05, 4.74; RND 39.09, 36.47, 33.69; DND "
               "39.83, 39.59, 39.35",
    "covid-ct": "GBBA, mean L2 at 1k, 5k and 10k queries: undefended 29.11, 13.84, 7.19; RND 32.95, 30.48, 27.79; DND "
                "37.82, 36.72, 34.22",
}


NONE, RND, DND, ASKING = "undefended", "RND (sigma 0.02)", "DND (m 0.02, n 0.1)", f"RND, asked {REPEATS} times"
FRONTS = {NONE: Front(), RND: Front("rnd(sigma=0.02)"), DND: Front("dnd(m=0.02, n=0.1)"),
          ASKING: Front("rnd(sigma=0.02)", ADAPTIVE, REPEATS)}


def _label(attack: str, front: str) -> str:
    return f"{ATTACKS[attack].info.title}, {front}"


def _entry(attack: str, front: str) -> Entry:
    """The attack at every number of queries."""
    budgets = [{"norm": "l2", "batch": BATCH, "params": {"queries": queries}, **asdict(FRONTS[front])}
               for queries in QUERIES]
    return entry(attack, budgets, _label(attack, front), thesis_of_li_yang(6))


def _claim(name: str) -> Claim:
    attacks = ("gbba", "hopskipjump")
    return Claim(
        name=f"served-{name}",
        title=f"Noise on queries, {name}, 32 x 32",
        sentence="behind RND the attacks by decisions alone stay farther away than undefended, and behind DND farther "
                 "still",
        dataset=f"{name}@32",
        target=RESNET18[name],
        pictures=PICTURES,
        budgets=tuple(f"{queries:,} queries" for queries in QUERIES),
        entries=tuple(_entry(attack, front) for attack in attacks for front in FRONTS),
        contests=tuple((_label(attack, better), _label(attack, other)) for attack in attacks
                       for better, other in ((RND, NONE), (DND, RND))),
        measure=FARNESS,
        networks=1,
        notes=f"Published, for a DenseNet-121 and whole pictures: {PUBLISHED[name]}.",
    )


for name in RESNET18:
    declare(_claim(name))

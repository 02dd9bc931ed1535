"""Noise on every query (RND), or on query and answer (DND), keeps attacks by decisions alone farther away.

What the source does not say is chosen here: how much noise, and which models. An attacker who asks several times and
takes the majority is measured beside it, which the source does not do.
"""

from dataclasses import dataclass
from typing import Any

from engine.attacks import ATTACKS
from engine.attacks.spec import ADAPTIVE
from engine.defenses import DEFENSES
from engine.experiments.claims.declared import Bundled, Claim, Entry, declare, entry
from engine.experiments.claims.measures import FARNESS

QUERIES = (1_000, 5_000, 10_000)
REPEATS = 5
PUBLISHED = {
    "kermany": "GBBA, mean L2 at 1k, 5k and 10k queries: undefended 29.35, 11.05, 4.74; RND 39.09, 36.47, 33.69; DND "
               "39.83, 39.59, 39.35",
    "covid-ct": "GBBA, mean L2 at 1k, 5k and 10k queries: undefended 29.11, 13.84, 7.19; RND 32.95, 30.48, 27.79; DND "
                "37.82, 36.72, 34.22",
}


@dataclass(frozen=True)
class Facing:
    """Which defense an attacker faces, and how he goes about it."""

    name: str
    defenses: str = ""
    draws: int = 1

    def entry(self, attack: str) -> Entry:
        """The attack so, at every number of queries."""
        facing: dict[str, Any] = {"defenses": self.defenses} if self.defenses else {}
        if self.draws > 1:
            facing |= {"attacker": ADAPTIVE, "draws": self.draws}
        return entry(attack, [{"norm": "l2", "batch": 10, "params": {"queries": queries}, **facing}
                              for queries in QUERIES], self.label(attack), DEFENSES["dnd"].info.paper)

    def label(self, attack: str) -> str:
        return f"{ATTACKS[attack].info.title}, {self.name}"


NONE = Facing("undefended")
RND = Facing("RND (sigma 0.02)", "rnd(sigma=0.02)")
DND = Facing("DND (m 0.02, n 0.1)", "dnd(m=0.02, n=0.1)")
ASKING = Facing(f"RND, asked {REPEATS} times", "rnd(sigma=0.02)", REPEATS)


def _claim(dataset: str, model: str, pictures: int) -> Claim:
    attacks = ("gbba", "hopskipjump")
    return Claim(
        name=f"served-{dataset}",
        title=f"Noise on queries, {dataset}",
        sentence="behind RND the attacks by decisions alone stay farther away than undefended, and behind DND farther "
                 "still",
        dataset=dataset,
        target=Bundled(model),
        pictures=pictures,
        budgets=tuple(f"{queries:,} queries" for queries in QUERIES),
        entries=tuple(facing.entry(attack) for attack in attacks for facing in (NONE, RND, DND, ASKING)),
        contests=tuple((better.label(attack), other.label(attack)) for attack in attacks
                       for better, other in ((RND, NONE), (DND, RND))),
        measure=FARNESS,
        notes=f"Published, for a DenseNet-121: {PUBLISHED[dataset]}.",
    )


declare(_claim("kermany", "kermany/mobilenet_v3_small", 8))
declare(_claim("covid-ct", "covid-ct/densenet121", 8))

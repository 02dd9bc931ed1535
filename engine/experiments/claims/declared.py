"""How a claim is declared. Does not import torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.attacks import ATTACKS
from engine.attacks.spec import AttackSpec, make_spec
from engine.experiments.claims.measures import Measure
from engine.papers import Paper
from engine.registry import Registry

SEEDS = 3


@dataclass(frozen=True)
class Network:
    """A network of that architecture which is trained on the claim's data set, once for every seed: by the `defense` at
    training time (as engine.training.defenses writes it), and from what `start` has learned, where these are given."""

    arch: str
    epochs: int
    defense: str = ""
    start: Network | None = None


# By data set: the same for every claim that attacks a ResNet-18 there, so that it is trained once for all.
RESNET18 = {"kermany": Network("resnet18", 10), "covid-ct": Network("resnet18", 60)}


@dataclass(frozen=True)
class Bundled:
    """A model that there is already, of which there is but one."""

    model: str


@dataclass(frozen=True)
class Entry:
    """What is compared: an attack at every budget of the claim, and the paper that it is of; on a `target` of its own
    where that is not the claim's."""

    label: str
    specs: tuple[AttackSpec, ...]
    paper: Paper
    target: Network | Bundled | None = None


def entry(attack: str, budgets: Iterable[Mapping[str, Any]], label: str = "", paper: Paper | None = None,
          target: Network | Bundled | None = None) -> Entry:
    """That attack with these options of `make_spec` at each budget; label and paper are its own unless given."""
    info = ATTACKS[attack].info
    return Entry(label or info.title, tuple(make_spec(attack, **budget) for budget in budgets), paper or info.paper,
                 target)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What some papers say, and how it is measured here.

    Of `contests` each pair names the entry that is claimed to be the better by `measure`, and the other one, at every
    one of `budgets` (in words, one for each of an entry's specs). Attacked are up to `pictures` of the split, spread
    evenly over the classes, that every network involved reads correctly (or, with `misread`, any); the attacks are made
    on the `surrogate` where there is one. Of each `Network` so many are trained as `networks` says, unless somebody
    asks for another number. `notes` is what a reader of the numbers must know, `because` why the claim
    does not hold here, as far as that is known.
    """

    name: str
    title: str
    sentence: str
    dataset: str
    target: Network | Bundled
    pictures: int
    budgets: tuple[str, ...]
    entries: tuple[Entry, ...]
    contests: tuple[tuple[str, str], ...]
    measure: Measure
    surrogate: Network | None = None
    split: str = "test"
    misread: bool = False
    networks: int = SEEDS
    notes: str = ""
    because: str = ""

    @property
    def seeds(self) -> int:
        """How many networks there are of each kind where nobody asks for another number."""
        return self.seeds_of(self.networks)

    def seeds_of(self, asked: int) -> int:
        """How many there are where so many are asked for."""
        return asked if isinstance(self.target, Network) else 1

    def target_of(self, entry: Entry) -> Network | Bundled:
        """What the entry attacks."""
        return entry.target or self.target

    @property
    def targets(self) -> tuple[Network | Bundled, ...]:
        """Everything that is attacked, each once, the claim's own target first."""
        return tuple(dict.fromkeys((self.target, *map(self.target_of, self.entries))))

    @property
    def papers(self) -> tuple[Paper, ...]:
        """Who claims it: the papers of the attacks that are said to be better."""
        better = {label for label, _ in self.contests}
        return tuple(dict.fromkeys(one.paper for one in self.entries if one.label in better))


CLAIMS: Registry[Claim] = Registry("claim")


def declare(claim: Claim) -> None:
    """Make the claim known by its name."""
    CLAIMS.add(claim.name, claim)

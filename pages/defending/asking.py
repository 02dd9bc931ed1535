"""What the Defend page asks besides what all pages about whole data sets ask: questions, and checks."""

from dataclasses import dataclass

import streamlit as st

from engine.attacks import ATTACKS
from engine.attacks.spec import AttackSpec, cost_of, has_gradients
from engine.defenses.base import cautions, defenses_from
from engine.errors import EngineError
from engine.experiments.defending.judging import with_checks
from engine.experiments.onepicture import pace
from engine.experiments.openings import DEFENDED_QUERIES
from engine.experiments.queries.walks import walking
from engine.experiments.sweeps import Sweep, sweep_of
from pages.ui import controls
from pages.ui.address import Address
from pages.ui.charts import counted, duration
from pages.ui.choosing import Chosen

YES, NO = "yes", "no"
MOST_QUERIES = 100_000
FEWEST = 10  # questions, with which no attack begins


@dataclass(frozen=True)
class Asked:
    """How many `queries` an attacker without a model has for an image (None: there is no such attacker), and whether
    what shows hidden gradients is tried as well. `doubtful`: something was said against it."""

    queries: int | None
    checks: bool
    doubtful: bool = False

    def specs(self, chosen: Chosen) -> tuple[AttackSpec, ...]:
        """Every attack as it is made; raises EngineError."""
        specs = [spec if self.queries is None or _has_model(spec.attack) else walking(spec, self.queries)
                 for spec in chosen.specs()]
        return with_checks(specs) if self.checks else tuple(specs)

    def sweep(self, chosen: Chosen) -> Sweep:
        """The same on the chosen images and models; raises EngineError."""
        return sweep_of(chosen.name, chosen.split, chosen.indices, chosen.models, self.specs(chosen))


def choose(address: Address, chosen: Chosen) -> Asked:
    """The controls; raises EngineError."""
    queries, checks = _queries(address, chosen), _checks(address)
    few = queries is not None and _few(queries, chosen)
    return Asked(queries, checks, few or any(cautions(defenses_from(stack)) for stack in chosen.facing.stacks))


def _few(queries: int, chosen: Chosen) -> bool:
    """Whether they are hardly enough for an attack to start."""
    return queries < FEWEST * (chosen.facing.draws or 1)


def _queries(address: Address, chosen: Chosen) -> int | None:
    asking = [one.name for one in chosen.attackers if not _has_model(one.name)]
    if not asking:
        address.carry("queries")
        return None
    key = address.scope.control("queries")
    seed = address.seed("queries", key, controls.whole(1, MOST_QUERIES, f"queries must be 1 to {MOST_QUERIES}"),
                        DEFENDED_QUERIES)
    queries = int(st.number_input("Queries an image", 1, MOST_QUERIES, seed, step=100, key=key,
                                  help="How often an attacker without the model may ask about each image. One who "
                                       "knows of a random defense spends several on each question."))
    address.note("queries", None if queries == DEFENDED_QUERIES else str(queries))
    draws = chosen.facing.draws or 1
    if _few(queries, chosen):
        st.warning(f"{queries} queries are {queries // draws} questions asked {draws} times each: hardly enough for an "
                   "attack to start." if draws > 1 else f"{queries} queries are hardly enough for an attack to start.")
    return queries


def _checks(address: Address) -> bool:
    key = address.scope.control("checks")
    seed = address.seed("checks", key, lambda text: controls.one_of("checks", (YES, NO))(text) == YES, True)
    checks = st.toggle("Check whether a defense only looks good", bool(seed), key=key,
                       help="Some defenses only make it hard to find the attack that works: they hide the gradient, "
                            "the direction in which an attacker changes the picture. Two more attacks show that: one "
                            "step where many were made, which must do worse, and a change that leaves nothing of the "
                            "picture, which must always do.")
    address.note("checks", None if checks else NO)
    return checks


def _has_model(attack: str) -> bool:
    return has_gradients(ATTACKS[attack].info.knowledge)


def passes(sweep: Sweep) -> int:
    """How often an image passes a model at most."""
    return len(sweep.indices) * len(sweep.models) * sum(cost_of(spec).passes for spec in sweep.attacks)


def price(sweep: Sweep, device: str) -> str:
    """What it costs at most, in one line."""
    seconds: float | None = 0.0
    gradients = queries = 0
    for spec in sweep.attacks:
        cost = cost_of(spec)
        gradients += cost.gradients
        queries += 0 if cost.gradients else cost.queries
        for model in sweep.models:
            at = pace.known(model, device)
            seconds = None if at is None or seconds is None else seconds + at.estimate(cost) * len(sweep.indices)
    each = len(sweep.indices) * len(sweep.models)
    spent = [counted(each * gradients, "gradient")] if gradients else []
    spent += [counted(each * queries, "query", "queries")] if queries else []
    work = f"{counted(len(sweep.attacks), 'attack')}, at most {' and '.join(spent) or 'nothing'}"
    return f"{work}." if seconds is None else f"At most about {duration(seconds)} here ({work})."


def checked(sweep: Sweep) -> None:
    """Raises EngineError where there is nothing to compare."""
    if len(sweep.models) < 2 and not any(spec.defenses for spec in sweep.attacks):
        raise EngineError("choose a defense, or a second model that was trained with one, to compare with the bare "
                          "model")

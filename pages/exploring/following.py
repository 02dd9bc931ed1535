"""Attacks that take no time follow the epsilon slider by themselves: whether one does, and the switch for it."""

from dataclasses import astuple, dataclass, replace
from typing import Self

import streamlit as st

from engine.attacks import spec as specs
from engine.attacks.base import Cost
from engine.attacks.spec import attack_of
from engine.experiments.onepicture import pace
from engine.work.jobs import State, jobs
from pages.exploring.run import Run
from pages.exploring.scope import SCOPE
from pages.ui import controls, shell
from pages.ui.address import Address
from pages.ui.charts import duration
from pages.ui.runs import Settings

AT_ONCE = 1.0  # seconds on this machine below which nobody is made to press Run
NAME, ON, OFF = "follow", "on", "off"
KEY = SCOPE.control(NAME)


def cost_of(settings: Settings) -> Cost:
    """What the attack spends at most, on all images that are attacked together."""
    together = max(1, len(settings.company))
    return Cost(*(together * spent for spent in astuple(specs.cost_of(settings.attack))))


def pace_of(settings: Settings) -> pace.Pace | None:
    """How fast that attack goes here, if anything is known of it: the network behind the gradients decides."""
    return pace.known(settings.attack.surrogate or settings.model, settings.device)


def seconds(settings: Settings) -> float | None:
    """How long the attack takes here at most, as far as that is known."""
    at = pace_of(settings)
    return None if at is None else at.estimate(cost_of(settings))


def quick(settings: Settings) -> bool:
    """Whether it is known to take no time."""
    took = seconds(settings)
    return took is not None and took < AT_ONCE and not attack_of(settings.attack).learning_cost(1).queries


def follow(settings: Settings, before: Settings) -> bool:
    """Whether the attack takes no time, and nothing but epsilon tells it from the one `before`, and that does."""
    moved = replace(before, attack=replace(before.attack, eps=settings.attack.eps))
    return settings != before and settings == moved and quick(settings)


def make_way(settings: Settings, running: Run | None) -> None:
    """Of several epsilons asked for in a row only the last is waited for: what has not begun yet need not begin."""
    if running is not None and running.job.state is State.QUEUED and follow(settings, running.settings):
        jobs().cancel(running.job, shell.owner())


@dataclass(frozen=True)
class Switch:
    """Whether attacks that take no time run by themselves, as the address says and the visitor has turned it; `seed` is
    the first value of the control, which is drawn later in the run of the page."""

    on: bool
    seed: bool | None

    @classmethod
    def of(cls, address: Address) -> Self:
        seed = address.seed(NAME, KEY, lambda text: controls.one_of(NAME, (ON, OFF))(text) == ON, True)
        on = bool(st.session_state.get(KEY, seed))
        address.note(NAME, None if on else OFF)
        return cls(on, seed)

    def draw(self, settings: Settings) -> None:
        """The control, where the attack has an epsilon; it cannot be turned where it would change nothing."""
        if settings.attack.eps is None:
            return
        took = seconds(settings)
        known = "How long this one takes is known once it has run." if took is None else \
            f"This one takes about {duration(took)}."
        first = {} if self.seed is None else {"value": self.seed}
        st.toggle("Follow epsilon", key=KEY, disabled=not quick(settings), width="content", **first,
                  help="An attack that takes less than a second here runs as soon as epsilon is moved, without a click "
                       f"on Run. {known}")

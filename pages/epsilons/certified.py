"""Certified accuracy on the Epsilon page: what randomized smoothing proves against every attack, in its own norm."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import streamlit as st

from engine.defenses.base import defenses_from
from engine.defenses.smoothing import Smoothing
from engine.errors import EngineError
from engine.experiments.certifying import Certified, Certifying, Drawn, certified_of, certify_task, certifying_of
from engine.experiments.epsilon.certified import rows, sentence, table
from engine.experiments.sources import opened
from engine.params import build, params_of
from engine.zoo.registry import model_card
from pages.epsilons import figures
from pages.epsilons.scope import SCOPE
from pages.ui import controls, sweeping
from pages.ui import figures as shared
from pages.ui.address import Address
from pages.ui.charts import counted, duration
from pages.ui.choosing import Chosen
from pages.ui.sweeping import Known
from pages.ui.text import capital, plain

NAME = "certify"  # in the address
YES, NO = "yes", "no"
EXPLAINED = ("How far may a picture be changed for certain? Each model is asked about many noisy copies of every "
             "picture; from how many agree follows a radius within which no attack whatever, known or unknown, changes "
             "the answer of most copies (randomized smoothing).")


def wanted(address: Address, chosen: Chosen) -> Drawn | None:
    """The controls: whether certificates are wanted, at first where smoothing stands before the model, and how they are
    drawn; None where they are not. Raises EngineError."""
    smoothed = [one for stack in chosen.facing.stacks for one in defenses_from(stack) if isinstance(one, Smoothing)]
    first = YES if smoothed else NO
    key = address.scope.control(f"{NAME} {first}")  # another one where another default suits
    seed = address.seed(NAME, key, lambda text: controls.one_of(NAME, (YES, NO))(text) == YES, first == YES)
    asked = st.toggle("Certified accuracy", bool(seed), key=key,
                      help="What randomized smoothing proves against every attack: a curve of its own, below the "
                           "others, computed when it is asked for there.")
    address.note(NAME, None if asked == (first == YES) else YES if asked else NO)
    names = {p.name: f"{NAME}.{p.name}" for p in params_of(Drawn)}
    if not asked:
        address.carry(*names.values())
        return None
    sigma = smoothed[0].sigma if smoothed else Drawn().sigma
    return build(Drawn, {p.name: controls.param(address, replace(p, default=sigma) if p.name == "sigma" else p,
                                                SCOPE.control(f"{names[p.name]} {sigma}"), names[p.name])
                         for p in params_of(Drawn)})


def show(chosen: Chosen, drawn: Drawn) -> None:
    """The curve of its own, which grows; what it costs is said before."""
    st.subheader("Certified accuracy against the L2 radius")
    try:
        asked = certifying_of(chosen.name, chosen.split, chosen.indices, chosen.models, (drawn.sigma,), drawn.choosing,
                              drawn.draws, drawn.alpha, chosen.seeds[0])
    except EngineError as error:
        st.error(plain(capital(error)))
        return
    sweeping.inline(SCOPE, NAME, certify_task(asked, chosen.device), partial(_shown, chosen),
                    explained=f"{EXPLAINED} {price(asked, chosen.device)}", label="Prove it", read=certified_of,
                    so_far=lambda growing: growing.now())


def price(asked: Certifying, device: str) -> str:
    """What it costs, in one line."""
    seconds = asked.seconds(device)
    time = "" if seconds is None else f", about {duration(seconds)} here"
    return (f"{counted(asked.choosing + asked.counting, 'copy', 'copies')} of each of "
            f"{counted(len(asked.indices), 'image')}: {counted(asked.passes, 'pass', 'passes')} through "
            f"{'the model' if len(asked.models) == 1 else 'the models'}{time}.")


def _shown(chosen: Chosen, known: Known) -> None:
    found: Sequence[Certified] = known.found or ()
    if not found:
        st.caption("The first images come in a moment.")
        return
    data, asked = opened(chosen.name, chosen.split), known.task.spec
    entries = data.image(asked.indices[0]).size
    for place, one in enumerate(found):
        said = plain(sentence(one, entries))
        st.markdown(f"**{said}**" if not place else said)
    if not known.complete:
        st.caption(f"So far from {counted(len(found[0].labels), 'image')} of {len(asked.indices)}.")
    shared.figure(SCOPE, figures.certified(found, entries), "certified", partial(table, found, entries))
    another = "" if chosen.attackers[0].norm == "l2" else (
        "Another norm than above, and so another axis: L2 is the root of the summed squares of all changes. ")
    st.caption(plain(
        f"{another}Beneath the radii stands the epsilon that each covers: any change that moves no pixel by more than "
        f"that is within the radius. Proven of the model smoothed with this noise alone, from {asked.counting:,} draws "
        f"with a risk of {asked.alpha:g} an image; the band is the 95 % interval of the share. The open circle is what "
        "the model reads correctly without noise."))
    if known.complete:
        images = [data.item_name(index) for index in asked.indices]
        st.caption("Every image's own radius:")
        shared.downloads(SCOPE, lambda: rows(found, images, model_card(asked.models[0]).classes), "certified-images")

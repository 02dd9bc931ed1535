"""What is known of defenses: which is worth its price, the trade-off, the table, walks, and pictures behind each."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import streamlit as st

from engine.attacks import ATTACKS
from engine.attacks.base import Knowledge
from engine.attacks.norms import NORMS
from engine.defenses.base import cautions, defenses_from
from engine.experiments.config import config_text
from engine.experiments.defending import tables
from engine.experiments.defending.judged import Judged, Standing, judged
from engine.experiments.defending.judging import Defended, without_checks
from engine.experiments.defending.words import (
    Line,
    budget_words,
    doubts,
    heading,
    headline,
    lines,
    readable,
    warnings,
)
from engine.experiments.queries.curves import drawn, query_curve, table
from engine.experiments.sweeps import Sweep
from pages.defending import behind, seeing, watching
from pages.defending import figures as plots
from pages.defending.scope import SCOPE
from pages.ui import figures, sources, walking
from pages.ui.charts import counted
from pages.ui.options import settings_of_sweep
from pages.ui.sweeping import Known
from pages.ui.text import capital, plain

BUDGET = "budget"
LINES = 4  # defenses up to which each has its line in sight
CHECKED = """
A defense may merely hide the direction in which an attacker changes the picture (the gradient). Then strong attacks
fail where weak ones succeed, and somebody who finds another way still gets through. Each check looks for that; its name
is what a warning says where it struck.
- *One step beats many*: an attack in one step must not do better than one in many.
- *Black box beats white box*: an attacker who can only ask must not do better than one who has the model.
- *Noise wins where gradients fail*: random noise must not fool where attacks fail.
- *A huge budget does not reach 0*: an attacker who may change a picture beyond recognition must always succeed. That is
  tried with the attack BIM within 128/255, whatever was chosen.
- *Random restarts change much*: another random start (seed) must not change much.
- *Zero gradients*: where the gradient is 0 everywhere, the attacker does not know which way to go.
- *More budget fools fewer*: an attacker who may change more must not fool fewer.

After Athalye et al. 2018, Carlini et al. 2019, and AutoAttack (Croce, Hein 2020).
"""


def show(known: Known) -> None:
    """All of it."""
    if not known.found:  # nothing, or no rows yet
        st.caption("First each defended model is asked without an attack; the first numbers come with the first "
                   "images.")
        return
    sweep = cast(Sweep, known.task.spec)
    found = judged(cast(Defended, known.found))
    if not known.complete:
        st.caption(f"So far {len(found.standings[0].right)} of {counted(len(sweep.indices), 'picture')} and "
                   f"{len(found.defended.known)} of {counted(len(sweep.attacks) * len(sweep.models), 'attack')}: these "
                   "numbers will still change.")
    eps = _budget(found)
    standings = found.at(eps)
    _head(known, heading(found, eps, sources.title(sweep.dataset)))
    _words(found, eps, known.complete)
    left, right = st.columns([1.15, 1], gap="medium")
    with left:
        _trade_off(standings)
    with right:
        _signs(known, found, eps)
    _table(found, standings)
    watching.show(found, eps)
    _walks(found)
    if known.complete:
        behind.show(known, found, standings)
        seeing.show(known, found, standings)
        _take_away(known, found)


def _budget(found: Judged) -> float | None:
    """At first the smallest: a defense that does not help there helps nowhere."""
    if len(found.budgets) < 2:
        return found.budgets[0]
    norm = NORMS[found.norm]
    texts = {"" if eps is None else norm.text(eps, ".3g"): eps for eps in found.budgets}
    chosen = st.segmented_control("The attacker may change the picture by at most", list(texts),
                                  default=next(iter(texts)), key=SCOPE.control(BUDGET), required=True)
    return texts[cast(str, chosen)]


def _head(known: Known, what: str) -> None:
    """Of what data set and model all below is."""
    if known.earlier:
        st.warning(f"Of an earlier choice, not of what the sidebar says now: **{plain(what)}**.")
    else:
        st.markdown(plain(what))


def _words(found: Judged, eps: float | None, complete: bool) -> None:
    with st.container(key="defend-words"):
        st.markdown(f"**{'' if complete else 'So far: '}{plain(headline(found, eps))}**")
        each = lines(found, eps)
        if len(each) <= LINES:
            _grouped(each)
        else:
            best = max(each, key=lambda line: (not line.doubted, line.holds))
            worst = min(each, key=lambda line: (line.holds, not line.doubted))
            st.markdown(f"- Keeps most: {plain(best.text)}\n- Keeps least: {plain(worst.text)}")
            with st.expander(f"All {len(each)} one by one"):
                _grouped(each)
        if said := budget_words(found.norm, eps):
            st.caption(plain(said))


def _grouped(each: Sequence[Line]) -> None:
    """A line each, below their models where there are several."""
    models = list(dict.fromkeys(line.model for line in each))
    for model in models:
        if len(models) > 1:
            st.markdown(f"**{plain(model)}**")
        st.markdown("\n".join(f"- {plain(capital(f'{line.defense}: {line.said}'))}" for line in each
                              if line.model == model))


def _trade_off(standings: Sequence[Standing]) -> None:
    st.markdown("###### At a glance")
    st.caption("A good defense stands far up (pictures hold under attack) and not further left than *no defense* "
               "(untouched ones are still read). Filled: the attacker knows of it, which is what counts; hollow: he "
               "does not. Points that would hide each other stand side by side. Click a point for its pictures.")
    figures.figure(SCOPE, plots.trade_off(standings), "trade-off", on_select=behind.clicked, selection_mode="points")


def _signs(known: Known, found: Judged, eps: float | None) -> None:
    """What shows hidden gradients, and what else one must know."""
    st.markdown("###### Can these numbers be trusted?")
    if not known.complete:
        st.caption("Not checked yet: that takes all attacks.")
        return
    struck = [f"**{plain(name)}** – {plain(sign.name)}: {plain(sign.sentence)}"
             f"{'' if sign.sure else ' (too few to be sure)'}" for name, sign in warnings(found, eps)]
    notes = [plain(line) for line in (*doubts(found, eps), *_cautions(found.at(eps)))]
    if struck:
        st.warning("These may only look robust: an attack that ought to do better did not, so a cleverer one may "
                   "get through.\n\n"
                   + "\n".join(f"- {line}" for line in struck))
    if notes:
        st.info("\n".join(f"- {line}" for line in notes))
    if not without_checks(cast(Sweep, known.task.spec).attacks)[1]:
        st.info("Not all was checked: the attacks that show whether a defense only looks good were switched off.")
    elif not struck and not notes:
        st.success("No sign that a cleverer attacker would get further, as far as these checks show.")
    with st.expander("What is checked"):
        st.markdown(CHECKED)


def _cautions(standings: Sequence[Standing]) -> list[str]:
    return list(dict.fromkeys(line for one in standings for line in cautions(defenses_from(one.defenses))))


def _table(found: Judged, standings: Sequence[Standing]) -> None:
    shown = readable(standings, settings=False)
    st.markdown("###### The numbers")
    refusing = ("A refused picture is not read, but holds as well: nobody is fooled by it. "
                if "refused, attacked" in shown else "")
    st.caption("In brackets 95 % intervals. *Holds*: pictures that were read correctly before, and that no attack "
               "makes the model read otherwise. *Unaware* attackers do not know of the defense; *aware* ones do, and "
               f"may also do what the unaware would. {refusing}*Time*: of an answer without a defense, and how many "
               "times as long one takes with it.")
    figures.grouped_table(SCOPE, shown, "defenses", "model")
    st.caption("All numbers at every budget, to the last digit:")
    figures.downloads(SCOPE, lambda: tables.overview(found), "all-numbers")


# ---- walks


def _walks(found: Judged) -> None:
    """Norm against queries with and without each defense, and the same asked again."""
    walks = [run for run in found.defended.known if ATTACKS[run.spec.attack].info.knowledge is Knowledge.DECISION]
    if not walks or found.norm not in ("linf", "l2"):
        return
    curves = [query_curve(run, [run.limit], None, found.norm) for run in walks]
    lines = [drawn(run, curve) for run, curve in zip(walks, curves, strict=True)]
    st.markdown("###### How near an attacker comes who can only ask")
    st.caption("Median of the images read correctly, those not fooled yet counted as infinite; band: the quartiles; "
               "dotted: the mean of those fooled so far. The higher a line stays, the more the defense is worth.")
    figures.figure(SCOPE, walking.norm_against_queries(lines, [run.limit for run in walks]), "norm-against-queries",
                   lambda: table(lines))
    verified = tables.again(found)
    if len(verified):
        with st.expander("Asked again: distances that hold"):
            st.caption("Whoever asks a random defense once may have been lucky. The best picture so far is shown to "
                       "the defended model ten times more, and to the bare one; only what fools most of the ten "
                       "counts. It can only come nearer with more queries.")
            figures.table(SCOPE, verified, "asked-again")


# ---- to be taken away


def _take_away(known: Known, found: Judged) -> None:
    sweep = cast(Sweep, known.task.spec)
    figures.rows_downloads(SCOPE, found.defended.known, lambda: sweep.images, "defend")
    st.download_button("sweep.toml", lambda: repeats(sweep), file_name="sweep.toml", on_click="ignore", type="tertiary",
                       key=SCOPE.key("sweep file"), help="Repeats this from the command line: python -m engine defend "
                                                         "--config sweep.toml --out defend")


def repeats(sweep: Sweep) -> str:
    """The file that repeats it from the command line, which adds the checks by itself."""
    chosen, checks = without_checks(sweep.attacks)
    settings = settings_of_sweep(replace(sweep, attacks=chosen))
    return config_text("defend", settings if checks else {**settings, "no-checks": True})

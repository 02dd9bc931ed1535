"""An attack's outcome in plain words."""

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st

from engine.attacks import ATTACKS
from engine.data.base import StoredUnits
from engine.experiments.defended import told
from engine.experiments.onepicture.asking import refused
from engine.experiments.onepicture.explored import Explored
from pages.ui.charts import counted, percent
from pages.ui.text import capital

_SEEN = {"invisible": "A person would not see it", "hardly visible": "A person would hardly see it",
         "visible": "A person who looks closely would see it", "obvious": "A person would see it at once"}


LITTLE = 0.25  # a pixel that moved further was repainted, not nudged


@dataclass(frozen=True)
class Says:
    """What the model says of one picture; nothing (index -1) where it refused to answer."""

    name: str
    index: int
    confidence: float

    @property
    def sure(self) -> str:
        """How sure it is; "" of a refusal."""
        return percent(self.confidence) if self.index >= 0 else ""

    def __str__(self) -> str:
        return f"{self.name} {self.sure}".strip()


def says(classes: Sequence[str], probabilities: Sequence[float] | np.ndarray) -> Says:
    """The model's prediction."""
    if refused(np.nan_to_num(probabilities)):
        return Says("refused", -1, 0.0)
    index = int(np.argmax(probabilities))
    return Says(classes[index], index, float(probabilities[index]))


def _before_and_after(explored: Explored) -> tuple[Says, Says]:
    said = explored.probabilities
    return says(explored.run.classes, said.clean), says(explored.run.classes, said.adversarial)


def levels(value: float) -> str:
    """An intensity in [0,1] as n/255, three digits."""
    return f"{value * 255:.3g}/255"


def show(explored: Explored, units: StoredUnits | None) -> None:
    """The verdict: before, after, and what it takes."""
    before, after = _before_and_after(explored)
    changed = before.index != after.index
    st.html(f"""<div class="ps-verdict" data-testid="verdict">
      <div class="ps-flip">{_said("The model said", before, False)}<span class="ps-arrow">&#8594;</span>
        {_said("After the attack it says", after, changed)}</div>
      <p>{html.escape(sentence(explored))}</p>
      <div class="ps-checks">{"".join(_checks(explored, units))}</div></div>""")


def unfinished(title: str, truth: str, now: Says | None, unknown: str, sentence: str, checks: Sequence[str]) -> None:
    """What stands in the verdict's place until there is one: the true class, and what the model says by now."""
    right = f'<div class="ps-says"><small>{html.escape(title)}</small><b>{html.escape(unknown)}</b></div>'
    if now is not None:
        right = _said(title, now, now.name != truth)
    st.html(f"""<div class="ps-unfinished" data-testid="unfinished">
      <div class="ps-flip"><div class="ps-says"><small>The picture is</small><b>{html.escape(truth)}</b></div>
        <span class="ps-arrow">&#8594;</span>{right}</div>
      <p>{html.escape(sentence)}</p>
      <div class="ps-checks">{"".join(_dot(check, check) for check in checks) or "<span>&nbsp;</span>"}</div></div>""")


def _said(title: str, what: Says, changed: bool) -> str:
    return (f'<div class="ps-says{" changed" if changed else ""}"><small>{title}</small>'
            f"<b>{html.escape(what.name)} <i>{what.sure}</i></b></div>")


def sentence(explored: Explored) -> str:
    """What happened, in one or two sentences."""
    before, after = _before_and_after(explored)
    classes, target = explored.run.classes, explored.run.spec.target
    truth, small = classes[explored.label], extent(explored)
    if before.index < 0:
        return ("The defended model refused to answer before any attack: a false alarm. There was nothing to break; "
                "take another picture to see an attack.")
    if after.index < 0:
        return f"The attack was caught: the defended model refuses to answer, and nobody is fooled. {advice(explored)}"
    if explored.label_known and before.index != explored.label:
        return (f"The model was wrong before any attack: this is {truth}, it said {before.name}. "
                "There was nothing to break; take another picture to see an attack.")
    if target is not None and before.index == target:
        return f"The model said {before.name} before the attack: the goal was reached already. Choose another goal."
    if target is not None and after.index == target:
        return (f"The attack worked: the model was made to say {after.name}, as ordered. "
                f"{small[0].upper()}{small[1:]}.")
    if target is not None and after.index != before.index:
        return (f"Half a success: the model was driven from {before.name} to {after.name}, but not to "
                f"{classes[target]}. {advice(explored)}")
    if after.index != before.index:
        link = ", though" if explored.size.linf <= LITTLE or small.startswith("only") else ":"
        return f"The attack worked: the diagnosis flips{link} {small}."
    change = after.confidence - before.confidence
    trend = ("hardly less sure" if abs(change) < 0.02 else "less sure" if change < 0 else "even surer")
    return f"The model held: it still says {after.name}, {trend} than before. {advice(explored)}"


def advice(explored: Explored) -> str:
    """What to try where the attack did not reach its goal."""
    if ATTACKS[explored.run.spec.attack].info.bounded:
        return "Try a larger epsilon, more steps or another attack."
    return "Give it more in the advanced settings, or try another attack."


def extent(explored: Explored) -> str:
    """How little was changed: by how much, or, where a few pixels were changed much, how many of them."""
    size = explored.size
    if explored.run.spec.norm == "l0" or (size.linf > LITTLE and size.l0_share < 0.5):
        were = "was" if size.l0 == 1 else "were"
        return f"only {counted(size.l0, 'pixel')} ({percent(size.l0_share)} of the picture) {were} changed"
    if size.linf > LITTLE:
        return f"pixels moved by up to {levels(size.linf)}"
    return f"no pixel moved by more than {levels(size.linf)}"


def _checks(explored: Explored, units: StoredUnits | None) -> Iterator[str]:
    before, after = _before_and_after(explored)
    seen, said = explored.visibility, explored.probabilities
    if (spec := explored.run.spec).defenses:
        yield _dot(capital(told(spec)), "Every query passes the defense, and so do the answers shown here.")
    yield _dot(_SEEN[seen.level], f"{seen.reason} (An estimate, not a reader study.)")
    largest = f"Largest pixel change {levels(explored.size.linf)}"
    if units is not None:
        largest += f" = {explored.size.linf * abs(units.scale):.3g} {units.name}"
    yield _dot(largest, "How far the most changed pixel moved; 1/255 is one step of an 8-bit picture.")
    if after.index not in (before.index, -1):
        for values, title in ((said.png8, "saved as 8-bit PNG"), (said.jpeg90, "saved as JPEG, quality 90"),
                              *in_file(explored)):
            then = says(explored.run.classes, values)
            fooled = then.index not in (before.index, -1)
            word = "Still fools it" if fooled else "No longer fools it"
            yield (f'<span class="{"ps-yes" if fooled else "ps-no"}" title="The model says {html.escape(str(then))}">'
                   f"{word} {title}</span>")


def in_file(explored: Explored) -> list[tuple[tuple[float, ...], str]]:
    """What the model says of the picture in the values of its own file, where they are known, and in words how it is
    there."""
    file = explored.in_file
    if file is None:
        return []
    return [(file.rounded, f"in steps of {file.step:.3g} {file.unit}, as the file has them"),
            (file.written, f"written into the file's {file.columns} x {file.rows} pixels")]


def _dot(text: str, help: str) -> str:
    return f'<span class="ps-dot" title="{html.escape(help)}">{html.escape(text)}</span>'

"""How an attack works."""

import streamlit as st

from engine.attacks import ATTACKS
from pages.exploring.run import Run
from pages.ui import controls


def show(run: Run) -> None:
    info = ATTACKS[run.settings.attack.attack].info
    paper = info.paper
    known_as, knows = controls.KNOWN_AS[info.knowledge], _lower_first(info.knowledge.value)
    st.markdown(f"**{info.title}**, {known_as}: {knows}. {info.sentence}")
    st.latex(info.formula)
    st.caption(r"$x$ the picture, $x'$ the attacked one, $y$ its class, $L$ the loss, $\varepsilon$ the budget")
    left, right = st.columns(2, gap="large")
    left.markdown(f"**What to look for.** {info.look_for}")
    right.markdown(f"**Paper.** {paper.authors}: [{paper.title}]({paper.url}), {paper.year}.")


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]

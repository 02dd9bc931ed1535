"""About: what the words mean, and what is in the box, generated from what the engine declares."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from engine.attacks import ATTACKS
from engine.attacks.base import AttackInfo, Knowledge
from engine.data import DATASETS
from engine.defenses import DEFENSES
from engine.explain.methods import CAMS
from engine.params import Param, params_of
from engine.serving.defense import DETECTION, INFERENCE, DefenseInfo
from engine.training.defenses import TRAINING_DEFENSES, TrainingDefenseInfo
from engine.zoo.registry import ModelEntry, models
from pages.ui import shell
from pages.ui.charts import percent
from pages.ui.controls import KNOWN_AS, with_unit
from pages.ui.text import plain, source

INTRODUCTION = """
Perturbscope shows what **adversarial perturbations** do to classifiers of medical images: changes so small that a
person does not see them, chosen so that the model says something else. Choose a picture, a model, an attack and an
epsilon on the Explore page; it shows the original, the attacked picture, the difference made visible, and where the
model looked before and after.

It is for research and teaching, **not for diagnosis**. No number here says anything about a patient. That an attack
works on these models does not mean that it works on a product, and that it fails does not mean that a model is safe.
"""

WORDS = {
    "clean, adversarial": "The picture as it was, and the picture after the attack.",
    "perturbation": "What the attack added: adversarial minus clean.",
    "epsilon": "How far the attack may go. For L∞ it is the most that any single pixel may change, counted in [0, 1] "
               "and shown as n/255, where 1/255 is one step of an 8-bit picture. For L2 it is a radius over the whole "
               "picture.",
    "budget": "A norm (L∞ or L2) and an epsilon.",
    "threat model": "What the attacker knows. "
                    + " ".join(f"{KNOWN_AS[k].capitalize()}: {k.value[0].lower()}{k.value[1:]}." for k in Knowledge),
    "goal": "Untargeted: the model shall leave the true class. Targeted: it shall say one class named beforehand.",
    "success": "The prediction has left the true class (or reached the target), counted over pictures that were "
               "classified correctly before; always read it beside the accuracy over all pictures.",
    "robust accuracy": "Accuracy on attacked pictures: an upper bound, for a stronger attack may lower it still.",
    "logits": "The numbers a model computes for the classes before they become probabilities.",
    "defense": "What is meant to keep a model from being fooled: a way of training it, or something in front of it.",
    "oblivious, adaptive": "An attacker who does not know of a defense, and one who does and acts accordingly. What a "
                           "defense is worth shows against the second.",
    "query": "One forward pass of one picture through the model.",
    "target model, surrogate model": "The model under attack, and another one on which an attack is prepared.",
    "heatmap (CAM)": "A map of the places that speak for the class which the model names.",
    "8-bit PNG, JPEG 90": "Attacks are computed in fine steps; saving a picture rounds them. An attack that does not "
                          "survive saving exists in the computer's memory only.",
}

# By kind of defense, when it acts.
DEFENDED = {
    TrainingDefenseInfo.kind: "**In training** (a model of its own comes of it: see the Training page)",
    INFERENCE: "**In front of a model** (changes what is asked or answered)",
    DETECTION: "**In front of a model** (tells attacks from other pictures or queries, and refuses them)",
}


def attack(info: AttackInfo, declared: Sequence[Param]) -> None:
    with st.expander(f"**{info.title}**: {info.sentence}"):
        st.latex(info.formula)
        st.markdown(info.look_for)
        st.markdown(source(info.paper))
        if info.builds_on:
            st.markdown("Builds on: " + " ".join(source(paper) for paper in info.builds_on))
        settings(declared)


def defense(info: DefenseInfo | TrainingDefenseInfo, declared: Sequence[Param]) -> None:
    with st.expander(f"**{info.title}**: {info.sentence}"):
        st.latex(info.formula)
        if isinstance(info, DefenseInfo) and info.cost:
            st.markdown(f"A query costs {info.cost}.")
        if info.ours:
            st.markdown(f"**Here.** {info.ours}")
        st.markdown(source(info.paper))
        settings(declared)


def settings(declared: Sequence[Param]) -> None:
    if declared:
        rows = [f"| {p.title} (`{p.name}`) | {with_unit(p, p.default)} | {p.help} |" for p in declared]
        st.markdown("\n".join(["| Setting | Default | Meaning |", "|:--|:--|:--|", *rows]))


def model(entry: ModelEntry) -> None:
    card = entry.card
    with st.expander(f"**{plain(entry.title)}** · {plain(entry.name)}"):
        st.markdown(plain(f"Trained on {card.dataset}, split {card.split}, seed {card.seed}; weights kept as "
                          f"{card.storage}."))
        for split, scores in card.evaluations.items():
            _evaluation(split, scores, card.classes)
        if card.limits:
            st.markdown(f"**Limits.** {plain(card.limits)}")
        if card.command:
            st.code(card.command, language="bash", wrap_lines=True)


def _evaluation(split: str, scores: dict[str, Any], classes: Sequence[str]) -> None:
    auc = f", AUC {scores['auc']:.3f}" if scores.get("auc") is not None else ""
    st.markdown(f"**{plain(split)}** ({scores['n']:,} pictures): accuracy {percent(scores['accuracy'])}{auc}")
    recall, counts = scores["recall"], scores["confusion_matrix"]
    header = f"| is \\ model says | {' | '.join(map(plain, classes))} | recall |"
    lines = [f"| **{plain(name)}** | {' | '.join(f'{n:,}' for n in row)} | {percent(recall[name])} |"
             for name, row in zip(classes, counts, strict=True)]
    st.markdown("\n".join([header, "|:--|" + "--:|" * (len(classes) + 1), *lines]))


def dataset(name: str) -> None:
    entry = DATASETS[name]
    info, missing = entry.info, entry.missing()
    with st.expander(f"**{info.title}**" + (" · not on this machine" if missing else "")):
        st.markdown(info.sentence)
        st.markdown(f"Classes: {', '.join(info.classes)}. Source: {info.source}. Terms: {info.terms}.")
        st.markdown("\n".join(["| Split | |", "|:--|:--|", *(f"| {n} | {s} |" for n, s in info.splits.items())]))
        if missing:
            st.info(plain(missing))


def page() -> None:
    """Introduction, glossary, attacks, defenses, models, data sets, heatmaps."""
    with st.container(width=1100):
        contents()


def contents() -> None:
    st.header("About")
    st.markdown(INTRODUCTION)
    st.subheader("Words", divider="gray")
    words = [f"| **{word}** | {meaning} |" for word, meaning in WORDS.items()]
    st.markdown("\n".join(["| Word | Meaning |", "|:--|:--|", *words]))
    st.subheader("Attacks", divider="gray")
    for knowledge in Knowledge:
        group = [cls for cls in ATTACKS.values() if cls.info.knowledge is knowledge]
        if group:
            st.markdown(f"**{knowledge.value}** ({KNOWN_AS[knowledge]})")
        for cls in group:
            attack(cls.info, params_of(cls))
    st.subheader("Defenses", divider="gray")
    every = (*TRAINING_DEFENSES.values(), *DEFENSES.values())
    for kind, words in DEFENDED.items():
        st.markdown(words)
        for one in every:
            if one.info.kind == kind:
                defense(one.info, params_of(one))
    st.subheader("Models", divider="gray")
    for entry in models():
        model(entry)
    st.subheader("Data sets", divider="gray")
    for name in DATASETS:
        dataset(name)
    st.subheader("Heatmaps", divider="gray")
    for method in CAMS.values():
        with st.expander(f"**{method.title}**: {method.sentence}"):
            st.latex(method.formula)
            st.markdown(method.paper)


shell.run(page)

"""What the page shows of a training: curves while it learns; then how good it is, where it is wrong, and the way on."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from engine import digest
from engine.errors import EngineError
from engine.experiments.sources import opened
from engine.experiments.trainings.training import Mistake, Trained, mistakes
from engine.training.collapse import warnings_of
from engine.training.sofar import Sofar
from engine.training.spec import TrainSpec
from engine.zoo.cards import Card, network_text
from pages.learning import figures
from pages.learning.scope import SCOPE
from pages.ui import figures as shared
from pages.ui import pictures, shell
from pages.ui.charts import counted, percent
from pages.ui.matrices import counted_cells
from pages.ui.sweeping import Known
from pages.ui.text import plain

WORST = 6
_COLUMNS = {"epoch": "epoch", "size": "pixels", "loss": "loss", "validation_loss": "validation loss",
            "validation_accuracy": "validation accuracy", "validation_auc": "validation AUC",
            "validation_robust": "accuracy under PGD-10", "validation_fgsm": "accuracy under FGSM",
            "images_per_second": "images a second", "seconds": "seconds"}


def show(known: Known) -> None:
    """Everything that is known of it."""
    if isinstance(known.found, Sofar):
        _growing(known.found)
    elif isinstance(known.found, Trained):
        _finished(known.found, known.task.spec.spec)
    elif known.complete:
        st.caption("The model that was shown here was deleted or renamed since.")
    else:
        st.caption("The first point comes with the first pictures that it has learned from.")


def _growing(so_far: Sofar) -> None:
    # Between two epochs it is the last one's, so that the line does not come and go.
    rate = so_far.rate or next((epoch.get("images_per_second") for epoch in reversed(so_far.history)), None)
    if rate:
        st.caption(f"It learns from {rate:.3g} images a second.")
    _warned(so_far.history)
    shared.figure(SCOPE, figures.curves(so_far), "curves")


def _finished(trained: Trained, spec: TrainSpec) -> None:
    card = trained.card
    history = tuple(card.training.get("history", ()))
    st.markdown(f"**{plain(_words(card, spec))}**")
    _ways_on(card.name, spec)
    _warned(history)
    shared.figure(SCOPE, figures.curves(Sofar(len(history), history), figures.best_epoch(
        history, card.training.get("settings", {}))), "curves", history_table(history))
    st.caption("The dotted line is the epoch whose weights were kept: the best on the validation split at full size."
               + (" It stopped early, as nothing got better." if len(history) < spec.epochs else ""))
    _mistakes(trained, spec)
    st.subheader("What it says of what", divider="gray", help="A row is what the images show, a column what the model "
                 "says.")
    _card(card, "trained")


def _warned(history: Sequence[Mapping[str, Any]]) -> None:
    for warning in warnings_of(history):
        st.warning(plain(warning))


def _words(card: Card, spec: TrainSpec) -> str:
    scores = card.evaluations[spec.tests[0]]
    recall = scores["recall"]
    worst = min(recall, key=recall.get)
    return (f"{card.name} is right about {percent(scores['accuracy'])} of {counted(scores['n'], 'picture')} that it "
            f"has never seen; of those that show {worst} it finds {percent(recall[worst])}, the fewest.")


def _ways_on(name: str, spec: TrainSpec) -> None:
    with st.container(horizontal=True):
        st.page_link(shell.file("explore"), label="Attack it in Explore", help="One picture, and what it takes to fool "
                     "your model.", query_params={"dataset": spec.dataset, "split": spec.tests[0], "model": name})
        st.page_link(shell.file("evaluate"), label="Attack it in Evaluate", help="Many pictures at once.",
                     query_params={"dataset": spec.dataset, "split": spec.tests[0], "models": name})
        st.page_link(shell.file("data"), label="All models", query_params={"view": "models", "models": name},
                     help="Rename it, delete it, compare it with others.")


def history_table(history: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The numbers behind the curves."""
    names = [name for name in _COLUMNS if any(name in line for line in history)]
    return pd.DataFrame([{_COLUMNS[name]: line.get(name) for name in names} for line in history])


# ---- where it is wrong


def _mistakes(trained: Trained, spec: TrainSpec) -> None:
    st.subheader("Its worst mistakes", divider="gray", help="The pictures of the test split that it is wrong about, "
                 "those first of which it is the surest.")
    try:
        data = opened(spec.dataset, spec.tests[0])
        found = mistakes(trained, data)
    except EngineError as error:
        st.error(plain(error))
        return
    if not found:
        st.caption("It is right about every picture of the test split.")
        return
    st.caption(f"{counted(len(found), 'picture')} of {len(trained.odds[data.split]):,}; the {min(WORST, len(found))} "
               "of which it is the surest:")
    for start in range(0, min(WORST, len(found)), 3):
        for column, one in zip(st.columns(3), found[start:start + 3], strict=False):
            with column:
                _mistake(trained.name, spec, one)


def _mistake(name: str, spec: TrainSpec, one: Mistake) -> None:
    data = opened(spec.dataset, spec.tests[0])
    try:
        image = data.image(one.index)
    except EngineError as error:
        st.error(plain(error))
        return
    pictures.row([pictures.Figure(f"shows {one.shows}", f"it says {one.says}, {percent(one.odds)}",
                                  pictures.image_png(image, digest.of_arrays(image)),
                                  "SYNTHETIC" if data.info.synthetic else "", exact=min(image.shape[1:]) < 100)])
    st.page_link(shell.file("explore"), label="Open in Explore", query_params={
        "dataset": spec.dataset, "split": data.split, "index": str(one.index), "model": name})


# ---- the card


def card(shown: Card, name: str) -> None:
    """Matrices and words of a card; `name` tells the page's cards apart."""
    st.subheader("What it says of what", divider="gray", help="A row is what the images show, a column what the model "
                 "says.")
    _card(shown, name)


def _card(card: Card, name: str) -> None:
    splits = list(card.evaluations.items())
    for column, (split, scores) in zip(st.columns(max(2, len(splits))), splits, strict=False):
        with column:
            st.markdown(plain(f"{split}: {percent(scores['accuracy'])} right of {scores['n']:,}"
                              + (f", AUC {scores['auc']:.3f}" if scores.get("auc") is not None else "")))
            shared.figure(SCOPE, counted_cells(card.classes, scores["confusion_matrix"]), f"matrix {name} {split}",
                          _matrix(card.classes, scores["confusion_matrix"]))
    with st.expander("Its card"):
        facts = {"network": network_text(card), "begins with": card.training.get("start", ""),
                 "defense": card.training.get("defense", {}).get("written", "none"),
                 "trained on": f"{card.dataset}/{card.split}", "seed": str(card.seed),
                 "weights": card.storage, **{k: str(v) for k, v in card.versions.items()},
                 **{k.replace("_", " "): str(v) for k, v in card.training.get("settings", {}).items()}}
        shared.table(SCOPE, pd.DataFrame(facts.items(), columns=["fact", "value"]), f"card {name}")
        if card.limits:
            st.markdown(f"**Limits.** {plain(card.limits)}")
        if card.command:
            st.code(card.command, language="bash", wrap_lines=True)


def _matrix(classes: Sequence[str], counts: Sequence[Sequence[int]]) -> pd.DataFrame:
    return pd.DataFrame([{"shows": name, **{f"says {other}": row[k] for k, other in enumerate(classes)}}
                         for name, row in zip(classes, counts, strict=True)])

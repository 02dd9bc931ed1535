"""The models with their cards side by side; those trained here are renamed and deleted, and had back."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from engine.data import DATASETS
from engine.errors import EngineError, UnknownName
from engine.work.room import size_text
from engine.zoo import keeping
from engine.zoo.cards import network_text
from engine.zoo.registry import ModelEntry, models
from pages.browsing import arriving
from pages.browsing.scope import SCOPE
from pages.ui import figures, own, shell
from pages.ui.address import Address, force
from pages.ui.charts import config, counted, percent
from pages.ui.matrices import counted_cells
from pages.ui.sources import card_line
from pages.ui.text import capital, literal, plain

SETTINGS = ("models",)
MOST = 4  # cards beside each other
_TROUBLE, _SAID = map(SCOPE.key, ("model trouble", "model said"))
_CHOSEN = SCOPE.control("models")


def show(address: Address) -> None:
    """All models in a table, the chosen ones side by side."""
    entries = models()
    _news()
    trained = sum(not entry.bundled for entry in entries)
    st.markdown(f"**{counted(len(entries), 'model')}, {trained} of your own.** Choose up to {MOST} to compare them.")
    figures.table(SCOPE, pd.DataFrame([_row(entry) for entry in entries]), "models", column_config=_COLUMNS)
    if (name := arriving.show(address)):
        st.session_state[_SAID] = f"{name} is among the models now, on every page."
        force(_CHOSEN, [name])
        st.rerun()
    chosen = _chosen(address, entries)
    if not chosen:
        st.info("Choose models above, bring one along, or train one.")
        st.page_link(shell.file("training"), label="Training")
        return
    table = pd.DataFrame({entry.name: _facts(entry) for entry in chosen}).rename_axis("fact").reset_index()
    figures.table(SCOPE, table.fillna(""), "cards")
    for column, entry in zip(st.columns(max(2, len(chosen))), chosen, strict=False):
        with column:
            _card(entry)


_COLUMNS = {"accuracy": st.column_config.NumberColumn(format="percent"),
            "AUC": st.column_config.NumberColumn(format="%.3f"),
            "own": st.column_config.CheckboxColumn("own", width=50)}


def _row(entry: ModelEntry) -> dict[str, object]:
    split, scores = next(iter(entry.card.evaluations.items()), ("", {}))
    return {"name": entry.name, "own": not entry.bundled, "trained on": _origin(entry),
            "tested on": split, "accuracy": scores.get("accuracy"), "AUC": scores.get("auc"),
            "classes": ", ".join(entry.card.classes), "size": size_text(_size(entry.path))}


def _origin(entry: ModelEntry) -> str:
    """What it was trained on."""
    return f"{entry.card.dataset}/{entry.card.split}" if entry.card.dataset else "not said"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # deleted by another process
        return 0


def _chosen(address: Address, entries: Sequence[ModelEntry]) -> list[ModelEntry]:
    known = {entry.name: entry for entry in entries}

    def read(text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        for name in names:
            if name not in known:
                raise UnknownName("model", name, known)
        if len(names) > MOST:
            raise EngineError(f"it must name at most {MOST} models")
        return names

    seed = address.seed("models", _CHOSEN, read, list(known)[:2], lambda names: all(name in known for name in names))
    first = seed and [name for name in seed if name in known]  # one of them may have been renamed since
    names = st.multiselect("Side by side", list(known), first, key=_CHOSEN, max_selections=MOST)
    address.note("models", ",".join(names))
    return [known[name] for name in names]


def _facts(entry: ModelEntry) -> dict[str, str]:
    """What the card says, in few words."""
    card = entry.card
    seed = f", seed {card.seed}" if card.dataset else ""
    facts = {"network": network_text(card), "trained on": f"{_origin(entry)}{seed}",
             "weights": f"{card.storage}, {size_text(_size(entry.path))}",
             "how it was trained": ", ".join(f"{name} {value}" for name, value in card.training.items()
                                             if isinstance(value, str | int | float))}
    for split, scores in card.evaluations.items():
        facts[f"{split}: images"] = f"{scores['n']:,}"
        facts[f"{split}: accuracy"] = percent(scores["accuracy"])
        if scores.get("auc") is not None:
            facts[f"{split}: AUC"] = f"{scores['auc']:.3f}"
        facts |= {f"{split}: recall of {name}": percent(value) for name, value in scores.get("recall", {}).items()}
    return facts


def _card(entry: ModelEntry) -> None:
    """One model's card."""
    card = entry.card
    st.markdown(f"**{plain(entry.title)}** · {plain(entry.name)}")
    st.caption(plain(card_line(entry)))
    for split, scores in card.evaluations.items():
        if (counts := scores.get("confusion_matrix")) is not None:
            st.plotly_chart(_matrix(card.classes, counts, split), width="stretch", config=config("confusion"),
                            key=SCOPE.key(f"matrix {entry.name} {split}"))
    if card.limits:
        st.markdown(f"**Limits.** {plain(card.limits)}")
    if card.command:
        st.code(card.command, language="bash", wrap_lines=True)
    dataset = card.dataset or _fitting(card.classes)
    st.page_link(shell.file("explore"), label="Attack it in Explore",
                 query_params={"model": entry.name, **({"dataset": dataset} if dataset else {})})
    if not entry.bundled:
        _keep(entry)


def _fitting(classes: Sequence[str]) -> str:
    """A data set that is here and whose classes these are, if there is one; real pictures before synthetic ones."""
    known = [name for name in DATASETS if set(DATASETS[name].info.classes) == set(classes)
             and DATASETS[name].missing() is None]
    return min(known, key=lambda name: DATASETS[name].info.synthetic, default="")


def _matrix(classes: Sequence[str], counts: Sequence[Sequence[int]], split: str) -> go.Figure:
    return counted_cells(classes, counts).update_layout(title={"text": literal(f"{split} split"), "x": 0})


def _keep(entry: ModelEntry) -> None:
    """What can be done with a model of one's own, where visitors may."""
    if not own.keeps():
        st.caption("Whoever runs this server can rename and delete it.")
        return
    key = SCOPE.key(f"new name {entry.name}")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input("Rename", entry.name, key=key, max_chars=200,
                      help="Kept runs go on under the old name; what is made from now on has the new one.")
        st.button("Rename", key=SCOPE.key(f"rename {entry.name}"), on_click=_rename, args=(entry.name, key))
        st.button("Delete", key=SCOPE.key(f"delete {entry.name}"), on_click=_discard, args=(entry.name,),
                  help="It can be had back for a quarter of an hour.")


def _change(make: Callable[[], None], said: str = "") -> bool:
    """In a callback: do it, or remember in one line why not."""
    try:
        if not own.keeps():
            raise EngineError("models are renamed and deleted by whoever runs this server")
        make()
    except EngineError as error:
        st.session_state[_TROUBLE] = capital(error)
        return False
    if said:
        st.session_state[_SAID] = said
    return True


def _rename(name: str, key: str) -> None:
    new = st.session_state[key].strip()
    if _change(lambda: keeping.rename(name, new), f"{name} is called {new} now."):
        _replace(name, new)


def _discard(name: str) -> None:
    if _change(lambda: keeping.discard(name)):
        _replace(name)


def _replace(name: str, *by: str) -> None:
    """The choice without a model, or with it under its new name."""
    chosen = st.session_state.get(_CHOSEN, [])
    force(_CHOSEN, [other for one in chosen for other in (by if one == name else (one,))])


def _news() -> None:
    """What became of the last change, and the last deletion while it can be undone."""
    if trouble := st.session_state.pop(_TROUBLE, None):
        st.error(plain(trouble))
    if said := st.session_state.pop(_SAID, None):
        st.success(plain(said))
    if not own.keeps() or not (found := keeping.discarded()):
        return
    last = found[0]
    minutes = round((time.time() - last.when) / 60)
    ago = "just now" if minutes < 1 else f"{minutes} min ago"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(plain(f"{last.name} was deleted {ago}."), width="content")
        st.button("Undo", key=SCOPE.key("model undo"), on_click=_change, args=(lambda: keeping.restore(last),))

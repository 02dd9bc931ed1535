"""A run's report: one click makes it, with its progress, and another keeps the file."""

import streamlit as st

from engine.errors import EngineError
from engine.experiments.reports.reporting import FORMS, Form, made
from engine.experiments.runs.kept import Kept
from engine.work.store import Store
from pages.running.scope import SCOPE
from pages.ui.text import plain


def offer(store: Store, kept: Kept) -> None:
    """A button for each form of report, and for the file once it is made.

    It is made here and now: it takes seconds, needs no network and no PyTorch, and must not wait for a sweep.
    """
    with st.popover("Report"):
        st.markdown("Everything about this run in one file that opens anywhere, offline: settings, data and model "
                    "cards, figures, tables, sample images, warnings, versions, and the command that repeats it.")
        for form in FORMS.values():
            _form(store, kept, form)


def _form(store: Store, kept: Kept, form: Form) -> None:
    what, remembered = (kept.entry.key, kept.entry.label), SCOPE.key(f"last {form.ending}")
    if st.button(f"Make the {form.title}", key=SCOPE.key(f"report {form.ending} {kept.entry.key}")):
        bar = st.progress(0.0, text="starting")
        try:
            file = made(store, kept, form.ending, lambda share, text: bar.progress(share, text=text))
        except EngineError as error:
            st.error(plain(error))
            return
        bar.empty()
        st.session_state[remembered] = what, file
    last, file = st.session_state.get(remembered, (None, b""))
    if last == what:
        st.download_button(f"Download the {form.title}", file, mime=form.mime, on_click="ignore", type="primary",
                           file_name=f"perturbscope-{kept.entry.key[:12]}.{form.ending}",
                           key=SCOPE.key(f"report file {form.ending} {kept.entry.key}"))

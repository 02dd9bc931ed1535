"""A run's report: one click makes it, with its progress, and another keeps the file."""

import streamlit as st

from engine.experiments.kept import Kept
from engine.experiments.reporting import FORMS, Form, file_of, report_task
from engine.work.store import Payload
from pages.running.scope import SCOPE
from pages.ui import progress


def offer(kept: Kept) -> None:
    """The button for it, and what it opens."""
    with st.popover("Report"):
        st.markdown("Everything about this run in one file that opens anywhere, offline: settings, data and model "
                    "cards, figures, tables, sample images, warnings, versions, and the command that repeats it.")
        for form in FORMS.values():
            payload = progress.on_request(SCOPE, report_task(kept, form.ending), "", f"Make the {form.title}",
                                          f"report {form.ending} {kept.entry.key}")
            if payload is not None:
                _download(kept, form, payload)


def _download(kept: Kept, form: Form, payload: Payload) -> None:
    st.download_button(f"Download the {form.title}", file_of(payload), mime=form.mime, on_click="ignore",
                       file_name=f"perturbscope-{kept.entry.key[:12]}.{form.ending}", type="primary",
                       key=SCOPE.key(f"report file {form.ending} {kept.entry.key}"))

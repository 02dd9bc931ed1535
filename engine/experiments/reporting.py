"""Reports as files, by a click or a command. Does not import torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.errors import UnknownName
from engine.experiments.kept import Kept
from engine.experiments.samples import samples
from engine.work.store import Store


@dataclass(frozen=True)
class Form:
    """A kind of file: its ending, what it is to a browser, and what people call it."""

    ending: str
    mime: str
    title: str


FORMS = {form.ending: form for form in (Form("html", "text/html", "HTML"), Form("pdf", "application/pdf", "PDF"))}


def made(store: Store, kept: Kept, form: str, tell: Callable[[float, str], None] = lambda share, text: None) -> bytes:
    """The report of a run as a file with that ending; raises EngineError."""
    if form not in FORMS:
        raise UnknownName("form of report", form, FORMS)
    tell(0.05, "looking for sample images")
    found = samples(store, kept)
    tell(0.25, "drawing the figures")
    from engine.experiments.report import report_of

    report = report_of(kept, found)
    tell(0.8, "writing the file")
    if form == "pdf":
        from engine.experiments.report_pdf import as_pdf

        return as_pdf(report)
    from engine.experiments.report_html import as_html

    return as_html(report)

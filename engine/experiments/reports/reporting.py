"""Reports as files, by a click or a command, and the figures in them. Does not import torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.errors import UnknownName
from engine.experiments.reports.given import given
from engine.experiments.runs.kept import Kept
from engine.experiments.runs.samples import samples
from engine.work.store import Store


@dataclass(frozen=True)
class Form:
    """A kind of file: its ending, what it is to a browser, and what people call it."""

    ending: str
    mime: str
    title: str


FORMS = {form.ending: form for form in (Form("html", "text/html", "HTML"), Form("pdf", "application/pdf", "PDF"))}


def checked(form: str) -> str:
    """A form's ending, if there is such a form; raises EngineError."""
    if form not in FORMS:
        raise UnknownName("form of report", form, FORMS)
    return form


def made(store: Store, kept: Kept, form: str, tell: Callable[[float, str], None] = lambda share, text: None) -> bytes:
    """The report of a run as a file with that ending, of what is kept; raises EngineError."""
    checked(form)
    tell(0.05, "looking for sample images")
    found = samples(store, kept)
    tell(0.2, "reading the numbers")
    from engine.experiments.reports.report import report_of

    report = report_of(given(store, kept), found)
    tell(0.4, "drawing the figures")
    if form == "pdf":
        from engine.experiments.reports.pdf import as_pdf

        return as_pdf(report)
    from engine.experiments.reports.html import as_html

    return as_html(report)


def drawn(store: Store, kept: Kept) -> dict[str, bytes]:
    """The figures of a run's report as files, by their names: each as SVG and as PNG."""
    from engine.experiments.plots import FORMATS
    from engine.experiments.reports.blocks import Drawing
    from engine.experiments.reports.report import figures

    return {f"{block.name}.{form}": block.file(form) for block in figures(given(store, kept))
            if isinstance(block, Drawing) for form in FORMATS}

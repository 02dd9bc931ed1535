"""Reports as files, by a click or a command. Does not import torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.errors import UnknownName
from engine.experiments.queries.walks import walks_of
from engine.experiments.runs.kept import Kept
from engine.experiments.runs.samples import samples
from engine.work.store import Payload, Store

if TYPE_CHECKING:
    from engine.experiments.reports.report import Drawing


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
    from engine.experiments.reports.report import report_of

    report = report_of(kept, found, _further(store, kept))
    tell(0.8, "writing the file")
    if form == "pdf":
        from engine.experiments.reports.pdf import as_pdf

        return as_pdf(report)
    from engine.experiments.reports.html import as_html

    return as_html(report)


def _further(store: Store, kept: Kept) -> list[Drawing]:
    """Figures of what a run has besides rows, which only its kind knows."""
    draw, payload = _FURTHER.get(kept.entry.kind), store.get(kept.entry.key)
    return [] if draw is None or payload is None else draw(payload)


def _query_curves(payload: Payload) -> list[Drawing]:
    from engine.experiments.queries.curves import grid, query_curve
    from engine.experiments.queries.plots import as_file
    from engine.experiments.reports.report import Drawing

    curves = [query_curve(walks, grid(walks.limit, (walks.limit,))) for walks in walks_of(payload)]
    return [Drawing("How near, and how often, with how many queries", as_file(curves, "svg"), as_file(curves, "png"))]


_FURTHER: dict[str, Callable[[Payload], list[Drawing]]] = {"query-curve": _query_curves}

"""Reports as files, by a click or a command. Does not import torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine import digest
from engine.errors import UnknownName
from engine.experiments.kept import Kept, read
from engine.experiments.samples import samples
from engine.work.kinds import Bench, Task, kind
from engine.work.specs import to_json
from engine.work.store import Payload, Store


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


@dataclass(frozen=True)
class Reporting:
    """The report of the run `key` in one of FORMS; `label` is the digest of what people call it and noted of it."""

    key: str
    form: str
    label: str


def report_task(kept: Kept, form: str) -> Task:
    """The job whose payload `file_of` turns into the report."""
    spec = Reporting(kept.entry.key, form, digest.of_spec(to_json(kept.entry.label)))
    return Task("report", spec, f"report of {kept.entry.called}")


def file_of(payload: Payload) -> bytes:
    """The file that the job made."""
    return payload.arrays["file"].tobytes()


@kind("report", Reporting, keep=False)
def _report(asked: Reporting, bench: Bench) -> Payload:
    file = made(bench.store, read(bench.store, asked.key), asked.form, bench.progress.report)
    return Payload({}, {"file": np.frombuffer(file, np.uint8)})

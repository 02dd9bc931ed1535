"""Texts of a file from anywhere are texts in everything that is made of it: HTML, PDF, figures, CSV, LaTeX."""

import csv
import io
import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from pypdf import PdfReader
from pypdf.generic import ArrayObject

from engine.experiments.evaluation.tables import confusion_table, overview, scores_table
from engine.experiments.reports.blocks import Drawing
from engine.experiments.reports.given import given
from engine.experiments.reports.html import as_html
from engine.experiments.reports.images import image_png
from engine.experiments.reports.pdf import as_pdf
from engine.experiments.reports.report import report_of
from engine.experiments.runs.archive import export, imported, open_archive
from engine.experiments.runs.comparison import overview as compared
from engine.experiments.runs.kept import Kept, read
from engine.experiments.runs.pictures import table_of
from engine.experiments.spreadsheets import as_csv, as_latex
from engine.work.store import Store
from tests.hostile import TEXTS
from tests.made import keep, made
from tests.unit.test_report import Seen

FORMULAS = ("=1+1", "=cmd|' /C calc'!A0", "+1+cmd", "-2+3+cmd", "@SUM(1)", "\t=1", "\r=1", "\uff1d1", '=HYPERLINK("x")')
LATEX = ("\\input{/etc/passwd}", "$\\write18{ls}$", "a & b \\\\", "% x", "#1_2^3~{}", "\\begin{x}",
         "a\n\n\\end{tabular}")
SHOWN = tuple(text for text in (*TEXTS, *FORMULAS, *LATEX) if text.strip())


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Kept]:
    """An imported run whose every text is somebody's."""
    folder = tmp_path_factory.mktemp("hostile")
    theirs, store = Store(folder / "theirs"), Store(folder / "ours")
    count = len(SHOWN)
    labels = list(range(count))
    key = keep(theirs, [made(labels, labels, labels[::-1], classes=SHOWN, model=SHOWN[9], names=SHOWN[-1])])
    theirs.call(key, SHOWN[8], "\n".join(SHOWN))
    export(theirs, read(theirs, key), file := io.BytesIO(), figures={"confusion-01.svg": b"<script>alert(1)</script>"})
    return store, read(store, imported(store, open_archive(file)))


def test_a_report_of_it_is_text_alone(hostile: tuple[Store, Kept], monkeypatch: pytest.MonkeyPatch) -> None:
    report = report_of(given(*hostile))
    figure = next(block for block in report.blocks if isinstance(block, Drawing) and block.name.startswith("recall"))
    svg = figure.file("svg")
    for element in ElementTree.fromstring(svg).iter():
        assert element.tag.rpartition("}")[2] in {
            "svg", "metadata", "RDF", "Work", "type", "format", "creator", "Agent", "title", "defs", "style", "g",
            "path", "use", "clipPath", "rect"}
        assert not any(name.rpartition("}")[2].startswith("on") for name in element.attrib)
        assert all(value.startswith(("#", "http://purl.org/dc/")) for name, value in element.attrib.items()
                   if name.endswith(("href", "resource")))
    monkeypatch.setattr(Drawing, "file", lambda self, form: svg)
    page = as_html(report)
    seen = Seen(page)
    assert {tag for tag, _ in seen.tags} <= {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "ul",
                                             "li", "div", "table", "thead", "tbody", "tr", "th", "td", "pre", "figure",
                                             "img", "figcaption", "footer"}
    assert all(set(facts) <= {"lang", "charset", "http-equiv", "content", "name", "class", "alt", "src", "style"}
               and (facts.get("src") or "data:").startswith("data:") for _, facts in seen.tags)
    assert '<img src="http://beacon.example/h.png"' in seen.text and "\\input{/etc/passwd}" in seen.text
    assert b"alert(1)</script>" not in page


def test_a_pdf_of_it_does_nothing(hostile: tuple[Store, Kept], monkeypatch: pytest.MonkeyPatch) -> None:
    report = report_of(given(*hostile))
    monkeypatch.setattr(Drawing, "file", lambda self, form: image_png(np.zeros((1, 1, 1))))
    reader = PdfReader(io.BytesIO(as_pdf(report)))
    assert not any("/Annots" in page for page in reader.pages)
    root = reader.trailer["/Root"]
    assert not {"/AA", "/Names", "/AcroForm"} & set(root)  # type: ignore[call-overload]
    assert isinstance(root["/OpenAction"], ArrayObject), "a place to open at, and no action"  # type: ignore[index]
    assert "/etc/passwd" in " ".join(page.extract_text() for page in reader.pages)


def tables(kept: Kept) -> list[pd.DataFrame]:
    return [table_of(kept), compared(kept.runs), overview(kept.runs, means=False), confusion_table(kept.runs).head(500),
            scores_table(kept.runs)]


def test_no_cell_of_a_spreadsheet_is_a_formula(hostile: tuple[Store, Kept]) -> None:
    for table in tables(hostile[1]):
        for row in csv.reader(io.StringIO(as_csv(table))):
            for cell in row:
                assert not re.match(r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]..*", cell) or float(cell) is not None
    shown = list(csv.reader(io.StringIO(as_csv(pd.DataFrame({"=x": [*FORMULAS, "-", "-1.5", "a"]})))))
    assert [cell for cell, in shown] == ["'=x", *(f"'{text.strip()}" for text in FORMULAS), "-", "-1.5", "a"]
    kept = as_csv(pd.DataFrame({"n": [-1.5, np.nan], "c": pd.Categorical(["=1", None]), "t": ["b", None]}))
    assert kept == "n,c,t\n-1.5,'=1,b\n,,\n"


def test_no_command_of_latex_comes_of_a_text(hostile: tuple[Store, Kept]) -> None:
    for table in (table.head(60) for table in tables(hostile[1])):
        text = as_latex(table[[name for name in table if not str(name).startswith("p_")]])
        found = set(re.findall(r"\\([A-Za-z]+)", text))
        assert found <= {"begin", "end", "toprule", "midrule", "bottomrule", "textbackslash", "textasciitilde",
                         "textasciicircum", "space"}, found
        assert text.count("\\begin{") == text.count("\\end{") == 1 and "\n\n" not in text.strip()
        assert not re.search(r"(?<!\\)[$%#_]", text)

"""A report shows everything, needs nothing else, and nothing in it is more than text."""

import base64
import io
import json
import re
from collections.abc import Sequence
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pypdf import PdfReader

from engine.attacks.spec import make_spec
from engine.cli import main
from engine.errors import EngineError
from engine.experiments.plots import shown
from engine.experiments.reports.blocks import DISCLAIMER, Drawing, Gallery, Points, Report, Table
from engine.experiments.reports.given import given, missing_of
from engine.experiments.reports.html import as_html
from engine.experiments.reports.images import difference_png, gain, image_png
from engine.experiments.reports.pdf import as_pdf
from engine.experiments.reports.report import report_of
from engine.experiments.reports.reporting import drawn, made
from engine.experiments.runs.archive import export, imported, open_archive
from engine.experiments.runs.kept import read
from engine.experiments.runs.pictures import Pictures
from engine.experiments.runs.repeating import COMMANDS
from engine.experiments.runs.samples import Sample, samples
from engine.experiments.transfers.alignment import Alignment
from engine.work.store import Payload, Store
from tests.made import keep, ladder
from tests.made import made as rows_made
from tests.reported import KINDS, kept_of

NASTY = "<script>alert('x')</script> & $\\frac{1}{$ \"q\" \x1b[2J \u202e ✓ 肺"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    return Store(tmp_path / "home" / "runs")


class Seen(HTMLParser):
    """What a browser would find in a page: its tags with their attributes, and its text."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def words(pdf: bytes) -> str:
    return " ".join(" ".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages).split())


def told(store: Store, key: str, samples: Sequence[Sample] = ()) -> Report:
    return report_of(given(store, read(store, key)), samples)


def sample(clean: bool = True) -> Sample:
    image = np.linspace(0, 1, 3 * 16 * 16, dtype=np.float32).reshape(3, 16, 16)
    return Sample("image 3", "Pneumonia", "PGD at 2/255", "Pneumonia", "Normal", image if clean else None,
                  np.clip(image + 2 / 255, 0, 1))


def everything(store: Store) -> list[str]:
    """What a reader of the report of `ladder` must find."""
    return ["Figure 3", "a note", DISCLAIMER, "In plain words",
            "Of 2 images of Pneumonia found before, 2 are now missed (100 %, 95 % interval 34 % to 100 %; 2 called "
            "Normal); at 1/255, which nobody sees, already 1.", "Few images show", "75.0% (30.1 to 95.4)",
            "What was asked for", "Closely: PGD at 4/255 on phantom-cxr/resnet18, seed 0", "Specificity",
            "Where predictions go", "Most and least robust images",
            "python -m engine evaluate --dataset phantom-cxr", "--eps 1/255,2/255,4/255", "Phantom chest X-rays",
            "The model phantom-cxr/resnet18", "accuracy 95.8%", "limits: Synthetic images only", "Sample images",
            "attacks pgd params steps", f"numpy {np.__version__}", "Accuracy against epsilon",
            "Confusion matrices: PGD at 4/255", "digest of its weights"]


def test_html_has_everything_and_asks_for_nothing(store: Store) -> None:
    key = keep(store)
    store.call(key, "Figure 3", "a note")
    page = as_html(told(store, key, [sample()]))
    seen = Seen(page)
    for text in everything(store):
        assert text in seen.text, text
    images = [facts["src"] for tag, facts in seen.tags if tag == "img"]
    # Accuracies, the curve, three figures of the strongest run, a row of matrices a run, the sample three times.
    assert len(images) == 1 + 1 + 3 + 3 + 3
    for source in images:
        kind, data = re.fullmatch(r"data:(image/(?:png|svg\+xml));base64,(.*)", source or "").groups()
        content = base64.b64decode(data, validate=True)
        assert content.startswith(b"\x89PNG") if kind == "image/png" else b"<svg" in content
        assert b"<script" not in content
        assert all(address.startswith((b"#", b"data:")) for address in re.findall(rb'href="([^"]*)', content))
    assert {tag for tag, _ in seen.tags}.isdisjoint({"script", "link", "iframe", "a", "object", "embed", "base"})
    assert not any(name in ("href", "srcset", "onload") for _, facts in seen.tags for name in facts)
    assert b"url(" not in page and b"@import" not in page
    assert any("default-src 'none'" in (facts.get("content") or "") for tag, facts in seen.tags if tag == "meta")


def test_pdf_has_everything(store: Store) -> None:
    key = keep(store)
    store.call(key, "Figure 3", "a note")
    pdf = as_pdf(told(store, key, [sample()]))
    text = words(pdf)
    for wanted in everything(store):
        assert re.sub(r"\s", "", wanted) in re.sub(r"\s", "", text), wanted
    reader = PdfReader(io.BytesIO(pdf))
    assert sum(len(page.images) for page in reader.pages) == 1 + 1 + 3 + 3 + 3
    assert all("not for diagnosis" in page.extract_text() for page in reader.pages)
    assert reader.metadata is not None and reader.metadata.title == "Figure 3"


def test_nothing_from_outside_is_more_than_text(store: Store) -> None:
    rows = [rows_made([0, 1], [0, 1], [1, 1], model=NASTY, classes=(NASTY, "yes"), names=NASTY,
                      spec=make_spec("pgd", eps=eps / 255)) for eps in (1, 2)]
    key = keep(store, rows)
    store.call(key, NASTY.replace("\n", " ")[:100], NASTY)
    report = told(store, key, [Sample(NASTY, NASTY, NASTY, NASTY, NASTY, None, sample().perturbed)])
    page = as_html(report)
    seen = Seen(page)
    assert not any(tag == "script" for tag, _ in seen.tags) and "<script>alert('x')</script>" in seen.text
    assert "\x1b" not in page.decode() and "\u202e" not in page.decode()
    for _, facts in seen.tags:  # none broke out of the attribute that it stands in
        assert set(facts) <= {"lang", "charset", "http-equiv", "content", "name", "class", "alt", "src", "style"}
    assert unescape("&lt;script&gt;") in words(as_pdf(report))


def test_of_many_attacks_the_first_are_drawn_and_the_others_told(store: Store) -> None:
    many = [rows_made([0, 1], [0, 1], [1, 1], spec=make_spec("pgd", eps=1 / 255, seed=seed)) for seed in range(30)]
    report = told(store, keep(store, many))
    drawn = [block.name for block in report.blocks if isinstance(block, Drawing)]
    assert drawn == ["accuracies", *(f"{name}-{number:02}" for number in range(1, 5)
                                     for name in ("recall", "confidence", "flow")),
                     *(f"confusion-{number:02}" for number in range(1, 13))]
    said = next(block for block in report.blocks if isinstance(block, Points)).lines
    assert len(said) == 25 and said[-1].startswith("and 6 more")
    table = next(block for block in report.blocks if isinstance(block, Table))
    assert len(table.rows) == 30 and not any(isinstance(block, Gallery) for block in report.blocks)


# What a report of each kind must show: sentences, and figures by their names; (curves: what the eye sees is kept).
SHOWN = {
    "evaluation": (["Of 2 images of Pneumonia found before, 2 are now missed"], ["accuracies", "flow-01"]),
    "curves": (["PGD: of the 4 images that the model read correctly, 4 are flipped within 4/255",
                "flip before the eye would see anything", "Independent runs", "Worst case", "The danger zone: PGD"],
               ["worst-01-accuracy", "worst-05-measure", "independent-01-accuracy", "zone-01", "smallest-01"]),
    "transfer": (["An attacker who has resnet18 and never saw densenet121 changes the diagnosis in 2 of the 4 images",
                  "Between resnet18 and densenet121 the cosine is 0.50", "Images that fool all models"],
                 ["matrix-01", "alignment"]),
    "query-curve": (["After at most 1,000 questions an image, HopSkipJump had changed the model's mind on 4 of the 4",
                     "at most 1", "On the way: HopSkipJump", "after 9 queries: L2 distance 2"], ["query-curves"]),
    "defend": (["None of these defenses is seen to be worth its price: once the attacker knows of it",
                "Median filter"], ["trade-off-01"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_shows_what_its_page_shows(store: Store, kind: str) -> None:
    key = kept_of(store, kind)
    for task in missing_of(store, read(store, key)).tasks:  # as if somebody had looked at its page
        left = Payload({}, {"eye": np.full(4, 6 / 255)}) if task.kind == "eyes" else Alignment(
            task.spec.models, np.full((1, 4), 0.5)).payload()
        store.put(task.key, task.kind, "", {}, left)
    sentences, figures = SHOWN[kind]
    blocks = told(store, key).blocks
    drawings = {block.name: block for block in blocks if isinstance(block, Drawing)}
    assert {*figures, "confusion-01"} <= drawings.keys()
    for name in figures:
        data = drawings[name].file("svg")
        assert data.startswith(b"<svg") and not re.search(rb"\$|mathdefault|<script", data)
    text = Seen(as_html(Report("", "", tuple(block for block in blocks if block not in drawings.values())))).text
    for sentence in (*sentences, f"python -m engine {COMMANDS[kind]} --dataset", DISCLAIMER):
        assert sentence in text, sentence


def test_the_figures_of_an_archive_are_the_reports(store: Store) -> None:
    kept = read(store, kept_of(store, "query-curve"))
    files = drawn(store, kept)
    assert files.keys() == {f"{name}.{form}" for name in ("query-curves", "confusion-01") for form in ("svg", "png")}
    assert base64.b64encode(files["query-curves.svg"]) in made(store, kept, "html")


def test_warnings_are_told_once_and_of_whom(store: Store, undrawn: None) -> None:
    runs = [*ladder(), rows_made([0], [1], [1], spec=make_spec("fgsm", eps=1 / 255))]
    text = Seen(as_html(told(store, keep(store, runs)))).text
    assert "nothing to succeed on (FGSM at 1/255 on phantom-cxr/resnet18, seed 0)" in text
    refused = [rows_made([0, 1], [0, 1], [-1, -1], spec=make_spec("fgsm", eps=eps / 255)) for eps in (1, 2)]
    text = Seen(as_html(told(store, keep(store, refused, contents="d" * 64)))).text
    assert text.count("the defended model refused them") == 1 and "(2 of 2 attacks)" in text


def test_a_refused_image_is_not_a_missed_one(store: Store, undrawn: None) -> None:
    text = Seen(as_html(told(store, keep(store, [rows_made([0, 1, 1, 2], [0, 1, 1, 0], [1, 1, -1, 2])])))).text
    assert "Of 2 images of Pneumonia found before, none is now missed" in text and "1 of 4 images got no answer" in text


def test_an_imported_run_is_told_to_be_one_and_opens_no_folder(store: Store, undrawn: None, monkeypatch) -> None:
    file = io.BytesIO()
    image = Pictures(0, 0, np.full((2, 1, 8, 8), 0.5, np.float32))
    export(store, read(store, keep(store)), file, [image])
    key = imported(store, open_archive(file))
    monkeypatch.setattr("engine.experiments.runs.repeating.opened", lambda *_: pytest.fail("a data set was opened"))
    monkeypatch.setattr("engine.experiments.runs.pictures.opened", lambda *_: pytest.fail("a data set was opened"))
    kept = read(store, key)
    object.__setattr__(kept, "entry", kept.entry.__class__(**{
        **kept.entry.__dict__, "spec": {**kept.entry.spec, "dataset": "folder:/etc"}}))
    found = samples(store, kept)
    assert len(found) == 2 and found[0].clean is None
    text = Seen(as_html(report_of(given(store, kept), found))).text
    assert "nothing here has checked its numbers" in text and "Perturbed by PGD at 1/255" in text


def test_images_keep_their_values_and_differences_their_signs() -> None:
    image = np.arange(256, dtype=np.float32).reshape(1, 16, 16) / 255
    seen = np.array(Image.open(io.BytesIO(image_png(image))))
    assert (seen == np.arange(256).reshape(16, 16)).all()
    change = np.zeros((3, 4, 4), np.float32)
    change[0, 0, 0], change[1, 1, 1] = 1 / 255, -1 / 255
    seen = np.array(Image.open(io.BytesIO(difference_png(change, gain(change)))))
    assert seen[0, 0, 0] == 255 and seen[1, 1, 1] == 0 and seen[2, 2, 2] == 128
    assert shown("a$b\x1b") == "a$b\N{REPLACEMENT CHARACTER}" and len(shown("x" * 500)) <= 61

def test_the_command_gives_the_same_report_again(store: Store, undrawn: None, tmp_path, capsys) -> None:
    key = keep(store)
    kept, told = read(store, key), []
    page = made(store, kept, "html", lambda share, text: told.append(share))
    assert page == made(store, kept, "html") and b"Perturbscope" in page and told == sorted(told) and len(told) > 2
    for form, begins in (("html", b"<!DOCTYPE html>"), ("pdf", b"%PDF")):
        out = tmp_path / f"report.{form}"
        assert main(["runs", "report", key[:9], "--out", str(out), "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert out.read_bytes().startswith(begins) and facts["bytes"] == out.stat().st_size
    assert main(["runs", "report", key, "--out", str(tmp_path / "report.docx")]) == 2
    assert "unknown form of report 'docx'; there are: html, pdf" in capsys.readouterr().err
    with pytest.raises(EngineError):
        made(store, kept, "")


def test_samples_come_with_what_is_kept(store: Store) -> None:
    kept = read(store, keep(store))
    assert samples(store, kept) == []  # no images are kept
    assert not any(isinstance(block, Gallery) for block in report_of(given(store, kept)).blocks)

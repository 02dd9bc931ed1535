"""The Data page as Streamlit runs it, without a browser."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from engine.data import DATASETS
from engine.work.jobs import jobs
from tests import collected
from tests.app.visits import opened

NASTY = "<script>alert(1)</script> **bold** [link](http:__evil.example) :smile: $x$"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PERTURBSCOPE_DATA."""
    monkeypatch.setenv("PERTURBSCOPE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    (tmp_path / "data").mkdir()
    return tmp_path


def said(app: AppTest) -> str:
    """Everything that the page says in words, as it is read."""
    lines = [str(block.value) for kind in ("subheader", "caption", "markdown", "error", "info", "success", "warning")
             for block in getattr(app, kind)]
    return "\n".join(lines).replace("&#95;", "_").replace("&#42;", "*").replace("&#58;", ":")


def pressed(app: AppTest, label: str) -> AppTest:
    after = next(one for one in app.button if one.label == label).click().run()
    assert not after.exception, after.exception
    return after


def done(app: AppTest) -> AppTest:
    """Once all that was asked for is over."""
    for job in list(jobs()._jobs.values()):
        job.wait(60)
    app.run()
    assert not app.exception, app.exception
    return app


def filled(root: Path, **counts: int) -> Path:
    """A folder of pictures, a folder a class."""
    number = 0
    for name, count in counts.items():
        for _ in range(count):
            collected.save(root / name / f"{number}.png", collected.noise(number))
            number += 1
    return root


def table(app: AppTest, column: str) -> list[object]:
    return list(next(one.value for one in app.dataframe if column in one.value)[column])


def test_what_is_missing_says_how_to_get_it_and_what_is_there_what_it_has(home: Path) -> None:
    app = opened("data")
    names, here = table(app, "name"), table(app, "here")
    assert set(names) == set(DATASETS) and sum(map(bool, here)) == 3  # the phantoms
    app = opened("data", dataset="rsna")
    assert "kaggle.com" in said(app) and "not offered for download" in said(app) and not app.error
    for number in range(20):
        collected.save(home / "scans" / "ab"[number % 4 == 0] / f"{number}.png", collected.noise(number))
    (home / "scans" / "a" / "1.png").write_bytes(b"")
    collected.save(home / "scans" / "stray.png", collected.noise(99))
    app = opened("data", dataset=f"folder:{home / 'scans'}")
    assert "asks for" in said(app) and "scans" in said(app)  # a link may not open it without a question
    app = pressed(app, "Open it")
    assert "1 damaged file" in said(app) and "1 file without a label" in said(app) and "24 x 24" in said(app)
    assert table(app, "images")[0] == 19 and table(app, "b")[0] == 5
    app = done(pressed(app, "Check every picture"))
    assert "it is empty" in str(table(app, "what is wrong"))

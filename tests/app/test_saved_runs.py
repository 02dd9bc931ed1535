"""A run's file comes from anywhere: it is checked before anything reads it, and what is wrong with it is one line."""

import copy
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.attacks.spec import make_spec
from engine.data import load, phantom
from engine.errors import EngineError
from engine.experiments.onepicture.explore import explore_task
from engine.experiments.sources import Source
from engine.experiments.sweeps import sweep_of
from pages.ui import runs

SAVED = {"source": asdict(Source("phantom-cxr", "test", 3)), "model": "phantom-cxr/resnet18", "device": "cpu",
         "run": {"spec": asdict(make_spec("pgd", eps=2 / 255)), "classes": list(phantom.CLASSES)},
         "steps": {"loss": [0.1, 0.2]}}
PLACES = ["source", "model", "device", "run", "source.dataset", "source.split", "source.index", "source.upload",
          "source.frame", "source.window",
          "run.classes", "run.spec", *(f"run.spec.{name}" for name in SAVED["run"]["spec"]), "run.spec.params.steps"]
DEEP: Any = []
for _ in range(20):
    DEEP = [DEEP]
ODD = [None, True, -1, 1.5, float("nan"), float("inf"), 10**30, "", "x" * 100_000, "\0", [], {}, {"a": {"b": 1}}, DEEP,
       ["a"] * 100_000]


def test_a_saved_run_without_a_limit_is_an_address() -> None:
    spec = asdict(make_spec("cw"))
    assert spec["eps"] is None
    saved = {**SAVED, "run": {**SAVED["run"], "spec": spec}}
    assert runs.address_of(json.dumps(saved).encode())["attack"] == "cw"


def behind(defenses: str) -> bytes:
    """A saved run behind those defenses."""
    spec = asdict(make_spec("pgd", eps=2 / 255, defenses=defenses, attacker="adaptive", draws=4))
    return json.dumps({**SAVED, "run": {**SAVED["run"], "spec": spec}}).encode()


def test_a_run_made_behind_defenses_is_an_address() -> None:
    texts = runs.address_of(behind("rnd(sigma=0.1), jpeg"))
    assert {name: texts[name] for name in texts if name.startswith("de") or name in ("attacker", "draws")} == {
        "device": "cpu", "defense": "rnd,jpeg", "defense.rnd.sigma": "0.1", "attacker": "adaptive", "draws": "4"}


def test_what_the_page_cannot_set_is_not_dropped() -> None:
    with pytest.raises(EngineError, match="cannot set these defenses together"):
        runs.address_of(behind(", ".join(["rnd"] * 9)))


def changed(place: str, value: Any) -> bytes:
    """The saved run with another value there."""
    facts = copy.deepcopy(SAVED)
    *way, last = place.split(".")
    inner = facts
    for name in way:
        inner = inner[name]
    inner[last] = value
    return json.dumps(facts).encode()


def test_a_saved_run_is_an_address() -> None:
    texts = runs.address_of(json.dumps(SAVED).encode())
    wanted = {"dataset": "phantom-cxr", "index": "3", "attack": "pgd", "eps": "2/255", "device": "cpu"}
    assert wanted.items() <= texts.items()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("value", ODD, ids=lambda value: repr(value)[:16])
def test_a_value_that_does_not_belong_there_is_refused_in_one_line_or_makes_an_address_of_texts(place: str,
                                                                                                value: Any) -> None:
    try:
        texts = runs.address_of(changed(place, value))
    except EngineError as error:
        assert str(error).isprintable() and len(str(error)) < 600
        return
    assert all(isinstance(text, str) and len(text) <= 20_000 for text in texts.values())


@pytest.mark.parametrize(("data", "line"), [
    (b'{"a":' + b"[" * 200_000, "nested"),
    (b"{" + b" " * 5 * 2**20, "at most"),
    (b"[]", "must be an object"),
    (b"{}", "must have source, model, run"),
    (b"{", "not JSON"),
    (changed("source.dataset", {"a": 1}), "source.dataset must be text"),
    (changed("source.index", "3"), "source.index must be a whole number"),
    (changed("source.upload", "../../etc/passwd"), "source.upload"),
    (changed("run.spec.more", 1), "run.spec has a setting that is not known"),
    (changed("run.spec.target", 3), "there are 3"),
    (changed("model", "x" * 5000), "longer than 4096"),
])
def test_what_is_wrong_is_said(data: bytes, line: str) -> None:
    with pytest.raises(EngineError, match=line) as caught:
        runs.address_of(data)
    assert "choose the .json saved below a result" in str(caught.value) and str(caught.value).isprintable()


def test_an_index_written_as_a_float_is_the_whole_number() -> None:
    assert runs.address_of(changed("source.index", 3.0))["index"] == "3"


def test_a_picture_of_a_table_is_shown_with_the_further_images_that_were_counted(tmp_path: Path) -> None:
    """Without a training split they come from the split itself, less all that the table is about."""
    for number in range(8):
        path = tmp_path / phantom.CLASSES[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((224, 224), 20 * number, np.uint8)).save(path)
    name, attack = f"folder:{tmp_path}", make_spec("hopskipjump", batch=2)
    data = load(name)
    sweep = sweep_of(name, data.split, (0, 1, 4, 5), ("phantom-cxr/resnet18",), (attack,))
    counted = sweep.plan()[0][0]
    shown = runs.of_unit(replace(counted, shown=1), "auto")
    assert counted.indices == (0, 1) and len(counted.further) == 4
    assert explore_task(shown.source, shown.model, shown.attack, "auto", shown.company,
                        shown.further).spec == replace(counted, shown=1)
    texts = runs.texts(shown, data.classes)
    assert texts["further"] == ".".join(map(str, counted.further))
    alone = runs.of_unit(sweep_of(name, data.split, (0, 1), ("phantom-cxr/resnet18",), (attack,)).plan()[0][0], "auto")
    assert "further" not in runs.texts(alone, data.classes), "those that belong to its images need not be named"

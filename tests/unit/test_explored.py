"""What the work on one picture leaves behind is read as it was written, and what has another form is none."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.attacks.spec import AttackSpec, make_spec
from engine.data import phantom
from engine.errors import EngineError
from engine.experiments import attacking, sources, units
from engine.experiments.epsilon.minimal import minimal_task
from engine.experiments.fooling import fooling_task
from engine.experiments.onepicture.explore import explore_task, heatmap_task
from engine.experiments.onepicture.explored import Explained, Explored, Measured, Ran
from engine.experiments.sources import Source
from engine.experiments.units import images_task, rows_task, unit_of
from engine.work.jobs import Jobs
from engine.work.kinds import Task
from engine.work.results import Result
from engine.work.specs import from_json, to_json
from engine.work.store import Payload, Store
from engine.zoo import registry
from engine.zoo.classifier import Classifier
from tests.tiny import attack, small_net, some_images
from tests.working import perform

MODEL = "phantom-cxr/tiny"
SICK = Source("phantom-cxr", "test", next(i for i in range(9) if phantom.label_of("test", i)))


@pytest.fixture(autouse=True)
def only_model(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Classifier(small_net(seed=3).module, phantom.CLASSES, mean=(0.4,), std=(0.2,), name=MODEL)
    monkeypatch.setattr(units, "model_digest", lambda name: "digest of the weights")
    monkeypatch.setattr(sources, "model_card", lambda name: made)
    for module in (registry, attacking):
        monkeypatch.setattr(module, "load_model", lambda name: made)


def explored(spec: AttackSpec) -> Task:
    return explore_task(SICK, MODEL, spec, "cpu")


def pgd() -> AttackSpec:
    return make_spec("pgd", eps=2 / 255, params={"steps": 3})


def uap() -> AttackSpec:
    return make_spec("uap", eps=0.3, params={"epochs": 1})


# Of every kind: an attack with steps, one that walks, one that has learned; and what is asked about them.
TASKS: dict[str, Callable[[], Task]] = {
    "steps": lambda: explored(pgd()),
    "walk": lambda: explored(make_spec("hopskipjump", params={"queries": 150})),
    "learned": lambda: explored(uap()),
    "heatmaps": lambda: heatmap_task(explored(pgd()), "grad-cam", None),
    "fooling": lambda: fooling_task(explored(uap()), limit=6),
    "minimal": lambda: minimal_task(SICK, MODEL, pgd(), "cpu"),
    "rows": lambda: rows_task(unit_of(SICK, MODEL, pgd()), "cpu"),
    "images": lambda: images_task(unit_of(SICK, MODEL, pgd()), "cpu"),
}
FORMS: dict[str, type[Result]] = {"steps": Explored, "walk": Explored, "learned": Explored, "heatmaps": Explained,
                                  "fooling": Measured}
_done: dict[str, Payload] = {}


def done(name: str) -> Payload:
    """What that task gives, computed once."""
    if name not in _done:
        _done[name] = perform(TASKS[name]())
    return _done[name]


def kept(payload: Payload) -> Payload:
    """The payload once it has been on disk."""
    return Payload(json.loads(json.dumps(payload.facts)), payload.arrays)


@pytest.mark.filterwarnings("error:Pydantic serializer warnings")
@pytest.mark.parametrize("name", FORMS)
def test_what_is_read_is_what_was_written(name: str) -> None:
    form, payload = FORMS[name], done(name)
    again = form.of(kept(payload)).payload()
    assert again.facts == payload.facts == kept(payload).facts
    assert again.arrays.keys() == payload.arrays.keys()
    for array, values in payload.arrays.items():
        np.testing.assert_array_equal(again.arrays[array], values)


def test_what_is_given_away_has_all_but_the_pictures_on_the_way() -> None:
    whole = Explored.of(done("steps"))
    light = kept(whole.light())
    again = Explored.of(light)
    assert sum(values.nbytes for values in light.arrays.values()) < 0.4 * sum(v.nbytes for v in whole.arrays().values())
    for name in ("clean", "adversarial", "adversarial_8bit", "film"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name), strict=True)
    np.testing.assert_array_equal(again.snapshots, whole.snapshots[-1:], strict=True)
    assert again.steps == replace(whole.steps, shown=whole.steps.shown[-1:]) and again.run == whole.run
    finer = replace(whole, clean=np.clip(whole.clean + np.float32(1e-3), 0, 1))
    with pytest.raises(EngineError, match="do not fit together"):
        finer.light()


def test_a_run_says_all_that_the_attack_says() -> None:
    """Nothing of Rows.facts is lost on the way to a downloaded run."""
    result = attack("pgd", small_net(seed=3), some_images(1), np.array([0]), eps=0.1, steps=2)
    facts = json.loads(json.dumps(result.facts()))
    assert to_json(from_json(Ran, facts)) == facts


def without(payload: Payload, name: str) -> Payload:
    return Payload({n: v for n, v in payload.facts.items() if n != name},
                   {n: v for n, v in payload.arrays.items() if n != name})


@pytest.mark.parametrize(("name", "part"), [(name, part) for name, parts in {
    "steps": ("run", "size", "steps", "layers", "clean", "snapshots"), "walk": ("walk", "film"),
    "learned": ("learned_pattern",), "heatmaps": ("shift", "before"), "fooling": ("fooling_interval", "indices"),
    "minimal": ("found", "adversarial"), "rows": ("tally", "labels"), "images": ("adversarial",),
}.items() for part in parts])
def test_a_kept_result_that_lacks_something_is_none(name: str, part: str, tmp_path: Path) -> None:
    task, payload = TASKS[name](), done(name)
    assert part in payload.facts or part in payload.arrays
    queue = Jobs(Store(tmp_path))
    queue.store.put(task.key, task.kind, task.title, {}, without(payload, part))
    assert queue.find(task) is None and not queue.store.has(task.key)
    queue.store.put(task.key, task.kind, task.title, {}, payload)
    assert queue.find(task) is not None


def with_fact(name: str, **facts: Any) -> Payload:
    return Payload(done(name).facts | facts, done(name).arrays)


def with_array(name: str, **arrays: np.ndarray) -> Payload:
    return Payload(done(name).facts, done(name).arrays | arrays)


@pytest.mark.parametrize("other", [
    lambda: with_fact("steps", label=3), lambda: with_fact("steps", steps=None),
    lambda: with_fact("steps", visibility={**done("steps").facts["visibility"], "level": "somehow"}),
    lambda: with_fact("steps", steps={**done("steps").facts["steps"], "shown": [0, 1, 2, 9]}),
    lambda: with_fact("steps", steps={**done("steps").facts["steps"], "loss": [1.0]}),
    lambda: with_fact("walk", walk={**done("walk").facts["walk"], "milestones": [1, 2, 3]}),
    lambda: with_array("steps", clean=np.zeros((1, 8, 8), np.float32)),
    lambda: with_array("steps", adversarial=done("steps").arrays["adversarial"] * 255),
    lambda: with_array("steps", adversarial=np.full((1, 224, 224), np.nan, np.float32)),
    lambda: with_array("steps", snapshots=done("steps").arrays["snapshots"][1:]),
    lambda: with_array("steps", clean=np.full((1, 224, 224), "x")),
])
def test_what_does_not_fit_together_is_refused_in_one_line(other: Callable[[], Payload]) -> None:
    with pytest.raises(EngineError, match=r"^this is no Explored: ") as caught:
        Explored.of(other())
    assert str(caught.value).isprintable()

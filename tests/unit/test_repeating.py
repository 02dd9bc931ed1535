"""How a run is asked for again: as a command that makes the same work, and as a page's address."""

import shlex
from dataclasses import dataclass

import pytest

from engine.attacks.spec import make_spec
from engine.data import load
from engine.experiments.runs.repeating import Asked, asked, command
from engine.experiments.selection import Selection
from engine.experiments.sweeps import Sweep
from pages.running.links import texts

CLASSES = ("Normal", "Pneumonia", "COVID-19")
MODELS = ("phantom-cxr/resnet18", "phantom-cxr/densenet121")


def sweep(*attacks, indices: tuple[int, ...] = (3, 17), dataset: str = "phantom-cxr") -> Sweep:
    return Sweep(dataset, "test", indices, MODELS, attacks, contents="c" * 64)


@dataclass(frozen=True)
class Reading:
    """A spec of another form, that has a sweep."""

    sweep: Sweep
    readings: tuple[str, ...]


@dataclass(frozen=True)
class Other:
    """A spec that is about no sweep."""

    name: str = "x"


def options(line: str) -> dict[str, str]:
    words = shlex.split(line)
    places = [place for place, word in enumerate(words) if word.startswith("--")]
    return {words[place]: " ".join(words[place + 1:end]) for place, end in zip(places, [*places[1:], len(words)],
                                                                             strict=True)}


def test_a_command_says_what_was_asked_for() -> None:
    attacks = [make_spec(name, eps=eps / 255, seed=seed, params=params) for name, params in
               (("fgsm", {}), ("pgd", {"steps": 20})) for eps in (0.5, 2) for seed in (0, 3)]
    line = command("evaluation", sweep(*attacks), CLASSES, "cpu")
    assert line.startswith("python -m engine evaluate ")
    assert options(line) == {"--dataset": "phantom-cxr", "--split": "test", "--model": ",".join(MODELS),
                             "--attack": "fgsm,pgd", "--eps": "0.5/255,2/255", "--device": "cpu", "--index": "3 17",
                             "--set": "pgd.steps=20", "--seed": "0,3"}
    one = command("evaluation", sweep(make_spec("pgd", norm="l2", eps=0.5, target=2, params={"steps": 20})), CLASSES)
    assert options(one) | {"--norm": "l2", "--eps": "0.5", "--target": "COVID-19", "--set": "steps=20"} == options(one)
    assert "--device" not in one


def test_images_that_are_spread_evenly_are_told_by_their_number() -> None:
    data, spec = load("phantom-cxr", "test"), make_spec("fgsm", eps=1 / 255)
    even = command("evaluation", sweep(spec, indices=Selection(limit=12).of(data)), CLASSES)
    assert options(even)["--limit"] == "12" and "--index" not in even
    every = command("evaluation", sweep(spec, indices=Selection().of(data)), CLASSES)
    assert "--limit" not in every and "--index" not in every


def test_no_folder_is_opened_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.experiments.runs.repeating.opened", lambda *_: pytest.fail("a data set was opened"))
    spec = sweep(make_spec("fgsm", eps=1 / 255), dataset="folder:/etc/a b")
    assert options(command("evaluation", spec, CLASSES))["--dataset"] == "folder:/etc/a b"


def test_kinds_that_have_a_sweep_are_told_too_and_others_not() -> None:
    inside = Reading(sweep(make_spec("fgsm", eps=1 / 255)), ("worst",))
    line = command("curves", inside, CLASSES)
    assert line.startswith("python -m engine curve ") and options(line)["--reading"] == "worst"
    assert command("no such kind", inside, CLASSES) == "" == command("evaluation", Other(), CLASSES)
    assert asked(Other()) is None


def test_an_address_says_what_was_asked_for() -> None:
    what = asked(sweep(*(make_spec("pgd", eps=eps / 255, params={"steps": 20}) for eps in (1, 2))))
    assert isinstance(what, Asked)
    named = texts(what, "cuda")
    wanted = {"dataset": "phantom-cxr", "images": "#3 #17", "models": ",".join(MODELS), "attacks": "pgd",
              "norm": "linf", "eps": "1/255,2/255", "seeds": "0", "set.pgd.steps": "20", "device": "cuda"}
    assert named | wanted == named


def test_a_budget_is_written_in_the_norm_of_the_attack_that_has_it() -> None:
    specs = (make_spec("hopskipjump"), make_spec("square", eps=2 / 255))
    assert "--eps 2/255 " in command("query-curve", Sweep("phantom-cxr", "test", (3,), ("m",), specs), ("a", "b"))

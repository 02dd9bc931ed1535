"""Served models: defenses in their order, draws, clients, refusals, and what each kind of attacker sees of them."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

import engine
from engine.attacks import ATTACKS
from engine.attacks.base import Goal, decided, length
from engine.attacks.result import AttackResult
from engine.attacks.spec import adapts, has_gradients, make_spec, spec_from_facts
from engine.defenses.base import defenses_from, written
from engine.errors import EngineError
from engine.serving.defense import Caller, Client, Defense, DefenseInfo
from engine.serving.draws import Draws, Stream, key_of
from engine.serving.served import Served
from engine.serving.threat import REFUSED, DecisionBased, QueryBudgetSpent, ScoreBased, WhiteBox
from tests.defended import NOBODY, Noise, Rounding, Shift, registered
from tests.tiny import QUICK, Counted, Slope, attack, grey, lessons, quick, small_net, some_images

IMAGES = some_images(3)
LABELS = [0, 1, 2]
PIXEL = torch.full((2, 1, 1, 2), 0.5)


@pytest.fixture(autouse=True)
def defenses_can_be_named() -> Iterator[None]:
    with registered():
        yield


def _first(logits: Tensor, rows: Tensor) -> Tensor:
    return logits[:, 1]


def answered(served: Served, images: Tensor, names: Sequence[str] = "abc") -> Tensor:
    clients = [Client(name) for name in names[:len(images)]]
    return served.answer(images, served.queries(clients, range(len(images)))).logits


# ---- what is served ------------------------------------------------------------------------------------------------


def test_without_defenses_an_answer_is_one_forward_pass() -> None:
    model = small_net()
    counted = model.module = Counted(model.module)
    served = Served(model)
    answer = served.answer(IMAGES, served.queries([], range(3)))
    assert answer.refused is None and counted.forwards == [3]
    assert torch.equal(answer.logits, model(IMAGES))


def test_the_first_defense_sees_an_image_first_and_the_logits_last() -> None:
    """Slope 1 on the first pixel: shifted by 0.25 and then rounded to thirds it is 2/3, the other way round 0.58."""
    images = torch.tensor([[0.3, 0.0]]).view(1, 1, 1, 2)
    model = grey(Slope((1.0, 0.0)))
    shift, rounding = Shift(by=0.25, bias=4.0), Rounding(levels=4)
    assert answered(Served(model, [shift, rounding]), images).tolist() == [pytest.approx([4.0, 2 / 3])]
    assert answered(Served(model, [rounding, shift]), images).tolist() == [pytest.approx([4.0, 1 / 3 + 0.25])]


def test_draws_depend_on_seed_image_session_query_and_place_alone() -> None:
    like = torch.zeros(2, 1, 3, 3)

    def row(seed: int = 0, session: str = "attack", name: str = "a", number: int = 0, place: int = 0) -> bytes:
        return Draws([Stream(key_of(seed, session, name), number)], place).normal(like[:1]).numpy().tobytes()

    streams = [Stream(key_of(0, "attack", name), number) for name, number in (("b", 7), ("a", 0))]
    together = Draws(streams, 0)
    assert together.normal(like)[1].numpy().tobytes() == row(), "company or place in the batch count"
    assert together.normal(like)[1].numpy().tobytes() != row(), "the same numbers twice in one query"
    others = [row(seed=1), row(session="clean"), row(name="b"), row(number=1), row(place=1)]
    assert len({row(), *others}) == 6
    uniform = Draws(streams, 0).uniform(torch.zeros(2, 10_000))
    assert float(uniform.min()) >= 0 and float(uniform.max()) < 1
    assert float(uniform.mean()) == pytest.approx(0.5, abs=0.02)


def test_each_query_of_a_client_is_answered_with_numbers_of_its_own() -> None:
    served = Served(small_net(), [Noise(sigma=0.1, every=0)])
    oracle = ScoreBased(served, 2, identities=["a", "b"])
    first, second = oracle.scores(IMAGES[:2]), oracle.scores(IMAGES[:2])
    assert not torch.allclose(first, second)
    again = ScoreBased(served, 2, identities=["b", "a"])
    both = again.scores(IMAGES[[0, 1, 0]], torch.tensor([1, 0, 1]))
    torch.testing.assert_close(both, torch.stack([first[0], first[1], second[0]]))


@dataclass(frozen=True, kw_only=True)
class Quota(Defense):
    """Refuses a client after two queries."""

    info: ClassVar[DefenseInfo] = DefenseInfo("quota", "Quota", "Two queries each.", NOBODY)

    def refuses(self, images: Tensor, callers: Sequence[Caller]) -> Tensor:
        for caller in callers:
            caller.memory["arrived"] = caller.memory.get("arrived", 0) + 1
        return torch.tensor([caller.number >= 2 for caller in callers], dtype=torch.bool)


def test_what_one_defense_refuses_the_next_does_not_see() -> None:
    served = Served(small_net(), [Noise(every=2, sigma=0.0), Quota()])
    client = Client("a")
    logits = [served.answer(IMAGES[:1], served.queries([client], [0])) for _ in range(5)]
    assert [bool(answer.refused) for answer in logits] == [False, True, True, True, True]
    assert client.memories[0]["seen"] == 5 and client.memories[1]["arrived"] == 3
    assert all(bool(answer.logits.isnan().all()) == bool(answer.refused) for answer in logits)
    assert Client("a").asked == 0 and client.asked == 5


# ---- who asks ------------------------------------------------------------------------------------------------------


def test_a_refused_query_is_spent_counted_and_tells_nothing_else() -> None:
    served = Served(small_net(), [Noise(every=2, sigma=0.0)])
    rows = torch.tensor([0, 1, 0])
    decisions = DecisionBased(served, 2, max_queries=2)
    assert (decisions.decide(IMAGES, rows) == REFUSED).tolist() == [False, False, True]
    assert decisions.queries.tolist() == [2, 1] and decisions.refusals.tolist() == [1, 0]
    with pytest.raises(QueryBudgetSpent):
        decisions.decide(IMAGES[:1], rows[:1])
    scores = ScoreBased(served, 2).scores(IMAGES, rows)
    assert scores.isnan().all(dim=1).tolist() == [False, False, True]
    assert (decided(scores) < 0).tolist() == [False, False, True]
    reached = Goal(torch.tensor([1])).reached_by(torch.tensor([REFUSED]))
    assert not bool(reached), "an untargeted goal took it for a success"


def test_white_box_gradients_come_through_the_defenses() -> None:
    """Logit w·(x + 0.25) - b, and its derivative in x."""
    model = grey(Slope((3.0, -4.0), b=1.0))
    plain, through = (WhiteBox(served, 2).gradient(PIXEL, _first) for served in (
        Served(model), Served(model, [Shift(by=0.25)])))
    assert plain.value.tolist() == pytest.approx([-1.5] * 2) and through.value.tolist() == pytest.approx([-1.75] * 2)
    assert through.gradient.flatten(1).tolist() == [[3.0, -4.0]] * 2


def test_where_a_defense_has_no_gradient_it_is_passed_straight_through() -> None:
    model = grey(Slope((3.0, -4.0)))
    oracle = WhiteBox(Served(model, [Rounding(levels=2)]), 2)
    ascent = oracle.gradient(PIXEL + 0.1, _first)
    assert ascent.value.tolist() == [-1.0] * 2, "the value is that of the rounded image"
    assert ascent.gradient.flatten(1).tolist() == [[3.0, -4.0]] * 2
    assert oracle.zero_gradients == 0 and torch.equal(oracle.logits(PIXEL + 0.1), ascent.logits)


def test_a_random_defense_is_averaged_over_draws_each_of_which_counts() -> None:
    noise = Noise(sigma=0.1, every=0)
    served = Served(grey(Slope((1.0, 2.0))), [noise])
    counted = served.classifier.module = Counted(served.classifier.module)
    one = WhiteBox(served, 2)
    single = [one.gradient(PIXEL, lambda logits, rows: logits[:, 1] ** 2) for _ in range(3)]
    assert len({float(s.value[0]) for s in single}) == 3
    oracle = WhiteBox(served, 2, draws=3)
    mean = oracle.gradient(PIXEL, lambda logits, rows: logits[:, 1] ** 2)
    for name in ("gradient", "value", "logits"):
        expected = torch.stack([getattr(s, name) for s in single]).mean(dim=0)
        torch.testing.assert_close(getattr(mean, name), expected)
    assert oracle.queries.tolist() == oracle.gradients.tolist() == [3, 3]
    oracle.logits(PIXEL[:1], torch.tensor([1]))
    assert oracle.queries.tolist() == [3, 6] and oracle.gradients.tolist() == [3, 3]
    assert sum(counted.forwards) == 6 + 9 and sum(counted.backwards) == 12


def test_who_sees_only_answers_takes_several_of_one_question_together() -> None:
    """Every third answer is refused: of three none is missing in the mean, and two votes decide."""
    served = Served(small_net(), [Noise(sigma=0.3, every=3)])
    rows = torch.tensor([0, 2])
    once = ScoreBased(served, 3)
    single = [once.scores(IMAGES[rows], rows) for _ in range(3)]
    assert single[2].isnan().all() and not torch.equal(single[0], single[1])
    counted = served.classifier.module = Counted(served.classifier.module)
    oracle = ScoreBased(served, 3, max_queries=7, draws=3)
    assert oracle.left.tolist() == [2, 2, 2]
    torch.testing.assert_close(oracle.scores(IMAGES[rows], rows), (single[0] + single[1]) / 2)
    assert oracle.queries.tolist() == [3, 0, 3] and oracle.refusals.tolist() == [1, 0, 1]
    assert oracle.left.tolist() == [1, 2, 1] and sum(counted.forwards) == 6
    alone = DecisionBased(served, 3)
    said = torch.stack([alone.decide(IMAGES, torch.arange(3)) for _ in range(2)])
    assert bool((DecisionBased(served, 3, draws=3).decide(IMAGES)[None] == said).any(dim=0).all())
    refused = Served(small_net(), [Noise(every=1)])
    assert DecisionBased(refused, 3, draws=2).decide(IMAGES).tolist() == [REFUSED] * 3
    assert ScoreBased(refused, 3, draws=2).scores(IMAGES).isnan().all()
    deterministic = DecisionBased(Served(small_net(), [Shift()]), 3, draws=5)
    deterministic.decide(IMAGES)
    assert deterministic.queries.tolist() == [1] * 3, "several answers that must be alike"


@pytest.mark.parametrize(("said", "most"), [
    ([[0], [1], [1]], [1]), ([[1], [0]], [1]), ([[2, 0], [1, -1], [1, -1], [2, 1]], [2, 0]), ([[-1], [-1]], [-1]),
    ([[-1], [-1], [2]], [2])])
def test_the_answer_given_most_often_counts_and_of_several_the_first(said: list, most: list) -> None:
    from engine.serving.threat import _majority

    assert _majority(torch.tensor(said)).tolist() == most


def test_who_has_the_model_is_refused_nothing_at_home() -> None:
    oracle = WhiteBox(Served(small_net(), [Noise(every=1, sigma=0.0)]), 3)
    assert not bool(oracle.logits(IMAGES).isnan().any()) and oracle.refusals.tolist() == [0, 0, 0]


def test_a_part_shares_counters_budget_and_clients_and_shows_no_more() -> None:
    model = small_net()
    oracle = WhiteBox(model, 3, max_queries=3)
    part = oracle.part(torch.tensor([2, 0]))
    part.gradient(IMAGES[:2], lambda logits, rows: logits[:, 0] * (rows == 1))
    assert (oracle.queries.tolist(), oracle.gradients.tolist()) == ([1, 0, 1], [1, 0, 1])
    scores = part.part(torch.tensor([1]), ScoreBased)
    torch.testing.assert_close(scores.scores(IMAGES[:1]), model(IMAGES[:1]).softmax(1))
    assert oracle.queries.tolist() == [2, 0, 1] and part.left.tolist() == [2, 1] and scores.left.tolist() == [1]
    assert not hasattr(scores, "gradient") and not hasattr(scores, "logits")
    with pytest.raises(ValueError, match="shows more"):
        scores.part(torch.tensor([0]), WhiteBox)
    with pytest.raises(QueryBudgetSpent):
        scores.scores(IMAGES[:2], torch.tensor([0, 0]))
    seen: list[tuple[Tensor, list[int]]] = []
    oracle.watched(torch.tensor([1]), ScoreBased, lambda logits, rows: seen.append((logits, rows.tolist()))).scores(
        IMAGES[:1])
    assert seen[0][1] == [0] and torch.equal(seen[0][0], model(IMAGES[:1])) and oracle.zero_gradients == 1


def test_what_is_learned_from_is_asked_with_fresh_draws_and_not_counted() -> None:
    served = Served(small_net(), [Noise(sigma=0.1, every=0)])
    oracle = WhiteBox(served, 2)
    first = oracle.apart(3).logits(IMAGES)
    assert not torch.allclose(oracle.apart(3).logits(IMAGES), first), "the same draws in every lesson"
    torch.testing.assert_close(WhiteBox(served, 1, identities=["other"]).apart(3).logits(IMAGES), first)
    assert oracle.queries.tolist() == [0, 0]


def test_the_network_itself_is_seen_only_through_inspect() -> None:
    oracle = WhiteBox(small_net(), 3)
    assert not hasattr(oracle, "model")
    inside = WhiteBox(Served(grey(Slope((1.0, 0.0))), [Shift(by=0.25)]), 2)
    assert inside.inspect(lambda model, some, rows: some, PIXEL, gradients=0).tolist() == (PIXEL + 0.25).tolist()
    assert inside.queries.tolist() == [1, 1]


# ---- how defenses are named ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "canonical"), [
    ("", ""), (" shift ", "shift(by=0.05, bias=0.0)"), ("shift(by=1/4)", "shift(by=0.25, bias=0.0)"),
    ("rounding( levels = 3 ),noise()", "rounding(levels=3), noise(sigma=0.02, every=3)"),
])
def test_defenses_are_written_in_one_way(text: str, canonical: str) -> None:
    assert written(defenses_from(text)) == canonical == written(defenses_from(canonical))


@pytest.mark.parametrize(("options", "says"), [
    ({"defenses": "shft"}, "shift"),
    ({"defenses": "shift(up=1)"}, "unknown parameter 'up'"),
    ({"defenses": "shift(by=7)"}, "by must lie between"),
    ({"defenses": "shift(by)"}, "name=value"),
    ({"defenses": "shift(by=1"}, "write them like"),
    ({"defenses": "shift noise"}, "write them like"),
    ({"defenses": "shift", "attacker": "nosy"}, "oblivious"),
    ({"attacker": "adaptive"}, "no defense to adapt to"),
    ({"name": "square", "defenses": "shift", "attacker": "adaptive"}, "always asks the defended model"),
    ({"name": "square", "defenses": "shift", "attacker": "adaptive", "draws": 2}, "adapts to a random defense alone"),
    ({"name": "square", "defenses": "noise", "attacker": "adaptive"}, "give 2 draws or more"),
    ({"name": "square", "defenses": "noise", "attacker": "adaptive", "draws": 9, "params": {"queries": 8}},
     "8 queries are 0 questions asked 9 times"),
    ({"name": "onepixel", "norm": "l0", "eps": None, "defenses": "noise", "attacker": "adaptive", "draws": 20,
      "params": {"queries": 1000}}, "1000 queries are 50 questions asked 20 times each, too few .*population"),
    ({"defenses": "shift", "attacker": "adaptive", "draws": 2}, "several draws are for"),
    ({"defenses": "noise", "draws": 2}, "several draws are for"),
    ({"defenses": "noise", "attacker": "adaptive", "draws": 0}, "draws must lie between"),
    ({"defenses": "noise", "attacker": "adaptive", "draws": 3, "max_queries": 2}, "needs 3 queries"),
])
def test_a_wrong_setting_is_explained(options: dict, says: str) -> None:
    settings = {"name": "fgsm", "eps": 0.01} | options
    with pytest.raises(EngineError, match=says) as error:
        make_spec(settings.pop("name"), **settings)
    assert "\n" not in str(error.value)


# ---- whole runs ----------------------------------------------------------------------------------------------------


# Logit of class 1: x0 - 0.5.
EDGE = grey(Slope((1.0, 0.0), b=0.5))
TWO = torch.tensor([0.45, 0.3]).view(2, 1, 1, 1).expand(-1, -1, -1, 2)


def test_the_verdict_is_that_of_the_defended_model() -> None:
    """Made 0.1 brighter the first image is class 1 already; the second falls only behind the defense."""
    bare = attack("fgsm", EDGE, TWO, [0, 0], eps=0.15)
    served = attack("fgsm", EDGE, TWO, [0, 0], eps=0.15, defenses="shift(by=0.1)")
    assert bare.predicted_clean.tolist() == [0, 0] and served.predicted_clean.tolist() == [1, 0]
    assert bare.success.tolist() == [True, False] and served.success.tolist() == [False, True]
    assert served.logits_adversarial[:, 1].tolist() == pytest.approx([0.2, 0.05], abs=1e-6)


def test_an_oblivious_attacker_sees_the_classifier_alone_an_adaptive_one_all_of_it() -> None:
    for attacker, seen in (("oblivious", -0.2), ("adaptive", -0.1)):
        trace = attack("bim", EDGE, TWO[1:], [0], eps=0.1, steps=3, defenses="shift(by=0.1)", attacker=attacker).trace
        assert trace.logits[0, 0, 1] == pytest.approx(seen, abs=1e-6)
    scores = attack("square", EDGE, TWO[:1], [0], eps=0.1, queries=5, defenses="shift(by=0.1)")
    assert scores.queries.tolist() == [1], "the black box did not show that the defended model is wrong already"


def test_an_adaptive_attacker_puts_the_defenses_before_the_surrogate() -> None:
    from engine.attacks.runner import Resources

    resources = Resources(surrogate=grey(Slope((2.0, 0.0), b=1.0)))
    seen = [attack("mifgsm", EDGE, TWO[1:], [0], eps=0.1, steps=1, resources=resources, defenses="shift(by=0.1)",
                   attacker=attacker).trace.logits[0, 0, 1] for attacker in ("oblivious", "adaptive")]
    assert seen == pytest.approx([-0.4, -0.2], abs=1e-6)


def test_a_refused_image_is_neither_right_nor_fooled() -> None:
    result = attack("fgsm", EDGE, TWO, [0, 0], eps=0.3, defenses="noise(every=1)")
    assert result.predicted_clean.tolist() == result.predicted_adversarial.tolist() == [-1, -1]
    assert not result.success.any() and not result.attacked.any() and not result.open.any() and not result.fooled.any()
    summary = json.loads(json.dumps(result.summary()))
    assert summary["accuracy_clean"] == summary["accuracy_adversarial"] == 0
    assert (summary["refused_clean"], summary["refused_adversarial"], summary["refused"]) == (2, 2, 0)
    assert any("2 of 2 adversarial images got no answer" in w for w in result.warnings)
    assert np.isnan(result.logits_adversarial).all()


@dataclass(frozen=True, kw_only=True)
class Bright(Defense):
    """Refuses bright images."""

    info: ClassVar[DefenseInfo] = DefenseInfo("bright", "Bright", "Refuses bright images.", NOBODY)

    def refuses(self, images: Tensor, callers: Sequence[Caller]) -> Tensor:
        return images.flatten(1)[:, 0] > 0.52


def test_a_refused_adversarial_image_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.defenses import DEFENSES

    monkeypatch.setitem(DEFENSES._items, "bright", Bright)
    result = attack("fgsm", EDGE, TWO, [0, 0], eps=0.1, defenses="bright")
    assert result.attacked.tolist() == [True, True] and result.success.tolist() == [False, False]
    assert result.predicted_adversarial.tolist() == [-1, 0] and result.summary()["accuracy_adversarial"] == 0.5
    assert not result.fooled.any()
    caught = attack("fgsm", EDGE, TWO, [0, 0], eps=0.1, defenses="bright", target=1)
    assert caught.success.tolist() == [False, False]


def test_a_run_behind_defenses_can_be_repeated_from_its_facts() -> None:
    result = attack("pgd", small_net(), IMAGES, LABELS, eps=0.05, defenses="noise(every=2), shift", attacker="adaptive",
                    draws=2, steps=2)
    spec = spec_from_facts(json.loads(json.dumps(result.facts())))
    assert spec == result.spec and spec.defenses == "noise(sigma=0.02, every=2), shift(by=0.05, bias=0.0)"
    again = attack("pgd", small_net(), IMAGES, LABELS, eps=0.05, defenses=spec.defenses, attacker="adaptive", draws=2,
                   steps=2)
    assert again.adversarial.tobytes() == result.adversarial.tobytes()
    assert again.logits_8bit.tobytes() == result.logits_8bit.tobytes()
    older = {k: v for k, v in result.facts()["spec"].items() if k not in ("defenses", "attacker", "draws")}
    assert spec_from_facts({"spec": older}).defenses == ""


def test_what_is_learned_through_defenses_is_another_lesson() -> None:
    options = {"defenses": "shift(by=0.3)"}
    oblivious = quick("uap", small_net(), IMAGES, LABELS, **options)
    plain = quick("uap", small_net(), IMAGES, LABELS)
    adaptive = quick("uap", small_net(), IMAGES, LABELS, **options, attacker="adaptive")
    assert oblivious.adversarial.tobytes() == plain.adversarial.tobytes() != adaptive.adversarial.tobytes()


def test_who_has_no_model_adapts_to_a_random_defense_alone() -> None:
    cases = [("pgd", ""), ("pgd", "shift"), ("square", "shift"), ("square", "shift, noise"), ("mifgsm", "noise")]
    assert [adapts(ATTACKS[name].info, defenses_from(text)) for name, text in cases] == [False, True, False, True, True]


FACED = [("shift", "oblivious", 1), ("shift(by=0.1)", "adaptive", 1), ("rounding", "adaptive", 1),
         ("noise(every=3)", "oblivious", 1), ("noise(every=3)", "adaptive", 2), ("noise(every=1)", "oblivious", 1)]


@pytest.mark.parametrize(("name", "defenses", "attacker", "draws"), [
    (name, *faced) for name, cls in ATTACKS._items.items() for faced in FACED
    if faced[1] == "oblivious" or has_gradients(cls.info.knowledge) or faced[2] > 1])
def test_every_attack_ends_within_its_budget_and_counts(name: str, defenses: str, attacker: str, draws: int) -> None:
    info = ATTACKS[name].info
    model = small_net()
    options = {"defenses": defenses, "attacker": attacker, "draws": draws, "eps": 0.05, "memory": lessons()}
    if ATTACKS[name]().learning_cost(1).queries:  # that is no image's: learn first, and count what the images cost
        quick(name, model, IMAGES, LABELS, **options)
    counted = model.module = Counted(model.module)
    result = quick(name, model, IMAGES, LABELS, **options)
    assert sum(counted.forwards) - 3 * len(IMAGES) == result.queries.sum()
    assert sum(counted.backwards) == result.gradients.sum()
    cost = ATTACKS[name](**QUICK.get(name, {})).cost()
    assert result.queries.max() <= cost.queries * draws and result.gradients.max() <= cost.gradients * draws
    assert np.isfinite(result.adversarial).all() and 0 <= result.adversarial.min() <= result.adversarial.max() <= 1
    order = {"l0": 0, "l2": 2, "linf": float("inf")}[info.norms[0]]
    change = torch.tensor(result.adversarial).double() - torch.tensor(result.clean).double()
    assert not info.bounded or info.patched or float(length(change, order).max()) <= 0.05 + 1e-6
    if not has_gradients(info.knowledge):
        assert result.queries.max() <= cost.queries and not (result.queries % draws).any(), "a draw was not a query"
    every = 0 if has_gradients(info.knowledge) or "noise" not in defenses else int(defenses[-2])
    assert result.refusals.tolist() == [queries // every if every else 0 for queries in result.queries]
    _check_refusals_are_no_success(result, defenses)


def _check_refusals_are_no_success(result: AttackResult, defenses: str) -> None:
    if defenses == "noise(every=1)":
        assert not result.success.any()
        if not has_gradients(ATTACKS[result.spec.attack].info.knowledge):
            assert result.queries.max() == result.refusals.max() > 1, "it took a refusal for an answer and stopped"


# ---- tensors -------------------------------------------------------------------------------------------------------


def test_who_attacks_tensors_gets_tensors_back() -> None:
    given, labels = TWO.contiguous(), torch.tensor([0, 0])
    options = {"eps": 0.1, "device": "cpu", "numerics": "reference"}
    result = engine.attack("fgsm", EDGE, given, labels, **options)
    arrays = engine.attack("fgsm", EDGE, given.numpy(), labels.numpy(), **options)
    for name in ("adversarial", "clean", "success", "linf", "queries", "predicted_adversarial", "labels"):
        ours, theirs = getattr(result, name), getattr(arrays, name)
        assert isinstance(ours, Tensor) and isinstance(theirs, np.ndarray) and ours.device == given.device
        np.testing.assert_array_equal(ours.numpy(), theirs)
    assert result.adversarial.dtype == torch.float32 and result.success.dtype == torch.bool
    result.adversarial.fill_(0)
    assert float(result.adversarial.max()) == 0 and float(result.arrays.adversarial.max()) > 0
    assert result.summary()["n"] == 2 and result.spec == arrays.spec and "adversarial" in dir(result)
    with pytest.raises(AttributeError):
        _ = result.nothing
    with pytest.raises(ValueError, match="read-only"):
        arrays.adversarial[0] = 0

"""Detectors against an attacker who knows them: what he sees of an image that would be refused, and what it costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf
from sklearn.neighbors import KernelDensity
from torch import Tensor, nn

from engine.attacks.base import Goal
from engine.attacks.runner import Resources
from engine.attacks.spec import cost_of, make_spec
from engine.defenses.base import DEFENSES, defenses_from
from engine.defenses.binding import bound
from engine.errors import EngineError
from engine.papers import Paper
from engine.serving.defense import Caller, Defense, DefenseInfo, Reference
from engine.serving.evading import BELOW, aside
from engine.serving.served import Served
from engine.serving.threat import ScoreBased, WhiteBox
from engine.zoo.classifier import Classifier
from tests.tiny import Counted, attack, grey, quick, small_net, some_images


@dataclass(frozen=True, kw_only=True)
class Second(Defense):
    """Refuses images whose second pixel lies more than 0.05 from 0.5."""

    info: ClassVar[DefenseInfo] = DefenseInfo(name="second", title="Second", sentence="", paper=Paper("", "", 2026, ""),
                                              evasion=1)
    looks = 1

    def refuses(self, images: Tensor, callers: Sequence[Caller]) -> Tensor:
        return self.suspicion(images) > 0

    def suspicion(self, images: Tensor) -> Tensor:
        return (images.flatten(1)[:, 1] - 0.5).abs() / 0.05 - 1


@pytest.fixture(autouse=True)
def _second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEFENSES._items, "second", Second)


def two_pixels() -> Classifier:
    """Logits [0, 10 x0 + 2 x1 - 6] of two pixels, which are what the last layer is given: with x1 = 0.5 the boundary
    lies at x0 = 0.5."""
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.0, 0.0], [10.0, 2.0]]))
        layer.bias.copy_(torch.tensor([0.0, -6.0]))
    return grey(nn.Sequential(nn.Flatten(), layer))


def pixels(*pairs: tuple[float, float]) -> Tensor:
    return torch.tensor(pairs).view(-1, 1, 1, 2)


def clean_images(each: int = 60) -> Reference:
    """Of two pixels the first tells the classes apart, 0.2 from 0.8, and the second is always near 0.5."""
    drawn = np.random.default_rng(0).normal([[0.2, 0.5]] * each + [[0.8, 0.5]] * each, [0.1, 0.01]).clip(0, 1)
    return Reference(torch.tensor(drawn, dtype=torch.float32).view(-1, 1, 1, 2),
                     torch.arange(2).repeat_interleave(each), "two pixels")


# ---- what he sees at home


def test_an_image_that_would_be_refused_looks_as_if_it_missed_the_aim_by_as_much() -> None:
    """Margins -1 (x0 = 0.4), 1 (0.6, at the threshold's safe side), 1 (0.6, refused: the second pixel off by 0.1)."""
    model, images = two_pixels(), pixels((0.4, 0.5), (0.6, 0.5), (0.58, 0.6))
    goal = Goal(torch.tensor([0, 0, 0]))
    oracle = WhiteBox(Served(model, [Second()]), 3).aiming(goal)
    seen = oracle.gradient(images, goal.margin)
    torch.testing.assert_close(seen.value, torch.tensor([-1.0, np.arcsinh(1 - BELOW), -np.arcsinh(1 + BELOW)],
                                                        dtype=torch.float32))
    assert goal.reached(seen.logits).tolist() == [False, True, False]
    # Where the score counts, its gradient alone is followed, at right angles to the margin's own (10, 2).
    torch.testing.assert_close(seen.gradient[0].flatten(), torch.tensor([10.0, 2.0]))
    turned = seen.gradient[2].flatten()
    assert abs(float(turned @ torch.tensor([10.0, 2.0]))) < 1e-4 and turned[1] < 0 < turned[0]
    # A pass to look, for those alone that fool the model; with a gradient one back, and one for the margin's.
    assert (oracle.queries.tolist(), oracle.gradients.tolist()) == ([1, 2, 2], [1, 3, 3])
    torch.testing.assert_close(oracle.logits(images), seen.logits)
    assert (oracle.queries.tolist(), oracle.gradients.tolist()) == ([2, 4, 4], [1, 3, 3])
    part = oracle.part(torch.tensor([2]), ScoreBased).scores(images[2:])
    assert part.argmax(dim=1).tolist() == [0], "an attack of scores, as a part of a whole, is told the same"


def test_who_has_told_no_aim_or_faces_no_detector_sees_the_model() -> None:
    model, images, goal = two_pixels(), pixels((0.58, 0.6)), Goal(torch.tensor([0]))
    for oracle in (WhiteBox(Served(model, [Second()]), 1), WhiteBox(model, 1).aiming(goal),
                   WhiteBox(Served(model, [Second()]), 1).aiming(goal).apart(1)):
        assert torch.equal(oracle.gradient(images, goal.margin).logits, model(images))
        assert oracle.queries.tolist() == oracle.gradients.tolist() == [1]


def test_logits_are_held_back_by_hand() -> None:
    logits, by = torch.tensor([[1.0, 4.0, 3.0], [1.0, 4.0, 3.0]]), torch.tensor([2.0, -5.0])
    away, towards = Goal(torch.tensor([0, 0])), Goal(torch.tensor([0, 0]), torch.tensor([1, 1]))
    assert away.held_back(logits, torch.tensor([0, 1]), by).tolist() == [[6, 4, 3], [1, 4, 3]]
    assert towards.held_back(logits, torch.tensor([0, 1]), by).tolist() == [[1, 1, 3], [1, 4, 3]]
    for goal in (away, towards):
        assert goal.margin(goal.held_back(logits, torch.tensor([1, 0]), by)).tolist() == [-2, 3 if goal is away else 1]


def test_a_gradient_goes_aside_where_it_would_go_back() -> None:
    images = torch.zeros(3, 1, 1, 2, requires_grad=True)
    along, arriving = pixels((3e-30, 4e-30), (3.0, 4.0), (0.0, 0.0)), pixels((-1.0, 0.0), (1.0, 0.0), (-1.0, 2.0))
    (aside(images, along) * arriving).sum().backward()
    torch.testing.assert_close(images.grad, pixels((-0.64, 0.48), (1.0, 0.0), (-1.0, 2.0)))


# ---- what comes of it


STEADY = {"eps": 0.4, "steps": 60, "step_size": 0.01, "random_start": False}


@pytest.mark.parametrize("stop", ["all steps", "first success"])
def test_who_aims_below_the_threshold_is_answered_where_who_does_not_is_refused(stop: str) -> None:
    """Both pixels move at once: where the first is past the boundary, the second is past what the detector allows."""
    images = pixels((0.3, 0.54), (0.25, 0.46))
    blind, aware = (attack("pgd", two_pixels(), images, [0, 0], defenses="second", attacker=attacker, stop=stop,
                           **STEADY) for attacker in ("oblivious", "adaptive"))
    assert blind.refused_adversarial.all() and not blind.success.any()
    assert aware.success.all() and aware.success_8bit.all()


@pytest.mark.parametrize("text", ["mahalanobis", "kde"])
def test_a_detector_that_stops_who_does_not_know_it_does_not_stop_who_does(text: str) -> None:
    images, behind = pixels((0.3, 0.5), (0.25, 0.5)), Resources(reference=clean_images())
    blind, aware = (attack("pgd", two_pixels(), images, [0, 0], resources=behind, defenses=text, attacker=attacker,
                           stop="first success", **STEADY) for attacker in ("oblivious", "adaptive"))
    assert blind.refused_adversarial.all() and aware.success.all()
    cost = cost_of(aware.spec)
    assert (aware.queries <= cost.queries).all() and cost.queries == 120
    assert (aware.gradients <= cost.gradients).all() and cost.gradients == 180


# Attacks that learn, with an aim of their own, and one whose steps end on a linear boundary.
@pytest.mark.parametrize("name", ["uap", "advgan", "patch", "fab"])
def test_attacks_of_every_kind_evade_within_their_cost(name: str) -> None:
    images, model = some_images(3), small_net()
    found = quick(name, model, images, model(images).argmax(dim=1), defenses="second", attacker="adaptive")
    cost = cost_of(found.spec)
    assert (found.queries <= cost.queries).all() and (found.gradients <= cost.gradients).all()


def test_an_attacker_with_a_model_of_his_own_evades_the_detector_there_and_does_not_ask_the_target() -> None:
    target, own, behind = two_pixels(), two_pixels(), clean_images()
    counted = target.module[1] = Counted(target.module[1])
    bound(defenses_from("mahalanobis"), target, behind)  # once, so that both runs find it fitted
    spent = []
    for attacker in ("oblivious", "adaptive"):
        counted.forwards.clear()
        found = attack("pgd", target, pixels((0.3, 0.5)), [0], defenses="mahalanobis", attacker=attacker,
                       surrogate="own", resources=Resources(surrogate=own, reference=behind), stop="first success",
                       **STEADY)
        spent.append(sum(counted.forwards))
    assert spent[0] == spent[1] and found.success.all()


# ---- the scores


@pytest.mark.parametrize("text", ["squeeze:bits=2,smooth=false", "mahalanobis", "kde"])
def test_suspicion_is_above_0_where_an_image_is_refused_and_has_a_gradient(text: str) -> None:
    model, images = two_pixels(), pixels((0.2, 0.5), (0.5, 0.9), (0.55, 0.45), (0.8, 0.1))
    detector, = bound(defenses_from(text), model, clean_images())
    images.requires_grad_(True)
    suspicion = detector.suspicion(images)
    assert (suspicion > 0).tolist() == detector.refuses(images, []).tolist() and bool((suspicion > 0).any())
    (gradient,) = torch.autograd.grad(suspicion.sum(), images)
    assert bool((gradient.flatten(1).norm(dim=1) > 0)[suspicion > 0].all()) and bool(gradient.isfinite().all())
    fit = detector.fit
    away = (fit.scores(images.detach()) - fit.threshold) / (fit.threshold - fit.usual)
    torch.testing.assert_close(suspicion.detach(), away.float(), rtol=1e-4, atol=1e-4)


def test_the_scores_are_those_of_the_library() -> None:
    clean, images = clean_images(), torch.rand(20, 1, 1, 2, generator=torch.Generator().manual_seed(0))
    known = clean.images.flatten(1).double().numpy().reshape(2, 60, 2)[:, ::2]
    seen, said = images.flatten(1).double().numpy(), two_pixels()(images).argmax(dim=1).numpy()
    far, rare = (bound(defenses_from(text), two_pixels(), clean)[0].fit.scores(images).numpy()
                 for text in ("mahalanobis", "kde:bandwidth=0.5"))
    common = LedoitWolf(assume_centered=True).fit((known - known.mean(axis=1, keepdims=True)).reshape(-1, 2))
    distances = [common.mahalanobis(seen - own.mean(axis=0)) for own in known]
    np.testing.assert_allclose(far, np.min(distances, axis=0), 1e-5)
    usual = np.median(np.concatenate([torch.pdist(torch.tensor(own)).numpy() for own in known]))
    densities = [KernelDensity(bandwidth=usual / 2).fit(own) for own in known]
    np.testing.assert_allclose(rare, [-densities[k].score_samples(one[None])[0] for k, one in zip(
        said, seen, strict=True)], 1e-5)


# ---- what is kept


def test_results_of_who_knows_a_detector_have_a_key_of_their_own_and_no_others_do() -> None:
    def key(**options: object) -> dict:
        return make_spec("pgd", eps=0.1, **options).canonical()

    assert key(defenses="kde+jpeg+squeeze", attacker="adaptive")["evaded"] == {"kde": 1, "squeeze": 1}
    for options in ({}, {"defenses": "kde"}, {"defenses": "jpeg", "attacker": "adaptive"}):
        assert "evaded" not in key(**options)
    asking = make_spec("square", eps=0.1, defenses="kde+rnd", attacker="adaptive", draws=2)
    assert "evaded" not in asking.canonical()
    with pytest.raises(EngineError, match="needs 20 queries"):
        make_spec("pgd", eps=0.1, defenses="kde", attacker="adaptive", max_queries=19)

"""Attacks must not make an accelerator wait: proven on a device that is not there (tests.far).

Random numbers are drawn on the host, and are to go there once a step, however many of them it takes.

Waits are differences: what a run spends once (the model and the images go there, verdicts come back) is no matter; what
a further step, round or image costs is.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.attacks import ATTACKS, batch
from engine.attacks.base import Knowledge, Others
from engine.attacks.result import AttackResult
from engine.attacks.runner import Resources
from engine.serving import prepare
from engine.serving.threat import LOOK_EVERY, Oracle, QueryBudgetSpent, WhiteBox
from engine.zoo.classifier import Classifier
from tests import far
from tests.defended import registered
from tests.tiny import Counted, quick, small_net, some_images

WHOLE = (Knowledge.WHITE_BOX, Knowledge.TRANSFER)
WHITE = [name for name in ATTACKS if ATTACKS[name].info.knowledge in WHOLE]
BLACK = [name for name in ATTACKS if name not in WHITE]

# Settings that make an attack take so many steps.
STEPS: dict[str, Callable[[int], dict[str, Any]]] = {
    "jsma": lambda steps: {"pixels": 2 * steps},
    "roa": lambda steps: {"steps": steps, "grid": steps // 3},
    "autoattack": lambda steps: {"steps": steps, "queries": 4},
    "fab": lambda steps: {"steps": steps, "restarts": 1},
}
ONE_STEP = {"fgsm", "fgnm"}
# What is learned looks once an epoch, however many steps that has: steps are further images there.
EPOCHS = {"uap": 8, "advgan": 4, "advganpp": 4, "gdpa": 4}
# The loss of a learning step is shown with the progress.
LOOKING = {"patch", "apgd", "autoattack", "deepfool", "jsma", "pgdl0"}
FIRST_SUCCESS = ["bim", "binm", "pgd", "pgdnm", "mifgsm"]


class Stubborn(nn.Module):
    """So sure of class 0 that no attack changes its mind: no image is ever done, and all steps are taken."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.register_buffer("sure", torch.tensor([60.0, 0.0, 0.0]))

    def forward(self, images: Tensor) -> Tensor:
        return self.module(images) + self.sure


def stubborn() -> Classifier:
    """A new one each time: a model that was attacked before is on the device already."""
    return Classifier(Stubborn(small_net().module), ["a", "b", "c"])


def watch(name: str, images: int = 4, further: int = 4, model: Classifier | None = None,
          **options: Any) -> tuple[far.Waits, AttackResult]:
    """What a run on the far device was waited for, and its result."""
    model, clean = model or stubborn(), some_images(images)
    labels = model(clean).argmax(dim=1)
    others = Others(some_images(further, seed=1), torch.arange(further) % 3)
    options = {"resources": Resources(others=others), "keep_steps": False, **options}
    with far.watched() as waits:
        return waits, quick(name, model, clean, labels, **options)


def of_steps(name: str, steps: int) -> dict[str, Any]:
    return STEPS.get(name, lambda steps: {"steps": steps})(steps)


# ---- the instrument ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("act", "kind"), [
    (lambda x: x[0, 0].item(), "aten._local_scalar_dense"),
    (lambda x: float(x.sum()), "aten._local_scalar_dense"),
    (lambda x: bool((x > 0).any()), "aten._local_scalar_dense"),
    (lambda x: "yes" if x.sum() > 0 else "no", "aten._local_scalar_dense"),
    (lambda x: list(range(9))[x.argmax()], "aten._local_scalar_dense"),
    (lambda x: x.tolist(), "tolist"),
    (lambda x: x.nonzero(), "aten.nonzero"),
    (lambda x: x[x > 0], "mask as index"),
    (lambda x: x.clone().index_put_((x[0] > 0,), x), "mask as index"),
    (lambda x: x.masked_select(x > 0), "aten.masked_select"),
    (lambda x: x.unique(), "aten._unique2"),
    (lambda x: x.equal(x + 1), "aten.equal"),
    (lambda x: x.cpu(), "copy from the device"),
    (lambda x: x.to("cpu").numpy(), "copy from the device"),
    (lambda x: torch.zeros(2).copy_(x[0]), "copy from the device"),
    (lambda x: torch.ones(3).to(x.device), "copy to the device"),
    (lambda x: x.new_tensor([1.0, 2.0]), "copy to the device"),
    (lambda x: torch.tensor(3.0, device=x.device), "copy to the device"),
    (lambda x: x[torch.tensor([1])], "index from the host"),
])
def test_the_instrument_sees_what_waits(act: Callable[[Tensor], Any], kind: str) -> None:
    with far.watched() as waits:
        x = torch.ones(2, 2).pin_memory().to(far.DEVICE, non_blocking=True)
        assert not waits
        act(x)
    assert set(waits) == {kind} and waits.sent == 1


@pytest.mark.parametrize("act", [
    lambda x: x[x.argmax(dim=1)],
    lambda x: x.where(x > 0, x - 1).masked_fill_(x > 0, 2.0).sum(),
    lambda x: x.clone().requires_grad_(True).softmax(dim=1)[:, 0].sum().backward(),
    lambda x: torch.arange(5, device=x.device),
    lambda x: x.to("cpu", non_blocking=True),
    lambda x: x * torch.tensor(2.0),
    lambda x: torch.rand(3).tolist(),
])
def test_the_instrument_keeps_still_otherwise(act: Callable[[Tensor], Any]) -> None:
    with far.watched() as waits:
        act(torch.ones(2, 2).pin_memory().to(far.DEVICE, non_blocking=True))
    assert not waits and waits.sent == 1


def test_the_far_device_does_not_compute_with_what_is_on_the_host() -> None:
    with far.watched(), pytest.raises(RuntimeError, match="same device"):
        torch.ones(2, device=far.DEVICE) + torch.ones(2)


# ---- attacks with gradients ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def style() -> None:
    """The one network that belongs to the project: it goes to a device once a process, not once a run."""
    from engine.attacks.networks.style import load_style

    with far.watched():
        load_style("phantom", far.DEVICE)


@pytest.mark.parametrize("name", [n for n in WHITE if n not in EPOCHS and n not in ONE_STEP])
def test_no_step_waits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that look whether images are done are seen without that; of the others nobody looks."""
    if name in LOOKING:
        monkeypatch.setattr(Oracle, "looks", lambda self, step: False)
    (few, short), (many, long) = (watch(name, **of_steps(name, steps)) for steps in (3, 6))
    assert long.queries.min() > short.queries.min() or name == "patch"  # whose steps are learned
    assert many == few


@pytest.mark.parametrize("name", [n for n in WHITE if n not in EPOCHS and n not in ONE_STEP])
def test_random_numbers_cross_once_a_step(name: str) -> None:
    few, many = (watch(name, **of_steps(name, steps))[0].sent for steps in (3, 6))
    assert many - few <= 3


@pytest.mark.parametrize(("name", "options", "more"), [
    ("sia", {"copies": 2}, {"copies": 5}),
    ("stm", {"copies": 2}, {"copies": 5}),
    ("usmm", {"masks": 1}, {"masks": 4}),
    ("pgn", {"neighbours": 1}, {"neighbours": 4}),
    ("vmifgsm", {"neighbours": 1}, {"neighbours": 4}),
    ("combined", {"kind": "none", "rule": "plain"}, {"kind": "sia", "rule": "pgn", "copies": 3, "neighbours": 3}),
    ("combined", {"kind": "stm", "rule": "vmi", "copies": 1, "neighbours": 1},
     {"kind": "stm", "rule": "vmi", "copies": 3, "neighbours": 3}),
    ("pgd", {"random_start": True}, {"norm": "l2", "random_start": True}),
])
def test_random_numbers_cross_once_whatever_a_step_is_made_of(name: str, options: dict[str, Any],
                                                              more: dict[str, Any]) -> None:
    few, many = (watch(name, steps=3, **settings)[0] for settings in (options, more))
    assert many.sent == few.sent <= 3
    assert many == few


def test_what_is_too_much_to_cross_at_once_is_cut_and_stays_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the numbers of a step would take too much memory they cross in portions, which changes none of them."""
    whole = watch("sia", steps=2, copies=4, model=small_net())
    monkeypatch.setattr(batch, "MOST_SENT", 2000)
    portions = watch("sia", steps=2, copies=4, model=small_net())
    assert whole[0].sent < portions[0].sent
    assert whole[1].adversarial.tobytes() == portions[1].adversarial.tobytes()
    alone = watch("sia", 1, steps=2, copies=4, model=small_net())
    np.testing.assert_allclose(alone[1].adversarial, whole[1].adversarial[:1], atol=1e-5)


@pytest.mark.parametrize(("name", "options"), [
    *((name, {}) for name in sorted(EPOCHS)), ("uap", {"method": "DeepFool"})])
def test_no_step_of_learning_waits(name: str, options: dict[str, Any]) -> None:
    few, many = (watch(name, further=EPOCHS[name] * steps, epochs=2, **options)[0] for steps in (2, 4))
    assert many == few
    assert many.sent - few.sent <= 2 * 2  # so many steps more in so many epochs


def test_deepfool_learns_the_same_whether_its_looks_cost_or_not() -> None:
    options: dict[str, Any] = {"method": "DeepFool", "epochs": 3, "eps": 0.05}
    resources = Resources(others=Others(some_images(12, seed=1), torch.arange(12) % 3))
    near = quick("uap", small_net(), some_images(4), [0] * 4, resources=resources, **options)
    _, there = watch("uap", further=12, model=small_net(), **options)
    np.testing.assert_allclose(there.trace.learned["pattern"], near.trace.learned["pattern"], atol=1e-5)
    assert there.trace.curves["fooling"] == near.trace.curves["fooling"] != (0.0,)


@pytest.mark.parametrize(("name", "options"), [
    *((name, {}) for name in sorted(LOOKING)), *((name, {"stop": "first success"}) for name in FIRST_SUCCESS)])
def test_who_is_done_is_looked_at_seldom(name: str, options: dict[str, Any]) -> None:
    few, many = (sum(watch(name, **of_steps(name, LOOK_EVERY * n), **options)[0].values()) for n in (1, 3))
    looks = {"autoattack": 4, "patch": 4}.get(name, 2)  # two climbs, and two numbers
    assert few < many <= few + looks


@pytest.mark.parametrize("name", ["bim", "pgd", "sia", "fab"])
def test_steps_behind_defenses_and_within_a_budget_do_not_wait(name: str) -> None:
    with registered():
        few, many = (watch(name, defenses="noise", attacker="adaptive", draws=2, max_queries=10_000,
                           **of_steps(name, steps))[0] for steps in (2, 4))
    assert many == few


def test_kept_steps_do_not_wait() -> None:
    (few, _), (many, result) = (watch("bim", steps=steps, keep_steps=True) for steps in (4, 8))
    assert many == few
    assert np.array_equal(result.trace.images[0], result.clean)


@pytest.mark.parametrize(("name", "options"), [
    *((name, {}) for name in sorted(LOOKING - {"patch"})),
    *((name, {"stop": "first success"}) for name in FIRST_SUCCESS)])
def test_looking_seldom_finds_the_same(name: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Images that are done stay as they are until somebody looks; what was computed for them meanwhile is counted."""
    clean, model = some_images(6), small_net()
    labels = model(clean).argmax(dim=1)
    options = {"eps": 0.03 if ATTACKS[name].info.bounded else None, **of_steps(name, 12), **options}
    at_once = quick(name, model, clean, labels, **options)
    monkeypatch.setattr(Oracle, "far", True)
    model.module = counted = Counted(model.module)
    seldom = quick(name, model, clean, labels, **options)
    assert at_once.success.any()
    np.testing.assert_allclose(seldom.adversarial, at_once.adversarial, atol=1e-5)
    assert (seldom.gradients >= at_once.gradients).all()
    assert seldom.gradients.sum() == sum(counted.backwards)


def test_a_budget_is_kept_although_it_is_seldom_looked_at() -> None:
    target = WhiteBox(small_net(), 3, max_queries=4)
    images, rows = some_images(1), torch.tensor([1])
    for _ in range(4):
        target.logits(images, rows)
    with pytest.raises(QueryBudgetSpent):
        target.logits(images, rows)
    target.logits(images, torch.tensor([2]))
    assert target.queries.tolist() == [0, 4, 1]


# ---- models stay where they are ------------------------------------------------------------------------------------


@pytest.mark.parametrize("numerics", ["reference", "fast"])
def test_a_model_goes_to_the_device_once(numerics: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, made = stubborn(), []
    monkeypatch.setattr(prepare, "_copies", prepare._Memory())
    monkeypatch.setattr(Classifier, "to", lambda self, *a: (made.append(a), nn.Module.to(self, *a))[1])
    first, second = (watch("bim", model=model, steps=1, numerics=numerics)[0] for _ in range(2))
    assert len(made) == 1
    weights = len(model.state_dict())
    assert first["copy to the device"] - second["copy to the device"] >= weights
    assert prepare.placed(model, "cpu") is model


# ---- attacks without gradients -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BLACK)
def test_a_round_waits_alike_for_few_images_and_for_many(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[int] = []
    asked = Oracle._answers
    monkeypatch.setattr(Oracle, "_answers", lambda self, *a: (rounds.append(len(a[0])), asked(self, *a))[1])
    once, crossings = [], []
    for images in (2, 4):
        rounds.clear()
        waits, _ = watch(name, images, model=small_net(), resources=None, batch=images)
        assert len(rounds) > 2
        once.append(sum(waits.values()) - len(rounds))
        crossings.append(waits.sent - len(rounds))
    assert once[0] == once[1]
    assert crossings[0] == crossings[1]

"""APGD and AutoAttack: losses, checkpoints and steps by hand; who attacks which images; counts."""

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.attacks import ATTACKS, autoattack
from engine.attacks.base import Budget, Goal
from tests.tiny import Counted, Ridge, attack, grey, quick, small_net, some_images
from tests.unit.test_decision import Always

LOGITS = torch.tensor([[5.0, 3.0, 1.0, 0.0], [5.0, 3.0, 1.0, 0.0]])


def test_the_ratio_by_hand() -> None:
    every = torch.arange(2)
    untargeted = autoattack.logit_ratio(Goal(torch.tensor([0, 2])))
    # (3 - 5) / (5 - 1) for the true class ahead, (5 - 1) / (5 - 1) for the one behind
    assert untargeted(LOGITS, every).tolist() == pytest.approx([-0.5, 1.0])
    assert untargeted(10 * LOGITS, every).tolist() == pytest.approx([-0.5, 1.0])
    assert untargeted(LOGITS[:1], torch.tensor([1])).tolist() == pytest.approx([1.0])
    assert untargeted(LOGITS[:, :2], torch.tensor([0, 0])).tolist() == pytest.approx([-2.0, -2.0])
    targeted = autoattack.logit_ratio(Goal(torch.tensor([0, 0]), torch.tensor([1, 0])))
    assert targeted(LOGITS, every).tolist() == pytest.approx([-2.0, 2.0])


def test_checkpoints_are_the_papers() -> None:
    assert list(autoattack._checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert list(autoattack._checkpoints(1)) == [1]


def _climb(**given: Tensor) -> autoattack._Climb:
    now = autoattack._begin(torch.arange(1), torch.full((1, 1, 1, 2), 0.5), 0.2)
    for name, value in given.items():
        setattr(now, name, value)
    return now


def _pair(*numbers: float) -> Tensor:
    return torch.tensor(numbers).view(1, 1, 1, 2)


def test_a_step_is_three_quarters_new_and_one_quarter_the_last_again() -> None:
    ball = Budget("linf", 0.1).around(_pair(0.5, 0.5))
    now = _climb(gradient=_pair(2.0, -0.5))
    autoattack._advance(now, ball, first=True)
    assert now.images.flatten().tolist() == pytest.approx([0.6, 0.4]), "the first step is whole, back into the budget"
    now = _climb(gradient=_pair(2.0, -0.5), before=_pair(0.42, 0.5), step=torch.full((1, 1, 1, 1), 0.04))
    autoattack._advance(now, ball, first=False)
    assert now.images.flatten().tolist() == pytest.approx([0.5 + 0.75 * 0.04 + 0.25 * 0.08, 0.5 - 0.75 * 0.04])
    assert now.before.flatten().tolist() == [0.5, 0.5]


def test_a_step_in_l2_follows_the_gradient() -> None:
    now = _climb(gradient=_pair(3.0, -4.0), step=torch.full((1, 1, 1, 1), 0.1))
    autoattack._advance(now, Budget("l2", 1.0).around(_pair(0.5, 0.5)), first=True)
    assert now.images.flatten().tolist() == pytest.approx([0.56, 0.42])


@pytest.mark.parametrize(("rises", "checked", "halved", "expected"), [
    (8, 0.0, True, False),   # rose often
    (7, 0.0, True, True),    # 7 of 10 is not more than three quarters
    (8, 1.0, False, True),   # rose often, but the best is no better than at the last look
    (8, 1.0, True, False),   # the same, but the step was halved there
])
def test_the_step_halves_where_progress_stalls(rises: int, checked: float, halved: bool, expected: bool) -> None:
    now = _climb(rises=torch.tensor([rises]), checked_value=torch.tensor([checked]), halved=torch.tensor([halved]),
                 best_value=torch.tensor([1.0]), best=_pair(0.7, 0.7), best_gradient=_pair(9.0, 9.0))
    autoattack._adapt(now, 10)
    assert float(now.step) == pytest.approx(0.1 if expected else 0.2)
    assert now.images.flatten().tolist() == pytest.approx([0.7, 0.7] if expected else [0.5, 0.5])
    assert bool(now.halved) == expected and int(now.rises) == 0 and float(now.checked_value) == 1.0


def test_an_image_that_resists_ends_at_its_highest_loss() -> None:
    """The loss is highest where the first pixel is 0.53; the label 0 is never left there."""
    result = attack("apgd", grey(Ridge(0.53)), torch.full((1, 1, 1, 2), 0.5), [0], eps=0.1, steps=30)
    assert not result.success.any()
    assert result.adversarial[0, 0, 0, 0] == pytest.approx(0.53, abs=0.004)


@pytest.mark.parametrize("loss", list(autoattack.LOSSES))
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.02), ("l2", 0.2)])
def test_apgd_is_about_as_strong_as_pgd_or_stronger(loss: str, norm: str, eps: float) -> None:
    model = small_net()
    images = some_images(24)
    with torch.no_grad():
        labels = model(images).argmax(1)
    ours = attack("apgd", model, images, labels, eps=eps, norm=norm, steps=40, loss=loss)
    pgd = attack("pgd", model, images, labels, eps=eps, norm=norm, steps=40)
    assert 0 < pgd.success.sum() < 24
    # With three classes the ratio is a blunt tool: its own denominator follows the margin.
    assert ours.success.sum() >= pgd.success.sum() * (0.8 if loss == autoattack.RATIO else 1.0)


def test_each_member_attacks_only_what_resisted_so_far() -> None:
    model = small_net()
    images = some_images(12)
    with torch.no_grad():
        labels = model(images).argmax(1)
    labels[0] = (labels[0] + 1) % 3
    settings = {"eps": 0.02, "norm": "linf", "steps": 20, "queries": 60}
    counted = model.module = Counted(model.module)
    result = attack("autoattack", model, images, labels, **settings)
    assert sum(counted.forwards) - 36 == result.queries.sum() and sum(counted.backwards) == result.gradients.sum()
    assert result.queries[0] == 1 and result.gradients[0] == 0, "it was wrong from the start"
    model.module = counted.module
    first = attack("apgd", model, images, labels, eps=0.02, steps=20)
    assert (result.success >= first.success).all()
    broken = first.success
    np.testing.assert_array_equal(result.gradients[broken], first.gradients[broken])
    assert (result.queries[broken] == first.queries[broken] + 2).all(), "a look before and one after"
    resisting = ~result.success & result.attacked
    cost = ATTACKS["autoattack"](steps=20, queries=60).cost()
    assert resisting.any() and (result.queries[resisting] > first.queries[resisting] + 60).all()
    assert (result.queries <= cost.queries).all() and (result.gradients <= cost.gradients).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("target", [None, 2])
def test_it_runs_in_both_norms_and_towards_a_class(norm: str, target: int | None) -> None:
    result = quick("autoattack", small_net(), some_images(3), [0, 1, 2], eps=0.3, norm=norm, target=target)
    assert result.trace.logits.shape[1:] == (3, 3) and np.isfinite(result.trace.objective).all()
    assert (np.linalg.norm((result.adversarial - result.clean).reshape(3, -1), axis=1) <= 0.3 + 1e-5).all() or (
        norm == "linf" and result.linf.max() <= 0.3 + 1e-6)


def test_two_identical_classes_and_a_class_never_predicted_end() -> None:
    for model in (grey(Always(0.5, 0.5)), grey(Always(1.0, 0.0))):
        result = quick("autoattack", model, some_images(2, channels=1), [0, 0])
        assert not result.success.any() and np.isfinite(result.adversarial).all()
        assert any("zero everywhere" in w for w in result.warnings)

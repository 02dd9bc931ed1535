"""Attacks that look for the smallest change, on models so simple that it is known."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from torch import Tensor, nn

from engine.attacks.base import Budget, length
from engine.attacks.optimisation import (
    CLEAR,
    _AboveThreshold,
    _Constants,
    _Curvature,
    _Plane,
    _Smallest,
    _Tanh,
)
from engine.attacks.runner import Resources
from engine.zoo.classifier import Classifier
from tests.tiny import Slope, attack, grey, small_net, some_images

W = (3.0, -4.0)  # length 5, sum 7
CLEAN = torch.tensor([0.5, 0.4]).view(1, 1, 1, 2)  # 0.1 short of the boundary: L2 0.1 / 5, Linf 0.1 / 7
EVERY = [("cw", "l2"), ("cw", "linf"), ("lbfgs", "l2"), ("deepfool", "l2"), ("deepfool", "linf"), ("fab", "l2"),
         ("fab", "linf")]
LONG = {"cw": {"rounds": 20, "steps": 100, "rate": 0.01}, "lbfgs": {"rounds": 20, "steps": 30}}


def moved(name: str, norm: str, clean: Tensor = CLEAN, w: tuple[float, ...] = W, **options: object) -> np.ndarray:
    result = attack(name, grey(Slope(w)), clean, [0], eps=None, norm=norm, **options)
    return (result.adversarial - result.clean).ravel()


@pytest.mark.parametrize(("name", "norm"), EVERY)
@pytest.mark.parametrize("target", [None, 1])
def test_it_finds_the_nearest_point_beyond_a_straight_boundary(name: str, norm: str, target: int | None) -> None:
    if name == "deepfool":
        target = None
    change = moved(name, norm, target=target, **LONG.get(name, {}))
    exact = {"l2": 0.1 / 5, "linf": 0.1 / 7}[norm]
    size = np.linalg.norm(change, {"l2": 2, "linf": np.inf}[norm])
    assert np.dot(W, change) >= 0.1 + CLEAR / 2, "not clearly beyond the boundary"
    assert exact < size <= exact * 1.06


@pytest.mark.parametrize(("norm", "expected"), [
    # gap 0.1 + 2 CLEAR, times w / |w|^2 or sign(w) / |w|_1, and 2 % more
    ("l2", [0.102 / 25 * 3 * 1.02, -0.102 / 25 * 4 * 1.02]),
    ("linf", [0.102 / 7 * 1.02, -0.102 / 7 * 1.02]),
])
def test_deepfools_step_by_hand(norm: str, expected: list[float]) -> None:
    assert moved("deepfool", norm, steps=1).tolist() == pytest.approx(expected, abs=1e-6)


def test_deepfool_takes_the_nearer_of_two_boundaries() -> None:
    class Corner(nn.Module):
        """Class 1 begins 0.3 to the right, class 2 begins 0.1 above."""

        def forward(self, x: Tensor) -> Tensor:
            x = x.flatten(1)
            return torch.stack([torch.zeros_like(x[:, 0]), 5 * (x[:, 0] - 0.8), x[:, 1] - 0.6], dim=1)

    model = Classifier(Corner(), ("here", "right", "above"), channels=1)
    change = attack("deepfool", model, torch.full((1, 1, 1, 2), 0.5), [0], eps=None, norm="l2")
    assert change.predicted_adversarial.tolist() == [2]
    assert (change.adversarial - change.clean).ravel().tolist() == pytest.approx([0, 0.102 * 1.02], abs=1e-5)


@pytest.mark.parametrize(("norm", "far"), [("l2", 0.102 / 5), ("linf", 0.102 / 7)])
def test_fabs_first_step_and_its_return_by_hand(norm: str, far: float) -> None:
    result = attack("fab", grey(Slope(W)), CLEAN, [0], eps=None, norm=norm, steps=2)
    way = np.array(W) / 5 if norm == "l2" else np.sign(W)
    first, second = (result.trace.images[t].ravel() - CLEAN.numpy().ravel() for t in (1, 2))
    # From the clean image both projections are the same, so the bias changes nothing; then 0.9 of it is kept.
    np.testing.assert_allclose(first, 1.05 * far * way, atol=1e-6)
    kept = 0.9 * 1.05 * far
    on, anew = far - kept, far
    bias = min(on / (on + anew), 0.1)
    np.testing.assert_allclose(second, ((kept + 1.05 * on) * (1 - bias) + 1.05 * anew * bias) * way, atol=1e-6)


def test_fab_knows_that_white_is_the_end() -> None:
    """The first pixel can give 0.01 * 3 only; the other must do the rest."""
    clean = torch.tensor([0.99, 0.8]).view(1, 1, 1, 2)
    change = moved("fab", "linf", clean, steps=1)
    exact = (0.23 + 2 * CLEAR - 0.03) / 4
    assert change.tolist() == pytest.approx([0.01, -1.05 * exact], abs=1e-5)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_way_to_a_plane_within_the_bounds_is_the_shortest(norm: str) -> None:
    """Against a root finder on the time until which every entry moves."""
    generator = torch.Generator().manual_seed(0)
    clean = (torch.rand(6, 2, 4, 4, generator=generator) * 1.6 - 0.3).clamp(0, 1)
    normal = torch.randn(clean.shape, generator=generator)
    normal[0, 0] = 0
    gap = torch.tensor([0.5, 1.0, -1.0, 3.0, 0.0, 1e-3]).view(6, 1, 1, 1)
    mask = torch.rand(6, 1, 4, 4, generator=generator) > 0.2
    ball = Budget(norm, 1.0).around(clean, mask)
    step = _Plane(gap, normal).step_within(ball, clean, blind=False).double()
    assert ((clean + step >= ball.lower - 1e-6) & (clean + step <= ball.upper + 1e-6)).all()
    torch.testing.assert_close((step * normal).sum((1, 2, 3)), gap.flatten().double(), atol=1e-5, rtol=1e-5)
    for image in range(6):
        slope, way = normal[image].abs().double(), (normal[image] * gap[image]).sign().double()
        room = torch.where(way > 0, (ball.upper - clean)[image], (clean - ball.lower)[image]).double()
        speed = slope if norm == "l2" else (slope > 0).double()

        def reached(time: float, slope: Tensor = slope, speed: Tensor = speed, room: Tensor = room) -> Tensor:
            return (time * speed).minimum(room)

        def lacks(time: float, slope: Tensor = slope, image: int = image) -> float:
            return float((slope * reached(time)).sum() - gap[image].abs())

        time = brentq(lacks, 0, 1000) if gap[image] != 0 else 0.0
        torch.testing.assert_close(step[image], reached(time) * way, atol=1e-5, rtol=1e-4)


def test_a_plane_out_of_reach_is_approached_as_far_as_it_goes() -> None:
    ball = Budget("l2", 1.0).around(CLEAN)
    plane = _Plane(torch.full((1, 1, 1, 1), 100.0), torch.tensor(W).view(1, 1, 1, 2))
    assert plane.step_within(ball, CLEAN, blind=False).flatten().tolist() == pytest.approx([0.5, -0.4])
    flat = _Plane(torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 2))
    assert flat.step_within(ball, CLEAN, blind=False).tolist() == flat.step("l2").tolist() == [[[[0.0, 0.0]]]]


def test_cws_first_step_by_hand() -> None:
    """Adam's first step has the length of the learning rate, whatever the gradient: up in the first pixel, down in
    the second."""
    result = attack("cw", grey(Slope(W)), CLEAN, [0], eps=None, norm="l2", rounds=1, steps=2, rate=0.01)
    start = [math.atanh((2 * x - 1) * (1 - 1e-6)) for x in (0.5, 0.4)]
    expected = [(math.tanh(start[0] + 0.01) + 1) / 2, (math.tanh(start[1] - 0.01) + 1) / 2]
    np.testing.assert_allclose(result.trace.images[1].ravel(), expected, atol=1e-6)


def test_cws_confidence_is_a_lead_in_logits() -> None:
    for confidence in (0.0, 0.5):
        change = moved("cw", "l2", confidence=confidence, **LONG["cw"])
        assert np.dot(W, change) == pytest.approx(0.1 + confidence, rel=0.06)


def test_constants_grow_until_success_and_are_bisected_then() -> None:
    constants = _Constants(torch.zeros(2, 1, 1, 1), 0.01)
    seen = []
    for outcome in ([False, True], [True, True], [False, False], [True, False]):
        constants.adapt(torch.tensor(outcome))
        seen.append(constants.value.flatten().tolist())
    # 0.01 failed, 0.1 succeeded, 0.055 failed; the other: 0.01 and 0.005 succeeded, 0.0025 and 0.00375 failed
    expected = [[0.1, 0.005], [0.055, 0.0025], [0.0775, 0.00375], [0.06625, 0.004375]]
    np.testing.assert_allclose(seen, expected, rtol=1e-5)


def test_a_threshold_shrinks_after_success_and_the_constant_doubles_after_failure() -> None:
    ball = Budget("linf", 1.0).around(torch.full((2, 1, 1, 2), 0.5))
    rule, best = _AboveThreshold(ball, 0.01), _Smallest(ball)
    best.see(ball.clean + torch.tensor([[0.2, -0.1], [0.0, 0.3]]).view(2, 1, 1, 2), torch.tensor([True, False]))
    rule.adapt(torch.tensor([True, False]), best)
    assert rule.constant.flatten().tolist() == pytest.approx([0.01, 0.02])
    change = torch.tensor([[0.19, -0.17], [0.9, -0.99]]).view(2, 1, 1, 2)
    assert rule.gradient(change).flatten().tolist() == [1, 0, 0, 0], "threshold 0.18, and still 1"


def test_tanh_space_covers_what_may_change_and_nothing_else() -> None:
    clean = torch.tensor([0.0, 1.0, 0.3, 0.6]).view(1, 1, 2, 2)
    mask = torch.tensor([True, True, True, False]).view(1, 1, 2, 2)
    space = _Tanh(Budget("l2", 1000.0).around(clean, mask))
    torch.testing.assert_close(space.images(space.start), clean, atol=1e-6, rtol=0)
    for far, expected in ((-20.0, [0, 0, 0, 0.6]), (20.0, [1, 1, 1, 0.6])):
        assert space.images(torch.full_like(clean, far)).flatten().tolist() == pytest.approx(expected)
    variable = torch.tensor([0.3, -0.2, 0.1, 0.4]).view(1, 1, 2, 2).requires_grad_(True)
    (expected,) = torch.autograd.grad((mask * (variable.tanh() + 1) / 2 * 3).sum(), variable)
    torch.testing.assert_close(space.gradient(variable.detach(), torch.full_like(clean, 3.0)), expected)


def test_curvature_turns_a_gradients_change_into_the_step_that_made_it() -> None:
    """The secant condition, of every image by itself; where nothing was accepted the direction is the gradient's."""
    generator = torch.Generator().manual_seed(1)
    curvature = _Curvature(torch.zeros(2, 1, 2, 2))
    hessian = torch.tensor([1.0, 2.0, 5.0, 0.5]).view(1, 1, 2, 2)
    for _ in range(7):
        step = torch.randn(2, 1, 2, 2, generator=generator)
        curvature.learn(step, hessian * step, torch.tensor([True, False]).view(2, 1, 1, 1))
    direction = curvature.direction(hessian * step)
    torch.testing.assert_close(direction[0], -step[0])
    gradient = (hessian * step)[1]
    torch.testing.assert_close(direction[1], -gradient / 2)
    # Five pairs in four dimensions: the quadratic is known, so that this is nearly Newton's direction.
    other = torch.randn(2, 1, 2, 2, generator=generator)
    newton = -other[0] / hessian[0]
    assert float(torch.cosine_similarity(curvature.direction(other)[0].flatten(), newton.flatten(), dim=0)) > 0.8


def test_curvature_ignores_steps_along_which_the_slope_falls() -> None:
    curvature = _Curvature(torch.zeros(1, 1, 1, 2))
    step = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    curvature.learn(step, -step, torch.ones(1, 1, 1, 1) > 0)
    assert curvature.direction(step).flatten().tolist() == [-0.5, 0.0]


@pytest.mark.parametrize(("name", "norm"), EVERY)
def test_what_is_wrong_already_comes_back_as_it_was(name: str, norm: str) -> None:
    result = attack(name, grey(Slope(W)), CLEAN, [1], eps=None, norm=norm)
    assert result.adversarial.tobytes() == result.clean.tobytes()


@pytest.mark.parametrize(("name", "norm"), EVERY)
def test_identical_classes_are_an_honest_failure(name: str, norm: str) -> None:
    """No gradient leads anywhere: no endless loop, no NaN, no success, and a warning that says so."""
    result = attack(name, grey(Slope((0.0, 0.0))), CLEAN, [0], eps=None, norm=norm)
    assert not result.success.any()
    assert np.isfinite(result.adversarial).all() and result.adversarial.tobytes() == result.clean.tobytes()
    assert any("zero everywhere" in warning for warning in result.warnings)


@pytest.mark.parametrize(("name", "norm"), EVERY)
def test_broken_gradients_are_taken_as_zero_and_told(name: str, norm: str) -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            # The square root's slope at 0 is infinite, and 0 times infinity is not a number.
            z = x.flatten(1).sum(1) - 5 + (x.flatten(1)[:, 0] * 0).sqrt()
            return torch.stack([torch.zeros_like(z), z], dim=1)

    result = attack(name, grey(Broken()), CLEAN, [0], eps=None, norm=norm)
    assert np.isfinite(result.adversarial).all() and not result.success.any()
    assert any("NaN or infinity" in warning for warning in result.warnings)


@pytest.mark.parametrize(("name", "norm"), [e for e in EVERY if e[0] != "deepfool"])
def test_a_target_is_reached_or_the_image_stays(name: str, norm: str) -> None:
    model, images = small_net(), some_images(6)
    with torch.no_grad():
        labels = model(images).argmax(1)
    result = attack(name, model, images, labels, eps=None, norm=norm, target=1, **LONG_ENOUGH.get(name, {}))
    changed = (result.adversarial != result.clean).reshape(6, -1).any(axis=1)
    assert (changed == result.success).all() and result.success.any()


LONG_ENOUGH = {"cw": {"rate": 0.05}}


@pytest.mark.parametrize(("name", "norm"), EVERY)
def test_a_mask_is_respected_and_made_use_of(name: str, norm: str) -> None:
    mask = torch.tensor([True, False]).view(1, 1, 1, 2)
    result = attack(name, grey(Slope(W)), CLEAN, [0], eps=None, norm=norm, resources=Resources(mask=mask),
                    **LONG.get(name, {}))
    change = (result.adversarial - result.clean).ravel()
    assert change[1] == 0 and change[0] == pytest.approx(0.1 / 3, rel=0.06)


def test_the_smallest_change_is_kept_image_by_image() -> None:
    ball = Budget("l2", 1000.0).around(torch.zeros(2, 1, 1, 1))
    best = _Smallest(ball)
    for value, reached in (([0.5, 0.3], [True, True]), ([0.4, 0.1], [True, False]), ([0.6, 0.2], [True, True])):
        best.see(torch.tensor(value).view(2, 1, 1, 1), torch.tensor(reached))
    assert best.images.flatten().tolist() == pytest.approx([0.4, 0.2])
    assert length(best.images).flatten().tolist() == best.sizes.flatten().tolist()

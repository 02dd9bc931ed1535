"""Gradient attacks on models so simple that every step can be computed by hand."""

import math

import numpy as np
import pytest
import torch

from engine.attacks import ATTACKS
from tests.tiny import Ridge, Slope, attack, grey

EPS = 0.1
W = (3.0, -4.0)  # length 5
CLEAN = torch.tensor([0.5, 0.4]).view(1, 1, 1, 2)
ROOT2 = math.sqrt(2)


def _moved(name: str, *, label: int = 0, clean: torch.Tensor = CLEAN, w: tuple[float, ...] = W, eps: float = EPS,
           **options: object) -> list[float]:
    """The perturbation of both pixels."""
    result = attack(name, grey(Slope(w)), clean, [label], eps=eps, **options)
    return (result.adversarial - result.clean).ravel().tolist()


# name, options, the perturbation in units of eps: of each step and of all of them
BY_HAND = [
    ("fgsm", {}, (1, -1)),
    # sign has length sqrt 2, so the step is sqrt 2 (3, -4) / 5 and its second entry is cut off at 1
    ("fgnm", {}, (ROOT2 * 0.6, -1)),
    ("bim", {"steps": 4}, (1, -1)),
    ("bim", {"steps": 3, "step_size": 0.02}, (0.6, -0.6)),
    # each of four steps is sqrt 2 (3, -4) / 5 / 4
    ("binm", {"steps": 4}, (ROOT2 * 0.6, -1)),
    ("binm", {"steps": 2, "step_size": 0.02}, (0.4 * ROOT2 * 0.6, -0.4 * ROOT2 * 0.8)),
    ("pgd", {"steps": 10, "random_start": False}, (1, -1)),
    ("pgd", {"steps": 2, "random_start": False, "step_size": 0.03}, (0.6, -0.6)),
    ("pgd", {"norm": "l2", "steps": 2, "random_start": False, "step_size": 0.03}, (0.6 * 0.6, -0.6 * 0.8)),
    # 2.5 eps in all, drawn back to length eps
    ("pgd", {"norm": "l2", "steps": 5, "random_start": False}, (0.6, -0.8)),
    ("pgdnm", {"steps": 4, "random_start": False}, (ROOT2 * 0.6, -1)),
    ("mifgsm", {"steps": 4}, (1, -1)),
    ("mifgsm", {"steps": 3, "step_size": 0.02, "momentum": 0.5}, (0.6, -0.6)),
]


@pytest.mark.parametrize(("name", "options", "expected"), BY_HAND)
def test_untargeted_climbs_the_loss(name: str, options: dict, expected: tuple[float, float]) -> None:
    assert _moved(name, **options) == pytest.approx([EPS * e for e in expected], abs=1e-6)


@pytest.mark.parametrize(("name", "options", "expected"), BY_HAND)
def test_targeted_descends_to_the_target(name: str, options: dict, expected: tuple[float, float]) -> None:
    # Towards class 1 the way is that of leaving class 0; towards class 0 it is the opposite.
    towards = [EPS * e for e in expected]
    assert _moved(name, target=1, **options) == pytest.approx(towards, abs=1e-6)
    assert _moved(name, label=1, target=0, **options) == pytest.approx([-t for t in towards], abs=1e-6)


def test_every_registered_gradient_attack_is_computed_by_hand() -> None:
    from engine.attacks.declared.gradient import GradientAscent

    ours = {name for name in ATTACKS if issubclass(ATTACKS[name], GradientAscent)}
    assert ours == {name for name, _, _ in BY_HAND}


@pytest.mark.parametrize("name", ["fgsm", "bim", "pgd", "mifgsm"])
def test_images_stay_between_black_and_white(name: str) -> None:
    clean = torch.tensor([0.98, 0.03]).view(1, 1, 1, 2)
    options = {"random_start": False} if name == "pgd" else {}
    assert _moved(name, clean=clean, **options) == pytest.approx([0.02, -0.03], abs=1e-6)


def test_l2_steps_are_clipped_to_the_range_of_an_image() -> None:
    clean = torch.tensor([0.98, 0.5]).view(1, 1, 1, 2)
    moved = _moved("pgd", clean=clean, norm="l2", steps=1, step_size=0.1, random_start=False)
    assert moved == pytest.approx([0.02, -0.08], abs=1e-6)


def test_iterates_are_what_the_model_saw() -> None:
    """Step k of BIM sees the image moved k times; the last move is seen by the verdict alone."""
    result = attack("bim", grey(Slope(W)), CLEAN, [0], eps=EPS, steps=4)
    seen = result.trace.images[:, 0].reshape(4, 2)
    expected = np.array([[0.5, 0.4], [0.525, 0.375], [0.55, 0.35], [0.575, 0.325]])
    np.testing.assert_allclose(seen, expected, atol=1e-6)
    np.testing.assert_allclose(result.trace.logits[:, 0, 1], expected @ np.array(W), atol=1e-5)
    np.testing.assert_allclose(result.trace.objective[:, 0], np.log1p(np.exp(expected @ np.array(W))), atol=1e-5)
    np.testing.assert_allclose(result.adversarial.ravel(), [0.6, 0.3], atol=1e-6)


@pytest.mark.parametrize(("name", "options", "path"), [
    # Steps of 0.02 from 0.50; the top is at 0.53.
    ("bim", {}, [0.50, 0.52, 0.54, 0.52, 0.54]),
    # The gradient over its mean is (2, 0) or (-2, 0). Velocity 2, 4, 2, 0: the last step goes nowhere.
    ("mifgsm", {"momentum": 1.0}, [0.50, 0.52, 0.54, 0.56, 0.56]),
    # Velocity 2, 3, -0.5, 1.75.
    ("mifgsm", {"momentum": 0.5}, [0.50, 0.52, 0.54, 0.52, 0.54]),
    # Velocity 2, 3.6, 1.24, -1.008.
    ("mifgsm", {"momentum": 0.8}, [0.50, 0.52, 0.54, 0.56, 0.54]),
    ("mifgsm", {"momentum": 0.0}, [0.50, 0.52, 0.54, 0.52, 0.54]),
])
def test_momentum_carries_over_the_top(name: str, options: dict, path: list[float]) -> None:
    clean = torch.full((1, 1, 1, 2), 0.5)
    result = attack(name, grey(Ridge(0.53)), clean, [0], eps=EPS, steps=4, step_size=0.02, **options)
    walked = [*result.trace.images[:, 0, 0, 0, 0], result.adversarial[0, 0, 0, 0]]
    assert walked == pytest.approx(path, abs=1e-6)


def test_non_sign_step_is_as_long_as_the_sign_step_and_counts_only_pixels_that_matter() -> None:
    # Two of three pixels have a gradient: the sign has length sqrt 2. The small eps keeps all from being cut off.
    clean = torch.full((1, 1, 1, 3), 0.5)
    moved = _moved("binm", clean=clean, w=(1.0, 0.0, 1.0), steps=1, step_size=0.01)
    assert moved == pytest.approx([0.01, 0.0, 0.01], abs=1e-6)
    moved = _moved("binm", clean=clean, w=(1.0, 0.0, 3.0), steps=1, step_size=0.01)
    assert moved == pytest.approx([0.01 * ROOT2 / math.sqrt(10), 0.0, 0.03 * ROOT2 / math.sqrt(10)], abs=1e-6)


@pytest.mark.parametrize(("name", "norm"), [("fgsm", "linf"), ("fgnm", "linf"), ("mifgsm", "linf"), ("pgd", "l2")])
def test_a_sure_model_s_tiny_gradients_still_give_whole_steps(name: str, norm: str) -> None:
    """Logit -60: the gradient is of size 1e-25, and its square nothing in float32."""
    options = {"steps": 1} | ({"random_start": False} if name == "pgd" else {})
    options = options if name in ("mifgsm", "pgd") else {}
    result = attack(name, grey(Slope(W, b=60.0)), CLEAN, [0], eps=EPS, norm=norm, **options)
    size = result.l2[0] if norm == "l2" else result.linf[0]
    assert size == pytest.approx(EPS, rel=1e-3)
    assert result.warnings == ()


@pytest.mark.parametrize("name", [n for n in ATTACKS if ATTACKS[n].__module__.endswith((".gradient", ".transfer"))])
def test_a_zero_gradient_moves_nothing_and_is_reported(name: str) -> None:
    for norm in ATTACKS[name].info.norms:
        options = {"random_start": False} if name in ("pgd", "pgdnm") else {}
        # Two images, as some attacks need another one.
        clean = torch.cat([CLEAN, 1 - CLEAN])
        result = attack(name, grey(Slope((0.0, 0.0))), clean, [0, 0], eps=EPS, norm=norm, **options)
        np.testing.assert_array_equal(result.adversarial, result.clean)
        assert any("gradients were zero" in w for w in result.warnings)


def test_fgsm_is_bim_with_one_step_to_the_last_bit() -> None:
    from tests.tiny import small_net, some_images

    images = some_images(5)
    one, other = (attack(name, small_net(), images, [0, 1, 2, 0, 1], eps=0.03, **options)
                  for name, options in (("fgsm", {}), ("bim", {"steps": 1})))
    assert one.adversarial.tobytes() == other.adversarial.tobytes()
    assert not np.array_equal(one.adversarial, one.clean)


def test_random_start_fills_the_linf_budget_evenly() -> None:
    clean = torch.full((2, 1, 64, 64), 0.5)
    result = attack("pgd", grey(Slope((0.0,) * 4096)), clean, [0, 0], eps=EPS, identities=["a", "b"])
    moved = (result.adversarial - result.clean) / EPS
    assert np.abs(moved).max() <= 1 + 1e-5
    assert abs(moved.mean()) < 0.03
    assert moved.std() == pytest.approx(1 / math.sqrt(3), abs=0.02)
    assert not np.array_equal(moved[0], moved[1])


def test_random_start_fills_the_l2_ball_evenly() -> None:
    clean = torch.full((500, 1, 1, 2), 0.5)
    result = attack("pgd", grey(Slope((0.0, 0.0))), clean, [0] * 500, eps=EPS, norm="l2", steps=1, batch=500,
                    identities=[str(i) for i in range(500)])
    # In the plane a uniform point's squared radius is uniform.
    squared = np.sort((result.l2 / EPS) ** 2)
    assert np.abs(squared - (np.arange(500) + 0.5) / 500).max() < 1.63 / math.sqrt(500)  # Kolmogorov-Smirnov, 1 %
    angle = np.arctan2(*(result.adversarial - result.clean).reshape(-1, 2).T)
    assert abs(np.exp(1j * angle).mean()) < 0.1


def test_first_success_leaves_fooled_images_alone() -> None:
    """Logit x0 - 0.55 and steps of 0.02: 0.60 is fooled at once, 0.54 after one step, 0.51 after three, 0.3 never."""
    clean = torch.tensor([0.60, 0.54, 0.51, 0.30]).view(4, 1, 1, 1).expand(-1, -1, -1, 2)
    model = grey(Slope((1.0, 0.0), b=0.55))
    result = attack("bim", model, clean, [0] * 4, eps=EPS, steps=5, stop="first success")
    assert result.adversarial[:, 0, 0, 0] == pytest.approx([0.60, 0.56, 0.57, 0.40], abs=1e-6)
    assert result.gradients.tolist() == result.queries.tolist() == [1, 2, 4, 5]
    # The trace always speaks of the whole batch; who is out keeps the last values.
    seen = result.trace.images[:, :, 0, 0, 0]
    np.testing.assert_allclose(seen[:, 0], [0.60] * 5, atol=1e-6)
    np.testing.assert_allclose(seen[:, 1], [0.54, 0.56, 0.56, 0.56, 0.56], atol=1e-6)
    np.testing.assert_allclose(seen[:, 2], [0.51, 0.53, 0.55, 0.57, 0.57], atol=1e-6)
    np.testing.assert_allclose(seen[:, 3], [0.30, 0.32, 0.34, 0.36, 0.38], atol=1e-6)
    np.testing.assert_allclose(result.trace.logits[:, :, 1], seen - 0.55, atol=1e-6)
    everything = attack("bim", model, clean, [0] * 4, eps=EPS, steps=5)
    assert everything.adversarial[:, 0, 0, 0] == pytest.approx([0.70, 0.64, 0.61, 0.40], abs=1e-6)


def test_first_success_ends_when_every_image_is_fooled() -> None:
    clean = torch.tensor([0.54, 0.52]).view(2, 1, 1, 1).expand(-1, -1, -1, 2)
    result = attack("bim", grey(Slope((1.0, 0.0), b=0.55)), clean, [0, 0], eps=EPS, steps=100, step_size=0.02,
                    stop="first success")
    assert result.gradients.tolist() == [2, 3]
    assert len(result.trace.logits) == 3


def test_first_success_keeps_the_momentum_of_those_in_play() -> None:
    clean = torch.tensor([0.60, 0.50]).view(2, 1, 1, 1).expand(-1, -1, -1, 2)

    class Both(Ridge):
        """A ridge, and class 1 for everything from 0.59."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            bright = (x.flatten(1)[:, 0] > 0.59).float() * 2 - 1
            return super().forward(x) + torch.stack([torch.zeros_like(bright), bright], dim=1)

    result = attack("mifgsm", grey(Both(0.53)), clean, [0, 0], eps=EPS, steps=4, step_size=0.02, momentum=0.8,
                    stop="first success")
    assert result.trace.images[:, 1, 0, 0, 0] == pytest.approx([0.50, 0.52, 0.54, 0.56], abs=1e-6)
    assert result.adversarial[:, 0, 0, 0] == pytest.approx([0.60, 0.54], abs=1e-6)


def test_of_several_restarts_the_best_attempt_is_kept() -> None:
    """Where the gradient is 0 an attempt stays where it began, so the best random start must come out."""

    class Steps(Slope):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).detach() + 0 * x.sum()

    clean = torch.full((3, 1, 1, 2), 0.5)
    result = attack("pgd", grey(Steps(W)), clean, [0] * 3, eps=EPS, steps=2, restarts=5, identities=["a", "b", "c"])
    starts = result.trace.images[::2]
    best = result.trace.objective[::2].argmax(axis=0)
    assert len(set(best.tolist())) > 1
    for image in range(3):
        np.testing.assert_array_equal(result.adversarial[image], starts[best[image], image])
    assert result.gradients.tolist() == [10] * 3


def test_restarts_stop_for_images_that_are_fooled() -> None:
    clean = torch.tensor([0.70, 0.30]).view(2, 1, 1, 1).expand(-1, -1, -1, 2)
    result = attack("pgd", grey(Slope((1.0, 0.0), b=0.55)), clean, [0, 0], eps=EPS, steps=3, restarts=3,
                    stop="first success")
    assert result.gradients.tolist() == [1, 9]
    assert result.trace.logits.shape[0] == 9

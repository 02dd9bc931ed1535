"""The universal perturbation: single steps by hand, what is learned from whom, and that it is learned once."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.attacks.base import ATTACKS, Others
from engine.attacks.runner import Resources
from engine.attacks.universal import FIRST_STEP
from engine.errors import Cancelled
from engine.progress import Progress
from engine.work.store import Payload, Store
from tests.tiny import Counted, Slope, attack, grey, lessons, nothing_left_behind, small_net, some_images

EPS = 0.1


@pytest.fixture(autouse=True)
def fresh_home(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path))


def _from(images: torch.Tensor, labels: list[int] | None = None) -> Resources:
    return Resources(others=Others(images, torch.tensor(labels or [0] * len(images))))


def test_the_first_step_is_a_share_of_eps_along_the_sign() -> None:
    """All further images are in class 0, away from which w leads; one epoch of one batch is one step."""
    model = grey(Slope((1.0, -2.0, 0.5, 0.0), b=5.0))
    clean = torch.full((3, 1, 2, 2), 0.5)
    result = attack("uap", model, clean, [0] * 3, eps=EPS, epochs=1, resources=_from(clean[:2]))
    pattern = FIRST_STEP * EPS * np.array([1, -1, 1, 0])
    np.testing.assert_allclose(result.trace.learned["pattern"].ravel(), pattern, atol=1e-7)
    np.testing.assert_allclose((result.adversarial - result.clean).reshape(3, 4), [pattern] * 3, atol=1e-7)
    assert result.trace.curves["loss"] == (pytest.approx(5.0 + 0.25),)  # z = -0.25 - 5 on every further image


def test_the_first_l2_step_is_a_share_of_eps_along_the_gradient() -> None:
    w = np.array([3.0, -4.0, 0.0, 0.0])
    clean = torch.full((2, 1, 2, 2), 0.5)
    result = attack("uap", grey(Slope(tuple(w.tolist()), b=5.0)), clean, [0] * 2, eps=EPS, norm="l2", epochs=1,
                    resources=_from(clean))
    np.testing.assert_allclose(result.trace.learned["pattern"].ravel(), FIRST_STEP * EPS * w / 5, atol=1e-7)


def test_deepfool_pushes_one_image_just_over_the_boundary() -> None:
    """Logit w·x - b with |w| = 5 at distance 0.02 / 5: the smallest change is that long, and 2 % more."""
    w, clean = np.array([3.0, 4.0]), torch.tensor([0.5, 0.5]).view(1, 1, 1, 2)
    model = grey(Slope(tuple(w.tolist()), b=3.52))
    result = attack("uap", model, clean, [0], eps=0.05, norm="l2", epochs=1, method="DeepFool", resources=_from(clean))
    np.testing.assert_allclose(result.trace.learned["pattern"].ravel(), 1.02 * 0.02 / 25 * w, atol=1e-6)
    assert result.success.all() and result.trace.curves["fooling"] == (1.0,)


def test_deepfool_takes_the_nearest_of_several_boundaries_or_the_one_it_is_told() -> None:
    class Three(torch.nn.Module):
        """Logits [0, x0 - 0.6, x1 - 0.55]: class 2 is nearer than class 1."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x.flatten(1)
            return torch.stack([torch.zeros_like(x[:, 0]), x[:, 0] - 0.6, x[:, 1] - 0.55], dim=1)

    from engine.zoo.classifier import Classifier

    model, clean = Classifier(Three(), ("a", "b", "c"), channels=1), torch.full((1, 1, 1, 2), 0.5)
    options = {"eps": 1.0, "norm": "l2", "epochs": 1, "method": "DeepFool", "resources": _from(clean)}
    nearest, told = (attack("uap", model, clean, [0], target=target, **options) for target in (None, 1))
    np.testing.assert_allclose(nearest.trace.learned["pattern"].ravel(), [0, 0.051], atol=1e-6)
    np.testing.assert_allclose(told.trace.learned["pattern"].ravel(), [0.102, 0], atol=1e-6)


@pytest.mark.parametrize("method", ["gradient ascent", "DeepFool"])
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.05), ("l2", 0.3)])
@pytest.mark.parametrize("target", [None, 2])
def test_one_pattern_within_the_budget_is_added_to_every_image(method: str, norm: str, eps: float,
                                                              target: int | None) -> None:
    bank, clean = some_images(12, seed=1) * 0.6 + 0.2, some_images(5, seed=2) * 0.4 + 0.3
    result = attack("uap", small_net(), clean, [0, 1, 2, 0, 1], eps=eps, norm=norm, epochs=4, method=method,
                    target=target, resources=_from(bank), batch=2)
    pattern = result.trace.learned["pattern"]
    assert np.abs(pattern).max() > 0
    np.testing.assert_allclose(result.adversarial - result.clean, np.broadcast_to(pattern, clean.shape), atol=1e-6)
    size = np.abs(pattern).max() if norm == "linf" else np.linalg.norm(pattern)
    assert size <= eps + 1e-6


@pytest.mark.parametrize(("method", "target"), [("gradient ascent", None), ("gradient ascent", 0), ("DeepFool", 0)])
def test_the_pattern_fools_more_than_noise_of_its_size(method: str, target: int | None) -> None:
    """Not DeepFool untargeted: what leads out of one class of this net leads into the other, and it gets nowhere."""
    model, bank, clean = small_net(), some_images(24, seed=1), some_images(60, seed=2)
    own = model(clean).argmax(1)
    result = attack("uap", model, clean, own.numpy(), eps=0.15, epochs=10, method=method, target=target,
                    resources=_from(bank), batch=60)
    noise = 0.15 * (torch.rand(clean.shape, generator=torch.Generator().manual_seed(3)) * 2 - 1).sign()
    said = model((clean + noise[:1]).clamp(0, 1)).argmax(1)
    by_noise = said != own if target is None else (said == target) & (own != target)
    assert result.success.sum() > 1.5 * int(by_noise.sum()) + 3
    assert result.trace.curves["fooling"][-1] > 0.3


def test_the_fooling_rate_is_that_of_the_pattern_on_the_further_images() -> None:
    """Counted by hand afterwards: answers other than on the clean image, or the target where it was not so before."""
    model, bank = small_net(), some_images(20, seed=1)
    before = model(bank).argmax(1)
    for target in (None, 0):
        result = attack("uap", model, some_images(2), [0, 1], eps=0.1, target=target, resources=_from(bank), epochs=3)
        after = model((bank + torch.tensor(result.trace.learned["pattern"])).clamp(0, 1)).argmax(1)
        rate = (after != before).float().mean() if target is None else (after[before != 0] == 0).float().mean()
        assert max(result.trace.curves["fooling"]) == pytest.approx(float(rate))


def test_learning_ends_when_enough_are_fooled() -> None:
    model = grey(Slope((1.0, 0.0), b=0.51))
    clean = torch.full((4, 1, 1, 2), 0.5)
    result = attack("uap", model, clean, [0] * 4, eps=EPS, epochs=50, resources=_from(clean))
    assert result.trace.curves["fooling"] == (1.0,)


def test_it_is_learned_once_and_from_the_further_images_only() -> None:
    model, bank = small_net(), some_images(8, seed=1)
    counted = model.module = Counted(model.module)
    options = {"eps": EPS, "epochs": 2, "resources": _from(bank), "batch": 2, "memory": lessons()}
    one = attack("uap", model, some_images(5, seed=2), [0] * 5, **options)
    learning_cost = ATTACKS["uap"](epochs=2).learning_cost(8)
    assert sum(counted.backwards) == 2 * 8 == learning_cost.gradients
    assert sum(counted.forwards) == learning_cost.queries + 5 + 3 * 5
    assert one.queries.tolist() == [1] * 5 and one.gradients.tolist() == [0] * 5
    counted.forwards.clear()
    other = attack("uap", model, some_images(3, seed=3), [1] * 3, **options)
    assert sum(counted.forwards) == 3 + 3 * 3 and sum(counted.backwards) == 2 * 8
    assert one.trace.learned["pattern"].tobytes() == other.trace.learned["pattern"].tobytes()
    assert one.trace.curves == other.trace.curves


def test_what_was_kept_of_it_in_another_form_is_learned_again(tmp_path: Path) -> None:
    model, options = small_net(), {"eps": EPS, "epochs": 2, "resources": _from(some_images(8, seed=1))}
    one = attack("uap", model, some_images(2), [0, 1], memory=lessons(), **options)
    store = Store(tmp_path / "runs")
    (entry,) = store.recent("learned")
    whole = store.get(entry.key)
    assert whole is not None
    store.put(entry.key, entry.kind, entry.title, entry.spec, Payload({"curves": whole.facts["curves"]}, whole.arrays))
    again = attack("uap", model, some_images(2), [0, 1], memory=lessons(), **options)
    assert again.trace.learned["pattern"].tobytes() == one.trace.learned["pattern"].tobytes()
    mended = store.get(entry.key)
    assert mended is not None and mended.facts == whole.facts


def test_deepfool_spends_no_more_than_it_declares() -> None:
    model, bank = small_net(), some_images(8, seed=1)
    counted = model.module = Counted(model.module)
    attack("uap", model, bank[:1], [0], eps=EPS, epochs=2, method="DeepFool", resources=_from(bank))
    learning_cost = ATTACKS["uap"](epochs=2, method="DeepFool").learning_cost(8)
    assert 0 < sum(counted.backwards) <= learning_cost.gradients and sum(counted.forwards) - 4 <= learning_cost.queries


def test_learning_again_gives_the_same_bytes_and_leaves_no_trace(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    model, patterns = small_net(), []
    for home in ("one", "two"):
        monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / home))
        with nothing_left_behind(model):
            result = attack("uap", model, some_images(3), [0, 1, 2], eps=EPS, epochs=3,
                            resources=_from(some_images(20)))
        patterns.append(result.trace.learned["pattern"].tobytes())
    assert patterns[0] == patterns[1]


def test_learning_can_be_cancelled() -> None:
    cancel = threading.Event()
    seen: list[str] = []

    def report(fraction: float, text: str) -> None:
        seen.append(text)
        if "learning, step 3" in text:
            cancel.set()

    model = small_net()
    with nothing_left_behind(model), pytest.raises(Cancelled):
        attack("uap", model, some_images(3), [0, 1, 2], eps=EPS, epochs=50, resources=_from(some_images(20)),
               progress=Progress(report, cancel))
    assert not any("step 5" in text for text in seen)


def test_a_class_that_everything_is_taken_for_already_teaches_nothing() -> None:
    """Nothing is left to fool: the rate is 0, not an error, and nothing counts as a success."""
    model = grey(Slope((1.0, 0.0), b=-1.0))
    clean = torch.full((2, 1, 1, 2), 0.5)
    result = attack("uap", model, clean, [1, 1], eps=EPS, target=1, epochs=2, resources=_from(clean))
    assert result.trace.curves["fooling"] == (0.0, 0.0)
    assert not result.success.any() and not result.attacked.any()


def test_without_a_slope_nothing_is_learned() -> None:
    clean = torch.full((2, 1, 1, 2), 0.5)
    for method in ("gradient ascent", "DeepFool"):
        result = attack("uap", grey(Slope((0.0, 0.0), b=1.0)), clean, [0, 0], eps=EPS, epochs=2, method=method,
                        resources=_from(clean))
        assert np.isfinite(result.adversarial).all() and not result.success.any()
        assert not result.trace.learned["pattern"].any()

"""What no attack may make of bad input: an endless loop, a silent success, a count beyond the budget, a NaN.

Every attack of the registry meets every kind, and ends in a clear result or an EngineError of one line.
"""

import signal
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.attacks import ATTACKS
from engine.attacks.base import Knowledge, Others
from engine.attacks.result import AttackResult
from engine.attacks.runner import Resources
from engine.attacks.spec import has_gradients
from engine.errors import EngineError
from engine.zoo.classifier import Classifier
from tests.tiny import QUICK, quick, small_net, some_images

EVERY = [(name, norm) for name in ATTACKS for norm in ATTACKS[name].info.norms]
WHITE = [name for name in ATTACKS if has_gradients(ATTACKS[name].info.knowledge)]
BLACK = [name for name in ATTACKS if name not in WHITE]
EPS = 0.1
IMAGES = some_images(2)
LABELS = [0, 0]
OTHERS = Others(some_images(3, seed=1), torch.tensor([0, 1, 1]))
LONGEST = 60  # seconds; an attack takes tenths of one here


@pytest.fixture(autouse=True)
def no_endless_loop() -> Iterator[None]:
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise TimeoutError(f"not done after {LONGEST} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LONGEST)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def _attacked(name: str, norm: str, module: nn.Module, labels: list[int], images: Tensor = IMAGES,
              **options: object) -> AttackResult:
    """An attack at its quick settings; whatever it met, its result holds together."""
    model = Classifier(module, ("no", "yes"), mean=(0.4,) * 3, std=(0.2,) * 3)
    options = {"resources": Resources(others=OTHERS), **options}
    result = quick(name, model, images, labels, eps=EPS, norm=norm, **options)
    assert np.isfinite(result.adversarial).all()
    assert result.adversarial.min() >= 0 and result.adversarial.max() <= 1
    settings = {k: v for k, v in QUICK.get(name, {}).items() if k in ATTACKS[name].__dataclass_fields__}
    cost = ATTACKS[name](**settings).cost()
    assert result.queries.max() <= cost.queries and result.gradients.max() <= cost.gradients
    if ATTACKS[name].info.bounded and not ATTACKS[name].info.patched:
        assert (result.linf if norm == "linf" else result.l2).max() <= EPS + 1e-6
    return result


class Seen(nn.Module):
    """A small network's first logit, of which the tests below make two classes."""

    def __init__(self) -> None:
        super().__init__()
        self.net = small_net().module

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.net(x)[:, 0])

    def logits(self, z: Tensor) -> Tensor:
        return torch.stack([torch.zeros_like(z), z - z.detach().median()], dim=1)


class Identical(Seen):
    def logits(self, z: Tensor) -> Tensor:
        return torch.stack([z, z], dim=1)


class Never(Seen):
    """The second class comes nearer and further, and is never predicted."""

    def logits(self, z: Tensor) -> Tensor:
        return torch.stack([torch.ones_like(z), z.sigmoid() - 0.5], dim=1)


class NoSlope(Seen):
    """Its derivative is 0 times infinity at every pixel."""

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.net(x)[:, 0] + (x.flatten(1) * 0).sqrt().sum(1))

    def logits(self, z: Tensor) -> Tensor:
        return torch.stack([torch.ones_like(z), z * 0], dim=1)


class Trembling(nn.Module):
    """A random defense inside the model: noise on all that it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.net = small_net(classes=2).module

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x + 0.3 * torch.randn(x.shape))


# They look for the smallest change that fools; DeepFool alone shows how far it came.
UNCHANGED = [n for n in ATTACKS if ATTACKS[n].__module__.endswith(("optimisation", "decision")) and n != "deepfool"]


@pytest.mark.parametrize(("name", "norm"), EVERY)
@pytest.mark.parametrize("module", [Identical, Never])
def test_a_class_that_is_never_predicted_is_no_success(name: str, norm: str, module: type[nn.Module]) -> None:
    result = _attacked(name, norm, module(), LABELS)
    assert result.attacked.all() and not result.success.any()
    if name in UNCHANGED:
        assert result.adversarial.tobytes() == result.clean.tobytes()
    if ATTACKS[name].info.knowledge is Knowledge.DECISION:
        assert any(w.startswith("2 of 2 images: no starting point") for w in result.warnings)


@pytest.mark.parametrize(("name", "norm"), EVERY)
def test_a_target_that_is_the_true_class_is_no_success(name: str, norm: str) -> None:
    if not ATTACKS[name].info.targeted:
        with pytest.raises(EngineError, match="target"):
            _attacked(name, norm, Seen(), [1, 1], target=1)
        return
    result = _attacked(name, norm, Seen(), [1, 1], target=1)
    assert not result.attacked.any() and not result.success.any()
    assert result.summary()["success_rate"] is None


@pytest.mark.parametrize(("name", "norm"), [e for e in EVERY if e[0] in WHITE])
def test_gradients_that_are_no_numbers_are_zeroed_counted_and_reported(name: str, norm: str) -> None:
    result = _attacked(name, norm, NoSlope(), LABELS)
    assert not result.success.any()
    assert any("NaN or infinity" in w for w in result.warnings), result.warnings


@pytest.mark.parametrize(("name", "norm"), EVERY)
def test_a_random_defense_inside_the_model_changes_no_rule(name: str, norm: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        result = _attacked(name, norm, Trembling(), [0, 1])
    # The verdict is that of the model's last look, whatever the attack believed.
    wrong = result.logits_adversarial.argmax(1) != result.labels
    assert (result.success <= wrong).all()


@pytest.mark.parametrize(("name", "norm"), [e for e in EVERY if e[0] in BLACK])
@pytest.mark.parametrize("queries", [1, 2, 5])
def test_a_query_budget_too_small_to_begin_is_kept_or_refused(name: str, norm: str, queries: int) -> None:
    try:
        result = _attacked(name, norm, Seen(), LABELS, max_queries=queries)
    except EngineError as error:
        assert "queries" in str(error) and "\n" not in str(error)
        return
    assert result.queries.max() <= queries


@pytest.mark.parametrize("name", list(ATTACKS))
def test_an_empty_mask_is_refused(name: str) -> None:
    empty = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    with pytest.raises(EngineError, match="mask is empty"):
        _attacked(name, ATTACKS[name].info.norms[0], Seen(), LABELS, resources=Resources(others=OTHERS, mask=empty))


@pytest.mark.parametrize(("name", "norm"), EVERY)
def test_images_of_a_few_pixels_end_too(name: str, norm: str) -> None:
    tiny = Resources(others=Others(some_images(3, size=2, seed=1), OTHERS.labels))
    try:
        _attacked(name, norm, Seen(), LABELS, images=some_images(2, size=2), resources=tiny)
    except EngineError as error:
        assert "\n" not in str(error)

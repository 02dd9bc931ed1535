"""Random numbers belong to an image: its place, its company, and how a run is cut change nothing."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.attacks import ATTACKS
from engine.attacks.base import Draw, Others
from engine.attacks.batch import BatchRun
from engine.attacks.result import AttackResult
from engine.attacks.runner import Resources
from engine.attacks.spec import make_spec
from engine.errors import EngineError
from engine.experiments.epsilon.bisection import smallest_eps
from engine.zoo.classifier import Classifier
from tests.defended import registered
from tests.tiny import attack, quick, small_net, some_images

LABELS = [0, 1, 2, 1, 0]
IMAGES = some_images(len(LABELS))
OTHERS = Resources(others=Others(some_images(6, seed=9), torch.arange(6) % 3))
# They pass images through networks of their own, which round by the size of the batch as every network does.
OWN_NETWORK = ("stm", "advgan", "advganpp", "gdpa")


class OneByOne(nn.Module):
    """A layer that takes every image by itself, so that what it makes of one never depends on the others."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.module(image) for image in x.split(1)])


def one_by_one() -> Classifier:
    model = small_net()
    layers = [OneByOne(layer) for layer in model.module.children()]
    return Classifier(nn.Sequential(*layers), model.classes, mean=(0.4,) * 3, std=(0.2,) * 3)


MODEL = one_by_one()


def of(name: str, which: list[int], batch: int = 3, **options: object) -> AttackResult:
    return quick(name, MODEL, IMAGES[which], [LABELS[i] for i in which], batch=batch, resources=OTHERS, **options)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[bytes, list[bytes]]:
    """What every image drew, in order, by the image's bytes."""
    seen: dict[bytes, list[bytes]] = defaultdict(list)
    real = BatchRun._draw

    def spy(self: BatchRun, draws: Sequence[Draw], like: Tensor, images: Sequence[int]) -> list[Tensor]:
        numbers = real(self, draws, like, images)
        for one in numbers:
            for row, image in zip(one, images, strict=True):
                seen[self._clean[image].cpu().numpy().tobytes()].append(row.cpu().numpy().tobytes())
        return numbers

    monkeypatch.setattr(BatchRun, "_draw", spy)
    return seen


@pytest.mark.parametrize("name", list(ATTACKS))
def test_alone_in_company_and_split_in_two_is_the_same(name: str, drawn: dict[bytes, list[bytes]]) -> None:
    together, numbers = of(name, [0, 1, 2, 3, 4]), {image: b"".join(rows) for image, rows in drawn.items()}
    for which in ([2], [0, 1, 2], [4, 3]):
        drawn.clear()
        some = of(name, which)
        for image, rows in drawn.items():
            own, before = b"".join(rows), numbers[image]
            # An image that is done may be drawn for as long as others are not.
            assert own[:len(before)] == before[:len(own)], "other numbers"
        if name in OWN_NETWORK:
            np.testing.assert_allclose(some.adversarial, together.adversarial[which], atol=0.02)
        else:
            assert some.adversarial.tobytes() == together.adversarial[which].tobytes()
        assert some.queries.tolist() == together.queries[which].tolist()
        assert some.gradients.tolist() == together.gradients[which].tolist()


@pytest.mark.parametrize("name", list(ATTACKS))
def test_the_same_batches_give_the_same_bytes_wherever_a_run_is_cut(name: str) -> None:
    """On a network that rounds by the size of the batch."""
    model = small_net()

    def run(start: int, end: int, batch: int) -> bytes:
        return quick(name, model, IMAGES[start:end], LABELS[start:end], batch=batch,
                     resources=OTHERS).adversarial.tobytes()

    assert run(0, 2, 2) + run(2, 5, 2) == run(0, 5, 2)
    assert run(0, 1, 1) + run(1, 3, 1) == run(0, 3, 1)


def test_draws_of_a_defense_follow_the_image_too() -> None:
    def noisy(which: list[int], name: str) -> AttackResult:
        adaptive = {"attacker": "adaptive", "draws": 2} if name == "pgd" else {}
        return of(name, which, defenses="noise(every=4)", **adaptive)

    with registered():
        for name in ("pgd", "square", "hopskipjump"):
            together, some = noisy([0, 1, 2, 3, 4], name), noisy([3, 1], name)
            assert some.adversarial.tobytes() == together.adversarial[[3, 1]].tobytes()
            assert some.refusals.tolist() == together.refusals[[3, 1]].tolist()
            np.testing.assert_array_equal(some.logits_adversarial, together.logits_adversarial[[3, 1]])


def test_a_smallest_eps_is_the_same_alone_and_among_others() -> None:
    spec = make_spec("pgd", eps=0.2, numerics="reference", params={"steps": 2})

    def search(which: list[int]) -> list[float | None]:
        labels = MODEL(IMAGES[which]).argmax(1)
        return [one.eps for one in smallest_eps(spec, MODEL, IMAGES[which], labels, high=0.2, tolerance=0.001,
                                                device="cpu").found]

    together = search([0, 1, 2, 3, 4])
    assert len(set(together)) > 3
    assert [search([i])[0] for i in range(5)] == together


def test_an_identity_can_be_given_and_decides_the_numbers() -> None:
    def start(names: list[str] | None, images: Tensor = IMAGES[:2], seed: int = 0) -> np.ndarray:
        result = attack("pgd", MODEL, images, LABELS[:2], eps=0.1, identities=names, seed=seed)
        return result.trace.images[0] - images.numpy()

    one = start(["a", "b"])
    np.testing.assert_allclose(start(["b", "a"], IMAGES[:2] * 0.99), one[::-1], atol=0.11)
    assert start(["a", "b"]).tobytes() == one.tobytes() != start(["a", "c"]).tobytes()
    assert start(["a", "c"])[0].tobytes() == one[0].tobytes()
    assert start(["a", "b"], seed=1)[0].tobytes() != one[0].tobytes()
    moved = IMAGES[:2].clone()
    moved[0, 0, 0, 0] = torch.nextafter(moved[0, 0, 0, 0], torch.tensor(0.5))
    assert not np.allclose(start(None, moved)[0], start(None)[0]), "another image, other numbers"
    with pytest.raises(EngineError, match="identities must name each of the 2 images, not 1"):
        start(["a"])

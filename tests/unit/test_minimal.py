"""The smallest eps of every image: against the exact one of a linear model, and its trace."""

import json
import math

import numpy as np
import pytest
import torch

from engine.attacks.base import Others
from engine.attacks.runner import Resources
from engine.attacks.spec import make_spec
from engine.errors import Cancelled, EngineError
from engine.experiments.epsilon.bisection import smallest_eps
from engine.experiments.epsilon.minimal import Minimal
from engine.progress import Progress
from engine.zoo.classifier import Classifier
from tests.tiny import Counted, Slope, grey, small_net, some_images

W = (3.0, -4.0)
# z = 3 a - 4 b, class 1 above 0: FGSM with eps e adds 7 e, so the smallest is -z / 7.
PIXELS = [(0.5, 0.4), (0.2, 0.35), (0.5, 0.6), (0.6, 0.4)]
EXACT = [0.1 / 7, 0.8 / 7, 0.9 / 7, 0.0]
IMAGES = torch.tensor(PIXELS).view(4, 1, 1, 2)


def search(model: Classifier | None = None, *, name: str = "fgsm", high: float = 0.5, tolerance: float = 0.001,
           target: int | None = None, labels: tuple[int, ...] = (0, 0, 0, 0), images: torch.Tensor = IMAGES,
           progress: Progress | None = None, resources: Resources | None = None, norm: str | None = None,
           **params: object) -> Minimal:
    spec = make_spec(name, eps=high, norm=norm, target=target, numerics="reference", params=params)
    return smallest_eps(spec, model or grey(Slope(W)), images, torch.tensor(labels), high=high, tolerance=tolerance,
                        device="cpu", progress=progress, resources=resources)


@pytest.mark.parametrize(("name", "norm", "size"), [("fgsm", "linf", 7.0), ("bim", "linf", 7.0)])
@pytest.mark.parametrize("tolerance", [0.1, 0.01, 0.0004])
def test_it_is_the_exact_one_but_for_the_tolerance(name: str, norm: str, size: float, tolerance: float) -> None:
    found = search(name=name, norm=norm, tolerance=tolerance)
    for one, exact in zip(found.found, EXACT, strict=True):
        assert one.eps is not None and exact <= one.eps <= exact + tolerance + 1e-6


def test_every_step_halves_what_is_unknown_and_is_told() -> None:
    high, tolerance = 0.5, 0.01
    one = search(high=high, tolerance=tolerance).found[0]
    assert [t.eps for t in one.tries] == pytest.approx([0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125])
    assert [t.success for t in one.tries] == [True] * 6 + [False]
    assert one.eps == 0.015625
    assert min(t.eps for t in one.tries if t.success) == one.eps


def test_images_that_are_wrong_already_or_resist_are_told_apart() -> None:
    found = search(high=0.12)
    wrong, resists = found.found[3], found.found[2]
    assert (wrong.eps, wrong.tries) == (0.0, ())
    assert resists.eps is None and [t.success for t in resists.tries] == [False], "searched on in vain"
    facts = json.loads(json.dumps(found.summary()))
    assert (facts["n"], facts["attacked"], facts["fooled"]) == (4, 3, 2)
    assert facts["eps_median"] == found.found[1].eps and facts["eps_largest"] == found.found[1].eps
    assert search(high=0.01).summary()["eps_median"] is None


def test_the_images_kept_fool_the_model_within_their_eps() -> None:
    model, images = small_net(), some_images(5)
    with torch.no_grad():
        labels = model(images).argmax(1)
    found = search(model, name="bim", images=images, labels=tuple(labels.tolist()), high=0.3, tolerance=0.005, steps=3)
    with torch.no_grad():
        fooled = (model(torch.tensor(found.adversarial)).argmax(1) != labels).numpy()
    far = np.abs(found.adversarial - images.numpy()).reshape(5, -1).max(axis=1)
    assert fooled.any()
    for one, size, wrong in zip(found.found, far, fooled, strict=True):
        assert wrong == (one.eps is not None)
        assert size <= (one.eps or 0.0) + 1e-6


def test_counts_are_what_passed_through_the_model() -> None:
    model = grey(Slope(W))
    counted = model.module = Counted(model.module)
    found = search(model, tolerance=0.05)
    tries = [max(1, len(one.tries)) for one in found.found]  # the first try finds out that an image is wrong already
    assert found.gradients.tolist() == tries == found.queries.tolist()
    assert sum(counted.backwards) == sum(tries)


def test_images_with_the_same_answers_are_attacked_together() -> None:
    model = grey(Slope(W))
    counted = model.module = Counted(model.module)
    search(model, images=IMAGES[:1].repeat(4, 1, 1, 1), tolerance=0.05)
    assert set(counted.backwards) == {4}


def test_a_mask_and_a_target_go_along() -> None:
    mask = torch.zeros(4, 1, 1, 2, dtype=torch.bool)
    mask[..., 0] = True
    found = search(resources=Resources(mask=mask), tolerance=0.001)
    assert found.found[0].eps == pytest.approx(0.1 / 3, abs=0.0011), "only the first pixel, of weight 3, may change"
    assert (found.adversarial[..., 1] == IMAGES.numpy()[..., 1]).all()
    aimed = search(target=1, tolerance=0.001)
    assert aimed.found[0].eps == pytest.approx(EXACT[0], abs=0.0011)


def test_it_can_be_stopped() -> None:
    seen: list[float] = []

    def stop(fraction: float, text: str) -> None:
        seen.append(fraction)
        if fraction > 0.5:
            raise Cancelled

    with pytest.raises(Cancelled):
        search(progress=Progress(stop))
    assert seen == sorted(seen) and 0.5 < seen[-1] < 0.7


@pytest.mark.parametrize(("options", "says"), [
    ({"name": "deepfool"}, "takes no eps"),
    ({"tolerance": 0.0}, "tolerance must lie between"),
    ({"tolerance": 0.6}, "tolerance must lie between"),
    ({"tolerance": math.nan}, "tolerance must lie between"),
    ({"tolerance": 1e-12}, "finer than"),
    ({"high": 1.5}, "eps must lie between"),
])
def test_bad_input_is_explained(options: dict, says: str) -> None:
    options = {"high": 0.5, "tolerance": 0.01, **options}
    name, high, tolerance = options.pop("name", "fgsm"), options["high"], options["tolerance"]
    spec = make_spec(name, eps=None if name == "deepfool" else 0.5)
    with pytest.raises(EngineError, match=says):
        smallest_eps(spec, grey(Slope(W)), IMAGES, torch.tensor([0] * 4), high=high, tolerance=tolerance)


def test_others_are_whole_whatever_part_is_attacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attack that learns from further images learns from the same ones in every round."""
    from engine.attacks import ATTACKS
    from engine.experiments.epsilon import bisection

    seen: list[Others | None] = []
    real = bisection.run_attack

    def spy(*arguments: object, resources: Resources, **options: object) -> object:
        seen.append(resources.others)
        return real(*arguments, resources=resources, **options)

    monkeypatch.setattr(bisection, "run_attack", spy)
    from dataclasses import replace

    monkeypatch.setattr(ATTACKS["fgsm"], "info", replace(ATTACKS["fgsm"].info, others=1))
    search(tolerance=0.05)
    assert len(seen) > 3 and all(others is not None and len(others.images) == 4 for others in seen)

"""The fooling rate of what was learned once: what is counted, on which images, and that it belongs to the pattern."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.attacks.base import Others
from engine.attacks.runner import Resources
from engine.attacks.spec import AttackSpec, make_spec
from engine.data import phantom
from engine.experiments import attacking, sources, units
from engine.experiments.fooling import fooling_task
from engine.experiments.onepicture.explore import explore_task
from engine.experiments.sources import Source
from engine.metrics.rates import interval
from engine.work.kinds import Task
from engine.work.store import Payload
from engine.zoo import registry
from engine.zoo.classifier import Classifier
from tests.tiny import Slope, attack, grey, small_net
from tests.working import perform

MODEL = "phantom-cxr/tiny"
TRAIN = Source("phantom-cxr", "train", 4)


@pytest.fixture(autouse=True)
def only_model(monkeypatch: pytest.MonkeyPatch) -> Classifier:
    made = Classifier(small_net(seed=3).module, phantom.CLASSES, mean=(0.4,), std=(0.2,), name=MODEL)
    monkeypatch.setattr(units, "model_digest", lambda name: "digest of the weights")
    monkeypatch.setattr(sources, "model_card", lambda name: made)
    for module in (registry, attacking):
        monkeypatch.setattr(module, "load_model", lambda name: made)
    return made


def uap(**options: object) -> AttackSpec:
    return make_spec("uap", eps=0.3, params={"epochs": 1}, **options)  # type: ignore[arg-type]


def asked(spec: AttackSpec, source: Source) -> Task:
    return explore_task(source, MODEL, spec, "cpu")


def learned(spec: AttackSpec, source: Source) -> Payload:
    return perform(asked(spec, source))


# Wilson 1927, as Newcombe 1998 (doi:10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E) prints it in
# table I, method 3: four digits.
@pytest.mark.parametrize(("counted", "of", "low", "high"), [
    (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718),
])
def test_the_interval_is_wilsons(counted: int, of: int, low: float, high: float) -> None:
    assert interval(counted, of) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


# By Wilson's formula with the normal distribution's 1.959964.
@pytest.mark.parametrize(("counted", "of", "expected"), [
    (0, 10, (0.0, 0.2775328030260577)), (5, 10, (0.2365930890114794, 0.7634069109885206)),
    (10, 10, (0.7224671969739421, 1.0)), (57, 100, (0.4721538947286719, 0.6626670154436687)),
    (197, 200, (0.9568342708846106, 0.9948857622464952)),
])
def test_the_interval_by_hand(counted: int, of: int, expected: tuple[float, float]) -> None:
    assert interval(counted, of) == pytest.approx(expected, abs=1e-7)


def test_nothing_counted_says_nothing() -> None:
    assert interval(0, 0) == (0.0, 1.0)


def test_a_changed_prediction_counts_whether_it_was_right_or_not() -> None:
    """Class 1 from x1 + x2 > 1; the pattern adds to x1 and x2. Labels do not matter to the fooling rate."""
    model, images = grey(Slope((1.0, 1.0), b=1.0)), torch.tensor([[0.45, 0.5], [0.2, 0.3], [0.6, 0.7]]).view(3, 1, 1, 2)
    resources = Resources(others=Others(images[:2], torch.tensor([0, 0])))
    for labels, right in ([0, 0, 1], 1), ([1, 0, 0], 0):
        result = attack("uap", model, images, labels, eps=0.1, epochs=20, resources=resources, target=1)
        assert result.fooled.tolist() == [True, False, False], "the third was of the target class already"
        assert result.open.tolist() == [True, True, False]
        assert result.summary()["fooling_rate"] == 0.5 and result.success.sum() == right


@pytest.mark.parametrize("target", [None, 1])
def test_it_is_measured_on_images_that_were_not_learned_from(target: int | None, only_model: Classifier) -> None:
    spec = uap(target=target)
    outcome = learned(spec, TRAIN)
    found = perform(fooling_task(asked(spec, TRAIN), limit=12))
    data = sources.opened("phantom-cxr", "train")
    numbers = found.arrays["indices"].tolist()
    assert len(set(numbers)) == 12 and max(numbers) > 2500
    from engine.experiments.further import chosen_others

    pool, learned_from = chosen_others(data, [TRAIN.index], 32)
    assert pool is data and not set(numbers) & set(learned_from)
    clean = torch.from_numpy(data.images(numbers))
    pattern = torch.from_numpy(outcome.arrays["learned_pattern"])
    with torch.no_grad():
        before, after = (only_model(x).argmax(1).numpy() for x in (clean, (clean + pattern).clamp(0, 1)))
    np.testing.assert_array_equal(found.arrays["predicted_adversarial"], after)
    open_ = np.full(12, True) if target is None else before != target
    fooled = open_ & (after != before if target is None else after == target)
    assert (found.facts["fooling_rate"], found.facts["fooling_of"]) == (fooled.sum() / open_.sum(), open_.sum())
    assert found.facts["accuracy_clean"] == (before == found.arrays["labels"]).mean()


def test_it_belongs_to_the_pattern_and_not_to_the_picture() -> None:
    spec, test = uap(), Source("phantom-cxr", "test", 3)
    first, second = asked(spec, test), asked(spec, replace(test, index=8))
    keys = {fooling_task(first).key, fooling_task(second).key}
    assert len(keys) == 1
    assert fooling_task(first, limit=9).key not in keys
    assert fooling_task(asked(uap(seed=1), test)).key not in keys
    np.testing.assert_array_equal(*(perform(task).arrays["learned_pattern"] for task in (first, second)))


def test_images_without_the_mask_are_left_out() -> None:
    spec, test = uap(mask="lesion"), Source("phantom-cxr", "test", 8)
    found = perform(fooling_task(asked(spec, test), limit=9))
    assert 0 < len(found.arrays["labels"]) < 9 and (found.arrays["labels"] > 0).all()

"""Detectors: what each measures, by hand; thresholds, refusals, the clean images they learn from, and their ROC."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor, nn

from engine.attacks.runner import Resources
from engine.attacks.spec import make_spec
from engine.defenses.base import defenses_from
from engine.defenses.binding import bound
from engine.defenses.detectors import Detector
from engine.errors import EngineError
from engine.experiments.further import REFERENCE_EACH, chosen_reference
from engine.experiments.resources import resources_for, served_behind
from engine.experiments.sources import opened
from engine.experiments.units import units_of
from engine.metrics.detection import detection
from engine.serving.defense import Client, Reference
from engine.zoo.classifier import Classifier
from tests.tiny import Counted, Slope, attack, grey, small_net, some_images


class Levels(nn.Module):
    """Logits [0, z] of the mean grey z - 0.5; the feature map before it is the picture itself, of 2 x 2 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        z = 10 * (self.layer(x).mean(dim=(1, 2, 3)) - 0.5)
        return torch.stack([torch.zeros_like(z), z], dim=1)


def greys(levels: Sequence[float]) -> Tensor:
    return torch.tensor(levels, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()


def reference(dark: Sequence[float], bright: Sequence[float]) -> Reference:
    return Reference(greys([*dark, *bright]), torch.tensor([0] * len(dark) + [1] * len(bright)), f"{dark}{bright}")


def detector(text: str, clean: Reference, model: Classifier) -> Detector:
    made, = bound(defenses_from(text), model, clean)
    assert isinstance(made, Detector)
    return made


# Each class learns from its first, third, fifth ... image: dark from 0.1 and 0.3, bright from 0.7 and 0.9.
CLEAN = reference([0.1, 0.2, 0.3, 0.2], [0.7, 0.8, 0.9, 0.8])


def test_squeezing_by_hand() -> None:
    """Of one bit 0.6 becomes 1: the probability of class 1 goes from sigmoid(1) to sigmoid(5), and twice that far."""
    squeeze = detector("squeeze:bits=1,smooth=false,alarms=0.2", CLEAN, grey(Levels()))
    sigmoid = torch.tensor([1.0, 5.0]).sigmoid()
    score = squeeze.fit.scores(greys([0.6, 1.0]))
    assert score.tolist() == pytest.approx([2 * float(sigmoid[1] - sigmoid[0]), 0.0], abs=1e-6)
    assert squeeze.refuses(greys([0.6, 1.0]), []).tolist() == [True, False]


def test_mahalanobis_by_hand() -> None:
    """Means 0.2 and 0.8, variance 0.01 about them: 0.5 is three deviations from both, and 0.7 one."""
    made = detector("mahalanobis:alarms=0.2", CLEAN, grey(Levels()))
    assert made.fit.scores(greys([0.5, 0.7, 0.2])).tolist() == pytest.approx([9, 1, 0], abs=1e-3)
    # The other half are 0.2 and 0.8, exactly the means.
    assert made.fit.threshold == pytest.approx(0, abs=1e-6) and made.refuses(greys([0.5]), []).tolist() == [True]


def test_what_is_measured_is_what_the_last_layer_is_given() -> None:
    """The same two classes, seen through a linear layer behind one that halves what it is given."""
    halved = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False), nn.Linear(1, 2))
    with torch.no_grad():
        halved[1].weight.fill_(1 / 8)
    made = detector("mahalanobis:alarms=0.2", CLEAN, grey(halved))
    assert made.fit.scores(greys([0.5, 0.7, 0.2])).tolist() == pytest.approx([9, 1, 0], abs=1e-3)


def test_kernel_density_by_hand() -> None:
    """Two images of a class 0.2 apart, a kernel half of that wide; 0.6 is said to be bright, and 0.4 dark."""
    made = detector("kde:bandwidth=0.5,alarms=0.2", CLEAN, grey(Levels()))

    def expected(at: float, others: Sequence[float]) -> float:
        return -float(np.log(np.mean([norm.pdf(at, z, 0.1) for z in others])))

    wanted = [expected(0.6, (0.7, 0.9)), expected(0.4, (0.1, 0.3)), expected(0.0, (0.1, 0.3))]
    assert made.fit.scores(greys([0.6, 0.4, 0.0])).tolist() == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("name", ["squeeze", "mahalanobis", "kde"])
def test_so_many_clean_images_are_refused_as_was_chosen(name: str) -> None:
    drawn = np.random.default_rng(0).normal([[0.3], [0.7]], 0.08, (2, 400)).clip(0, 1)
    model, clean = grey(Levels()), reference(drawn[0, :200], drawn[1, :200])
    made = detector(f"{name}:alarms=0.1" + (",smooth=false" if name == "squeeze" else ""), clean, model)
    unseen = greys(np.concatenate([drawn[0, 200:], drawn[1, 200:]]))
    assert 0.05 < float(made.refuses(unseen, []).float().mean()) < 0.16


def test_what_a_query_costs_is_what_was_declared() -> None:
    for text in ("squeeze", "squeeze:smooth=false", "mahalanobis", "kde"):
        counted = grey(Counted(Levels()))
        made = detector(f"{text}{',' if ':' in text else ':'}alarms=0.2", CLEAN, counted)
        counted.module.forwards.clear()
        made.refuses(greys([0.5]), [])
        assert sum(counted.module.forwards) == made.looks


@pytest.mark.parametrize(("text", "clean", "says"), [
    ("kde", reference([0.1] * 8, []), "fewer of yes"), ("mahalanobis", reference([], [0.1] * 8), "fewer of no"),
    ("squeeze", reference([0.1] * 8, [0.9] * 3), "4 clean images or more of every class"),
    ("kde:alarms=0.2", reference([0.1] * 8, [0.9] * 8), "the network sees the same"),
    ("squeeze:alarms=0.1", CLEAN, "at least 11.1% false alarms"), ("squeeze", None, "reference images"),
])
def test_clean_images_that_do_not_do_are_told(text: str, clean: Reference | None, says: str) -> None:
    with pytest.raises(EngineError, match=says) as error:
        bound(defenses_from(text), grey(Levels()), clean)
    assert "\n" not in str(error.value)


def test_a_model_without_a_feature_map_is_told_and_an_unfitted_detector_judges_nothing() -> None:
    with pytest.raises(EngineError, match="feature map"):
        bound(defenses_from("kde:alarms=0.2"), grey(Slope((1.0,) * 4)), CLEAN)
    with pytest.raises(EngineError, match="has to be fitted"):
        defenses_from("kde")[0].refuses(greys([0.5]), [])


def test_a_detector_learns_behind_the_defenses_in_front_of_it() -> None:
    """Of two bits 0.1 and 0.2 become 0 and 1/3."""
    model = grey(Levels())
    _, behind = bound(defenses_from("bits:bits=2+mahalanobis:alarms=0.2"), model, CLEAN)
    plain = detector("mahalanobis:alarms=0.2", CLEAN, model)
    assert [float(one.fit.scores(greys([1 / 6]))) for one in (behind, plain)] == pytest.approx([0, 1 / 9], abs=1e-3)
    assert bound(defenses_from("bits:bits=2+mahalanobis:alarms=0.2"), model, CLEAN)[1] is behind, "fitted twice"


def test_a_run_behind_a_detector_names_the_clean_images_that_it_learned_from() -> None:
    """At 0.3 a step of 0.25 fools the model, and looks like no clean image."""
    model, images, options = grey(Levels()), greys([0.2, 0.3]), {"eps": 0.25, "defenses": "mahalanobis:alarms=0.2"}
    clean = reference([0.1, 0.25, 0.3, 0.15], [0.7, 0.85, 0.9, 0.75])
    result = attack("fgsm", model, images, [0, 0], resources=Resources(reference=clean), **options)
    assert result.provenance.files == {"clean images of mahalanobis": clean.digest}
    assert result.refused_clean.tolist() == [False, True] and result.refused_adversarial.tolist() == [True, True]
    asked = attack("square", model, images[:1], [0], queries=20, resources=Resources(reference=clean), **options)
    assert asked.refusals.sum() > 0 and not asked.success.any()
    with pytest.raises(EngineError, match="reference images"):
        attack("fgsm", model, images, [0, 0], **options)
    with pytest.raises(EngineError, match="clean images must be"):
        attack("fgsm", small_net(), some_images(1), [0], resources=Resources(reference=CLEAN), **options)


# ---- from data sets ------------------------------------------------------------------------------------------------


DATA, MODEL = "phantom-cxr", "phantom-cxr/resnet18"


def test_clean_images_come_from_the_validation_split_and_decide_the_results_key() -> None:
    pool, chosen = chosen_reference(opened(DATA, "test"))
    assert pool.split == "validation" and np.bincount(pool.labels[list(chosen)]).tolist() == [REFERENCE_EACH] * 3
    plain, guarded, behind = (units_of(DATA, "test", [0], MODEL, make_spec("fgsm", eps=0.01, defenses=text))[0]
                              for text in ("", "squeeze", "jpeg"))
    assert guarded.reference == pool.digest_of(chosen) == guarded.canonical()["reference"]
    assert "reference" not in plain.canonical() and "reference" not in behind.canonical() and not behind.reference
    with pytest.raises(EngineError, match="validation split beside those attacked"):
        chosen_reference(opened(DATA, "validation"))
    assert resources_for(plain.attack, opened(DATA, "test"), [0], some_images(1), small_net()).reference is None


def test_whoever_asks_a_defended_model_by_name_has_its_detectors_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.experiments.further.REFERENCE_EACH", 10)
    model, data = small_net(), opened("phantom-cxr@32", "test")
    served = served_behind("squeeze:smooth=false,alarms=0.5", 0, model, data)
    assert served.refusals(torch.zeros(1, 1, 32, 32), served.queries([Client("a")], [0])).tolist() == [False]
    reference, = (one.fit.digest for one in served.defenses)
    pool, chosen = chosen_reference(data)
    assert reference == pool.digest_of(chosen) and len(chosen) == 30
    assert served_behind("", 0, model, data).defenses == ()


# ---- how well they tell --------------------------------------------------------------------------------------------


def test_the_roc_by_hand() -> None:
    """Clean 0, 1, 2, 3 and attacked 2.5, 4, 5, 0.5: of 16 pairs 12 stand in order."""
    found = detection(np.array([0, 1, 2, 3]), np.array([2.5, 4, 5, 0.5]))
    assert found.area == 12 / 16
    assert [found.caught_at(share) for share in (0.0, 0.01, 0.25, 0.5, 0.75, 1.0)] == [0.5, 0.5, 0.75, 0.75, 1.0, 1.0]
    for wrong in (([], [1.0]), ([1.0], []), ([np.nan], [1.0])):
        with pytest.raises(EngineError):
            detection(*map(np.array, wrong))

"""AdvGAN, AdvGAN++ and GDPA: their networks, single steps by hand, what is learned and that it is kept."""

import threading
from typing import cast

import numpy as np
import pytest
import torch

from engine.attacks.base import ATTACKS, Others, Run
from engine.attacks.declared.generative import AdvGANPlusPlus
from engine.attacks.generative import _AdvGANPlusPlus
from engine.attacks.networks.generators import (
    Discriminator,
    FeaturePerturber,
    ImagePerturber,
    Patcher,
    initialised,
    pasted,
)
from engine.attacks.runner import Resources
from engine.errors import Cancelled, EngineError
from engine.progress import Progress
from engine.serving.threat import WhiteBox
from tests.tiny import Counted, Slope, attack, grey, lessons, nothing_left_behind, small_net, some_images

EPS = 0.1
NAMES = ["advgan", "advganpp", "gdpa"]


@pytest.fixture(autouse=True)
def fresh_home(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path))


def _from(images: torch.Tensor, labels: list[int] | None = None) -> Resources:
    return Resources(others=Others(images, torch.tensor(labels or [0] * len(images))))


def _learned(name: str, images: torch.Tensor, labels: list[int], **options):
    options = {"eps": None if name == "gdpa" else EPS, "norm": None, "epochs": 2,
               "resources": _from(some_images(9, seed=1), [0, 1, 2] * 3), "memory": lessons(), **options}
    return attack(name, options.pop("model", None) or small_net(), images, labels, **options)


# ---- the networks


@pytest.mark.parametrize("size", [(8, 8), (9, 14), (2, 3), (33, 17)])
@pytest.mark.parametrize("channels", [1, 3])
@torch.no_grad()
def test_networks_take_images_of_any_size(size: tuple[int, int], channels: int) -> None:
    images, generator = some_images(2, channels, 40)[..., :size[0], :size[1]], torch.Generator().manual_seed(0)
    features = some_images(2, 5)[..., :2, :3]
    drawn = initialised(ImagePerturber(channels), generator)(images)
    painted = initialised(FeaturePerturber(features.shape, images.shape), generator)(features)
    assert drawn.shape == painted.shape == images.shape
    assert float(drawn.abs().max()) < 1 and float(painted.abs().max()) < 1
    patch, place = initialised(Patcher(images.shape, 2), generator)(images)
    assert patch.shape == (2, channels, 2, 2) and place.shape == (2, 2)
    assert float(patch.min()) > 0 and float(patch.max()) < 1 and float(place.abs().max()) < 1
    assert initialised(Discriminator(channels), generator)(images).shape == (2,)


@pytest.mark.parametrize("make", [lambda s: ImagePerturber(s[1]), lambda s: Discriminator(s[1]),
                                  lambda s: Patcher(s, 2), lambda s: FeaturePerturber(torch.Size((1, 5, 3, 3)), s)])
def test_fresh_weights_are_decided_by_the_generator_alone(make) -> None:
    before = torch.get_rng_state()
    one, other, third = (initialised(make(torch.Size((1, 3, 16, 16))), torch.Generator().manual_seed(seed)).state_dict()
                         for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one[name], other[name]) for name in one)
    weights = [name for name in one if one[name].ndim > 1]
    assert weights and not any(torch.equal(one[name], third[name]) for name in weights)
    everything = torch.cat([one[name].flatten() for name in weights])
    assert everything.std() == pytest.approx(0.02, rel=0.1) and abs(float(everything.mean())) < 0.002
    assert not any(one[name].any() for name in one if one[name].ndim == 1)


def test_an_images_perturbation_does_not_depend_on_its_neighbours() -> None:
    images, network = some_images(4, size=16), initialised(ImagePerturber(3), torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(images)[1:2], network(images[1:2]), atol=1e-6, rtol=1e-4)


def test_a_patch_is_pasted_where_it_is_told() -> None:
    images, patch = torch.zeros(1, 1, 5, 6), torch.tensor([[1.0, 2.0], [3.0, 4.0]])[None, None]
    corners = {(-1.0, -1.0): (0, 0), (1.0, 1.0): (3, 4), (-1.0, 1.0): (0, 4), (1 / 3, 0.0): (2, 2)}
    for place, (row, column) in corners.items():
        wanted = torch.zeros(5, 6)
        wanted[row:row + 2, column:column + 2] = patch[0, 0]
        torch.testing.assert_close(pasted(images, patch, torch.tensor([place]))[0, 0], wanted, atol=1e-6, rtol=1e-6)


def test_between_two_pixels_a_patch_lies_on_both_and_has_a_gradient_to_its_place() -> None:
    images, place = torch.full((1, 1, 1, 4), 0.5), torch.tensor([[0.0, 0.0]], requires_grad=True)  # start at 1.5
    result = pasted(images, torch.ones(1, 1, 1, 1), place)
    torch.testing.assert_close(result.detach().flatten(), torch.tensor([0.5, 0.75, 0.75, 0.5]))
    result[0, 0, 0, 2].backward()
    # One unit of place is 1.5 pixels; to the right the patch covers more of pixel 2.
    torch.testing.assert_close(place.grad, torch.tensor([[0.0, 0.75]]))


def test_through_half_opacity_the_image_shines() -> None:
    images = torch.full((1, 3, 4, 4), 0.2)
    result = pasted(images, torch.ones(1, 3, 2, 2), torch.tensor([[-1.0, -1.0]]), opacity=0.5)
    assert result[0, :, :2, :2].flatten().tolist() == pytest.approx([0.6] * 12)
    assert torch.equal(result[..., 2:, :], images[..., 2:, :])


# ---- what AdvGAN++ sees


def test_features_are_the_last_map_and_one_query() -> None:
    model, images = small_net(), some_images(5)
    oracle = WhiteBox(model, 5, rows_at_once=2)
    with nothing_left_behind(model):
        features, logits = _AdvGANPlusPlus(AdvGANPlusPlus()).see(oracle, images, cast(Run, None))
    assert features.shape == (5, 8, 2, 2) and oracle.queries.tolist() == [1] * 5 and not oracle.gradients.any()
    torch.testing.assert_close(logits, model(images))
    torch.testing.assert_close(model.module[-1](features.flatten(1)), logits)


def test_a_model_without_feature_maps_is_refused_in_one_line() -> None:
    with pytest.raises(EngineError, match="no layer with a feature map"):
        attack("advganpp", grey(Slope((1.0,) * 64)), some_images(2, 1), [0, 0], eps=EPS, epochs=1)


# ---- learning


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("target", [None, 2])
def test_training_fools_more_of_the_further_images(name: str, target: int | None) -> None:
    model, bank = small_net(), some_images(24, seed=1)
    own = model(bank).argmax(1)
    options = {"model": model, "resources": _from(bank, own.tolist()), "target": target, "batch": 24,
               **({"share": 0.25} if name == "gdpa" else {"eps": 0.3, "gan": 0.0, "hinge": 0.0})}
    result = _learned(name, bank, own.tolist(), epochs=25, **options)
    curves = result.trace.curves
    assert curves["attack"][-1] < curves["attack"][0] - 0.5
    assert curves["fooling"][-1] > max(curves["fooling"][0], 0.3)
    # What is kept is what was trained: it fools the images it was trained on as the last epoch said, or better.
    assert result.success.sum() / result.attacked.sum() >= curves["fooling"][-1] - 0.25
    assert len(curves["fooling"]) == len(curves["attack"]) == 25


@pytest.mark.parametrize("name", NAMES)
def test_it_is_trained_once_and_attacks_with_one_query(name: str) -> None:
    model = small_net()
    counted = model.module = Counted(model.module)
    one = _learned(name, some_images(5, seed=2), [0, 1, 2, 0, 1], model=model, batch=2)
    learning_cost = ATTACKS[name](epochs=2).learning_cost(9)
    assert sum(counted.backwards) == 2 * 9 == learning_cost.gradients
    assert sum(counted.forwards) == learning_cost.queries + 5 + 3 * 5
    counted.forwards.clear()
    again = _learned(name, some_images(5, seed=2), [2, 2, 1, 1, 1], model=model, batch=2)
    assert sum(counted.backwards) == 2 * 9 and sum(counted.forwards) == 5 + 3 * 5
    assert one.adversarial.tobytes() == again.adversarial.tobytes() and one.trace.curves == again.trace.curves
    assert one.queries.tolist() == [1] * 5 and one.gradients.tolist() == [0] * 5


@pytest.mark.parametrize("name", NAMES)
def test_training_again_gives_the_same_bytes_and_leaves_no_trace(name: str, monkeypatch: pytest.MonkeyPatch,
                                                                 tmp_path) -> None:
    model, outcomes = small_net(), []
    for home, seed in (("one", 0), ("two", 0), ("three", 1)):
        monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / home))
        with nothing_left_behind(model):
            outcomes.append(_learned(name, some_images(3), [0, 1, 2], model=model, seed=seed).adversarial.tobytes())
    assert outcomes[0] == outcomes[1] != outcomes[2]


@pytest.mark.parametrize("name", NAMES)
def test_training_can_be_cancelled(name: str) -> None:
    cancel = threading.Event()
    seen: list[str] = []

    def report(fraction: float, text: str) -> None:
        seen.append(text)
        if "learning, step 3" in text:
            cancel.set()

    model = small_net()
    with nothing_left_behind(model), pytest.raises(Cancelled):
        _learned(name, some_images(3), [0, 1, 2], model=model, epochs=50, progress=Progress(report, cancel))
    assert not any("step 5" in text for text in seen)


def test_gdpa_follows_the_models_slope() -> None:
    """Class 0, and z grows with brightness everywhere: after some steps all of the patch is brighter than grey."""
    model, clean = grey(Slope((1.0,) * 64, b=40.0)), some_images(4, 1)
    result = attack("gdpa", model, clean, [0] * 4, eps=None, norm=None, epochs=20, share=0.25, place="static",
                    resources=_from(some_images(8, 1, seed=1)))
    assert result.trace.learned["pattern"].shape == (1, 4, 4)
    assert result.trace.learned["pattern"].min() > 0.505


@pytest.mark.parametrize(("share", "side"), [(0.0001, 1), (0.02, 1), (0.25, 4), (0.5, 6)])
def test_a_patch_changes_one_square_of_its_size(share: float, side: int) -> None:
    """Between whole pixels it touches one row and one column more."""
    result = _learned("gdpa", some_images(4), [0, 1, 2, 0], share=share)
    changed = (result.adversarial != result.clean).any(axis=1)
    for rows, columns in ((c.any(axis=1), c.any(axis=0)) for c in changed):
        for line in (np.flatnonzero(rows), np.flatnonzero(columns)):
            assert side <= line[-1] - line[0] + 1 <= side + 1


def test_a_static_patch_is_the_same_everywhere_and_a_dynamic_one_is_not() -> None:
    clean = torch.full((3, 3, 8, 8), 0.5) + torch.tensor([-0.3, 0.0, 0.3]).view(3, 1, 1, 1) * some_images(1)
    static, dynamic = (_learned("gdpa", clean, [0, 1, 2], share=0.25, place=place) for place in ("static", "dynamic"))
    changed = [result.adversarial != result.clean for result in (static, dynamic)]
    assert (changed[0].any(axis=1) == changed[0].any(axis=1)[:1]).all()
    assert static.trace.learned["pattern"].shape == (3, 4, 4) and not dynamic.trace.learned
    inside = changed[0].any(axis=(0, 1))
    same = [np.ptp(result.adversarial[:, :, inside], axis=0).min() for result in (static, dynamic)]
    assert same[0] == 0 < same[1]


def test_the_gan_term_and_the_size_term_make_the_change_smaller() -> None:
    plain, small = (_learned("advgan", some_images(4), [0, 1, 2, 0], epochs=30, gan=0.0, hinge=hinge, free=0.0)
                    for hinge in (0.0, 50.0))
    assert small.l2.mean() < 0.5 * plain.l2.mean()
    assert small.trace.curves["size"][-1] < small.trace.curves["size"][0] or small.trace.curves["size"][0] < 1


def test_eps_0_changes_nothing_and_a_flat_model_breaks_nothing() -> None:
    flat = grey(Slope((0.0,) * 64))
    for name in ("advgan", "gdpa"):
        result = attack(name, flat, some_images(2, 1), [0, 0], eps=None if name == "gdpa" else 0.0, norm=None,
                        epochs=2)
        assert np.isfinite(result.adversarial).all() and not result.success.any()
        assert name == "gdpa" or (result.adversarial == result.clean).all()

"""Patches: where they go, what they leave alone, how they are painted, and the one that is learned."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from engine.attacks.base import Others
from engine.attacks.declared.patch import ROA, AdversarialPatch
from engine.attacks.patch import _hottest, _Placement, _regions, _sides, _Sticker, _WorstPlace
from engine.attacks.runner import Resources
from engine.attacks.spec import make_spec
from engine.errors import EngineError, UnknownName
from engine.experiments.epsilon.bisection import smallest_eps
from engine.explain.cam import cam
from engine.zoo.classifier import Classifier
from tests.tiny import Counted, Slope, attack, grey, lessons, small_net, some_images

AROUND = 2 / 255  # the budget of the one attack that has one, outside its patch
PLACED = ["roa", "randompatch", "campatch", "pwp"]
SMALL = {"height": 0.3, "width": 0.4, "steps": 3}
MODEL = small_net()


class Spot(nn.Module):
    """Class 1 where the mean of a 2 x 2 spot at row 4, column 1 of an 8 x 8 image is near grey; blind elsewhere."""

    def forward(self, x: Tensor) -> Tensor:
        z = 1 - 4 * (x[:, 0, 4:6, 1:3].mean(dim=(1, 2)) - 0.5).abs()
        return torch.stack([torch.zeros_like(z), z], dim=1)


def changed(result) -> np.ndarray:
    """Which pixels differ, bool [N, H, W]."""
    return (result.adversarial != result.clean).any(axis=1)


def box(pixels: np.ndarray) -> tuple[int, int, int, int]:
    """First row, last row, first column and last column of what is set."""
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


# ---- where ---------------------------------------------------------------------------------------------------------


def test_regions_are_rectangles_of_that_size() -> None:
    images = torch.zeros(2, 3, 5, 6)
    masks = _regions(torch.tensor([0, 3]), torch.tensor([4, 1]), (2, 2), images)
    assert masks.shape == (2, 1, 5, 6)
    assert [tuple(p) for p in masks[0, 0].nonzero().tolist()] == [(0, 4), (0, 5), (1, 4), (1, 5)]
    assert [tuple(p) for p in masks[1, 0].nonzero().tolist()] == [(3, 1), (3, 2), (4, 1), (4, 2)]


@pytest.mark.parametrize(("shares", "expected"), [((0.2, 0.5), (2, 6)), ((1.0, 1.0), (10, 12)), ((0.01, 0.01), (1, 1))])
def test_sides_are_shares_of_the_image(shares: tuple[float, float], expected: tuple[int, int]) -> None:
    assert _sides(torch.zeros(1, 1, 10, 12), *shares) == expected


def test_the_hottest_region_is_where_most_of_the_heat_is() -> None:
    heat = torch.zeros(2, 5, 5)
    heat[0, 1, 1], heat[0, 3, 3], heat[0, 3, 4] = 1.0, 0.6, 0.6
    heat[1, 4, 0] = 1.0
    top, left = _hottest(heat, (2, 2))
    assert int(top[0]) in (2, 3) and int(left[0]) == 3, "two warm pixels beat one hot one"
    assert (int(top[1]), int(left[1])) == (3, 0)


@pytest.mark.parametrize("search", ["grid", "gradient"])
def test_roa_finds_the_only_place_that_matters(search: str) -> None:
    clean = torch.full((2, 1, 8, 8), 0.9)
    result = attack("roa", grey(Spot()), clean, [0, 0], eps=None, norm="l0", height=0.25, width=0.25, grid=7, steps=1,
                    search=search, candidates=1)
    assert [box(c) for c in changed(result)] == [(4, 5, 1, 2)] * 2
    assert result.queries.tolist() == [{"grid": 49, "gradient": 2}[search] + 2] * 2


def test_roas_grid_reaches_from_edge_to_edge_and_has_each_place_once() -> None:
    tops, lefts = _WorstPlace(ROA(grid=3))._corners(torch.zeros(1, 1, 8, 9), (2, 8))
    assert list(zip(tops.tolist(), lefts.tolist(), strict=True)) == [(0, 0), (0, 1), (3, 0), (3, 1), (6, 0), (6, 1)]


@pytest.mark.parametrize("name", ["campatch", "pwp"])
def test_the_patch_lies_on_the_hottest_spot_of_the_true_class(name: str) -> None:
    images = some_images(3, size=16)
    labels = [0, 1, 2]
    layer = "4"
    heat = torch.from_numpy(cam(MODEL, images, labels, layer=layer).maps)
    top, left = _hottest(heat, (5, 6))
    eps = AROUND if name == "pwp" else None
    result = attack(name, MODEL, images, labels, eps=eps, layer=layer, norm=None, **SMALL)
    far = np.abs(result.adversarial - result.clean).max(axis=1) > AROUND + 1e-6
    for image, (row, column) in enumerate(zip(top.tolist(), left.tolist(), strict=True)):
        first_row, last_row, first_column, last_column = box(far[image])
        assert row <= first_row <= last_row < row + 5 and column <= first_column <= last_column < column + 6
    other = attack(name, MODEL, images, labels, eps=eps, layer="0", norm=result.spec.norm, **SMALL)
    assert other.adversarial.tobytes() != result.adversarial.tobytes(), "the layer makes no difference"


def test_a_random_place_is_the_seeds_and_everywhere() -> None:
    images = torch.full((400, 1, 8, 8), 0.5)
    model = grey(Slope((1.0,) * 64))
    names = [f"image {number}" for number in range(400)]  # as they are all alike otherwise
    first, same, other = (attack("randompatch", model, images, [1] * 400, eps=None, norm="l0", height=0.25, width=0.25,
                                 steps=1, seed=seed, identities=names) for seed in (0, 0, 1))
    assert first.adversarial.tobytes() == same.adversarial.tobytes() != other.adversarial.tobytes()
    assert changed(first).any(axis=0).all(), "some pixels are never covered"


# ---- what is painted -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["roa", "randompatch", "campatch"])
def test_only_one_rectangle_changes(name: str) -> None:
    result = attack(name, MODEL, some_images(4, size=10), [0, 1, 2, 0], eps=None, norm="l0", **SMALL)
    for pixels in changed(result):
        first_row, last_row, first_column, last_column = box(pixels)
        assert last_row - first_row < 3 and last_column - first_column < 4
        assert pixels[first_row:last_row + 1, first_column:last_column + 1].mean() > 0.9


def test_the_patch_is_painted_along_the_sign_and_stops_at_black_and_white() -> None:
    clean = torch.full((1, 1, 2, 2), 0.5)
    model = grey(Slope((3.0, -4.0, 0.0, 1.0)))
    one = attack("randompatch", model, clean, [0], eps=None, norm="l0", height=1.0, width=1.0, steps=1, step_size=0.01)
    start, end = one.trace.images[0].ravel(), one.trace.images[1].ravel()
    np.testing.assert_allclose(end - start, [0.01, -0.01, 0, 0.01], atol=1e-6)
    many = attack("randompatch", model, clean, [0], eps=None, norm="l0", height=1.0, width=1.0, steps=20)
    np.testing.assert_allclose(many.adversarial.ravel()[[0, 1, 3]], [1, 0, 1])


def test_pwp_is_fgsm_around_the_patch() -> None:
    images, eps = some_images(3, size=12), 3 / 255
    options = {**SMALL, "layer": "4"}
    labels = [0, 1, 2]
    results = {value: attack("pwp", MODEL, images, labels, eps=value, **options) for value in (0.0, eps)}
    fgsm = attack("fgsm", MODEL, images, labels, eps=eps)
    top, left = _hottest(torch.from_numpy(cam(MODEL, images, labels, layer="4").maps), _sides(images, 0.3, 0.4))
    patch = _regions(top, left, _sides(images, 0.3, 0.4), images).expand(images.shape).numpy()
    np.testing.assert_allclose(results[eps].adversarial[~patch], fgsm.adversarial[~patch], atol=1e-6)
    assert (results[0.0].adversarial[~patch] == images.numpy()[~patch]).all()
    assert (np.abs(results[eps].adversarial - images.numpy())[patch] > eps + 1e-6).mean() > 0.5


def test_the_budget_of_pwp_is_the_common_one() -> None:
    """It can be swept and searched like that of any other attack, and holds everywhere but in the patch."""
    with pytest.raises(EngineError, match="needs an eps"):
        make_spec("pwp")
    with pytest.raises(EngineError, match="leave the mask out"):
        make_spec("pwp", eps=0.01, mask="lung")
    assert make_spec("pwp", eps=0.01).eps == 0.01
    found = smallest_eps(make_spec("pwp", eps=0.1, numerics="reference", params={**SMALL, "layer": "4"}), MODEL,
                         some_images(2), torch.tensor([0, 1]), high=0.2, tolerance=0.05, device="cpu")
    assert all(0 < t.eps <= 0.2 for f in found.found for t in f.tries)


@pytest.mark.parametrize("name", PLACED)
def test_the_best_iterate_is_kept(name: str) -> None:
    result = attack(name, MODEL, some_images(4), [0, 1, 2, 0], eps=AROUND if name == "pwp" else None, norm=None,
                    height=0.5, width=0.5, steps=5, step_size=1.0)
    final = -torch.log_softmax(torch.tensor(result.logits_adversarial), 1).gather(
        1, torch.tensor(result.labels)[:, None])[:, 0]
    np.testing.assert_allclose(final, result.trace.objective.max(axis=0), rtol=1e-4)


@pytest.mark.parametrize("name", [*PLACED, "patch"])
def test_a_mask_is_respected(name: str) -> None:
    mask = torch.zeros(3, 1, 8, 8, dtype=torch.bool)
    mask[:, :, :, 4:] = True
    options = {"steps": 2, "sample": 2} if name == "patch" else {"height": 1.0, "width": 1.0, "steps": 2}
    result = attack(name, MODEL, some_images(3), [0, 1, 2], eps=AROUND if name == "pwp" else None, norm=None,
                    resources=Resources(mask=mask), **options)
    assert (result.adversarial[..., :4] == result.clean[..., :4]).all()


@pytest.mark.parametrize(("name", "options", "says"), [
    ("roa", {"height": 1.5}, "height must lie between"), ("pwp", {"width": 0.0}, "width must lie between"),
    ("patch", {"size": 2.0}, "size must lie between"), ("randompatch", {"eps": 0.1}, "no eps"),
])
def test_a_patch_larger_than_the_image_is_refused(name: str, options: dict, says: str) -> None:
    with pytest.raises(EngineError, match=says):
        attack(name, MODEL, some_images(1), [0], norm=None, **{"eps": None, **options})


def test_an_unknown_layer_is_named() -> None:
    with pytest.raises(UnknownName, match="layer9"):
        attack("campatch", MODEL, some_images(1), [0], eps=None, norm=None, layer="layer9")


# ---- the learned patch ---------------------------------------------------------------------------------------------


def test_an_upright_patch_of_full_size_is_copied_pixel_by_pixel() -> None:
    patch = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0))
    images = torch.zeros(1, 3, 10, 12)
    placement = _Placement(torch.zeros(1), torch.tensor([2.0]), torch.tensor([[5.0, 8.0]]))
    pasted = _Sticker(AdversarialPatch(shape="square"))._applied(patch, images, placement)
    torch.testing.assert_close(pasted[0, :, 3:7, 6:10], patch)
    assert int((pasted != 0).sum()) == 3 * 16


def test_a_quarter_turn_turns_the_patch() -> None:
    patch = torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(0))
    placement = _Placement(torch.tensor([math.pi / 2]), torch.tensor([2.0]), torch.tensor([[2.0, 2.0]]))
    pasted = _Sticker(AdversarialPatch(shape="square"))._applied(patch, torch.zeros(1, 1, 4, 4), placement)
    turned = [patch.rot90(k, dims=(1, 2)) for k in (1, 3)]
    assert any(torch.allclose(pasted[0], t, atol=1e-5) for t in turned)


def test_a_disc_leaves_the_corners_alone() -> None:
    placement = _Placement(torch.zeros(1), torch.tensor([4.0]), torch.tensor([[4.0, 4.0]]))
    pasted = _Sticker(AdversarialPatch(shape="disc"))._applied(torch.ones(1, 8, 8), torch.zeros(1, 1, 8, 8), placement)
    assert pasted[0, 0, 0, 0] == pasted[0, 0, 7, 7] == 0 and pasted[0, 0, 4].all()
    assert float(pasted.mean()) == pytest.approx(math.pi / 4, abs=0.05)


def test_placements_lie_inside() -> None:
    shares = torch.rand(200, 4, generator=torch.Generator().manual_seed(0))
    images = torch.zeros(200, 1, 20, 30)
    placement = _Placement.of(shares, images, 10, 0.4, 0.5)
    assert (placement.angle.abs() <= 0.4).all() and placement.angle.min() < -0.3 and placement.angle.max() > 0.3
    assert (placement.radius >= 2.5).all() and (placement.radius <= 5).all()
    low, high = placement.centre - placement.radius[:, None], placement.centre + placement.radius[:, None]
    assert (low >= -1e-5).all() and (high <= torch.tensor([20.0, 30.0]) + 1e-5).all()
    assert low.min() < 1 and (high.amax(dim=0) > torch.tensor([19.0, 29.0])).all()


def test_the_gradient_of_the_patch_is_that_of_the_mean_objective() -> None:
    """Against finite differences."""
    from engine.attacks.base import Goal
    from engine.serving.threat import WhiteBox

    attack_, images, aim = _Sticker(AdversarialPatch(size=0.5)), some_images(3), Goal(torch.tensor([0, 1, 2]))
    patch = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0))
    placement = _Placement.of(torch.rand(3, 4, generator=torch.Generator().manual_seed(1)), images, 4, 0.4, 0.8)
    gradient, value, _ = attack_._gradient(WhiteBox(MODEL, 3), patch, images, aim, placement)

    def mean(patch: Tensor) -> float:
        pasted = attack_._applied(patch, images, placement).double()
        return float(aim.objective(double(pasted), torch.arange(3)).mean())

    import copy

    double = copy.deepcopy(MODEL).double()
    assert value == pytest.approx(mean(patch), rel=1e-4)
    for place in ((0, 1, 1), (1, 2, 1), (2, 2, 2)):
        step = torch.zeros_like(patch)
        step[place] = 1e-3
        numeric = (mean(patch + step) - mean(patch - step)) / 2e-3
        assert float(gradient[place]) == pytest.approx(numeric, rel=0.05, abs=1e-4)


def bright_and_dark() -> tuple[Classifier, Tensor, Tensor]:
    """Class 1 is bright; a patch can make a dark image bright enough."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(12, 1, 16, 16, generator=generator) * 0.2
    images += torch.tensor([0.3, 0.5]).repeat(6)[:, None, None, None]
    return grey(Slope((1 / 16,) * 256, 0.5 * 16)), images, torch.tensor([0, 1] * 6)


@pytest.mark.parametrize("size", [0.26, 0.3])
def test_a_patch_is_as_large_as_its_size_says_between_whole_pixels_too(size: float) -> None:
    """All black pictures of 28 x 28, in which a side of 0.3 is 8.4 pixels and not 8."""
    black, labels = torch.zeros(400, 1, 28, 28), [0] * 400
    names = [f"image {number}" for number in range(400)]  # as they are all alike otherwise
    options = {"size": size, "smallest": 1.0, "steps": 1, "sample": 1, "identities": names}
    result = attack("patch", grey(Slope((1.0,) * 784)), black, labels, eps=None, norm="l0",
                    resources=Resources(others=Others(black[:2], torch.tensor([0, 1]))), memory=lessons(), **options)
    covered = changed(result).sum(axis=(1, 2)).mean()
    assert covered == pytest.approx(math.pi * (size * 28 / 2) ** 2, rel=0.02)


def test_a_patch_is_learned_from_grey() -> None:
    model, images, labels = bright_and_dark()
    result = attack("patch", model, images, labels, eps=None, norm="l0", steps=1, sample=4, rate=0.05,
                    resources=Resources(others=Others(images, labels)), memory=lessons())
    patch = result.trace.learned["patch"]
    np.testing.assert_allclose(patch, 0.5, atol=0.05 + 1e-6)
    assert (patch != 0.5).any(), "it has not begun to learn"


def test_a_patch_is_learned_once_and_works_on_images_it_has_not_seen() -> None:
    model, images, labels = bright_and_dark()
    others = Others(images[6:], labels[6:])
    options = {"target": 1, "size": 0.6, "steps": 40, "sample": 4, "resources": Resources(others=others),
               "memory": lessons()}
    counted = model.module = Counted(model.module)
    first = attack("patch", model, images[:6], labels[:6], eps=None, norm=None, batch=2, **options)
    assert sum(counted.backwards) == 40 * 4, "learned again for every batch"
    assert first.success[first.attacked].all()
    patch = first.trace.learned["patch"]
    assert patch.shape == (1, 20, 20), "twice the 9.6 pixels it is seen with"
    assert patch.min() >= 0 and patch.max() <= 1
    assert patch[0, 6:14, 6:14].mean() > 0.9, "it ought to be white"
    assert len(first.trace.curves["objective"]) == 40
    again = attack("patch", model, images[:6], labels[:6], eps=None, norm=None, batch=2, **options)
    assert sum(counted.backwards) == 40 * 4 and again.adversarial.tobytes() == first.adversarial.tobytes()
    np.testing.assert_array_equal(again.trace.learned["patch"], patch)
    assert first.queries.tolist() == [1] * 6 and first.gradients.tolist() == [0] * 6


def test_a_learned_patch_is_written_as_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from engine.cli import main

    random = np.random.default_rng(0)
    for label in ("bright", "dark"):
        (tmp_path / label).mkdir()
        for i in range(2):
            pixels = random.integers(0, 100, (64, 64)) + (150 if label == "bright" else 0)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / label / f"{i}.png")
    from engine.zoo import checkpoints
    from engine.zoo.architectures import ARCHITECTURES

    checkpoint = tmp_path / "untrained.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = ARCHITECTURES["resnet18"].build(2)
    card = checkpoints.Card(name="untrained", arch="resnet18", classes=("bright", "dark"), mean=(0.5,) * 3,
                            std=(0.25,) * 3, dataset="folder", split="all", seed=0, command="", storage="float16",
                            evaluations={}, round_trip={}, limits="Knows nothing.")
    checkpoints.save(checkpoint, module, card)
    out = tmp_path / "out"
    assert main(["attack", "--dataset", f"folder:{tmp_path}", "--model", str(checkpoint), "--attack", "patch", "--set",
                 "steps=1", "sample=1", "size=0.25", "--limit", "2", "--out", str(out), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["n"] == 2
    with Image.open(out / "patch.png") as picture:
        assert picture.size == (2 * 56 * 8, 2 * 56 * 8)

"""Attacks that change few pixels, by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.attacks.base import Budget
from engine.attacks.declared.sparse import OnePixel
from engine.attacks.runner import Resources
from engine.attacks.sparse import _children, _painted, _top
from engine.errors import EngineError
from tests.tiny import Ridge, Slope, attack, grey, small_net, some_images

W = (3.0, -4.0, 1.0, 0.0)
CLEAN = torch.full((1, 1, 2, 2), 0.5)


def moved(name: str, *, b: float = 20.0, clean: Tensor = CLEAN, **options: object) -> list[float]:
    """The change of each pixel; with b = 20 the class never changes, so that all steps are taken."""
    result = attack(name, grey(Slope(W, b)), clean, [0], eps=None, norm="l0", **options)
    return (result.adversarial - result.clean).ravel().tolist()


@pytest.mark.parametrize(("options", "expected"), [
    # derivatives 3, -4, 1, 0: the two largest go to white and black
    ({"pixels": 2}, [0.5, -0.5, 0, 0]),
    ({"pixels": 1, "at_once": 1}, [0, -0.5, 0, 0]),
    ({"pixels": 4}, [0.5, -0.5, 0.5, 0]),
    ({"pixels": 2, "direction": "brighter"}, [0.5, 0, 0.5, 0]),
    ({"pixels": 2, "direction": "darker"}, [0, -0.5, 0, 0]),
    ({"pixels": 2, "theta": 0.1}, [0.1, -0.1, 0, 0]),
    # the same two again, which have 0.1 left; then only the third can still move
    ({"pixels": 4, "theta": 0.4}, [0.5, -0.5, 0, 0]),
    ({"pixels": 6, "theta": 0.4}, [0.5, -0.5, 0.4, 0]),
])
def test_jsma_by_hand(options: dict, expected: list[float]) -> None:
    assert moved("jsma", **options) == pytest.approx(expected, abs=1e-6)


def test_jsma_leaves_out_what_has_no_way_to_go() -> None:
    clean = torch.tensor([0.5, 0.0, 0.5, 0.5]).view(1, 1, 2, 2)
    assert moved("jsma", pixels=2, clean=clean) == pytest.approx([0.5, 0, 0.5, 0], abs=1e-6)


def test_jsma_does_not_turn_back() -> None:
    """The first pixel passes the best place in one step, after which the derivative points back."""
    result = attack("jsma", grey(Ridge(0.7)), CLEAN, [0], eps=None, norm="l0", pixels=2, at_once=1, theta=0.3)
    assert (result.adversarial - result.clean).ravel().tolist() == pytest.approx([0.3, 0, 0, 0], abs=1e-6)


def test_jsma_towards_a_target_goes_the_other_way() -> None:
    result = attack("jsma", grey(Slope(W, -100.0)), CLEAN, [1], eps=None, norm="l0", target=0, pixels=2)
    assert (result.adversarial - result.clean).ravel().tolist() == pytest.approx([-0.5, 0.5, 0, 0])


def test_jsma_takes_the_best_pair_of_all() -> None:
    """Against the paper's table of pairs: -(a1 + a2)(b1 + b2), with derivatives of the probabilities."""
    model, image = small_net(), some_images(1, size=6)
    with torch.no_grad():
        label = int(model(image).argmax())
    leaf = image.clone().requires_grad_(True)
    (down,) = torch.autograd.grad(-model(leaf).softmax(1)[0, label], leaf)
    (up,) = torch.autograd.grad(model(leaf).softmax(1).sum() - model(leaf).softmax(1)[0, label], leaf)
    a, b = ((down.sign() * g).sum(1).flatten() for g in (down, -up))
    table = -(a[:, None] + a) * (b[:, None] + b)
    table[(a[:, None] + a <= 0) | torch.eye(36, dtype=torch.bool)] = -1
    best = divmod(int(table.argmax()), 36)
    result = attack("jsma", model, image, [label], eps=None, norm="l0", pixels=2)
    changed = np.flatnonzero((result.adversarial != result.clean).any(axis=1))
    assert set(changed) == set(best)


@pytest.mark.parametrize("name", ["jsma", "pgdl0", "onepixel"])
def test_no_more_pixels_change_than_allowed_and_colours_count_once(name: str) -> None:
    model, images = small_net(), some_images(4, size=6)
    with torch.no_grad():
        labels = model(images).argmax(1)
    options = {"onepixel": {"population": 10, "queries": 100}}.get(name, {})
    result = attack(name, model, images, labels, eps=None, norm="l0", pixels=5, **options)
    assert (result.l0 <= 5).all() and (result.l0 > 0).any()


@pytest.mark.parametrize(("pixels", "expected"), [
    # 0.15 / mean(3, 4, 1, 0) times the slope: 0.225, -0.3, 0.075, 0; the largest are kept
    (1, [0, -0.3, 0, 0]), (2, [0.225, -0.3, 0, 0]), (9, [0.225, -0.3, 0.075, 0])])
def test_pgd_l0_by_hand(pixels: int, expected: list[float]) -> None:
    assert moved("pgdl0", pixels=pixels, steps=1) == pytest.approx(expected, abs=1e-6)


def test_pgd_l0_keeps_what_is_lost_most_by_undoing_it_within_the_range() -> None:
    """A large step of a pixel that is nearly black already is worth no more than what it can really do."""
    clean = torch.tensor([0.5, 0.1, 0.5, 0.5]).view(1, 1, 2, 2)
    # The second pixel can do 0.1 of its 0.3: 0.3^2 - 0.2^2 = 0.05, less than the first's 0.225^2 = 0.0506.
    assert moved("pgdl0", pixels=1, steps=1, clean=clean) == pytest.approx([0.225, 0, 0, 0], abs=1e-6)


def test_top_is_a_mask_of_that_many() -> None:
    scores = torch.tensor([[3.0, 1.0, 2.0, -1.0], [0.0, 5.0, 4.0, 6.0]]).view(2, 1, 2, 2)
    assert _top(scores, 2).flatten(1).tolist() == [[True, False, True, False], [False, True, False, True]]
    assert _top(scores, 9).all()


# ---- one pixel -----------------------------------------------------------------------------------------------------


def test_one_pixel_finds_the_pixel_that_matters() -> None:
    clean = torch.full((3, 1, 3, 3), 0.5)
    model = grey(Slope((0.0,) * 4 + (4.0,) + (0.0,) * 4, 3.0))  # wrong as soon as the middle is above 0.75
    result = attack("onepixel", model, clean, [0, 0, 0], eps=None, norm="l0", population=20, queries=500)
    assert result.success.all() and (result.l0 == 1).all()
    assert (result.adversarial[:, 0, 1, 1] > 0.75).all()
    assert (result.queries < 500).all(), "does not stop when it is done"
    assert result.trace.walk is not None and (np.diff(result.trace.walk.queries, axis=0) >= 0).all()


def test_children_are_the_fittest_candidate_plus_half_the_difference_of_two() -> None:
    class Fixed:
        def noise(self, like: Tensor, rows: Tensor | None = None) -> Tensor:
            return torch.tensor([[0.3, 0.1, 0.2]])  # in order: candidates 1, 2, 0

    genes = torch.tensor([[0.1], [0.5], [0.9]]).view(1, 3, 1, 1).expand(1, 3, 1, 3).contiguous()
    fitness = torch.tensor([[-3.0, -1.0, -2.0]])
    children = _children(OnePixel(population=3), genes, fitness, Fixed(), torch.tensor([0]))
    # The fittest is 1; r1 = 1, 2, 0; r2 = the one before in that order: 0, 1, 2
    expected = [0.5 + 0.5 * (0.5 - 0.1), 0.5 + 0.5 * (0.9 - 0.5), 0.5 + 0.5 * (0.1 - 0.9)]
    np.testing.assert_allclose(children[0, :, 0, 0], np.clip(expected, 0, 1), atol=1e-6)


def test_candidates_are_painted_where_they_say() -> None:
    ball = Budget("l0", None).around(torch.zeros(2, 3, 4, 5))
    genes = torch.tensor([[[0.0, 0.0, 0.1, 0.2, 0.3]], [[1.0, 0.99, 0.4, 0.5, 0.6]]])
    images = _painted(OnePixel(), genes, ball, torch.tensor([0, 1]))
    np.testing.assert_allclose(images[0, :, 0, 0], [0.1, 0.2, 0.3])
    np.testing.assert_allclose(images[1, :, 3, 4], [0.4, 0.5, 0.6])
    assert int((images != 0).sum()) == 6


@pytest.mark.parametrize("queries", [21, 100, 119])
def test_the_query_budget_is_kept_in_whole_generations(queries: int) -> None:
    result = attack("onepixel", grey(Slope(W, 100.0)), CLEAN, [0], eps=None, norm="l0", population=20, queries=queries)
    assert result.queries.tolist() == [1 + (queries - 1) // 20 * 20]


def test_a_budget_below_the_first_generation_is_refused() -> None:
    with pytest.raises(EngineError, match="needs at least 21 queries"):
        attack("onepixel", grey(Slope(W)), CLEAN, [0], eps=None, norm="l0", population=20, queries=20)
    with pytest.raises(EngineError, match="needs at least 21 queries"):
        attack("onepixel", grey(Slope(W)), CLEAN, [0], eps=None, norm="l0", population=20, max_queries=20)


@pytest.mark.parametrize("name", ["jsma", "pgdl0", "onepixel"])
def test_a_mask_is_respected_and_what_is_wrong_already_stays(name: str) -> None:
    mask = torch.tensor([False, True, True, True]).view(1, 1, 2, 2)
    result = attack(name, grey(Slope(W, 100.0)), CLEAN, [0], eps=None, norm="l0", resources=Resources(mask=mask))
    assert result.adversarial[0, 0, 0, 0] == 0.5 and (result.adversarial != result.clean).any()
    wrong = attack(name, grey(Slope(W, 100.0)), CLEAN, [1], eps=None, norm="l0")
    assert wrong.adversarial.tobytes() == wrong.clean.tobytes()


@pytest.mark.parametrize("name", ["jsma", "pgdl0"])
def test_no_gradient_is_an_honest_failure(name: str) -> None:
    result = attack(name, grey(Slope((0.0,) * 4)), CLEAN, [0], eps=None, norm="l0")
    assert result.adversarial.tobytes() == result.clean.tobytes() and not result.success.any()
    assert any("zero everywhere" in warning for warning in result.warnings)

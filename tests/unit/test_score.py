"""Score-based attacks by hand and on small models: steps, budgets, success, bad input."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.attacks import ATTACKS, score
from engine.attacks.base import Goal, Knowledge
from engine.attacks.declared.score import NES, PIXELS, SimBA, Square
from engine.attacks.runner import Resources
from tests.tiny import Counted, Slope, grey, quick, small_net, some_images
from tests.unit.test_decision import Always, Scripted, Trembling, _row, _subject

SCORE = [name for name in ATTACKS if ATTACKS[name].info.knowledge is Knowledge.SCORE]
LOGS = torch.tensor([[0.7, 0.2, 0.1]]).log()


@pytest.mark.parametrize(("targeted", "wanted", "cross_entropy", "margin", "reached"), [
    (False, 0, math.log(0.7), math.log(0.7 / 0.2), False),
    (False, 1, math.log(0.2), math.log(0.2 / 0.7), True),
    (True, 2, -math.log(0.1), math.log(0.7 / 0.1), False),
    (True, 0, -math.log(0.7), math.log(0.2 / 0.7), True),
])
def test_what_is_to_be_lowered(targeted: bool, wanted: int, cross_entropy: float, margin: float,
                               reached: bool) -> None:
    labels = torch.tensor([wanted])
    aim = score.Aim.of(Goal(torch.tensor([0]), labels) if targeted else Goal(labels), 0)
    assert float(aim.cross_entropy(LOGS)) == pytest.approx(cross_entropy)
    assert float(aim.margin(LOGS)) == pytest.approx(margin)
    assert aim.reached(LOGS) == reached


def test_squares_shrink_by_the_authors_schedule_stretched_to_the_budget() -> None:
    square = Square(queries=10_000)
    shares = {0: 1, 10: 1, 11: 2, 50: 2, 51: 4, 201: 8, 501: 16, 1001: 32, 2001: 64, 4001: 128, 6001: 256, 8001: 512}
    assert {q: 0.8 / score._share(square, q) for q in shares} == pytest.approx(shares)
    assert score._share(Square(queries=1000), 6) == score._share(Square(queries=10_000), 60)


def test_square_begins_with_stripes_and_sets_squares_to_the_edge_of_the_budget() -> None:
    one = _subject([0.5, 0.5, 0.5], Scripted([1.0, -1.0, 1.0]), "linf")
    one.lower, one.upper = one.clean - 0.1, one.clean + 0.1
    assert score._stripes(one).flatten().tolist() == pytest.approx([0.6, 0.4, 0.6])
    one.best.copy_(_row(0.6, 0.4, 0.6))
    one.run.numbers = [torch.tensor([0.0, 0.4]), torch.tensor([-1.0])]  # column int(0.7 x 3) = 2, darker
    assert score._squared(one, 0.2).flatten().tolist() == pytest.approx([0.6, 0.4, 0.4])
    assert one.best.flatten().tolist() == pytest.approx([0.6, 0.4, 0.6]), "the best image was changed in place"


def test_square_draws_another_colour_where_the_first_changes_nothing() -> None:
    one = _subject([0.5, 0.5, 0.5], Scripted([0.0, 0.4], [1.0], [1.0], [-1.0]), "linf")
    one.lower, one.upper = one.clean - 0.1, one.clean + 0.1
    one.best.copy_(_row(0.6, 0.4, 0.6))
    assert score._squared(one, 0.2).flatten().tolist() == pytest.approx([0.6, 0.4, 0.4])
    one.lower = one.upper = one.best
    one.run.numbers = [torch.tensor([0.0, 0.4]), *[torch.tensor([1.0])] * score.MOST_COLOURS]
    assert torch.equal(score._squared(one, 0.2), one.best), "where nothing may change it gives up"


@pytest.mark.parametrize("side", [2, 3, 4, 7])
def test_a_bump_has_length_1_and_rises_in_one_half_and_falls_in_the_other(side: int) -> None:
    one = _subject([0.0] * 4, Scripted([-1.0], [1.0]))
    down, across = score._shape(one, side), score._shape(one, side)
    assert float(down.norm()) == pytest.approx(1.0)
    assert (down[:side // 2] > 0).all() and (down[side // 2:] < 0).all()
    assert torch.equal(across, down.T)


def test_hills_are_nested_rectangles() -> None:
    hill = score._hill(3, 3)
    # The middle has 1 of its own and 1/4 of the ring around it.
    torch.testing.assert_close(hill / hill[0, 0], torch.tensor([[1.0, 1, 1], [1, 5, 1], [1, 1, 1]]))


@pytest.mark.parametrize("seed", range(5))
def test_an_l2_square_uses_the_whole_radius(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    numbers = [(torch.rand(n, generator=generator) * 2 - 1).tolist() for n in (2, 2, 1, 1)]
    one = _subject([0.5] * 64, Scripted(*numbers), eps=0.3)
    one.clean = one.clean.view(1, 1, 8, 8)
    one.lower, one.upper = torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8)
    one.best = one.clean + 0.1 / 8
    new = score._bump(one, 0.2)
    assert float((new - one.clean).norm()) == pytest.approx(0.3, rel=1e-4)


def test_nes_estimates_the_slope_from_opposite_probes() -> None:
    """What is lowered is 2 x0 - x1 here, so each pair differs by twice the probe size times (2 u0 - u1)."""
    probes = [[1.0, 0.0], [1.0, 1.0], [0.0, 2.0]]
    one = _subject([0.5, 0.5], Scripted(*probes))
    aim = score.Aim(0, False)
    coroutine = score._gradient(NES(probes=6, radius=0.01), one, aim, one.clean)
    images = next(coroutine)
    assert images[:, 0, 0].tolist() == [pytest.approx([0.5 + s * 0.01 * u for u in probe]) for s in (1, -1)
                                        for probe in probes]
    with pytest.raises(StopIteration) as over:
        coroutine.send((2 * images[..., 0] - images[..., 1]).flatten(1).expand(-1, 2))
    expected = 0.02 * (2 * torch.tensor([1.0, 0]) + 1 * torch.tensor([1.0, 1]) - 2 * torch.tensor([0.0, 2]))
    assert over.value.value.flatten().tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def test_simba_tries_both_ways_and_keeps_what_helps() -> None:
    """Brighter is surer, so the first way is refused and the second taken, for one pixel and then for the other."""
    one = _subject([0.5, 0.5], Scripted([0.9, -0.9], [-0.9, 0.9]))
    simba = SimBA(step_size=0.2, basis=PIXELS)
    asked: list[list[float]] = []
    coroutine = score.simba(simba, one, score.Aim(0, False), _scores(one.clean))
    image = next(coroutine)
    for _ in range(4):
        asked.append([round(v, 4) for v in image.flatten().tolist()])
        image = coroutine.send(_scores(image))
    # The number of pixel 0 is the larger, so it comes first.
    assert asked == [[0.7, 0.5], [0.3, 0.5], [0.3, 0.7], [0.3, 0.3]]


def _scores(image: Tensor) -> Tensor:
    """The true class is the surer the brighter the image."""
    rest = torch.tensor(0.0)
    return torch.stack([1.0 + image.flatten().sum(), rest])[None].log_softmax(dim=1)


def test_waves_are_an_orthonormal_basis() -> None:
    one = _subject([0.0] * 4, Scripted())
    one.clean = torch.zeros(1, 2, 4, 3)
    waves = score._Waves(one, 8)
    basis = torch.stack([waves[i].flatten() for i in range(waves.count)])
    assert waves.count == 24
    torch.testing.assert_close(basis @ basis.T, torch.eye(24), atol=1e-6, rtol=0)


# ---- on small models -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "options"), [
    ("square", {"eps": 0.05}), ("square", {"eps": 1.0, "norm": "l2"}), ("nes", {"eps": 0.05}),
    ("simba", {}), ("simba", {"basis": PIXELS}),
])
@pytest.mark.parametrize("target", [None, 1])
def test_it_fools_a_small_network_and_stops_there(name: str, options: dict, target: int | None) -> None:
    model = small_net()
    images = some_images(6)
    with torch.no_grad():
        labels = model(images).argmax(1)
    counted = model.module = Counted(model.module)
    result = quick(name, model, images, labels, queries=600, target=target, **options)
    assert sum(counted.forwards) - 18 == result.queries.sum()
    assert result.success.sum() >= 0.6 * result.attacked.sum() > 0
    assert (result.queries[result.success] < 600).all()
    assert (result.queries[~result.attacked] == 1).all() and (result.l2[~result.attacked] == 0).all()
    if ATTACKS[name].info.bounded and options.get("norm") != "l2":
        assert result.linf.max() <= 0.05 + 1e-6


# Evolution needs its first generation; less is refused.
@pytest.mark.parametrize(("name", "queries"), [(name, queries) for name in SCORE for queries in (1, 2, 3, 10, 53)
                                               if queries >= 10 or name != "onepixel"])
def test_a_budget_is_never_exceeded(name: str, queries: int) -> None:
    result = quick(name, grey(Always(1.0, 0.0)), some_images(2, channels=1), [0, 0], queries=queries)
    assert (result.queries <= queries).all() and not result.success.any()


@pytest.mark.parametrize("name", SCORE)
def test_a_sure_model_and_one_with_a_random_defense_end_within_the_budget(name: str) -> None:
    sure = grey(Slope((3000.0,) * 9, 30000.0))
    for model in (sure, grey(Trembling(Slope((1.0,) * 9, 8.0)))):
        result = quick(name, model, some_images(2, channels=1, size=3), [0, 0], queries=100)
        assert (result.queries <= 100).all() and np.isfinite(result.adversarial).all()


@pytest.mark.parametrize("name", SCORE)
def test_only_what_the_mask_leaves_open_changes(name: str) -> None:
    mask = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    mask[..., 2:5, 3:6] = True
    result = quick(name, small_net(), some_images(1), [0], resources=Resources(mask=mask))
    assert (result.adversarial == result.clean)[~mask.expand(1, 3, 8, 8).numpy()].all()


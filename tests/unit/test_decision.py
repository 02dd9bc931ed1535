"""Decision-based attacks by hand and on models whose nearest adversarial image is known; coroutines; bad input."""

import math
import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.attacks import ATTACKS, coroutines
from engine.attacks.base import Budget, Goal, Knowledge, Others, Run
from engine.attacks.coroutines import Subject, cosines
from engine.attacks.decision import attack as start
from engine.attacks.decision import boundary, geoda, geometry, hopskipjump, opt
from engine.attacks.decision.hopskipjump import corrected
from engine.attacks.declared.decision import GBBA, OPT, SignOPT
from engine.attacks.runner import Resources
from engine.errors import Cancelled
from engine.progress import Progress
from engine.zoo.classifier import Classifier
from tests.tiny import Counted, Slope, attack, grey, small_net, some_images

DECISION = [name for name in ATTACKS if ATTACKS[name].info.knowledge is Knowledge.DECISION]
IN_LINF = [name for name in DECISION if "linf" in ATTACKS[name].info.norms]


class Scripted(Run):
    """A run whose random numbers are given, and that keeps what it is told."""

    def __init__(self, *numbers: list[float], others: Others | None = None) -> None:
        self.numbers = [torch.tensor(n) for n in numbers]
        self.others = others or Others(torch.zeros(0, 1, 1, 2), torch.zeros(0, dtype=torch.int64))
        self.notes: list[str] = []

    def normal(self, like: Tensor, rows: Tensor | None = None) -> Tensor:
        return torch.stack([self.numbers.pop(0) for _ in range(len(like))]).view(like.shape)

    noise = normal

    def drawn(self, *_: Any) -> Any: ...

    def note(self, text: str, images: int = 1) -> None:
        self.notes.append(text)

    def record(self, *_: Any) -> None: ...
    def walk(self, *_: Any) -> None: ...
    def nearer(self, *_: Any) -> None: ...
    def learning(self, *_: Any, **__: float) -> None: ...
    def generator(self) -> Any: ...
    def learned(self, fit: Callable[[], dict[str, Tensor]], show: Any = ()) -> dict[str, Tensor]:
        return fit()


def _subject(clean: list[float], run: Run, norm: str = "l2", left: int = 1000,
             eps: float = 1.0) -> Subject:
    image = torch.tensor(clean).view(1, 1, 1, -1)
    one = Subject(0, Budget(norm, eps).around(image), image.clone(), left, run, run.others)
    one.lower, one.upper = torch.full_like(image, -10.0), torch.full_like(image, 10.0)
    return one


def _listen(coroutine: Any, fooled: Callable[[Tensor], bool]) -> tuple[Any, list[list[float]]]:
    """What a coroutine returns where `fooled` answers, and all images it asked about."""
    asked: list[list[float]] = []
    try:
        images = next(coroutine)
        while True:
            asked += [image.flatten().tolist() for image in images]
            images = coroutine.send(torch.tensor([fooled(image.flatten()) for image in images]))
    except StopIteration as over:
        return over.value, asked


def _row(*numbers: float) -> Tensor:
    return torch.tensor(numbers).view(1, 1, 1, -1)


# ---- by hand -------------------------------------------------------------------------------------------------------


def test_the_way_is_halved_until_the_boundary_is_known() -> None:
    one = _subject([0.0, 0.0], Scripted())
    found, asked = _listen(geometry.to_boundary(one, _row(1.0, 2.0), 0.1), lambda x: bool(x[0] > 0.3))
    shares = [0.5, 0.25, 0.375, 0.3125]
    assert asked == [pytest.approx([s, 2 * s]) for s in shares]
    assert found.flatten().tolist() == one.best.flatten().tolist() == pytest.approx([0.3125, 0.625])


def test_in_linf_the_way_is_cut_at_the_largest_change() -> None:
    one = _subject([0.0, 0.0], Scripted(), "linf")
    found, asked = _listen(geometry.to_boundary(one, _row(1.0, -0.3), 0.3), lambda x: bool(x[0] > 0.3))
    assert asked == [pytest.approx([0.5, -0.3]), pytest.approx([0.25, -0.25])]
    assert found.flatten().tolist() == pytest.approx([0.5, -0.3])


@pytest.mark.parametrize(("probes", "answers", "expected"), [
    ([[2.0, 0.0], [0.0, 3.0]], [True, False], (1, -1)),
    # The mean answer is 1/3: weights 2/3, 2/3 and -4/3.
    ([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], [True, True, False], (2, 2 / 3)),
    # All alike: nothing to be taken off.
    ([[1.0, 0.0], [0.0, 1.0]], [False, False], (-1, -1)),
])
@pytest.mark.parametrize("share", [1, 2, 100])
def test_a_direction_is_made_of_answers_less_their_mean(probes: list[list[float]], answers: list[bool],
                                                        expected: tuple[float, float], share: int,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coroutines, "PORTION", share)
    one = _subject([0.0, 0.0], Scripted(*probes))
    said = iter(answers)
    found, asked = _listen(hopskipjump._direction(one, _row(3.0, 4.0), len(probes)), lambda _: next(said))
    radius = geometry.REACH * 5.0
    assert found.flatten().tolist() == pytest.approx([radius * e for e in expected], rel=1e-4)
    assert [math.dist(a, (3, 4)) for a in asked] == pytest.approx([radius] * len(probes), rel=1e-4)


def test_a_jump_is_halved_until_it_fools() -> None:
    one = _subject([0.0, 0.0], Scripted())
    found, asked = _listen(hopskipjump._jump(one, _row(1.0, 0.0), _row(0.0, 1.0), 0.8), lambda x: bool(x[1] < 0.3))
    assert [a[1] for a in asked] == pytest.approx([0.8, 0.4, 0.2])
    assert found.flatten().tolist() == pytest.approx([1.0, 0.2])
    nowhere, asked = _listen(hopskipjump._jump(one, _row(1.0, 0.0), _row(0.0, 1.0), 0.8), lambda _: False)
    assert nowhere is None and len(asked) == hopskipjump.MOST_HALVINGS


def test_gbba_takes_off_the_component_that_leads_back() -> None:
    change = _row(2.0, 0.0)
    assert hopskipjump.corrected(GBBA(), _row(-1.0, 1.0), change).flatten().tolist() == [0.0, 1.0]
    assert hopskipjump.corrected(GBBA(), _row(1.0, 1.0), change).flatten().tolist() == [1.0, 1.0]


def test_a_boundary_step_goes_around_and_then_nearer() -> None:
    one = _subject([0.0, 0.0], Scripted([3.0, 1.0], [1.0, -2.0]))
    aside = boundary._aside(one, _row(2.0, 0.0), around=0.75, count=2)
    # The part across is (0, 1) or (0, -1), made 1.5 long; (2, 1.5) drawn back to length 2; then a tenth nearer.
    assert aside[0].flatten().tolist() == pytest.approx([1.6, 1.2])
    assert aside[1].flatten().tolist() == pytest.approx([1.6, -1.2])
    nearer = boundary._nearer(one, aside, distance=2.0, towards=0.1)
    assert nearer[0].flatten().tolist() == pytest.approx([1.44, 1.08])


def test_steps_adapt_to_how_often_they_work() -> None:
    worked = torch.tensor([True, True, True, False, False])
    assert boundary._adapted(0.4, worked) == pytest.approx(0.6)
    assert boundary._adapted(0.4, ~worked) == 0.4
    assert boundary._adapted(0.6, torch.zeros(5, dtype=torch.bool)) == pytest.approx(0.4)


@pytest.mark.parametrize(("boundary", "asked"), [
    (1.05, [1.0, 1.01, 1.03, 1.07, 1.05, 1.04]),
    (0.95, [1.0, 0.99, 0.97, 0.93, 0.95, 0.94]),
])
def test_a_ray_is_searched_from_the_guess_on(boundary: float, asked: list[float]) -> None:
    search = opt._search(1.0, 0.011)
    lengths = [next(search)]
    with pytest.raises(StopIteration):
        while True:
            lengths.append(search.send(lengths[-1] > boundary - 1e-6))
    assert lengths == pytest.approx(asked)


def test_a_ray_without_a_boundary_is_given_up() -> None:
    one = _subject([0.0, 0.0], Scripted())
    reaches, asked = _listen(opt._reaches(one, torch.cat([_row(1.0, 0.0), _row(0.0, 1.0)]), 1.0, 0.5),
                             lambda x: bool(x[0] > 2.0))
    assert reaches[0] == pytest.approx(2.0, abs=0.01) and reaches[1] == math.inf
    assert sum(a[0] == 0 for a in asked) == opt.MOST_WIDENINGS + 1
    assert one.best.flatten().tolist() == pytest.approx([reaches[0], 0.0])


def test_opt_measures_how_the_reach_grows() -> None:
    """The boundary is x0 = 1; turned by 0.1 the ray (1, 0) becomes (1, 0.1) and reaches sqrt 1.01 far."""
    one = _subject([0.0, 0.0], Scripted([0.0, 5.0], [0.0, -2.0]))
    attack = OPT(directions=2)
    (gradient, sideways), _ = _listen(opt.measured(attack, one, opt._Ray(_row(1.0, 0.0), 1.0), 0.1),
                                      lambda x: bool(x[0] >= 1))
    growth = (math.sqrt(1.01) - 1) / 0.1
    assert gradient.flatten().tolist() == pytest.approx([0.0, (growth - growth) / 2], abs=1e-3)
    assert sideways.reach == pytest.approx(math.sqrt(1.01), abs=1e-3)
    one = _subject([0.0, 0.0], Scripted([0.0, 5.0]))
    (gradient, _), _ = _listen(opt.measured(OPT(directions=1), one, opt._Ray(_row(1.0, 0.0), 1.0), 0.1),
                               lambda x: bool(x[0] >= 1))
    assert gradient.flatten().tolist() == pytest.approx([0.0, growth], abs=2e-3)


def test_sign_opt_asks_only_whether_the_boundary_comes_nearer() -> None:
    """The boundary is x0 + x1 = 1, the ray (1, 0): turned up it is nearer, turned down further away."""
    one = _subject([0.0, 0.0], Scripted([0.0, 5.0], [0.0, -2.0], [0.0, 1.0]))
    (gradient, same), asked = _listen(opt.told(SignOPT(directions=3), one, opt._Ray(_row(1.0, 0.0), 1.0), 0.1),
                                      lambda x: bool(x.sum() > 1))
    # -u for the two that are nearer and +u for the one that is not.
    assert gradient.flatten().tolist() == pytest.approx([0.0, -1.0])
    assert len(asked) == 3 and same.reach == 1.0


def test_a_descent_doubles_its_step_while_that_helps_and_quarters_it_where_it_does_not() -> None:
    one = _subject([0.0, 0.0], Scripted())
    plane = lambda x: bool(x.sum() > 1)  # noqa: E731
    (ray, step), _ = _listen(opt._descend(one, opt._Ray(_row(1.0, 0.0), 1.0), _row(0.0, -1.0), 0.2, 0.001),
                             plane)
    # (1, 0.2), (1, 0.4), (1, 0.8), (1, 1.6): the fourth is further than the third.
    assert ray.direction.flatten().tolist() == pytest.approx([1 / math.hypot(1, 0.8), 0.8 / math.hypot(1, 0.8)])
    assert step == pytest.approx(3.2)
    (ray, step), _ = _listen(opt._descend(one, opt._Ray(_row(1.0, 0.0), 1.0), _row(0.0, -1.0), 4.0, 0.001),
                             lambda x: bool(x[0] + 0.1 * x[1] > 1))
    # 4 does not help, nor 2, nor 0.5; the ray (1, 0.125) reaches the plane sooner.
    assert step == pytest.approx(0.125) and ray.reach == pytest.approx(math.hypot(1, 0.125) / 1.0125, rel=1e-4)


def test_geoda_shares_its_queries_by_the_papers_ratio() -> None:
    portions = geoda._portions(1000, 16)
    assert sum(portions) + 16 * len(portions) <= 1000 < sum(portions) + 16 * len(portions) + len(portions) + 1
    assert portions[0] >= 50 and [b / a for a, b in pairwise(portions)] == pytest.approx(
        [0.6 ** (-2 / 3)] * (len(portions) - 1), rel=0.02)
    assert geoda._portions(10, 16) == [] and geoda._portions(40, 16) == [24]


def test_cosines_are_an_orthonormal_basis() -> None:
    waves = cosines(6, 6)
    torch.testing.assert_close(waves.T @ waves, torch.eye(6), atol=1e-6, rtol=0)
    assert waves[:, 0].tolist() == pytest.approx([6 ** -0.5] * 6)
    assert ((waves[1:, 1] - waves[:-1, 1]) < 0).all()


def test_candidates_are_the_attackers_images_of_a_fitting_class_and_then_noise() -> None:
    others = Others(torch.tensor([0.9, 0.1, 0.5, 0.3]).view(4, 1, 1, 1).expand(4, 1, 1, 2), torch.tensor([1, 0, 2, 1]))
    noise = [[0.0, 1.0]] * start.NOISES
    one = _subject([0.2, 0.2], Scripted(*noise, others=others))
    found = [c.flatten().tolist() for c in start.candidates(one, Goal(torch.tensor([0])))]
    assert found == [pytest.approx(p) for p in ([0.3, 0.3], [0.5, 0.5], [0.9, 0.9])] + [[0.5, 1.0]] * start.NOISES
    one = _subject([0.2, 0.2], Scripted(*noise, others=others))
    found = [c.flatten().tolist() for c in start.candidates(one, Goal(torch.tensor([0]), torch.tensor([2])))]
    assert found[0] == [0.5, 0.5] and len(found) == 1 + start.NOISES


# ---- on models whose boundary is known -----------------------------------------------------------------------------

PLANE = (1.0, -2.0, 0.5, 1.5, -1.0, 0.7, 2.0, -0.3, 0.9)
EDGE = 2.0
FLAT = grey(Slope(PLANE, EDGE))
CLEAN = torch.tensor([0.4, 0.5, 0.6, 0.5, 0.5, 0.4, 0.3, 0.6, 0.5]).view(1, 1, 3, 3)
BEYOND = torch.tensor([0.9, 0.1, 0.7, 0.9, 0.3, 0.6, 0.9, 0.2, 0.6]).view(1, 1, 3, 3)
AWAY = (EDGE - float(CLEAN.flatten() @ torch.tensor(PLANE)))  # how much the logit has to rise
RESOURCES = Resources(others=Others(BEYOND, torch.tensor([1])))


@pytest.mark.parametrize(("name", "queries", "within"), [
    ("hopskipjump", 1000, 1.02), ("gbba", 1000, 1.02), ("geoda", 1000, 1.05), ("signopt", 2000, 1.05),
    ("opt", 3000, 1.1), ("boundary", 3000, 1.2),
])
def test_the_nearest_image_beyond_a_plane_is_found(name: str, queries: int, within: float) -> None:
    result = attack(name, FLAT, CLEAN, [0], eps=None, norm="l2", queries=queries, resources=RESOURCES)
    least = AWAY / math.hypot(*PLANE)
    assert result.success.all()
    assert least <= result.l2[0] <= within * least
    assert float(BEYOND.sub(CLEAN).norm()) > 1.5 * least, "the start is as good: this shows nothing"


@pytest.mark.parametrize("name", IN_LINF)
def test_the_nearest_image_beyond_a_plane_in_linf(name: str) -> None:
    result = attack(name, FLAT, CLEAN, [0], eps=None, norm="linf", queries=2000, resources=RESOURCES)
    least = AWAY / sum(map(abs, PLANE))
    assert result.success.all()
    assert least <= result.linf[0] <= 1.05 * least


@pytest.mark.parametrize("name", DECISION)
def test_more_queries_bring_it_no_further_away(name: str) -> None:
    near, far = (attack(name, FLAT, CLEAN, [0], eps=None, norm="l2", queries=q, resources=RESOURCES) for q in (600, 60))
    assert near.l2[0] <= far.l2[0] * 1.001
    distances, queries = far.trace.walk.distances[:, 0], far.trace.walk.queries[:, 0]
    assert (np.diff(queries) >= 0).all() and queries[0] == 0 and queries[-1] == far.queries[0]
    begun = distances[distances > 0]
    assert (np.diff(begun) <= 1e-3 * begun[:-1] + 1e-6).all(), "the image shown became worse"
    assert far.trace.walk.film.shape[1:] == far.clean.shape


@pytest.mark.parametrize("name", DECISION)
def test_targeted_arrives_at_the_class_wanted(name: str) -> None:
    model = small_net()
    images = some_images(30)
    predicted = model(images).argmax(1)
    chosen = torch.cat([(predicted == label).nonzero()[:1, 0] for label in predicted.unique()])
    target = int(predicted[chosen[-1]])
    result = attack(name, model, images[chosen], predicted[chosen], eps=None, norm="l2", queries=100, target=target,
                    resources=Resources(others=Others(images, predicted)))
    assert len(chosen) > 1 and result.success.sum() == len(chosen) - 1
    assert result.queries[-1] == 1 and result.l2[-1] == 0, "the image that is there already is left alone"


# ---- coroutines ----------------------------------------------------------------------------------------------------


def _images_and_labels(model: Classifier, count: int) -> tuple[Tensor, Tensor]:
    images = some_images(count)
    with torch.no_grad():
        return images, model(images).argmax(1)


@pytest.mark.parametrize("name", DECISION)
def test_the_model_sees_full_batches(name: str) -> None:
    model = small_net()
    images, labels = _images_and_labels(model, 8)
    counted = model.module = Counted(model.module)
    result = attack(name, model, images, labels, eps=None, norm="l2", queries=200, batch=8, keep_steps=False)
    asked = counted.forwards[:-3]
    assert sum(asked) == result.queries.sum()
    assert sum(size for size in asked if size == 8) >= 0.9 * sum(asked), asked
    assert max(asked) == 8


class Exact(nn.Module):
    """A Slope that computes each row alike whatever the batch."""

    def forward(self, x: Tensor) -> Tensor:
        z = (x.flatten(1) * torch.tensor(PLANE, device=x.device)).sum(1) - EDGE
        return torch.stack([torch.zeros_like(z), z], dim=1)


@pytest.mark.parametrize("name", DECISION)
def test_an_image_does_not_depend_on_the_others(name: str) -> None:
    images = torch.cat([CLEAN, CLEAN * 0.9, CLEAN * 0.8, CLEAN * 0.7, CLEAN * 0.6])
    together, alone = (attack(name, grey(Exact()), images, [0] * 5, eps=None, norm="l2", queries=150,
                              resources=RESOURCES, batch=batch) for batch in (5, 1))
    np.testing.assert_allclose(together.adversarial, alone.adversarial, atol=1e-3)
    assert together.queries.tolist() == alone.queries.tolist()


@pytest.mark.parametrize("name", DECISION)
@pytest.mark.parametrize("queries", [1, 2, 3, 7, 20, 33])
def test_a_budget_is_never_exceeded_and_a_small_one_ends_in_a_clear_result(name: str, queries: int) -> None:
    result = attack(name, FLAT, CLEAN, [0], eps=None, norm="l2", queries=queries, resources=RESOURCES)
    assert result.queries[0] <= queries
    if queries < 3:  # one look at the clean image, one at the start, one at the end
        assert not result.success.any() and result.l2[0] == 0
        assert any("budget was spent before a starting point" in w for w in result.warnings)
    else:
        assert result.success.all() and not any("budget" in w for w in result.warnings)


def test_a_smaller_budget_of_the_spec_counts_too() -> None:
    result = attack("hopskipjump", FLAT, CLEAN, [0], eps=None, norm="l2", queries=1000, max_queries=30,
                    resources=RESOURCES)
    assert result.queries[0] <= 30 and result.success.all()


# ---- bad input -----------------------------------------------------------------------------------------------------


class Always(nn.Module):
    """Logits `one` for every image."""

    def __init__(self, *one: float) -> None:
        super().__init__()
        self.one = torch.tensor(one)

    def forward(self, x: Tensor) -> Tensor:
        return self.one.to(x.device).expand(len(x), -1) + 0.0 * x.sum()


@pytest.mark.parametrize("name", DECISION)
@pytest.mark.parametrize("model", [grey(Always(1.0, 0.0)), grey(Always(0.5, 0.5))], ids=["never", "identical"])
def test_a_class_never_predicted_leaves_the_image_as_it_is_and_says_so(name: str, model: Classifier) -> None:
    result = attack(name, model, CLEAN.repeat(2, 1, 1, 1), [0, 0], eps=None, norm="l2", queries=500,
                    resources=RESOURCES)
    assert not result.success.any() and result.adversarial.tobytes() == result.clean.tobytes()
    assert result.queries.tolist() == [1 + 1 + start.NOISES] * 2
    assert any(w.startswith("2 of 2 images: no starting point") for w in result.warnings)


@pytest.mark.parametrize("name", DECISION)
@pytest.mark.parametrize("options", [{"target": 0}, {}], ids=["target is the true class", "misclassified"])
def test_nothing_is_done_where_the_goal_is_reached(name: str, options: dict) -> None:
    labels = [0] if options else [1]
    result = attack(name, FLAT, CLEAN, labels, eps=None, norm="l2", queries=50, resources=RESOURCES, **options)
    assert result.queries.tolist() == [1] and result.l2[0] == 0 and not result.attacked.any()


class Trembling(nn.Module):
    """A model with a random defense inside."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x + 0.2 * torch.randn(x.shape, generator=self.generator))


@pytest.mark.parametrize("name", DECISION)
def test_a_model_with_a_random_defense_inside_ends_within_the_budget(name: str) -> None:
    result = attack(name, grey(Trembling(Slope(PLANE, EDGE))), CLEAN.repeat(3, 1, 1, 1), [0] * 3, eps=None, norm="l2",
                    queries=300, resources=RESOURCES)
    assert (result.queries <= 300).all() and np.isfinite(result.adversarial).all()


@pytest.mark.parametrize(("correction", "direction", "expected"), [
    ("when it conflicts", [1.0, 2.0], [1.0, 2.0]), ("when it conflicts", [-1.0, 2.0], [0.0, 2.0]),
    ("always", [1.0, 2.0], [0.0, 2.0]), ("always", [-1.0, 2.0], [0.0, 2.0]),
])
def test_gbba_takes_the_part_along_the_change_out(correction: str, direction: list[float],
                                                  expected: list[float]) -> None:
    change = torch.tensor([0.5, 0.0]).view(1, 1, 1, 2)
    adjusted = corrected(GBBA(correction=correction), torch.tensor(direction).view(1, 1, 1, 2), change)
    assert adjusted.flatten().tolist() == pytest.approx(expected)


def test_always_corrected_it_still_comes_nearer() -> None:
    far, near = (attack("gbba", FLAT, CLEAN, [0], eps=None, norm="l2", queries=queries, correction="always",
                        resources=RESOURCES).l2[0] for queries in (60, 2000))
    assert near < far


@pytest.mark.parametrize("name", DECISION)
def test_only_what_the_mask_leaves_open_changes(name: str) -> None:
    mask = torch.tensor([1, 0, 1, 1, 0, 1, 1, 1, 1]).bool().view(1, 1, 3, 3)
    result = attack(name, FLAT, CLEAN, [0], eps=None, norm="l2", queries=200,
                    resources=Resources(others=RESOURCES.others, mask=mask))
    assert result.success.all()
    assert (result.adversarial == result.clean)[~mask.numpy()].all()


def test_cancel_ends_the_talks() -> None:
    cancel = threading.Event()
    progress = Progress(lambda fraction, text: cancel.set() if fraction > 0.3 else None, cancel)
    model = small_net()
    counted = model.module = Counted(model.module)
    images, labels = _images_and_labels(model, 4)
    with pytest.raises(Cancelled):
        attack("hopskipjump", model, images, labels, eps=None, norm="l2", queries=1000, progress=progress)
    assert 0.3 * 4000 < sum(counted.forwards) < 0.4 * 4000


@pytest.mark.parametrize("name", DECISION)
def test_an_attacker_who_has_no_image_of_another_class_starts_from_noise(name: str) -> None:
    model = grey(Slope((1.0,) * 64))
    clean = torch.zeros(1, 1, 8, 8)
    label = int(model(clean).argmax(1))
    resources = Resources(others=Others(clean.clone(), torch.tensor([label])))
    result = attack(name, model, clean, [label], eps=None, norm="l2", queries=200, resources=resources)
    assert result.success.all() or result.warnings, "it neither fooled the model nor said why"
    assert (result.queries <= 200).all()

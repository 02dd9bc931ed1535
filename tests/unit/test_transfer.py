"""Transfer attacks: every piece by hand, against a model that answers with a chosen function instead of a network."""

from collections.abc import Callable, Iterable, Iterator
from itertools import cycle, product

import numpy as np
import pytest
import scipy.fft
import torch
from torch import Tensor
from torch.nn import functional as F

from engine.attacks import ATTACKS
from engine.attacks.base import Budget, Draw, Goal, Others, Run
from engine.attacks.declared.transfer import Combined, TransferAttack
from engine.attacks.runner import Resources, run_attack
from engine.attacks.spec import make_spec
from engine.attacks.transfer.blocks import Blocks, _Cuts, _moved
from engine.attacks.transfer.combined import combined as pieces_of
from engine.attacks.transfer.loop import smoothed
from engine.attacks.transfer.rules import AtThePoint, PenalisedNorm, TunedVariance
from engine.attacks.transfer.scene import Scene
from engine.attacks.transfer.transformations import Diversity, MixedScales, Scales, Styles, Transformation
from engine.errors import EngineError
from engine.serving.threat import Ascent
from tests.tiny import QUICK, Counted, Ridge, attack, grey, quick, small_net, some_images

OURS = [name for name in ATTACKS if issubclass(ATTACKS[name], TransferAttack)]
EPS = 0.1


class Answers:
    """A target whose gradient at x is `field(x)`, and which remembers what it was asked."""

    def __init__(self, field: Callable[[Tensor], Tensor], rows_at_once: int = 100) -> None:
        self.field, self.rows_at_once = field, rows_at_once
        self.asked: list[Tensor] = []
        self.rows: list[Tensor] = []

    def gradient(self, points: Tensor, objective: object, rows: Tensor) -> Ascent:
        assert not points.requires_grad
        self.asked.append(points.clone())
        self.rows.append(rows)
        return Ascent(self.field(points).clone(), points.flatten(1)[:, :2], points.flatten(1).sum(1))


class Scripted(Run):
    """Random numbers that are not: every draw is filled with the next value of the script."""

    def __init__(self, *script: float, others: Tensor | None = None) -> None:
        self.script: Iterator[float] = cycle(script or (0.0,))
        self.others = Others(torch.zeros(0) if others is None else others, torch.zeros(0))

    def numbers(self, shape: tuple[int, ...], rows: Tensor) -> Tensor:
        return torch.full((len(rows), *shape), next(self.script))

    def drawn(self, draws: Iterable[Draw], like: Tensor, rows: Tensor | None = None) -> Iterator[Tensor]:
        return (self.numbers(draw.shape, torch.arange(len(like)) if rows is None else rows) for draw in draws)

    def noise(self, like: Tensor, rows: Tensor | None = None) -> Tensor:
        return next(self.drawn([Draw(tuple(like.shape[1:]))], like, rows))

    normal = noise

    def record(self, *args: object) -> None: ...
    def walk(self, *args: object) -> None: ...
    def nearer(self, *args: object) -> None: ...
    def note(self, *args: object) -> None: ...
    def generator(self) -> torch.Generator: ...
    def learned(self, fit: object, show: object = ()) -> dict: ...
    def learning(self, *args: object, **losses: float) -> None: ...


class Drawn(Scripted):
    """Real random numbers, one stream an image, as the runner gives them."""

    def __init__(self, images: int, others: Tensor | None = None) -> None:
        super().__init__(others=others)
        self.streams = [torch.Generator().manual_seed(i) for i in range(images)]

    def numbers(self, shape: tuple[int, ...], rows: Tensor) -> Tensor:
        return torch.stack([torch.rand(shape, generator=self.streams[i]) for i in rows]) * 2 - 1


def scene(target: Answers, clean: Tensor, *transformations: Transformation, run: Run | None = None,
          step_size: float = 0.0) -> Scene:
    goal = Goal(torch.zeros(len(clean), dtype=torch.int64))
    return Scene(target, goal, Budget("linf", EPS).around(clean), run or Scripted(), transformations, step_size)


def copied(transformation: Transformation, points: Tensor, run: Run, number: int = 0) -> Tensor:
    """A copy of points, one for each image, with random numbers of `run`."""
    drawn = list(run.drawn(transformation.draws(points), points))
    return transformation(points, torch.arange(len(points)), number, drawn, scene(Answers(identity), points, run=run))


def cut(points: Tensor, run: Run, blocks: int = 3) -> list[_Cuts]:
    orders = run.drawn([Draw((side - 1,)) for side in points.shape[2:]], points)
    return [_Cuts.at(order, blocks) for order in orders]


def climbed(stage: Scene, points: Tensor) -> Ascent:
    """The gradient at points, one for each image."""
    return stage.step(AtThePoint(), points, None, last=True)[0]


def identity(x: Tensor) -> Tensor:
    return x


CLEAN = torch.tensor([0.5, 0.4]).view(1, 1, 1, 2)


# ---- transformations -----------------------------------------------------------------------------------------------


def test_scales_are_halved_and_their_gradients_with_them() -> None:
    target = Answers(identity)
    ascent = scene(target, CLEAN, Scales(3)).gradient(CLEAN, torch.tensor([0]))
    torch.testing.assert_close(torch.cat(target.asked), torch.cat([CLEAN, CLEAN / 2, CLEAN / 4]))
    torch.testing.assert_close(ascent.gradient, CLEAN * (1 + 1 / 4 + 1 / 16) / 3)
    torch.testing.assert_close(ascent.value, torch.tensor([0.9 * (1 + 1 / 2 + 1 / 4) / 3]))


@pytest.mark.parametrize(("size", "top", "left"), [(0.0, 0.0, 0.0), (0.5, 0.3, 0.99), (0.99, 0.5, 0.5)])
def test_diversity_is_resizing_and_padding(size: float, top: float, left: float) -> None:
    points = some_images(2, size=20)

    class Said(Scripted):
        def numbers(self, shape: tuple[int, ...], rows: Tensor) -> Tensor:
            return (torch.tensor([size, top, left, 0.0]) * 2 - 1).expand(len(rows), *shape).clone()

    copy = copied(Diversity(0.5, 1.0), points, Said())
    small = 10 + int(size * 11)
    down, right = int(top * (21 - small)), int(left * (21 - small))
    expected = F.pad(F.interpolate(points, (small, small), mode="bilinear", align_corners=False),
                     (right, 20 - small - right, down, 20 - small - down))
    torch.testing.assert_close(copy, expected)


def test_diversity_leaves_some_images_alone_to_the_last_bit() -> None:
    points = some_images(50, size=9)
    copies = copied(Diversity(0.5, 0.5), points, Drawn(50))
    same = (copies == points).flatten(1).all(dim=1)
    assert 10 < int(same.sum()) < 45
    assert not bool(((copies - points).abs() < 1e-6).flatten(1).all(dim=1)[~same].any())


@pytest.mark.parametrize(("way", "expected"), [
    (0, lambda x: x.roll(2, 2)), (1, lambda x: x.roll(5, 3)), (2, lambda x: x.flip(2)), (3, lambda x: x.flip(3)),
    (4, lambda x: x.rot90(2, (2, 3))), (5, lambda x: 0.5 * x), (6, lambda x: (x + 16 / 255).clamp(0, 1)),
    (7, lambda x: _interpolated(_interpolated(x, (4, 9)), (4, 10))), (8, lambda x: _low(x, 3, 6)),
    (9, lambda x: x / 0.9 * torch.tensor([1.0, 0.0, 1.0]).view(1, 3, 1, 1)),
])
def test_each_way_of_sia_on_a_single_block(way: int, expected: Callable[[Tensor], Tensor]) -> None:
    points = some_images(1, channels=3, size=10)[:, :, :4]

    class Said(Scripted):
        """One block; the way, half of its length as the amount, the brightest noise, and which channel is dropped."""

        def numbers(self, shape: tuple[int, ...], rows: Tensor) -> Tensor:
            if shape == (2, 1, 1):
                return torch.tensor([(way + 0.5) / 10, 0.5]).view(1, 2, 1, 1) * 2 - 1
            if shape == (3, 1, 1):
                return torch.tensor([0.11, 0.09, 0.11]).view(1, 3, 1, 1) * 2 - 1
            return torch.ones(1, *shape)

    copy = copied(Blocks(1, 1), points, Said())
    torch.testing.assert_close(copy, expected(points))


def _interpolated(images: Tensor, sides: tuple[int, int]) -> Tensor:
    return F.interpolate(images, sides, mode="bilinear", align_corners=False)


def _low(images: Tensor, rows: int, columns: int) -> Tensor:
    """The images with only so many of the lowest frequencies of SciPy's discrete cosine transform."""
    waves = scipy.fft.dctn(images.numpy(), axes=(2, 3), norm="ortho")
    waves[:, :, rows:], waves[..., columns:] = 0, 0
    return torch.from_numpy(scipy.fft.idctn(waves, axes=(2, 3), norm="ortho"))


def test_sia_shrinks_and_smooths_every_block_by_itself() -> None:
    """Of blocks side by side each is what it would be alone."""
    points = some_images(2, size=40)[..., :31]
    down, right = cut(points, Drawn(2))
    shrunk = down.shrinking()[:, None] @ points @ right.shrinking()[:, None].mT
    low = down.smoothing()[:, None] @ points @ right.smoothing()[:, None].mT
    for i, a, b in product(range(2), range(3), range(3)):
        inside = (down.block[i] == a)[:, None] & (right.block[i] == b)
        height, width = int((down.block[i] == a).sum()), int((right.block[i] == b).sum())
        block, one, other = (x[i, :, inside].view(1, 3, height, width) for x in (points, shrunk, low))
        small = _interpolated(block, (int(height * 0.8) + 1, int(width * 0.8) + 1))
        torch.testing.assert_close(one, _interpolated(small, (height, width)), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(other, _low(block, height - int(height * 0.4), width - int(width * 0.4)),
                                   atol=1e-5, rtol=1e-5)


def test_sia_with_seven_ways_does_nothing_else() -> None:
    """What it may do to a block is drawn among seven, and no channel is dropped."""
    ways: dict[bool, set[int]] = {True: set(), False: set()}
    points = some_images(1, size=6)

    class Named(Blocks):
        def _three(self, points: Tensor, done: Tensor, ways_: Tensor, *rest: object) -> Tensor:
            ways[self.seven].update(ways_.flatten().tolist())
            return done

    run = Drawn(1)
    for _ in range(30):
        copied(Named(1, 3), points, run)
        copied(Named(1, 3, seven=True), points, run)
    assert max(ways[False]) > 6 and not ways[True]
    ten, seven = (attack("sia", small_net(), some_images(2), [0, 1], eps=EPS, steps=2, ways=ways).adversarial
                  for ways in ("ten", "seven"))
    assert (ten != seven).any()


def test_sia_moves_pixels_within_their_blocks_only() -> None:
    """The numbers of an image's pixels, moved: within each block they are the same numbers in another order."""
    numbers = torch.arange(13.0 * 17).view(1, 1, 13, 17).repeat(30, 1, 1, 1)
    run = Drawn(30)
    down, right = cut(numbers, run)
    ways = ((run.noise(numbers[:, 0, :3, :3]) + 1) / 2 * 5).long()
    moved = _moved(numbers, ways, torch.full(ways.shape, 0.4), down, right)
    assert float((moved != numbers).float().mean()) > 0.5
    for i in range(30):
        assert down.block[i].unique().tolist() == right.block[i].unique().tolist() == [0, 1, 2]
        for a in range(3):
            for b in range(3):
                inside = (down.block[i][:, None] == a) & (right.block[i][None] == b)
                assert sorted(moved[i, 0][inside].tolist()) == numbers[i, 0][inside].tolist()
    assert len({tuple(down.start[i].tolist()) for i in range(30)}) > 5, "all images are cut alike"


def test_sia_leads_a_pixel_s_gradient_back_to_where_it_came_from() -> None:
    points = some_images(3, size=10)
    target = Answers(lambda x: x.square())
    ascent = climbed(scene(target, points, Blocks(7), run=Drawn(3)), points)
    expected = torch.zeros_like(points)
    replay = Drawn(3)
    for number in range(7):
        leaf = points.clone().requires_grad_(True)
        (copied(Blocks(7), leaf, replay, number).pow(3) / 3).sum().backward()
        expected += leaf.grad / 7
    torch.testing.assert_close(ascent.gradient, expected)


def test_usmm_darkens_by_scale_and_by_another_image_and_adds_the_gradients_as_they_are() -> None:
    other = torch.tensor([1.0, 0.2]).view(1, 1, 1, 2)
    target = Answers(identity)
    stage = scene(target, CLEAN, MixedScales(scales=2, masks=1, mix=0.25, lowest=0.5, highest=1.5),
                  run=Scripted(others=torch.cat([CLEAN, other])))
    ascent = climbed(stage, CLEAN)
    # Masks 0.75 + 0.5 other = (1.25, 0.85), and 0.5 * 1.5 * 1.25 = 0.9375.
    dark, bright = torch.tensor([0.3125, 0.17]).view(1, 1, 1, 2), torch.tensor([0.9375, 0.51]).view(1, 1, 1, 2)
    torch.testing.assert_close(torch.cat(target.asked), torch.cat([dark, bright]))
    torch.testing.assert_close(ascent.gradient, (dark + bright) / 2)


def test_usmm_clips_what_gets_brighter_than_white() -> None:
    target = Answers(identity)
    stage = scene(target, CLEAN, MixedScales(1, 1, 0.5, 1.0, 1.0), run=Scripted(others=torch.ones(1, 1, 1, 2) * 5))
    climbed(stage, CLEAN)
    assert torch.equal(target.asked[0], torch.ones(1, 1, 1, 2))


def test_usmm_never_takes_the_attacked_image_itself() -> None:
    clean = some_images(3)
    stage = scene(Answers(identity), clean, run=Drawn(3, others=clean))
    rows = torch.arange(3).repeat(40)
    chosen = stage.other(rows, torch.rand(120, generator=torch.Generator().manual_seed(0)))
    numbers = torch.stack([(clean == one).flatten(1).all(1).long().argmax() for one in chosen])
    assert set(zip(rows.tolist(), numbers.tolist(), strict=True)) == {(i, j) for i in range(3) for j in range(3)
                                                                      if i != j}


def test_usmm_says_that_it_needs_another_image() -> None:
    with pytest.raises(EngineError, match="attack several images, or give it others"):
        attack("usmm", small_net(), some_images(1), [0], eps=EPS)
    resources = Resources(others=Others(some_images(2, seed=5), torch.zeros(2, dtype=torch.int64)))
    assert attack("usmm", small_net(), some_images(1), [0], eps=EPS, resources=resources, steps=1).linf[0] > 0


def test_stm_mixes_the_image_with_its_styled_self_and_noise() -> None:
    from engine.attacks.networks.style import load_style

    points = some_images(2, channels=1, size=12)
    network = load_style("phantom")
    target = Answers(torch.ones_like)
    stage = scene(target, points, Styles(1, own=0.3, reach=2.0), run=Scripted(0.7, -1.0))
    ascent = climbed(stage, points)
    styled = network.restyled(points, torch.full((2, network.codes), 0.7))
    torch.testing.assert_close(target.asked[0], 0.3 * points + 0.7 * styled - 2 * EPS)
    torch.testing.assert_close(ascent.gradient, torch.ones_like(points))


@pytest.mark.parametrize("own", [0.0, 0.5, 1.0])
def test_stm_moves_the_image_however_little_of_it_is_in_the_copies(own: float) -> None:
    """As in the published code the gradient is taken at the copies: of a copy that holds nothing of the image, too."""
    result = attack("stm", small_net(), some_images(2), [0, 1], eps=EPS, own=own, copies=2, steps=2)
    assert (result.linf > EPS / 2).all()


def test_smoothing_is_a_gaussian_out_to_three_deviations() -> None:
    gradient = torch.zeros(1, 2, 31, 31)
    gradient[0, 0, 15, 15], gradient[0, 1, 15, 10] = 1.0, -2.0
    places = np.linspace(-3, 3, 15)
    line = np.exp(-places**2 / 2) / np.exp(-places**2 / 2).sum()
    found = smoothed(gradient.clone(), 15)
    np.testing.assert_allclose(found[0, 0, 8:23, 8:23], np.outer(line, line), atol=1e-7)
    np.testing.assert_allclose(found[0, 1, 8:23, 3:18], -2 * np.outer(line, line), atol=1e-7)
    assert float(found.sum()) == pytest.approx(-1.0, abs=1e-5)
    assert smoothed(gradient, 1) is gradient


# ---- gradient rules and momentum -----------------------------------------------------------------------------------


def test_variance_tuning_adds_how_the_gradient_varied_around_the_point_before() -> None:
    """Of x^2 the mean of x + r and x - r is r^2 more than at x itself."""
    target = Answers(lambda x: x.square())
    stage = scene(target, CLEAN, run=Scripted(1.0, -1.0))
    rule = TunedVariance(neighbours=2, reach=1.5)
    first, variance = stage.step(rule, CLEAN, None, last=False)
    torch.testing.assert_close(first.gradient, CLEAN.square())
    torch.testing.assert_close(variance, torch.full_like(CLEAN, 0.15**2))
    second, nothing = stage.step(rule, 2 * CLEAN, variance, last=True)
    torch.testing.assert_close(second.gradient, 4 * CLEAN.square() + 0.15**2)
    assert nothing is None
    assert sum(map(len, target.asked)) == ATTACKS["vmifgsm"](steps=2, neighbours=2).cost().gradients == 4


def test_the_penalised_norm_looks_around_and_a_step_back_down() -> None:
    target = Answers(lambda x: x.square())
    stage = scene(target, CLEAN, run=Scripted(0.5), step_size=0.02)
    ascent, _ = stage.step(PenalisedNorm(neighbours=1, reach=3.0, balance=0.25), CLEAN, None, last=False)
    near = np.array([0.65, 0.55])  # 0.5 * 3 eps further
    below = near - 0.02 * near**2 / (near**2).mean()
    np.testing.assert_allclose(target.asked[0].ravel(), near, atol=1e-6)
    np.testing.assert_allclose(target.asked[1].ravel(), below, atol=1e-6)
    np.testing.assert_allclose(ascent.gradient.ravel(), 0.75 * near**2 + 0.25 * below**2, atol=1e-6)


def test_nesterov_looks_where_the_velocity_leads() -> None:
    """The top is at 0.53, steps are 0.02; over its mean the gradient is (2, 0) or (-2, 0).

    At 0.52 the velocity 2 leads to 0.56, beyond the top: it stops. MI-FGSM goes on to 0.56 itself.
    """
    clean = torch.full((1, 1, 1, 2), 0.5)
    result = attack("nifgsm", grey(Ridge(0.53)), clean, [0], eps=EPS, steps=4, step_size=0.02)
    walked = [*result.trace.images[:, 0, 0, 0, 0], result.adversarial[0, 0, 0, 0]]
    assert walked == pytest.approx([0.50, 0.52, 0.52, 0.54, 0.54], abs=1e-6)


# ---- together ------------------------------------------------------------------------------------------------------


PLAIN = {"scales": 1, "diversity": 0.0, "rule": "plain"}
SAME = [
    ("mifgsm", {}, {}), ("nifgsm", {}, {"acceleration": "ni"}), ("sifgsm", {"copies": 3}, {"scales": 3}),
    ("tifgsm", {"kernel": 5}, {"kernel": 5}), ("difgsm", {"probability": 0.8}, {"diversity": 0.8}),
    ("vmifgsm", {"neighbours": 3}, {"rule": "vmi", "neighbours": 3}),
    ("pgn", {"neighbours": 3}, {"rule": "pgn", "neighbours": 3}),
    ("sia", {"copies": 4}, {"kind": "sia", "copies": 4}), ("usmm", {}, {"kind": "usmm"}),
    ("stm", {"copies": 4}, {"kind": "stm", "copies": 4}),
]


@pytest.mark.parametrize(("name", "options", "combined"), SAME)
def test_combined_with_one_piece_is_that_attack_to_the_last_bit(name: str, options: dict, combined: dict) -> None:
    one, other = (attack(n, small_net(), some_images(4), [0, 1, 2, 0], eps=0.05, steps=3, seed=3, **o)
                  for n, o in ((name, options), ("combined", PLAIN | combined)))
    assert one.adversarial.tobytes() == other.adversarial.tobytes()
    assert (one.linf > 0).all()


def test_every_transfer_attack_is_one_combination() -> None:
    assert {name for name, _, _ in SAME} | {"combined"} == {"mifgsm", *OURS}


def test_copies_and_passes_multiply() -> None:
    chosen = Combined(kind="sia", copies=4, scales=3, diversity=0.5, rule="vmi", neighbours=2, steps=5)
    assert chosen.cost().gradients == 4 * 3 * (5 + 4 * 2)
    pieces = pieces_of(chosen)
    assert [type(t) for t in pieces.transformations] == [Blocks, Scales, Diversity]
    assert isinstance(pieces_of(Combined(**PLAIN)).rule, AtThePoint)


def test_transformations_meet_in_every_combination() -> None:
    target = Answers(identity)
    scene(target, CLEAN, Scales(2), Scales(3)).gradient(CLEAN, torch.tensor([0]))
    factors = sorted((torch.cat(target.asked)[:, 0, 0, 0] / CLEAN[0, 0, 0, 0]).tolist())
    assert factors == [1 / 8, 1 / 4, 1 / 4, 1 / 2, 1 / 2, 1]


@pytest.mark.parametrize("pieces", [
    (Blocks(5),), (Scales(3), Diversity()), (Diversity(), Blocks(2)), (MixedScales(2, 2),), (Styles(3),), (),
])
@pytest.mark.parametrize("rule", [AtThePoint(), TunedVariance(3), PenalisedNorm(3)])
def test_how_many_rows_go_together_changes_no_copy(pieces: tuple, rule: object) -> None:
    """An image meets the same copies in whatever batch, and the model never more rows than it takes at once."""
    def copies_of_first(images: Tensor, at_once: int) -> tuple[Tensor, Tensor]:
        target = Answers(lambda x: x.square(), at_once)
        stage = scene(target, images, *pieces, run=Drawn(len(images), others=some_images(4, seed=9)), step_size=0.01)
        ascent, _ = stage.step(rule, images, None, last=False)
        assert max(map(len, target.asked)) <= max(at_once, len(images))
        seen, rows = torch.cat(target.asked), torch.cat(target.rows)
        return seen[rows == 0].flatten(1).sort(dim=0).values, ascent.gradient[0]

    images = some_images(4)
    for found in (copies_of_first(images, 4), copies_of_first(images, 9), copies_of_first(images[:1], 8)):
        for one, other in zip(found, copies_of_first(images[:1], 1), strict=True):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", OURS)
def test_the_model_never_sees_more_than_a_batch(name: str) -> None:
    model = small_net()
    counted = model.module = Counted(model.module)
    quick(name, model, some_images(5), [0, 1, 2, 0, 1], eps=0.02, batch=3)
    assert max(counted.forwards) <= 5  # the verdict's; the attack's are at most 3
    assert max(counted.backwards) <= 3


@pytest.mark.parametrize("name", OURS)
def test_a_single_image_fills_the_batch_with_its_copies(name: str) -> None:
    cost = ATTACKS[name](**QUICK.get(name, {})).cost().gradients
    model = small_net()
    counted = model.module = Counted(model.module)
    resources = Resources(others=Others(some_images(2, seed=5), torch.zeros(2, dtype=torch.int64)))
    quick(name, model, some_images(1), [0], resources=resources, batch=8)
    assert sum(counted.backwards) == cost
    copies = max(counted.backwards)
    assert copies > 1 or name in ("difgsm", "tifgsm", "nifgsm"), "copies went through one by one"


@pytest.mark.parametrize("name", OURS)
def test_a_surrogate_is_climbed_and_the_target_judges(name: str) -> None:
    target, surrogate = small_net(seed=1), small_net(seed=2)
    counted = target.module = Counted(target.module)
    spec = make_spec(name, eps=0.1, numerics="reference", surrogate="other", params=QUICK.get(name, {}))
    images, labels = some_images(4), torch.tensor([0, 1, 2, 0])
    result = run_attack(spec, target, images, labels, resources=Resources(surrogate=surrogate), device="cpu")
    assert counted.backwards == [] and sum(counted.forwards) == 3 * 4
    alone = run_attack(make_spec(name, eps=0.1, numerics="reference", params=QUICK.get(name, {})), surrogate, images,
                       labels, device="cpu")
    assert result.adversarial.tobytes() == alone.adversarial.tobytes()
    with torch.no_grad():
        np.testing.assert_allclose(result.logits_adversarial, target(torch.tensor(result.adversarial)), atol=1e-5)


def test_what_is_climbed_is_the_mean_of_the_models_of_an_ensemble() -> None:
    from engine.zoo.ensemble import ensemble

    members = [small_net(seed=1), small_net(seed=2)]
    result = attack("nifgsm", ensemble(members), some_images(4), [0, 1, 2, 0], eps=0.1, steps=1)
    leaf = some_images(4).requires_grad_(True)
    F.cross_entropy(sum(m(leaf) for m in members) / 2, torch.tensor([0, 1, 2, 0]), reduction="sum").backward()
    expected = (some_images(4) + 0.1 * leaf.grad.sign()).clamp(0, 1)
    np.testing.assert_allclose(result.adversarial, expected, atol=1e-6)


def test_gradients_that_are_no_numbers_are_zeroed_and_reported() -> None:
    class Broken(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            z = torch.where(x > 0.5, (x - 0.5).sqrt(), 0).flatten(1).sum(1)  # 0 times NaN where x is below 0.5
            return torch.stack([torch.zeros_like(z), z], dim=1)

    clean = torch.tensor([0.4, 0.6]).view(1, 1, 1, 2)
    for name in ("sia", "pgn", "vmifgsm"):
        result = attack(name, grey(Broken()), clean, [0], eps=EPS, **QUICK[name])
        assert np.isfinite(result.adversarial).all()
        assert any("held NaN" in w for w in result.warnings)


def test_a_target_that_is_the_true_class_is_no_success() -> None:
    result = attack("sia", small_net(), some_images(3), [0, 0, 0], eps=EPS, target=0, **QUICK["sia"])
    assert not result.success.any() and not result.attacked.any()


def test_an_unknown_style_network_is_told_in_one_line() -> None:
    for name, options in (("stm", {"style": "phantoms"}), ("stm", {"style": "../phantom"})):
        with pytest.raises(EngineError, match=r"unknown style network .* did you mean: phantom"):
            attack(name, small_net(), some_images(2), [0, 1], eps=EPS, **options)


def test_a_result_tells_which_style_network_made_it() -> None:
    from engine.zoo.registry import style_digest

    styled, plain = (attack(name, small_net(), some_images(2), [0, 1], eps=EPS, **QUICK[name]) for name in
                     ("stm", "sia"))
    assert styled.provenance.files == {"style": style_digest("phantom")}
    assert plain.provenance.files == {}

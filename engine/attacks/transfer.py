"""Attacks made on one model to fool another: they climb a loss seen from many sides, so as not to fit one model alone.

Four pieces make such an attack, and each is declared apart from the others: transformations (what copies of an image
the model sees), a gradient rule (where the gradient is taken), smoothing of the gradient, and momentum. An attack here
only names its pieces; `combined` lets a user name them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from engine.attacks.base import (
    PAPER_PRESET,
    Attack,
    AttackInfo,
    Ball,
    Cost,
    Goal,
    Knowledge,
    Paper,
    Run,
    register,
)
from engine.errors import EngineError
from engine.params import param

if TYPE_CHECKING:
    from torch import Tensor

    from engine.serving.threat import Ascent, WhiteBox


# ---- what the pieces share -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scene:
    """An attack under way, as its pieces see it: the model, the batch, its randomness, and the transformations."""

    target: WhiteBox
    goal: Goal
    ball: Ball
    run: Run
    transformations: tuple[Transformation, ...]
    step_size: float

    @property
    def size(self) -> int:
        return len(self.ball.clean)

    @cached_property
    def rows(self) -> Tensor:
        """The number of every image of the batch."""
        import torch

        return torch.arange(self.size, device=self.ball.clean.device)

    def slope(self, points: Tensor, rows: Tensor) -> Ascent:
        """The gradient at points [R, C, H, W] near the images `rows`, as the mean over all copies of each point.

        The model sees `rows_at_once` copies together, however many there are.
        """
        if not self.transformations:
            return self.target.gradient(points, self.goal.objective, rows)
        copies = _product(self.transformations)
        parts = (self._slopes(points, rows, numbers) for numbers in self._groups(copies, len(points)))
        return _mean(parts, len(points), copies)

    def around(self, points: Tensor, count: int, reach: float, look: Callable[[Tensor, Tensor], Ascent]) -> Ascent:
        """The mean of what `look` sees at `count` random places no farther than `reach` from each image's point, and
        unchanged where the image may not change."""
        import torch

        # Where copies are drawn at random, places are visited one by one: otherwise the order in which an image's
        # random numbers are drawn, and so its result, would depend on how many images share the batch.
        groups = (range(i, i + 1) for i in range(count)) if self._draws else self._groups(count, self.size)
        parts = (look(torch.cat([points + self.ball.freed_(self.run.noise(points)).mul_(reach) for _ in group]),
                      self.rows.repeat(len(group))) for group in groups)
        return _mean(parts, self.size, count)

    @property
    def _draws(self) -> bool:
        return any(t.draws for t in self.transformations)

    def _groups(self, count: int, size: int) -> Iterator[range]:
        """The numbers below `count` in groups, so that a group of batches of `size` is what the model takes at once."""
        together = max(1, self.target.rows_at_once // size)
        return (range(first, min(first + together, count)) for first in range(0, count, together))

    def _slopes(self, points: Tensor, rows: Tensor, numbers: range) -> Ascent:
        """The gradient at every point by way of the copies `numbers`, one after the other [len(numbers) * R, ...]."""
        import torch

        points = torch.cat([points] * len(numbers)).requires_grad_(True)
        with torch.enable_grad():
            copies = torch.cat([self._copy(some, rows, number)
                                for some, number in zip(points.chunk(len(numbers)), numbers, strict=True)])
        ascent = self.target.gradient(copies.detach(), self.goal.objective, rows.repeat(len(numbers)))
        # The model and the transformation are differentiated apart, so that only the cheap one keeps a graph here.
        (gradient,) = torch.autograd.grad(copies, points, ascent.gradient)
        return type(ascent)(gradient, ascent.logits, ascent.value)

    def _copy(self, points: Tensor, rows: Tensor, number: int) -> Tensor:
        """Copy `number` of the points: one transformation after the other, each at one of its own copies."""
        for transformation in self.transformations:
            number, own = divmod(number, transformation.copies)
            points = transformation(points, rows, own, self)
        return points

    def noise(self, like: Tensor, rows: Tensor) -> Tensor:
        """Uniform in [0, 1), shaped like `like`, row i belonging to image `rows[i]`."""
        return self.run.noise(like, rows).add_(1.0).div_(2.0)

    @cached_property
    def different(self) -> Tensor:
        """Which of the attacker's further images differ from which image of the batch, bool [N, M]."""
        import torch

        pool = self.run.others.images
        found = torch.stack([(one != self.ball.clean).flatten(1).any(dim=1) for one in pool], dim=1)
        if not bool(found.any(dim=1).all()):
            raise EngineError("this attack mixes in other images and has none that differs from the attacked one; "
                              "attack several images, or give it others")
        return found

    def other(self, rows: Tensor) -> Tensor:
        """For every row a random one of the further images that differ from image `rows[i]`."""
        allowed = self.different[rows]
        count = allowed.sum(dim=1)
        place = (self.noise(self.ball.clean.new_empty(len(rows), 1), rows)[:, 0] * count).long()
        chosen = (allowed.cumsum(dim=1) == place[:, None] + 1).long().argmax(dim=1)
        return self.run.others.images[chosen]


def _mean(parts: Iterable[Ascent], size: int, count: int) -> Ascent:
    """The mean of `count` ascents for each of `size` points, which come in parts of [k * size, ...].

    They are added one after the other: how many make a part depends on the size of the batch, and sums would round by
    it.
    """
    total: Ascent | None = None
    for part in parts:
        for copy in zip(*(t.split(size) for t in (part.gradient, part.logits, part.value)), strict=True):
            if total is None:
                total = type(part)(*copy)
            else:
                total.add_(type(part)(*copy))
    assert total is not None, "no copies"
    total.div_(count)
    return total


def _product(transformations: tuple[Transformation, ...]) -> int:
    """How many copies these transformations make together."""
    copies = 1
    for transformation in transformations:
        copies *= transformation.copies
    return copies


# ---- transformations -----------------------------------------------------------------------------------------------


class Transformation(ABC):
    """Makes `copies` copies of an image; the gradient of each comes back through it. `draws`: it is random."""

    copies: int
    draws: ClassVar[bool] = True

    @abstractmethod
    def __call__(self, points: Tensor, rows: Tensor, number: int, scene: Scene) -> Tensor:
        """Copy `number` of points [R, C, H, W] near the images `rows`, differentiable."""


@dataclass(frozen=True)
class Scales(Transformation):
    """Scale invariance (Lin et al. 2020): the image divided by 1, 2, 4, 8 ..."""

    copies: int = 5
    draws: ClassVar[bool] = False

    def __call__(self, points: Tensor, rows: Tensor, number: int, scene: Scene) -> Tensor:
        return points / 2**number


@dataclass(frozen=True)
class Diversity(Transformation):
    """Input diversity (Xie et al. 2019): with some probability the image is resized and padded with black."""

    smallest: float = 0.9
    probability: float = 0.5
    copies: int = 1

    def __call__(self, points: Tensor, rows: Tensor, number: int, scene: Scene) -> Tensor:
        drawn = scene.noise(points.new_empty(len(points), 4), rows)
        plays = drawn[:, 3] < self.probability
        vertical = self._along(points.shape[2], drawn[:, 0], drawn[:, 1], plays)
        horizontal = self._along(points.shape[3], drawn[:, 0], drawn[:, 2], plays)
        return vertical[:, None] @ points @ horizontal[:, None].mT

    def _along(self, side: int, size: Tensor, place: Tensor, plays: Tensor) -> Tensor:
        """What resizing and padding do along one axis, as matrices [R, side, side] that take an image to the result.

        `size` and `place` in [0, 1) choose the new size and where it starts. As matrices every image has its own in
        one product, and the way back is exact and gives the same bytes on every device, unlike grid sampling's.
        """
        import torch

        low = max(1, int(side * self.smallest))
        sizes = torch.where(plays, low + (size * (side - low + 1)).long(), side)
        starts = (place * (side - sizes + 1)).long()
        all_ = torch.arange(side, device=size.device)[None]
        into = all_ - starts[:, None]
        hat = _bilinear(into, sizes[:, None], all_.new_tensor(side), all_)
        return hat * ((into >= 0) & (into < sizes[:, None]))[:, :, None]


# What SIA does to a block.
_ROLL_DOWN, _ROLL_RIGHT, _FLIP_DOWN, _FLIP_RIGHT, _TURN, _DIM, _GRAIN, _SHRINK, _SMOOTH, _DROP = range(10)
TEN, SEVEN = "ten", "seven"
_GRAIN_SIZE = 16 / 255
_SHRUNK = 0.8  # of a block's side, before it is enlarged again
_HIGH = 0.4  # the share of frequencies, down and across, that a smoothed block loses
_DROPPED = 0.1  # how likely a channel of a block is dropped


@dataclass(frozen=True)
class Blocks(Transformation):
    """Structure-invariant transformation (Wang et al. 2023): random blocks, and something else done to each.

    The ten ways of the authors' code, or the first `seven`. Five only move pixels within a block, so a copy is one
    look-up of pixels; shrinking and smoothing are matrices down and across, of all blocks in one product.
    Deviation: every image has its own blocks, where the published code cuts a whole batch alike.
    """

    copies: int = 20
    blocks: int = 3
    seven: bool = False

    def __call__(self, points: Tensor, rows: Tensor, number: int, scene: Scene) -> Tensor:
        import torch

        down, right = (_Cuts.drawn(side, self.blocks, points, rows, scene) for side in points.shape[2:])
        ways, amounts = scene.noise(points.new_empty(len(points), 2, self.blocks, self.blocks), rows).unbind(dim=1)
        ways = (ways * (7 if self.seven else 10)).long()
        grain = scene.run.noise(points.detach(), rows).mul_(_GRAIN_SIZE)
        moved = _moved(points, ways, amounts, down, right)
        moved = moved * _spread(torch.where(ways == _DIM, amounts, 1.0), down, right)[:, None]
        done = torch.where(_spread(ways == _GRAIN, down, right)[:, None], (moved + grain).clamp(0, 1), moved)
        return done if self.seven else self._three(points, done, ways, rows, scene, down, right)

    def _three(self, points: Tensor, done: Tensor, ways: Tensor, rows: Tensor, scene: Scene, down: _Cuts,
               right: _Cuts) -> Tensor:
        """What is `done` so far, with the other blocks of `points` shrunk, smoothed or without some channels."""
        import torch

        shrunk = (down.shrinking()[:, None] @ points @ right.shrinking()[:, None].mT).clamp(0, 1)
        smooth = down.smoothing()[:, None] @ points @ right.smoothing()[:, None].mT
        kept = scene.noise(points.new_empty(len(points), points.shape[1], *ways.shape[1:]), rows) >= _DROPPED
        kept = torch.stack([_spread(channel, down, right) for channel in kept.unbind(dim=1)], dim=1)
        for way, blocks in ((_SHRINK, shrunk), (_SMOOTH, smooth), (_DROP, points * kept / (1 - _DROPPED))):
            done = torch.where(_spread(ways == way, down, right)[:, None], blocks, done)
        return done


@dataclass(frozen=True)
class _Cuts:
    """How one axis of every image is cut: for each pixel the block it lies in, that block's start and length [R, S]."""

    block: Tensor
    start: Tensor
    length: Tensor

    @classmethod
    def drawn(cls, side: int, blocks: int, points: Tensor, rows: Tensor, scene: Scene) -> _Cuts:
        """Cuts at different random places; an image of fewer pixels than blocks has a block for each pixel."""
        import torch

        order = scene.noise(points.new_empty(len(rows), side - 1), rows)
        inner = order.topk(min(blocks, side) - 1, dim=1).indices.add(1).sort(dim=1).values
        edges = torch.cat([torch.zeros_like(rows)[:, None], inner, torch.full_like(rows, side)[:, None]], dim=1)
        block = (torch.arange(side, device=rows.device)[None, :, None] >= inner[:, None, :]).sum(dim=2)
        start = edges.gather(1, block)
        return cls(block, start, edges.gather(1, block + 1) - start)

    def along(self, blocks: Tensor) -> Tensor:
        """What is given for blocks [R, b, B], for every pixel of this axis instead of b [R, S, B]."""
        return blocks.gather(1, self.block[:, :, None].expand(-1, -1, blocks.shape[2]))

    @property
    def _place(self) -> Tensor:
        """Which pixel of its block each pixel is [R, S]."""
        import torch

        return torch.arange(self.block.shape[1], device=self.block.device) - self.start

    @property
    def _together(self) -> Tensor:
        """Which pixels lie in the same block, bool [R, S, S]."""
        return self.block[:, :, None] == self.block[:, None, :]

    def shrinking(self) -> Tensor:
        """What shrinking every block bilinearly and enlarging it again does along this axis, as matrices [R, S, S]."""
        sides = (self.length * _SHRUNK).long() + 1
        # A shrunk block's pixels are the first of the block's own.
        taken = self._together & (self._place < sides)[:, :, None]
        smaller = _bilinear(self._place, sides, self.length, self._place) * taken
        larger = _bilinear(self._place, self.length, sides, self._place) * taken.mT
        return larger @ smaller

    def smoothing(self) -> Tensor:
        """What leaving out every block's highest frequencies does along this axis, as matrices [R, S, S]."""
        import torch

        length, number = self.length[:, :, None], self._place[:, :, None]
        waves = torch.cos(torch.pi / length * (self._place[:, None, :] + 0.5) * number)
        waves = waves * torch.where(number == 0, 1 / length, 2 / length).sqrt()
        waves = waves * (self._together & (number < length - (length * _HIGH).long()))
        return waves.mT @ waves

    def origin(self, ways: Tensor, amounts: Tensor, roll: int, flip: int) -> Tensor:
        """Where each pixel of this axis comes from [R, S, B], in blocks [R, b, B] of which some are rolled or flipped.

        A block is rolled by its amount, a share of its length.
        """
        import torch

        ways, amounts = self.along(ways), self.along(amounts)
        here = torch.arange(self.block.shape[1], device=ways.device)[None, :, None]
        start, length = self.start[:, :, None], self.length[:, :, None]
        rolled = start + (here - start - (amounts * length).long()) % length
        flipped = 2 * start + length - 1 - here
        return torch.where(ways == roll, rolled, torch.where((ways == flip) | (ways == _TURN), flipped, here))


def _bilinear(to: Tensor, new: Tensor, old: Tensor, source: Tensor) -> Tensor:
    """How much pixel `source` [R, S] of `old` ones counts in pixel `to` [R, T] of `new` ones [R, T, S].

    Bilinear, as in torch.nn.functional.interpolate: a hat of width 1 around the place that a pixel comes from.
    """
    origin = ((to + 0.5) * (old / new) - 0.5).clamp_min(0).minimum(old - 1)
    return (1 - (origin[:, :, None] - source[:, None, :]).abs()).clamp_min(0)


def _spread(blocks: Tensor, down: _Cuts, right: _Cuts) -> Tensor:
    """What is given for every block [R, b, b], for every pixel [R, H, W]."""
    return right.along(down.along(blocks).mT).mT


def _moved(points: Tensor, ways: Tensor, amounts: Tensor, down: _Cuts, right: _Cuts) -> Tensor:
    """The points with the pixels of each block rolled, flipped or turned as `ways` [R, b, b] says."""
    rows = right.along(down.origin(ways, amounts, _ROLL_DOWN, _FLIP_DOWN).mT).mT
    columns = down.along(right.origin(ways.mT, amounts.mT, _ROLL_RIGHT, _FLIP_RIGHT).mT)
    origin = (rows * points.shape[3] + columns).flatten(1)[:, None].expand(-1, points.shape[1], -1)
    return points.flatten(2).gather(2, origin).view_as(points)


@dataclass(frozen=True)
class MixedScales(Transformation):
    """Uniform scale and mix mask (Wang et al. 2023): the image darkened by an even scale and by another image.

    As in the published code the gradients at the copies are added as they are, not led back through scale and mask,
    so that dark copies count as much as bright ones. Deviation: the other image comes from the attacker's further
    images, so that one image can be attacked, and never is the attacked one itself.
    """

    scales: int = 5
    masks: int = 3
    mix: float = 0.5
    lowest: float = 0.1
    highest: float = 0.75

    @property
    def copies(self) -> int:  # type: ignore[override]
        return self.scales * self.masks

    def __call__(self, points: Tensor, rows: Tensor, number: int, scene: Scene) -> Tensor:
        step = number % self.scales / max(1, self.scales - 1)
        scale = self.lowest + (self.highest - self.lowest) * step
        mask = scene.other(rows).mul(2 * self.mix).add_(1 - self.mix)
        copy = points.detach().mul(scale).mul_(mask).clamp_(0, 1)
        return points + (copy - points.detach())


@dataclass(frozen=True)
class Styles(Transformation):
    """Style transfer (Ge et al. 2023): the image mixed with itself in a random style, and noise.

    As in the published code the gradients at the copies are taken as they are. The style network is this project's own
    (engine.attacks.networks.style), far smaller than the published one and trained on phantoms; colours are styled one
    by one.
    """

    copies: int = 20
    own: float = 0.5
    reach: float = 2.0
    style: str = "phantom"

    def __call__(self, points: Tensor, rows: Tensor, number: int, scene: Scene) -> Tensor:
        from engine.attacks.networks.style import load_style

        network = load_style(self.style, points.device)
        code = scene.run.normal(points.new_empty(len(points), network.codes), rows)
        here = points.detach()
        styled = network.restyled(here, code)
        noise = scene.run.noise(here, rows).mul_(self.reach * scene.ball.eps)
        return points + (self.own * here + styled.mul_(1 - self.own).add_(noise) - here)


# ---- gradient rules ------------------------------------------------------------------------------------------------


class Rule(ABC):
    """Where the gradient is taken that a step is made of."""

    @abstractmethod
    def passes(self, steps: int) -> int:
        """How many gradients that many steps take, of each copy of an image."""

    @abstractmethod
    def __call__(self, scene: Scene, points: Tensor, memory: Tensor | None, last: bool) -> tuple[Ascent, Tensor | None]:
        """The gradient for a step from `points`, and what the next step shall know; `last`: there is none."""


class AtThePoint(Rule):
    """The gradient at the image itself."""

    def passes(self, steps: int) -> int:
        return steps

    def __call__(self, scene: Scene, points: Tensor, memory: Tensor | None, last: bool) -> tuple[Ascent, Tensor | None]:
        return scene.slope(points, scene.rows), None


@dataclass(frozen=True)
class TunedVariance(Rule):
    """Variance tuning (Wang and He 2021): plus how the gradient around the previous point differed from that at it."""

    neighbours: int = 20
    reach: float = 1.5

    def passes(self, steps: int) -> int:
        return steps + (steps - 1) * self.neighbours

    def __call__(self, scene: Scene, points: Tensor, memory: Tensor | None, last: bool) -> tuple[Ascent, Tensor | None]:
        here = scene.slope(points, scene.rows)
        variance = None
        if not last:
            around = scene.around(points, self.neighbours, self.reach * scene.ball.eps, scene.slope)
            variance = around.gradient.sub_(here.gradient)
        if memory is not None:
            here.gradient.add_(memory)
        return here, variance


@dataclass(frozen=True)
class PenalisedNorm(Rule):
    """Penalised gradient norm (Ge et al. 2023): around the point, and once more a step back down from each place."""

    neighbours: int = 20
    reach: float = 3.0
    balance: float = 0.5

    def passes(self, steps: int) -> int:
        return 2 * steps * self.neighbours

    def __call__(self, scene: Scene, points: Tensor, memory: Tensor | None, last: bool) -> tuple[Ascent, Tensor | None]:
        def look(near: Tensor, rows: Tensor) -> Ascent:
            first = scene.slope(near, rows)
            below = near.sub_(scene.ball.evened_(first.gradient.clone(), rows), alpha=scene.step_size)
            second = scene.slope(below, rows)
            first.gradient.lerp_(second.gradient, self.balance)
            return first

        return scene.around(points, self.neighbours, self.reach * scene.ball.eps, look), None


# ---- smoothing and the loop ----------------------------------------------------------------------------------------


def smoothed(gradient: Tensor, kernel: int) -> Tensor:
    """Translation invariance (Dong et al. 2019): the gradient convolved with a Gaussian of `kernel` pixels, out to
    three standard deviations, which stands for the mean over shifted copies. 1: as it is."""
    if kernel == 1:
        return gradient
    import torch
    from torch.nn import functional as F

    line = torch.linspace(-3, 3, kernel, device=gradient.device).square().mul(-0.5).exp()
    line = line / line.sum()
    planes = gradient.flatten(0, 1)[:, None]
    planes = F.conv2d(F.conv2d(planes, line.view(1, 1, -1, 1), padding="same"), line.view(1, 1, 1, -1), padding="same")
    return planes.view_as(gradient)


@dataclass(frozen=True)
class Pieces:
    """What an attack is made of. `kernel`: of the smoothing; `ahead`: Nesterov's momentum, which looks where the
    velocity leads before it asks for the gradient (Lin et al. 2020)."""

    transformations: tuple[Transformation, ...] = ()
    rule: Rule = field(default_factory=AtThePoint)
    kernel: int = 1
    ahead: bool = False


@dataclass(frozen=True, kw_only=True)
class TransferAttack(Attack):
    """The loop: `steps` steps along the sign of the velocity, which gathers the gradients that the pieces give.

    Made on a surrogate where there is one, otherwise on the target itself. All steps are taken, as an image that fools
    the surrogate need not fool the target. The trace shows the mean over all copies that a step's passes saw.
    """

    steps: int = param(10, title="Steps", low=1, high=1000, step=1, help="How many times the image is moved.")
    step_size: float = param(0.0, title="Step size", low=0.0, high=1.0, step=0.1 / 255, unit="/255",
                             help="How far one step moves the image. 0: the papers' rule, eps divided by the steps.")
    momentum: float = param(1.0, title="Momentum", low=0.0, high=2.0, step=0.1,
                            help="How much of the earlier directions is kept at each step; 0 forgets them.")

    @abstractmethod
    def pieces(self) -> Pieces:
        """What the attack is made of, as its settings say."""

    def cost(self) -> Cost:
        pieces = self.pieces()
        passes = _product(pieces.transformations) * pieces.rule.passes(self.steps)
        return Cost(gradients=passes, queries=passes)

    def run(self, target: WhiteBox, clean: Tensor, goal: Goal, ball: Ball, run: Run) -> Tensor:
        import torch

        pieces = self.pieces()
        step_size = self.step_size or ball.eps / self.steps
        scene = Scene(target, goal, ball, run, pieces.transformations, step_size)
        images, velocity, memory = clean.clone(), torch.zeros_like(clean), None
        for step in range(self.steps):
            points = images.add(velocity, alpha=step_size * self.momentum) if pieces.ahead else images
            ascent, memory = pieces.rule(scene, points, memory, step == self.steps - 1)
            run.record(step, self.steps, images, ascent.logits, ascent.value)
            direction = ball.accelerate(velocity, smoothed(ascent.gradient, pieces.kernel), self.momentum)
            ball.project_(images.add_(direction.sign_(), alpha=step_size))
        return images


# ---- the attacks ---------------------------------------------------------------------------------------------------


_XIE = Paper("Xie, Zhang, Zhou, Bai, Wang, Ren, Yuille",
             "Improving Transferability of Adversarial Examples with Input Diversity", 2019,
             "https://arxiv.org/abs/1803.06978")
_DONG = Paper("Dong, Pang, Su, Zhu",
              "Evading Defenses to Transferable Adversarial Examples by Translation-Invariant Attacks", 2019,
              "https://arxiv.org/abs/1904.02884")
_LIN = Paper("Lin, Song, He, Wang, Hopcroft",
             "Nesterov Accelerated Gradient and Scale Invariance for Adversarial Attacks", 2020,
             "https://arxiv.org/abs/1908.06281")
_WANG_HE = Paper("Wang, He", "Enhancing the Transferability of Adversarial Attacks through Variance Tuning", 2021,
                 "https://arxiv.org/abs/2103.15571")
_GE_PGN = Paper("Ge, Liu, Wang, Shang, Liu",
                "Boosting Adversarial Transferability by Achieving Flat Local Maxima", 2023,
                "https://arxiv.org/abs/2306.05225")
_WANG_SIA = Paper("Wang, Zhang, Zhang",
                  "Structure Invariant Transformation for better Adversarial Transferability", 2023,
                  "https://arxiv.org/abs/2309.14700")
_WANG_USMM = Paper("Wang, Ying, Li, Li, Huang",
                   "Boost Adversarial Transferability by Uniform Scale and Mix Mask Method", 2023,
                   "https://arxiv.org/abs/2311.12051")
_GE_STM = Paper("Ge, Shang, Liu, Liu, Wan, Feng, Wang",
                "Improving the Transferability of Adversarial Examples with Arbitrary Style Transfer", 2023,
                "https://arxiv.org/abs/2308.10601")
_STEP = r"m_{t+1} = \mu\,m_t + \frac{\bar g_t}{\mathrm{mean}\,|\bar g_t|},\quad " \
        r"x_{t+1} = \mathrm{clip}_{x,\varepsilon}\big(x_t + \alpha\,\mathrm{sign}(m_{t+1})\big)"


@register
@dataclass(frozen=True, kw_only=True)
class DIFGSM(TransferAttack):
    """Diverse-input FGSM (Xie et al. 2019) with momentum: the model sees the image resized and padded at random.

    Deviations: the image is made smaller and padded back to its own size, as networks here are trained for one size
    (the paper makes it larger and feeds it so); every image draws its own size.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="difgsm",
        title="DI-FGSM",
        sentence="Before each step the image is shrunk and shifted a little at random, so that the change does not "
                 "depend on exact positions.",
        formula=r"\bar g_t = \nabla_x L(D(x_t; p), y),\quad " + _STEP,
        paper=_XIE,
        knowledge=Knowledge.TRANSFER,
        norms=("linf",),
        look_for="On the model it was made on it is a little weaker than MI-FGSM; look at the other model instead.",
        version=2,
    )
    smallest: float = param(0.9, title="Smallest size", low=0.1, high=1.0, step=0.05,
                            help="The image is shrunk to between this share of its size and all of it.")
    probability: float = param(0.5, title="Probability", low=0.0, high=1.0, step=0.1,
                               help="How often an image is shrunk at all.")

    def pieces(self) -> Pieces:
        return Pieces((Diversity(self.smallest, self.probability),))


@register
@dataclass(frozen=True, kw_only=True)
class TIFGSM(TransferAttack):
    """Translation-invariant FGSM (Dong et al. 2019) with momentum: the direction is blurred before each step."""

    info: ClassVar[AttackInfo] = AttackInfo(
        name="tifgsm",
        title="TI-FGSM",
        sentence="The direction of each step is blurred, as if the image had been shifted to all sides.",
        formula=r"\bar g_t = W * \nabla_x L(x_t, y),\quad " + _STEP,
        paper=_DONG,
        knowledge=Knowledge.TRANSFER,
        norms=("linf",),
        look_for="The difference is made of smooth blobs instead of fine grain.",
        version=2,
    )
    kernel: int = param(15, title="Kernel", low=1, high=63, step=2, unit="px",
                        help="The width of the blur; 1 is none.")

    def pieces(self) -> Pieces:
        return Pieces(kernel=self.kernel)


@register
@dataclass(frozen=True, kw_only=True)
class SIFGSM(TransferAttack):
    """Scale-invariant FGSM (Lin et al. 2020) with momentum: the model sees the image at several brightnesses."""

    info: ClassVar[AttackInfo] = AttackInfo(
        name="sifgsm",
        title="SI-FGSM",
        sentence="Each step is the mean over darker and darker copies of the image.",
        formula=r"\bar g_t = \frac{1}{n}\sum_{i=0}^{n-1}\nabla_x L(x_t / 2^i, y),\quad " + _STEP,
        paper=_LIN,
        knowledge=Knowledge.TRANSFER,
        norms=("linf",),
        look_for="Compared with MI-FGSM the pattern changes where the image is bright.",
        version=2,
    )
    copies: int = param(5, title="Copies", low=1, high=10, step=1,
                        help="How many brightnesses, each half of the one before; each costs a forward and a backward "
                             "pass a step.")

    def pieces(self) -> Pieces:
        return Pieces((Scales(self.copies),))


@register
@dataclass(frozen=True, kw_only=True)
class NIFGSM(TransferAttack):
    """Nesterov iterative FGSM (Lin et al. 2020): momentum that looks ahead to where it is about to go."""

    info: ClassVar[AttackInfo] = AttackInfo(
        name="nifgsm",
        title="NI-FGSM",
        sentence="Steps with momentum that ask for the direction not here but where the momentum leads.",
        formula=r"\bar g_t = \nabla_x L(x_t + \alpha\,\mu\,m_t, y),\quad " + _STEP,
        paper=_LIN,
        knowledge=Knowledge.TRANSFER,
        norms=("linf",),
        look_for="It looks like MI-FGSM's; it differs most when the steps are few and large.",
        version=2,
    )

    def pieces(self) -> Pieces:
        return Pieces(ahead=True)


@register
@dataclass(frozen=True, kw_only=True)
class VMIFGSM(TransferAttack):
    """Variance-tuned momentum FGSM (Wang and He 2021): each direction is corrected by how it varied around the last.

    The variance after the last step, which nobody needs, is not computed.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="vmifgsm",
        title="VMI-FGSM",
        sentence="Steps with momentum, corrected by how the direction varied in the neighbourhood of the step before.",
        formula=r"\bar g_t = \nabla_x L(x_t, y) + v_t,\quad v_{t+1} = \frac{1}{N}\sum_{i=1}^{N}\nabla_x L(x_t + r_i, y)"
                r" - \nabla_x L(x_t, y),\ r_i \sim U(\pm\beta\varepsilon),\quad " + _STEP,
        paper=_WANG_HE,
        knowledge=Knowledge.TRANSFER,
        norms=("linf",),
        look_for="A step costs a pass for every neighbour; compare its success on another model with MI-FGSM's.",
        version=2,
    )
    neighbours: int = param(20, title="Neighbours", low=1, high=100, step=1,
                            help="How many random places around the image are looked at in each step.")
    reach: float = param(1.5, title="Reach", low=0.0, high=10.0, step=0.1,
                         help="How far away the neighbours are, in units of eps.")

    def pieces(self) -> Pieces:
        return Pieces(rule=TunedVariance(self.neighbours, self.reach))


@register
@dataclass(frozen=True, kw_only=True)
class PGN(TransferAttack):
    """Penalised gradient norm (Ge et al. 2023): towards flat maxima, from the gradients at random places around the
    image and at a step back down from each."""

    info: ClassVar[AttackInfo] = AttackInfo(
        name="pgn",
        title="PGN",
        sentence="Looks for a broad region in which the model is wrong, as other models are likely to be wrong there "
                 "too.",
        formula=r"\bar g_t = \frac{1}{N}\sum_{i=1}^{N}(1-\gamma)\,g_i + \gamma\,g_i',\quad "
                r"g_i = \nabla_x L(x_i, y),\ x_i \sim U(x_t \pm \zeta\varepsilon),\quad "
                r"g_i' = \nabla_x L\Big(x_i - \alpha\frac{g_i}{\mathrm{mean}\,|g_i|}, y\Big),\quad " + _STEP,
        paper=_GE_PGN,
        knowledge=Knowledge.TRANSFER,
        norms=("linf",),
        look_for="The difference is coarser and smoother than MI-FGSM's.",
        version=2,
    )
    neighbours: int = param(20, title="Neighbours", low=1, high=100, step=1,
                            help="How many random places around the image are looked at in each step; each costs two "
                                 "forward and backward passes.")
    reach: float = param(3.0, title="Reach", low=0.0, high=10.0, step=0.1,
                         help="How far away the neighbours are, in units of eps.")
    balance: float = param(0.5, title="Balance", low=0.0, high=1.0, step=0.1,
                           help="The share of the look back down; 0 is the mean around the image alone.")

    def pieces(self) -> Pieces:
        return Pieces(rule=PenalisedNorm(self.neighbours, self.reach, self.balance))


@register
@dataclass(frozen=True, kw_only=True)
class SIA(TransferAttack):
    """Structure-invariant attack (Wang et al. 2023): copies cut into blocks, to each of which something else is done.

    What that may be are the ten transformations of the authors' code, or seven of them.
    Deviation: every image has its own blocks, where the published code cuts a whole batch alike.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="sia",
        title="SIA",
        sentence="Each step is the mean over copies whose pieces were shifted, flipped, dimmed, blurred or roughened "
                 "at random.",
        formula=r"\bar g_t = \frac{1}{n}\sum_{i=1}^{n}\nabla_x L\big(T_i(x_t), y\big),\ T_i:\ b \times b\text{ blocks, "
                r"each rolled, flipped, turned, scaled, resized, smoothed, with noise or short of a channel},\quad "
                + _STEP,
        paper=_WANG_SIA,
        knowledge=Knowledge.TRANSFER,
        norms=("linf",),
        look_for="Of all attacks here it fits the model it was made on least closely.",
        version=2,
    )
    copies: int = param(20, title="Copies", low=1, high=100, step=1,
                        help="How many copies are made in each step; each costs a forward and a backward pass.")
    blocks: int = param(3, title="Blocks", low=1, high=16, step=1, help="Into how many blocks each side is cut.")
    ways: str = param(TEN, title="Transformations", choices=(TEN, SEVEN),
                      help="What may be done to a block. Seven: shift down or across, flip either way, turn, dim, add "
                           "noise. Ten, as the authors do: shrink and enlarge, lose the highest frequencies, or lose a "
                           "channel, too.")

    def pieces(self) -> Pieces:
        return Pieces((Blocks(self.copies, self.blocks, self.ways == SEVEN),))


@register
@dataclass(frozen=True, kw_only=True)
class USMM(TransferAttack):
    """Uniform scale and mix mask (Wang et al. 2023): copies darkened evenly and by another image laid over them.

    As in the published code the gradients at the copies are added as they are. Deviation: the other image comes from
    the attacker's further images (in the data set: the training split), so that a single image can be attacked.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="usmm",
        title="USMM",
        sentence="Each step is the mean over copies at several brightnesses, with other images laid over them.",
        formula=r"\bar g_t = \sum_{i=1}^{s}\sum_{j=1}^{m}\nabla_{x_{ij}} L(x_{ij}, y),\quad "
                r"x_{ij} = \mathrm{clip}\big(c_i\,x_t \odot ((1-r) + 2r\,x_j')\big),\quad " + _STEP,
        paper=_WANG_USMM,
        knowledge=Knowledge.TRANSFER,
        norms=("linf",),
        look_for="The change is spread over the whole image, dark parts included.",
        others=4,
        version=2,
    )
    scales: int = param(5, title="Scales", low=1, high=20, step=1, help="How many brightnesses.")
    masks: int = param(3, title="Masks", low=1, high=20, step=1,
                       help="How many other images are laid over each brightness.")
    mix: float = param(0.5, title="Mix", low=0.0, high=0.5, step=0.05,
                       help="How strong the other image is: 0 not at all, 0.5 fully.")
    lowest: float = param(0.1, title="Lowest scale", low=0.0, high=1.0, step=0.05, help="The darkest copy.")
    highest: float = param(0.75, title="Highest scale", low=0.0, high=1.0, step=0.05, help="The brightest copy.")

    def pieces(self) -> Pieces:
        return Pieces((MixedScales(self.scales, self.masks, self.mix, self.lowest, self.highest),))


@register
@dataclass(frozen=True, kw_only=True)
class STM(TransferAttack):
    """Style transfer method (Ge et al. 2023): copies mixed with themselves in a random style, plus noise.

    Deviation: the style network is this project's own, small and trained on phantoms (its card lies beside it).
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="stm",
        title="STM",
        sentence="Each step is the mean over copies that look as if taken by other machines.",
        formula=r"\bar g_t = \frac{1}{n}\sum_{i=1}^{n}\nabla_x L\big(\gamma x_t + (1-\gamma)\,S_i(x_t) + r_i, y\big),"
                r"\ r_i \sim U(\pm\beta\varepsilon),\quad " + _STEP,
        paper=_GE_STM,
        knowledge=Knowledge.TRANSFER,
        norms=("linf",),
        look_for="Compared with MI-FGSM the pattern follows the anatomy more than the grain of the picture.",
        version=2,
    )
    copies: int = param(20, title="Copies", low=1, high=100, step=1,
                        help="How many styles are drawn in each step; each costs a forward and a backward pass.")
    own: float = param(0.5, title="Own share", low=0.0, high=1.0, step=0.1,
                       help="How much of the image itself is in a copy; the rest is the styled one.")
    reach: float = param(2.0, title="Noise", low=0.0, high=10.0, step=0.1,
                         help="How strong the noise on each copy is, in units of eps.")
    style: str = param("phantom", title="Style network",
                       help="The name of a bundled style network, or of one made by 'python -m engine train-style'.")

    def pieces(self) -> Pieces:
        return Pieces((Styles(self.copies, self.own, self.reach, self.style),))

    def files(self) -> dict[str, str]:
        from engine.zoo.registry import style_digest

        return {"style": style_digest(self.style)}


_COPIES: dict[str, Callable[[Combined], tuple[Transformation, ...]]] = {
    "none": lambda chosen: (),
    "sia": lambda chosen: (Blocks(chosen.copies),),
    "usmm": lambda chosen: (MixedScales(),),
    "stm": lambda chosen: (Styles(chosen.copies),),
}
_RULES: dict[str, Callable[[Combined], Rule]] = {
    "plain": lambda chosen: AtThePoint(),
    "vmi": lambda chosen: TunedVariance(chosen.neighbours),
    "pgn": lambda chosen: PenalisedNorm(chosen.neighbours),
}
_MOMENTUM = ("mi", "ni")


@register
@dataclass(frozen=True, kw_only=True)
class Combined(TransferAttack):
    """Any combination of the pieces of the other transfer attacks; the default is SI-VMI-DI (Wang and He 2021).

    Transformations follow one another (copies, then scales, then diversity), so their numbers of copies multiply. By
    default fewer neighbours than the paper's 20 (the preset "paper"), as each is looked at in every scale. What is not
    a setting here is as in the attack of its own.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="combined",
        title="Combined transfer attack",
        sentence="Puts together what the other transfer attacks do: choose the copies, the rule and the momentum.",
        formula=r"\bar g_t = W * R\Big[x \mapsto \frac{1}{n}\sum_{i=1}^{n}\nabla_x L\big(T_i(x), y\big)\Big](x_t),"
                r"\quad " + _STEP,
        paper=_WANG_HE,
        knowledge=Knowledge.TRANSFER,
        norms=("linf",),
        look_for="More pieces cost more passes; on another model each should add to the success.",
        others=4,
        presets={PAPER_PRESET: {"neighbours": 20}},
        version=2,
    )
    kind: str = param("none", title="Copies by", choices=tuple(_COPIES),
                      help="Which copies the model sees: blocks (SIA), scales with other images (USMM), styles (STM).")
    copies: int = param(10, title="Number of copies", low=1, high=100, step=1,
                        help="How many of them, for SIA and STM; USMM always makes 15.")
    scales: int = param(5, title="Scales (SI)", low=1, high=10, step=1,
                        help="How many brightnesses, each half of the one before; 1 is the image as it is.")
    diversity: float = param(0.5, title="Diversity (DI)", low=0.0, high=1.0, step=0.1,
                             help="How often a copy is shrunk and shifted at random; 0 is never.")
    kernel: int = param(1, title="Kernel (TI)", low=1, high=63, step=2, unit="px",
                        help="How far the direction is blurred; 1 is not at all.")
    rule: str = param("vmi", title="Rule", choices=tuple(_RULES),
                      help="Where the direction is taken: at the image, corrected by its neighbourhood (VMI), or "
                           "towards flat regions (PGN).")
    neighbours: int = param(5, title="Neighbours", low=1, high=100, step=1,
                            help="How many random places VMI and PGN look at in each step.")
    acceleration: str = param("mi", title="Kind of momentum", choices=_MOMENTUM,
                              help="Plain momentum (MI), or one that looks ahead (NI); the amount is set by Momentum.")

    def pieces(self) -> Pieces:
        scales = (Scales(self.scales),) if self.scales > 1 else ()
        diversity = (Diversity(probability=self.diversity),) if self.diversity else ()
        return Pieces((*_COPIES[self.kind](self), *scales, *diversity), _RULES[self.rule](self), self.kernel,
                      self.acceleration == "ni")

    def files(self) -> dict[str, str]:
        return STM().files() if self.kind == "stm" else {}

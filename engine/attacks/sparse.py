"""Attacks that change few pixels, each as much as it takes.

A pixel is one place of the image, whatever its number of channels. None of these attacks has an eps; how many pixels
may change is among their own parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    decided,
    register,
)
from engine.errors import EngineError
from engine.params import param

if TYPE_CHECKING:
    from torch import Tensor

    from engine.serving.threat import ScoreBased, WhiteBox


def _top(scores: Tensor, count: int) -> Tensor:
    """A mask [N, 1, H, W] of the `count` pixels of each image with the highest `scores` [N, 1, H, W]."""
    import torch

    best = scores.flatten(1).topk(min(count, scores[0].numel()), dim=1).indices
    return torch.zeros_like(scores, dtype=torch.bool).flatten(1).scatter_(1, best, True).view(scores.shape)


# ---- JSMA ----------------------------------------------------------------------------------------------------------

BOTH, BRIGHTER, DARKER = "both", "brighter", "darker"


@register
@dataclass(frozen=True, kw_only=True)
class JSMA(Attack):
    """Jacobian-based saliency map attack (Papernot et al. 2016), on probabilities, at any image size.

    The paper scores a pair of pixels by -(a1 + a2)(b1 + b2), a being the derivative of the target's output and b that
    of all others together. Probabilities add up to 1, so b = -a and the score is (a1 + a2)^2: the best pair is the two
    pixels with the largest a, found without a table of pairs, and as many more as one likes. The derivative of the
    logarithm has the same order and does not vanish where the target is unlikely.

    Deviations: untargeted, it lowers the true class's probability (Wiyatno & Xu 2018); with direction "both" each pixel
    goes the way that helps, and goes on that way if it is chosen again. ART and torchattacks only brighten (or only
    darken), and torchattacks has the table of pairs.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="jsma",
        title="JSMA",
        sentence="Turns the few pixels that count most for the answer black or white, two after two.",
        formula=r"(p, q) = \arg\max_{p, q}\ -(a_p + a_q)(b_p + b_q),\quad a_i = \frac{\partial F_t}{\partial x_i},\ "
                r"b_i = \sum_{j \ne t} \frac{\partial F_j}{\partial x_i},\quad x_{p,q} \leftarrow x_{p,q} + \theta",
        paper=Paper("Papernot, McDaniel, Jha, Fredrikson, Celik, Swami",
                    "The Limitations of Deep Learning in Adversarial Settings", 2016,
                    "https://arxiv.org/abs/1511.07528"),
        knowledge=Knowledge.WHITE_BOX,
        norms=("l0",),
        look_for="Single black and white dots where the model looks; they survive saving with 8 bits.",
        bounded=False,
        version=2,
    )
    pixels: int = param(200, title="Most pixels", low=1, high=100000, step=10,
                        help="How many pixels may change at most.")
    at_once: int = param(2, title="Pixels a step", low=1, high=1000, step=1,
                         help="How many pixels change between two looks at the model (the paper: 2); more is faster.")
    theta: float = param(1.0, title="Change", low=1 / 255, high=1.0, step=1 / 255, unit="/255",
                         help="How far a pixel moves in one step; 255/255 goes to black or white at once.")
    direction: str = param(BOTH, title="Direction", choices=(BOTH, BRIGHTER, DARKER),
                           help="Whether pixels may become brighter, darker (the paper has these two) or both.")

    @property
    def steps(self) -> int:
        return -(-self.pixels // self.at_once)

    def cost(self) -> Cost:
        return Cost(gradients=self.steps, queries=self.steps)

    def run(self, target: WhiteBox, clean: Tensor, goal: Goal, ball: Ball, run: Run) -> Tensor:
        images = clean.clone()
        for step in range(self.steps):
            ascent = target.gradient(images, goal.objective)
            run.record(step, self.steps, images, ascent.logits, ascent.value)
            playing = ~goal.reached(ascent.logits).view(-1, 1, 1, 1)
            if target.looks(step) and not bool(playing.any()):
                break
            way = self._way(images, ascent.gradient, ball)
            gain = (way * ascent.gradient).sum(dim=1, keepdim=True)
            takes = _top(gain, self.at_once) & (gain > 0) & playing
            images.add_(self.theta * way * takes).clamp_(ball.lower, ball.upper)
        return images

    def _way(self, images: Tensor, gradient: Tensor, ball: Ball) -> Tensor:
        """Where an entry helps by becoming brighter (1) or darker (-1), has room for it, and does not turn back."""
        brighter = (gradient > 0) & (images >= ball.clean) & (images < ball.upper)
        darker = (gradient < 0) & (images <= ball.clean) & (images > ball.lower)
        return brighter.float() * (self.direction != DARKER) - darker.float() * (self.direction != BRIGHTER)


# ---- PGD in L0 -----------------------------------------------------------------------------------------------------


@register
@dataclass(frozen=True, kw_only=True)
class PGDL0(Attack):
    """PGD_0 (Croce & Hein 2019): a step along the gradient, then the nearest image in [0,1] with so few changed pixels.

    Deviations: it starts from the clean image, not from a random one, and the step is given per pixel of the image,
    so that it needs no new value for another image size (the paper's 120000/255 at 32 x 32 x 3 is 0.15).
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="pgdl0",
        title="PGD-L0",
        sentence="Moves all pixels towards a wrong answer and, after every step, takes all but a few moves back.",
        formula=r"x_{t+1} = \Pi_{\lVert x' - x\rVert_0 \le k}\Big(x_t + \alpha\,\frac{g_t}{\lVert g_t\rVert_1}\Big),"
                r"\quad g_t = \nabla_x L(x_t, y)",
        paper=Paper("Croce, Hein", "Sparse and Imperceivable Adversarial Attacks", 2019,
                    "https://arxiv.org/abs/1909.05040"),
        knowledge=Knowledge.WHITE_BOX,
        norms=("l0",),
        look_for="A fixed number of dots, which settle on the places that matter most.",
        bounded=False,
        version=2,
    )
    pixels: int = param(100, title="Pixels", low=1, high=100000, step=10, help="How many pixels may change.")
    steps: int = param(20, title="Steps", low=1, high=1000, step=1,
                       help="How many times the image is moved; each costs one forward and one backward pass.")
    step_size: float = param(0.15, title="Step size", low=0.001, high=100.0, step=0.01,
                             help="How far one step moves each entry of the image on average, before most moves are "
                                  "taken back.")

    def cost(self) -> Cost:
        return Cost(gradients=self.steps, queries=self.steps)

    def run(self, target: WhiteBox, clean: Tensor, goal: Goal, ball: Ball, run: Run) -> Tensor:
        images = clean.clone()
        for step in range(self.steps):
            ascent = target.gradient(images, goal.objective)
            run.record(step, self.steps, images, ascent.logits, ascent.value)
            playing = ~goal.reached(ascent.logits).view(-1, 1, 1, 1)
            if target.looks(step) and not bool(playing.any()):
                break
            moved = self._sparse(images.add(ball.l1_normalised_(ascent.gradient), alpha=self.step_size), ball)
            images = moved.where(playing, images)
        return images

    def _sparse(self, images: Tensor, ball: Ball) -> Tensor:
        """The nearest images that are within the bounds and differ from the clean ones in `pixels` pixels at most.

        A pixel's part of the distance is what lies beyond its bounds if it is kept, and its whole change if not: kept
        are those for which this makes the largest difference.
        """
        inside = images.clamp(ball.lower, ball.upper)
        saved = (images - ball.clean).square().sub_((images - inside).square()).sum(dim=1, keepdim=True)
        return inside.where(_top(saved, self.pixels), ball.clean)


# ---- one pixel -----------------------------------------------------------------------------------------------------


@register
@dataclass(frozen=True, kw_only=True)
class OnePixel(Attack):
    """One-pixel attack (Su et al. 2019): differential evolution of places and colours, seeing probabilities only.

    Deviations: colours begin uniform, not normal (which puts a third of them on black and white); an image is left
    alone as soon as it fools the model, and the best candidate of the first generation may come from the parents.
    Children are bred from the fittest candidate, as torchattacks and ART do (SciPy's default), not from a random one:
    at the same queries the paper's rule fools fewer images.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="onepixel",
        title="One pixel",
        sentence="Breeds places and colours for a handful of pixels, or just one, without knowing the model's inside.",
        formula=r"c_i' = c_{\text{best}} + F\,(c_{r_1} - c_{r_2}),\quad c = (u, v, \text{colour}),\ F = 0.5",
        paper=Paper("Su, Vargas, Sakurai", "One Pixel Attack for Fooling Deep Neural Networks", 2019,
                    "https://arxiv.org/abs/1710.08864"),
        knowledge=Knowledge.SCORE,
        norms=("l0",),
        look_for="Large images rarely flip from one pixel alone; a few dozen do more.",
        bounded=False,
        presets={PAPER_PRESET: {"population": 400, "queries": 40_401}},  # 100 generations
    )
    pixels: int = param(1, title="Pixels", low=1, high=1000, step=1, help="How many pixels may change.")
    population: int = param(100, title="Population", low=3, high=1000, step=10,
                            help="How many candidates live at a time (the paper: 400).")
    queries: int = param(1000, title="Queries", low=4, high=1000000, step=100,
                         help="How many times the model may be asked about each image.")

    FACTOR: ClassVar[float] = 0.5
    AT_ONCE: ClassVar[int] = 256  # images made at a time

    def __post_init__(self) -> None:
        self._check(self.queries)

    def _check(self, queries: int) -> None:
        if queries <= self.population:
            raise EngineError(f"{self.info.title} needs at least {self.population + 1} queries for its first "
                              f"{self.population} candidates, not {queries}; allow more or take a smaller population")

    def cost(self) -> Cost:
        return Cost(gradients=0, queries=self.queries)

    def run(self, target: ScoreBased, clean: Tensor, goal: Goal, ball: Ball, run: Run) -> Tensor:
        import torch

        from engine.serving.crossing import sent

        left = int(target.left.min())
        self._check(left)
        generations = (left - 1) // self.population
        images = clean.clone()
        # Known on the host, where queries are counted and numbers drawn; `there` are the same on the device.
        rows = (~goal.reached_by(decided(target.scores(clean)))).cpu().nonzero()[:, 0]
        there = sent(rows, clean.device)
        run.walk(images, target.queries, 0.0)
        genes = clean.new_empty(len(rows), self.population, self.pixels, 2 + clean.shape[1])
        genes = run.noise(genes, rows).add_(1).div_(2)
        fitness = clean.new_full(genes.shape[:2], float("-inf"))
        for generation in range(generations):
            if len(rows) == 0:
                break
            children = genes if generation == 0 else self._children(genes, fitness, run, rows)
            value, reached = self._tried(target, children, goal, ball, rows, there)
            better = value > fitness
            genes, fitness = children.where(better[:, :, None, None], genes), value.maximum(fitness)
            best = fitness.argmax(dim=1)
            # A candidate that reached the goal may not be the fittest: it wins all the same.
            winner = reached.float().argmax(dim=1).where(reached.any(dim=1), best)
            chosen = children.where(reached.any(dim=1)[:, None, None, None], genes)
            each = torch.arange(len(rows), device=clean.device)
            images[there] = self._painted(chosen[each, winner], ball, there)
            run.walk(images, target.queries, (generation + 1) / generations)
            playing = (~reached.any(dim=1)).cpu().nonzero()[:, 0]
            rows, playing = rows[playing], sent(playing, clean.device)
            there, genes, fitness = there[playing], genes[playing], fitness[playing]
        return images

    def _children(self, genes: Tensor, fitness: Tensor, run: Run, rows: Tensor) -> Tensor:
        """One child for every place: the fittest candidate plus half the difference of two, picked at random."""
        import torch

        order = run.noise(fitness, rows).argsort(dim=1)[:, :, None, None].expand(genes.shape)
        one, other = (torch.gather(genes, 1, order.roll(shift, dims=1)) for shift in (0, 1))
        fittest = genes[torch.arange(len(rows), device=genes.device), fitness.argmax(dim=1)][:, None]
        return fittest.add(one.sub_(other), alpha=self.FACTOR).clamp_(0, 1)

    def _tried(self, target: ScoreBased, genes: Tensor, goal: Goal, ball: Ball, rows: Tensor,
               there: Tensor) -> tuple[Tensor, Tensor]:
        """Fitness and success of all candidates [R, P]; no more than AT_ONCE of their images exist at a time."""
        import torch

        parts = (all_.split(self.AT_ONCE) for all_ in (genes.flatten(0, 1), *(
            some.repeat_interleave(self.population) for some in (rows, there))))
        values, reached = [], []
        for some, of, whose in zip(*parts, strict=True):
            scores = target.scores(self._painted(some, ball, whose), of)
            values.append(goal.objective(scores.clamp_min(1e-37).log(), whose).nan_to_num(nan=float("-inf")))
            reached.append(goal.reached_by(decided(scores), whose))
        shape = genes.shape[:2]
        return torch.cat(values).view(shape), torch.cat(reached).view(shape)

    def _painted(self, genes: Tensor, ball: Ball, rows: Tensor) -> Tensor:
        """The images that candidates [R, pixels, 2 + C] describe, within the bounds."""
        import torch

        images = ball.clean[rows]
        height, width = images.shape[2:]
        down = (genes[:, :, 0] * height).long().clamp_max_(height - 1)
        across = (genes[:, :, 1] * width).long().clamp_max_(width - 1)
        each = torch.arange(len(rows), device=rows.device)
        for pixel in range(self.pixels):  # one after another: of two in one place the later one counts
            images[each, :, down[:, pixel], across[:, pixel]] = genes[:, pixel, 2:]
        return ball.project_(images, rows)

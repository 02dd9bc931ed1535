"""Smoothing, momentum, and the loop that puts the pieces together."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.attacks.base import Attack, Ball, Cost, Goal, Run
from engine.attacks.transfer.rules import AtThePoint, Rule
from engine.attacks.transfer.scene import Scene, product
from engine.attacks.transfer.transformations import Transformation
from engine.params import param

if TYPE_CHECKING:
    from torch import Tensor

    from engine.serving.threat import WhiteBox

# What the loop does with the gradient that the pieces give, for the formulas of the attacks.
STEP = r"m_{t+1} = \mu\,m_t + \frac{\bar g_t}{\mathrm{mean}\,|\bar g_t|},\quad " \
        r"x_{t+1} = \mathrm{clip}_{x,\varepsilon}\big(x_t + \alpha\,\mathrm{sign}(m_{t+1})\big)"


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
        passes = product(pieces.transformations) * pieces.rule.passes(self.steps)
        return Cost(gradients=passes, queries=passes)

    def run(self, target: WhiteBox, clean: Tensor, goal: Goal, ball: Ball, run: Run) -> Tensor:
        import torch

        pieces = self.pieces()
        step_size = self.step_size or ball.eps / self.steps
        scene = Scene(target, goal, ball, run, pieces.transformations, step_size)
        images, velocity, memory = clean.clone(), torch.zeros_like(clean), None
        for step in range(self.steps):
            points = images.add(velocity, alpha=step_size * self.momentum) if pieces.ahead else images
            ascent, memory = scene.step(pieces.rule, points, memory, step == self.steps - 1)
            run.record(step, self.steps, images, ascent.logits, ascent.value)
            direction = ball.add_momentum(velocity, smoothed(ascent.gradient, pieces.kernel), self.momentum)
            ball.project_(images.add_(direction.sign_(), alpha=step_size))
        return images

"""Smoothing, momentum, and the loop that puts the pieces together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.attacks.base import Ball, Goal, Run, implements
from engine.attacks.declared.transfer import TransferAttack
from engine.attacks.transfer.rules import AtThePoint, Rule
from engine.attacks.transfer.scene import Scene
from engine.attacks.transfer.transformations import Transformation
from engine.serving.threat import WhiteBox


def smoothed(gradient: Tensor, kernel: int) -> Tensor:
    """Translation invariance (Dong et al. 2019): the gradient convolved with a Gaussian of `kernel` pixels, out to
    three standard deviations, which stands for the mean over shifted copies. 1: as it is."""
    if kernel == 1:
        return gradient
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


Made = Callable[[Any], Pieces]


def made_of(declared: type[TransferAttack]) -> Callable[[Made], Made]:
    """Decorator of what `declared` is made of, as its settings say."""
    def note(pieces_of: Made) -> Made:
        implements(declared)(partial(_climb, pieces_of))
        return pieces_of

    return note


def _climb(pieces_of: Made, attack: TransferAttack, target: WhiteBox, clean: Tensor, goal: Goal, ball: Ball,
           run: Run) -> Tensor:
    pieces = pieces_of(attack)
    step_size = attack.step_size or ball.eps / attack.steps
    scene = Scene(target, goal, ball, run, pieces.transformations, step_size)
    images, velocity, memory = clean.clone(), torch.zeros_like(clean), None
    for step in range(attack.steps):
        points = images.add(velocity, alpha=step_size * attack.momentum) if pieces.ahead else images
        ascent, memory = scene.step(pieces.rule, points, memory, step == attack.steps - 1)
        run.record(step, attack.steps, images, ascent.logits, ascent.value)
        direction = ball.add_momentum(velocity, smoothed(ascent.gradient, pieces.kernel), attack.momentum)
        ball.project_(images.add_(direction.sign_(), alpha=step_size))
    return images

"""Gradient attacks within a budget: one step or many along the gradient, made into a direction of a given length.

One loop serves them all; what is declared of an attack is its direction, its step and which settings a user may change.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.attacks.base import Ball, Draw, Goal, Run, Standing, implements, length, unit
from engine.attacks.declared.gradient import FIRST_SUCCESS, GradientAscent
from engine.serving.threat import WhiteBox


def sign(gradient: Tensor) -> Tensor:
    """-1, 0 or 1 for every pixel: the steepest direction of a linear model within an Linf budget."""
    return gradient.sign_()


def non_sign(gradient: Tensor) -> Tensor:
    """The gradient itself, made as long (L2) as its sign would be, per image; 0 where it is 0."""
    gradient = unit(gradient)
    return gradient.mul_(length(gradient, 0).sqrt_())


@implements(GradientAscent)
def ascend(attack: GradientAscent, target: WhiteBox, clean: Tensor, goal: Goal, ball: Ball, run: Run) -> Tensor:
    rows = torch.arange(len(clean), device=clean.device)
    best = Standing.unknown(clean, target.classes)
    for restart in range(attack.restarts):
        best = best.better(_attempt(attack, restart, best, rows, target, goal, ball, run))
        if attack.stop == FIRST_SUCCESS:
            rows = (~best.reached).nonzero()[:, 0]
            if len(rows) == 0:
                break
    return best.images


def _attempt(attack: GradientAscent, restart: int, known: Standing, rows: Tensor, target: WhiteBox, goal: Goal,
             ball: Ball, run: Run) -> Standing:
    """One climb of the images `rows` from a start of its own; the others stay as they are `known`."""
    images = _start(attack, restart, ball, run)
    now = Standing(images, known.logits, known.value, known.reached)
    if len(rows) < len(images):
        now.images = known.images.clone()
        images, ball = images[rows], ball.only(rows)
    step_size = attack.step_size or attack.paper_step * ball.eps / attack.steps
    velocity = images.new_zeros(images.shape) if attack.momentum else None
    direction = unit if ball.norm == "l2" else non_sign if attack.scaled else sign
    for step in range(attack.steps):
        ascent = target.gradient(images, goal.objective, rows)
        reached = goal.reached(ascent.logits, rows)
        now.see(rows, images, ascent.logits, ascent.value, reached)
        run.record(restart * attack.steps + step, attack.restarts * attack.steps, now.images, now.logits, now.value)
        gradient = ball.freed_(ascent.gradient)
        kept = None
        if attack.stop == FIRST_SUCCESS and not target.looks(step):
            kept = images.clone()
        elif attack.stop == FIRST_SUCCESS:
            playing = (~reached).nonzero()[:, 0]
            if len(playing) == 0:
                return now
            if len(playing) < len(rows):
                rows, images, gradient, ball = rows[playing], images[playing], gradient[playing], ball.only(playing)
                velocity = None if velocity is None else velocity[playing]
        if velocity is not None:
            gradient = ball.add_momentum(velocity, gradient, attack.momentum)
        ball.project_(images.add_(direction(gradient), alpha=step_size))
        if kept is not None:  # who is fooled, and not left out yet, stays as it is
            images.copy_(kept.where(reached.view(-1, 1, 1, 1), images))
    if images is not now.images:
        now.images.index_copy_(0, rows, images)
    return now


def _start(attack: GradientAscent, restart: int, ball: Ball, run: Run) -> Tensor:
    """Where an attempt begins: the clean images or, at random and for every further attempt, near them."""
    clean = ball.clean
    if not attack.random_start and restart == 0:
        return clean.clone()
    if ball.norm == "linf":
        return ball.project_(run.noise(clean).mul_(ball.eps).add_(clean))
    # Uniform in an L2 ball of d dimensions: any direction, and a length that is the d-th root of a uniform number.
    lengths, ways = run.drawn((Draw((1, 1, 1)), Draw(tuple(clean.shape[1:]), normal=True)), clean)
    lengths = lengths.add_(1.0).div_(2.0).pow_(1.0 / ball.entries)
    return ball.project_(unit(ball.freed_(ways)).mul_(lengths.mul_(ball.eps)).add_(clean))



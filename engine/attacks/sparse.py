"""Attacks that change few pixels, each as much as it takes.

A pixel is one place of the image, whatever its number of channels. None of these attacks has an eps; how many pixels
may change is among their own parameters.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.attacks.base import Ball, Goal, Run, decided, implements
from engine.attacks.declared.sparse import BRIGHTER, DARKER, JSMA, PGDL0, OnePixel
from engine.serving.crossing import sent
from engine.serving.threat import ScoreBased, WhiteBox


def _top(scores: Tensor, count: int) -> Tensor:
    """A mask [N, 1, H, W] of the `count` pixels of each image with the highest `scores` [N, 1, H, W]."""
    best = scores.flatten(1).topk(min(count, scores[0].numel()), dim=1).indices
    return torch.zeros_like(scores, dtype=torch.bool).flatten(1).scatter_(1, best, True).view(scores.shape)


# ---- JSMA ----------------------------------------------------------------------------------------------------------


@implements(JSMA)
def jsma(attack: JSMA, target: WhiteBox, clean: Tensor, goal: Goal, ball: Ball, run: Run) -> Tensor:
    images = clean.clone()
    for step in range(attack.steps):
        ascent = target.gradient(images, goal.objective)
        run.record(step, attack.steps, images, ascent.logits, ascent.value)
        playing = ~goal.reached(ascent.logits).view(-1, 1, 1, 1)
        if target.looks(step) and not bool(playing.any()):
            break
        way = _way(attack, images, ascent.gradient, ball)
        gain = (way * ascent.gradient).sum(dim=1, keepdim=True)
        takes = _top(gain, attack.at_once) & (gain > 0) & playing
        images.add_(attack.theta * way * takes).clamp_(ball.lower, ball.upper)
    return images


def _way(attack: JSMA, images: Tensor, gradient: Tensor, ball: Ball) -> Tensor:
    """Where an entry helps by becoming brighter (1) or darker (-1), has room for it, and does not turn back."""
    brighter = (gradient > 0) & (images >= ball.clean) & (images < ball.upper)
    darker = (gradient < 0) & (images <= ball.clean) & (images > ball.lower)
    return brighter.float() * (attack.direction != DARKER) - darker.float() * (attack.direction != BRIGHTER)


# ---- PGD in L0 -----------------------------------------------------------------------------------------------------


@implements(PGDL0)
def pgdl0(attack: PGDL0, target: WhiteBox, clean: Tensor, goal: Goal, ball: Ball, run: Run) -> Tensor:
    images = clean.clone()
    for step in range(attack.steps):
        ascent = target.gradient(images, goal.objective)
        run.record(step, attack.steps, images, ascent.logits, ascent.value)
        playing = ~goal.reached(ascent.logits).view(-1, 1, 1, 1)
        if target.looks(step) and not bool(playing.any()):
            break
        moved = _sparse(attack, images.add(ball.l1_normalised_(ascent.gradient), alpha=attack.step_size), ball)
        images = moved.where(playing, images)
    return images


def _sparse(attack: PGDL0, images: Tensor, ball: Ball) -> Tensor:
    """The nearest images that are within the bounds and differ from the clean ones in `pixels` pixels at most.

    A pixel's part of the distance is what lies beyond its bounds if it is kept, and its whole change if not: kept
    are those for which this makes the largest difference.
    """
    inside = images.clamp(ball.lower, ball.upper)
    saved = (images - ball.clean).square().sub_((images - inside).square()).sum(dim=1, keepdim=True)
    return inside.where(_top(saved, attack.pixels), ball.clean)


# ---- one pixel -----------------------------------------------------------------------------------------------------


FACTOR = 0.5
AT_ONCE = 256  # images made at a time


@implements(OnePixel)
def one_pixel(attack: OnePixel, target: ScoreBased, clean: Tensor, goal: Goal, ball: Ball, run: Run) -> Tensor:
    left = int(target.left.min())
    attack.check(left)
    generations = (left - 1) // attack.population
    images = clean.clone()
    # Known on the host, where queries are counted and numbers drawn; `there` are the same on the device.
    rows = (~goal.reached_by(decided(target.scores(clean)))).cpu().nonzero()[:, 0]
    there = sent(rows, clean.device)
    run.walk(images, target.queries, 0.0)
    genes = clean.new_empty(len(rows), attack.population, attack.pixels, 2 + clean.shape[1])
    genes = run.noise(genes, rows).add_(1).div_(2)
    fitness = clean.new_full(genes.shape[:2], float("-inf"))
    for generation in range(generations):
        if len(rows) == 0:
            break
        children = genes if generation == 0 else _children(attack, genes, fitness, run, rows)
        value, reached = _tried(attack, target, children, goal, ball, rows, there)
        better = value > fitness
        genes, fitness = children.where(better[:, :, None, None], genes), value.maximum(fitness)
        best = fitness.argmax(dim=1)
        # A candidate that reached the goal may not be the fittest: it wins all the same.
        winner = reached.float().argmax(dim=1).where(reached.any(dim=1), best)
        chosen = children.where(reached.any(dim=1)[:, None, None, None], genes)
        each = torch.arange(len(rows), device=clean.device)
        images[there] = _painted(attack, chosen[each, winner], ball, there)
        run.walk(images, target.queries, (generation + 1) / generations)
        playing = (~reached.any(dim=1)).cpu().nonzero()[:, 0]
        rows, playing = rows[playing], sent(playing, clean.device)
        there, genes, fitness = there[playing], genes[playing], fitness[playing]
    return images


def _children(attack: OnePixel, genes: Tensor, fitness: Tensor, run: Run, rows: Tensor) -> Tensor:
    """One child for every place: the fittest candidate plus half the difference of two, picked at random."""
    order = run.noise(fitness, rows).argsort(dim=1)[:, :, None, None].expand(genes.shape)
    one, other = (torch.gather(genes, 1, order.roll(shift, dims=1)) for shift in (0, 1))
    fittest = genes[torch.arange(len(rows), device=genes.device), fitness.argmax(dim=1)][:, None]
    return fittest.add(one.sub_(other), alpha=FACTOR).clamp_(0, 1)


def _tried(attack: OnePixel, target: ScoreBased, genes: Tensor, goal: Goal, ball: Ball, rows: Tensor,
           there: Tensor) -> tuple[Tensor, Tensor]:
    """Fitness and success of all candidates [R, P]; no more than AT_ONCE of their images exist at a time."""
    parts = (all_.split(AT_ONCE) for all_ in (genes.flatten(0, 1), *(
        some.repeat_interleave(attack.population) for some in (rows, there))))
    values, reached = [], []
    for some, of, whose in zip(*parts, strict=True):
        scores = target.scores(_painted(attack, some, ball, whose), of)
        values.append(goal.objective(scores.clamp_min(1e-37).log(), whose).nan_to_num(nan=float("-inf")))
        reached.append(goal.reached_by(decided(scores), whose))
    shape = genes.shape[:2]
    return torch.cat(values).view(shape), torch.cat(reached).view(shape)


def _painted(attack: OnePixel, genes: Tensor, ball: Ball, rows: Tensor) -> Tensor:
    """The images that candidates [R, pixels, 2 + C] describe, within the bounds."""
    images = ball.clean[rows]
    height, width = images.shape[2:]
    down = (genes[:, :, 0] * height).long().clamp_max_(height - 1)
    across = (genes[:, :, 1] * width).long().clamp_max_(width - 1)
    each = torch.arange(len(rows), device=rows.device)
    for pixel in range(attack.pixels):  # one after another: of two in one place the later one counts
        images[each, :, down[:, pixel], across[:, pixel]] = genes[:, pixel, 2:]
    return ball.project_(images, rows)

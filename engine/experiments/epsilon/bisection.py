"""Halving the interval in which an attack's smallest epsilon lies, for many images at once."""

import math
from dataclasses import replace

import numpy as np
import torch

from engine.attacks import ATTACKS
from engine.attacks.base import Budget, Others
from engine.attacks.batch import Memory
from engine.attacks.result import AttackResult
from engine.attacks.runner import Resources, run_attack
from engine.attacks.spec import AttackSpec
from engine.errors import EngineError
from engine.experiments.epsilon.minimal import Found, Minimal, Try
from engine.progress import Progress
from engine.zoo.classifier import Classifier

ROUNDS = 30  # more halvings than float32 can tell apart


def smallest_eps(spec: AttackSpec, model: Classifier, images: torch.Tensor, labels: torch.Tensor, *, high: float,
                 tolerance: float, resources: Resources | None = None, device: str = "auto",
                 progress: Progress | None = None, memory: Memory | None = None) -> Minimal:
    """Bisect the eps of `spec` between 0 and `high` for every image, until it is known to `tolerance`.

    Every success is a run whose verdict is the original model's. That no image resists a larger budget after failing a
    smaller one is assumed, not proven: for an attack that overshoots, the number is an upper bound of the smallest eps.
    Images that are to be tried at the same eps are attacked together, so that all are in the first rounds, and later
    those whose answers were the same; each draws the same random numbers in every round and company. Raises
    EngineError and Cancelled.
    """
    _check(spec, high, tolerance)
    search = _Search(spec, model, images, labels, resources or Resources(), device, high, tolerance, memory)
    return search.run(progress or Progress())


def _check(spec: AttackSpec, high: float, tolerance: float) -> None:
    info = ATTACKS[spec.attack].info
    if not info.bounded:
        raise EngineError(f"{info.title} takes no eps to search for: it is limited by its own settings; choose an "
                          "attack with a budget")
    Budget(spec.norm, high)
    if not 0 < tolerance < high:
        raise EngineError(f"tolerance must lie between 0 and high ({high:g}), not {tolerance:g}")
    if high / tolerance > 2**ROUNDS:
        raise EngineError(f"a tolerance of {tolerance:g} is finer than single precision tells apart; take a larger one")


class _Search:
    """The bisection of many images at once: every image resists at `low` and is fooled at `high` (inf: never yet)."""

    def __init__(self, spec: AttackSpec, model: Classifier, images: torch.Tensor, labels: torch.Tensor,
                 resources: Resources, device: str, high: float, tolerance: float, memory: Memory | None) -> None:
        self._spec, self._model, self._device, self._resources = spec, model, device, resources
        self._memory = memory
        self._images, self._labels = torch.as_tensor(images), torch.as_tensor(labels)
        self._highest, self._tolerance = high, tolerance
        count = len(self._images)
        self._low, self._high = np.zeros(count), np.full(count, math.inf)
        self._tries: list[list[Try]] = [[] for _ in range(count)]
        self._adversarial = self._images.numpy().copy()
        self._queries, self._gradients, self._refusals = np.zeros((3, count), np.int64)
        self._seconds = 0.0

    def run(self, progress: Progress) -> Minimal:
        rounds = 1 + math.ceil(math.log2(self._highest / self._tolerance))
        playing = np.arange(len(self._images))
        for number in range(rounds):
            self._round(playing, number, progress.part(number / rounds, (number + 1) / rounds))
            # What resists the highest eps resists; what is classified wrongly as it is has been set to 0.
            playing = np.flatnonzero(np.isfinite(self._high) & (self._high - self._low > self._tolerance))
        found = tuple(Found(int(label), float(high) if math.isfinite(high) else None, tuple(tries))
                      for label, high, tries in zip(self._labels, self._high, self._tries, strict=True))
        return Minimal(self._spec, self._highest, self._tolerance, self._model.name, found, self._adversarial,
                       self._queries, self._gradients, self._refusals, self._seconds)

    def _round(self, playing: np.ndarray, number: int, progress: Progress) -> None:
        """Try each image of `playing` half-way between what it resists and what fools it; first of all, at highest."""
        middle = np.where(np.isfinite(self._high), (self._low + self._high) / 2, self._highest)[playing]
        values = np.unique(middle)
        for place, eps in enumerate(values):
            part = progress.part(place / len(values), (place + 1) / len(values))
            together = playing[middle == eps]
            self._learn(together, float(eps), self._attack(together, float(eps), part), first=number == 0)

    def _attack(self, which: np.ndarray, eps: float, progress: Progress) -> AttackResult:
        resources, rows = self._resources, torch.from_numpy(which)
        mask = None if resources.mask is None else resources.mask[rows]
        others = resources.others
        if others is None and ATTACKS[self._spec.attack].info.others:
            others = Others(self._images, self._labels)  # all of them, whatever part is attacked now
        return run_attack(replace(self._spec, eps=eps), self._model, self._images[rows], self._labels[rows],
                          resources=replace(resources, mask=mask, others=others), device=self._device,
                          progress=progress, memory=self._memory)

    def _learn(self, which: np.ndarray, eps: float, result: AttackResult, *, first: bool) -> None:
        self._queries[which] += result.queries
        self._gradients[which] += result.gradients
        self._refusals[which] += result.refusals
        self._seconds += result.seconds
        fooled, counts = which[result.success], which[result.attacked]
        self._adversarial[fooled] = result.adversarial[result.success]
        self._high[fooled] = eps
        self._low[np.setdiff1d(counts, fooled)] = eps
        for image, success in zip(which, result.success, strict=True):
            if image in counts:
                self._tries[image].append(Try(eps, bool(success)))
        if first:
            self._high[np.setdiff1d(which, counts)] = 0.0


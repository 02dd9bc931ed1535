"""Defended models asked without an attack: how long it takes, what they say of noise and of pictures once more, and
what their detectors make of pictures."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from statistics import median

import numpy as np
import torch
from torch import Tensor

from engine import device as devices
from engine import digest
from engine.attacks.batch import image_seed
from engine.attacks.result import FRAMES, AttackResult
from engine.attacks.spec import AttackSpec
from engine.defenses.alarms import false_alarms
from engine.defenses.base import defenses_from, written
from engine.defenses.detecting import Fit
from engine.defenses.detectors import Detector
from engine.experiments.defending.again import TIMES, Again
from engine.experiments.defending.facing import Face, Facing
from engine.experiments.defending.seeing import Through
from engine.experiments.defending.watching import Scores
from engine.experiments.queries.walks import limit_of
from engine.experiments.resources import served_behind
from engine.experiments.sources import seen
from engine.experiments.units import Unit
from engine.serving.defense import Client
from engine.serving.prepare import placed, prepared
from engine.serving.served import Served
from engine.zoo.registry import load_model

BATCH = 16
TIMED = 9  # answers of which the middle one counts


@devices.exact()
@torch.no_grad()
def faced(spec: Facing, device: str) -> Face:
    """What the defended model is like; raises EngineError."""
    data, chosen = seen(spec.dataset, spec.split, spec.model, spec.names), devices.choose(device)
    model = placed(load_model(spec.model), chosen)
    served = served_behind(spec.defenses, spec.seed, model, data)
    images = torch.from_numpy(data.images(spec.indices))
    names = tuple(digest.of_arrays(image.numpy()) for image in images)
    noisy = [_said(served, _noised(images, names, spec.seed, eps), names, f"noise {eps:.8f}") for eps in spec.budgets]
    fast = prepared(model, chosen)
    bare, defended = _seconds(Served(fast), Served(fast, served.defenses, spec.seed), images[:1].to(chosen))
    return Face(model.name, spec.defenses, bare, defended, spec.budgets, names,
                np.array(noisy, np.int64).reshape(len(spec.budgets), len(images)))


def _noised(images: Tensor, names: Sequence[str], seed: int, eps: float) -> Tensor:
    """Every pixel brighter or darker by `eps`, at random: each image by numbers of its own."""
    signs = [torch.randint(2, image.shape, generator=torch.Generator().manual_seed(image_seed(seed, f"noise {name}")))
             for image, name in zip(images, names, strict=True)]
    return (images + eps * (2 * torch.stack(signs) - 1)).clamp_(0, 1)


def _seconds(bare: Served, defended: Served, image: Tensor) -> tuple[float, float]:
    """How long an answer about one picture takes. Both are asked by turns, so that what else the machine does slows
    both; the first answers, which warm up, do not count."""
    def one(served: Served, number: int) -> float:
        started = time.perf_counter()
        served.answer(image, served.queries([Client(f"timed {number}")], [0])).logits.cpu()
        return time.perf_counter() - started

    taken = [(one(bare, number), one(defended, number)) for number in range(TIMED + 1)][1:]
    if not defended.defenses:
        return (alone := median(each for pair in taken for each in pair)), alone
    return median(pair[0] for pair in taken), median(pair[1] for pair in taken)


def _said(served: Served, images: Tensor, names: Sequence[str], session: str) -> np.ndarray:
    """The classes [N] said of images, each asked about by a client of its own; -1: refused."""
    return np.concatenate(list(_answers(served, images, names, session)))


def _answers(served: Served, images: Tensor, names: Sequence[str], session: str) -> Iterator[np.ndarray]:
    for start in range(0, len(images), BATCH):
        some = images[start:start + BATCH].to(served.device)
        clients = [Client(name, session) for name in names[start:start + BATCH]]
        answer = served.answer(some, served.queries(clients, range(len(some))))
        said = answer.logits.argmax(dim=1)
        yield (said if answer.refused is None else said.masked_fill(answer.refused, -1)).cpu().numpy()


@devices.exact()
@torch.no_grad()
def asked_again(unit: Unit, result: AttackResult, device: str) -> Again:
    """The best images of a walk at FRAMES and at its end, asked about TIMES more; raises EngineError.

    Every answer is that to a client of its own: what the attack asked is not held against it.
    """
    spec = unit.attack
    model = placed(load_model(unit.model), devices.choose(device))
    served = served_behind(spec.defenses, spec.seed, model, unit.seen)
    counts, frames = _frames(spec, result)
    fooled, bare = np.zeros((2, len(frames), len(result.labels)), np.int64)
    for place, frame in enumerate(frames):
        new = np.ones(len(frame), bool) if not place else (frame != frames[place - 1]).any(axis=(1, 2, 3))
        if place:
            fooled[place], bare[place] = fooled[place - 1], bare[place - 1]
        if not new.any():
            continue
        images, names = torch.from_numpy(frame[new]), [result.identities[row] for row in np.flatnonzero(new)]
        fooled[place, new] = sum(_reached(spec, _said(served, images, names, f"again {counts[place]} {number}"),
                                          result.labels[new]) for number in range(TIMES))
        bare[place, new] = _reached(spec, _said(served.bare, images, names, "again"), result.labels[new])
    change = frames - result.clean[None]
    return Again(TIMES, counts, fooled, bare.astype(bool), np.abs(change).max(axis=(2, 3, 4)),
                 np.sqrt((change.astype(np.float64)**2).sum(axis=(2, 3, 4))))


def _frames(spec: AttackSpec, result: AttackResult) -> tuple[tuple[int, ...], np.ndarray]:
    """After how many queries there is a look, and the images [M, N, C, H, W] then."""
    walk, limit = result.trace.walk, limit_of(spec)
    assert walk is not None and walk.film is not None, "a walk is kept with its film"
    before = [count for count in FRAMES if count < limit]
    return (*before, limit), np.stack([*walk.film[:len(before)], result.adversarial])


def _reached(spec: AttackSpec, said: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Which answers are what the attacker wants."""
    return (said >= 0) & (said != labels) if spec.target is None else said == spec.target


def seen_through(unit: Unit, adversarial: np.ndarray, device: str) -> Through:
    """The shown picture of a unit before and after its attack, as the classifier gets to see it; raises EngineError."""
    from engine.explain.cam import cam

    clean = unit.seen.image(unit.source.index)
    model = placed(load_model(unit.model), devices.choose(device))
    served = served_behind(unit.attack.defenses, unit.attack.seed, model, unit.seen)
    sent = torch.from_numpy(np.stack([clean, adversarial])).to(model.device)
    name = digest.of_arrays(clean)
    clients = [Client(name, session) for session in ("clean", "adversarial")]
    with devices.exact(), torch.no_grad():
        arrived = served.behind(sent, served.queries(clients, [0, 1])) if served.defenses else sent
        classes = model(arrived).argmax(dim=1).tolist()
    maps = cam(model, arrived, classes).maps
    return Through(sent.cpu().numpy(), arrived.cpu().numpy(), np.asarray(maps), (classes[0], classes[1]))


# ---- what defenses that refuse make of pictures


@devices.exact()
@torch.no_grad()
def scored(unit: Unit, adversarial: np.ndarray, device: str) -> list[Scores]:
    """The scores that each detector in front of the unit's model gives its images before and after the attack, as the
    defenses before it let them through; raises EngineError."""
    model = placed(load_model(unit.model), devices.choose(device))
    served = served_behind(unit.attack.defenses, unit.attack.seed, model, unit.seen)
    clean = unit.seen.images(unit.indices)
    names = [digest.of_arrays(image) for image in clean]
    return [Scores(written([defense]), defense.alarms, defense.fit.threshold,
                   *(_scores(defense.fit, Served(model, served.defenses[:place], unit.attack.seed), images, names, when)
                     for images, when in ((clean, "clean"), (adversarial, "adversarial"))))
            for place, defense in enumerate(served.defenses) if isinstance(defense, Detector) and defense.fit]


def _scores(fit: Fit, before: Served, images: np.ndarray, names: Sequence[str], session: str) -> np.ndarray:
    """What a detector makes of images, float64 [N], behind the defenses `before` it."""
    found = []
    for start in range(0, len(images), BATCH):
        some = torch.from_numpy(images[start:start + BATCH]).to(before.device)
        clients = [Client(name, session) for name in names[start:start + BATCH]]
        found.append(fit.scores(before.behind(some, before.queries(clients, range(len(some))))).numpy())
    return np.concatenate(found)


@devices.exact()
def refused_of_one_client(spec: Facing, device: str) -> np.ndarray:
    """Which of the honest images get no answer where one client sends them all, bool [N]; raises EngineError."""
    data = seen(spec.dataset, spec.split, spec.model, spec.names)
    model = placed(load_model(spec.model), devices.choose(device))
    pieces = (torch.from_numpy(data.images(spec.indices[start:start + BATCH]))
              for start in range(0, len(spec.indices), BATCH))
    return false_alarms(model, defenses_from(spec.defenses), pieces, seed=spec.seed).numpy()

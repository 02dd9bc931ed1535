"""What defenses at training time do with each batch: the loop (engine.training.train) shows it to a practice, which
makes the images that the network learns from and says how wrong it is about them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from engine import device as devices
from engine.attacks.base import Attack, Budget, Draw, Goal, Run
from engine.attacks.declared.gradient import FGSM, FIRST_SUCCESS, MIFGSM, PGD
from engine.data.splits import evenly_of_each
from engine.progress import Progress
from engine.serving.served import Served
from engine.serving.threat import WhiteBox
from engine.training import defenses
from engine.training.defenses import AdversarialTraining, Ant, Noise, Trades, TrainingDefense
from engine.training.pictures import Normalisation, Pictures
from engine.training.resting import resting
from engine.zoo.classifier import Classifier, resized

_TOGETHER = 16  # pictures attacked together where nothing is learned from them
_LEVELS = 127  # how finely the pixels of an adversarial image are kept, on either side of the picture's


class Network:
    """The network under training as an attacker sees it: frozen for the moment, in eval mode, in float32.

    It answers for images in [0,1] with logits, as a Classifier does, which would freeze it for good.
    """

    def __init__(self, module: nn.Module, classes: tuple[str, ...], normalisation: Normalisation, size: int,
                 device: torch.device) -> None:
        self.module, self.classes, self.normalisation, self.size = module, classes, normalisation, size
        self.device = device

    def __call__(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.module(self.normalisation(resized(images, self.size) if self.size else images)))

    @contextmanager
    def still(self) -> Iterator[None]:
        """Batch-norm and dropout rest, and no gradient of a weight is made."""
        learning = [p for p in self.module.parameters() if p.requires_grad]
        for parameter in learning:
            parameter.requires_grad_(False)
        try:
            with resting(self.module):
                yield
        finally:
            for parameter in learning:
                parameter.requires_grad_(True)

    def attacked(self, attack: Attack, images: Tensor, goal: Goal, eps: float, generator: torch.Generator) -> Tensor:
        """Images within eps of `images` [N, C, H, W] that an attacker makes of them who has this network."""
        with self.still():
            target = WhiteBox(Served(cast(Classifier, self)), len(images))
            return attack.run(target, images, goal, Budget("linf", eps).around(images), _Drawing(generator)).detach()


class _Drawing(Run):
    """An attack's view of a training: random numbers in the order in which they are asked for, and nobody looking."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def drawn(self, draws: Iterable[Draw], like: Tensor, rows: Tensor | None = None) -> Iterator[Tensor]:
        for draw in draws:
            shape = (len(like) if rows is None else len(rows), *draw.shape)
            numbers = (torch.randn(shape, generator=self._generator) if draw.normal
                       else torch.rand(shape, generator=self._generator).mul_(2).sub_(1))
            yield numbers.to(like)

    def noise(self, like: Tensor, rows: Tensor | None = None) -> Tensor:
        return next(self.drawn((Draw(tuple(like.shape[1:])),), like, rows))

    def normal(self, like: Tensor, rows: Tensor | None = None) -> Tensor:
        return next(self.drawn((Draw(tuple(like.shape[1:]), normal=True),), like, rows))

    def generator(self) -> torch.Generator:
        return self._generator

    def learned(self, fit: Callable[[], dict[str, Tensor]], show: Any = ()) -> dict[str, Tensor]:
        return fit()

    def record(self, step: int, steps: int, images: Tensor, logits: Tensor, value: Tensor) -> None:
        """Nobody replays it."""

    def walk(self, images: Tensor, queries: Tensor, done: float) -> None:
        """Nobody replays it."""

    def nearer(self, index: int, image: Tensor, queries: int) -> None:
        """Nobody asks how near."""

    def note(self, text: str, images: int = 1) -> None:
        """Nobody reads it."""

    def learning(self, step: int, steps: int, **losses: float | Tensor) -> None:
        """Nobody watches it."""


@dataclass(frozen=True)
class Batch:
    """What a practice is shown: images [N, C, H, W] in [0,1] as they are augmented, what it laid beside them before
    that, labels [N], and how many epochs are over. `learn` gives logits in train mode, `wrong` the loss of logits."""

    images: Tensor
    twins: Tensor | None
    labels: Tensor
    done: float
    network: Network
    generator: torch.Generator
    learn: Callable[[Tensor], Tensor]
    wrong: Callable[[Tensor, Tensor], Tensor]

    def attacked(self, attack: Attack, eps: float, images: Tensor | None = None, goal: Goal | None = None) -> Tensor:
        """The images, or these, as an attacker makes them who has the network as it is."""
        images = self.images if images is None else images
        goal = Goal(self.labels[:len(images)]) if goal is None else goal
        return self.network.attacked(attack, images, goal, eps, self.generator)

    def noise(self, like: Tensor) -> Tensor:
        """Standard normal numbers for each pixel."""
        return torch.randn(like.shape, generator=self.generator).to(like)


class Practice:
    """Learning from the images as they are."""

    def prepare(self, pictures: Pictures, network: Network, seed: int, progress: Progress
                ) -> Generator[None, None, None]:
        """What is to be done before the first epoch, and before each time that a training goes on."""
        yield from ()

    def twins(self, images: Tensor, chosen: Tensor) -> Tensor | None:
        """Images to be augmented just like `images`, which are the pictures of numbers `chosen` as they are."""
        return None

    def loss(self, batch: Batch) -> Tensor:
        return batch.wrong(batch.learn(batch.images), batch.labels)


def practice_of(defense: TrainingDefense | None) -> Practice:
    """What that defense does. One that nothing is said of here is an error, never left out."""
    if defense is None:
        return Practice()
    return _PRACTICES[type(defense)](defense)


class _Noisy(Practice):
    def __init__(self, defense: Noise) -> None:
        self.defense = defense

    def loss(self, batch: Batch) -> Tensor:
        return batch.wrong(batch.learn(_with_noise(batch, batch.images, self.defense)), batch.labels)


class _Adversarial(Practice):
    def __init__(self, defense: AdversarialTraining) -> None:
        self.defense = defense

    def loss(self, batch: Batch) -> Tensor:
        share = max(1, round(self.defense.share * len(batch.images)))
        chosen, clean = batch.images[:share], batch.images[share:]
        made = self._made(batch, chosen, _risen(self.defense, batch))
        return batch.wrong(batch.learn(torch.cat([made, clean])), batch.labels)

    def _made(self, batch: Batch, images: Tensor, eps: float) -> Tensor:
        if self.defense.attack == defenses.PGD:
            return batch.attacked(PGD(steps=self.defense.steps), eps, images)
        if self.defense.attack == defenses.FGSM:
            return batch.attacked(PGD(steps=1, step_size=1.25 * eps), eps, images)
        # Not clipped to the budget: the step begins at the noise, and ends eps from there.
        noise = torch.rand(images.shape, generator=batch.generator).mul_(4 * eps).sub_(2 * eps).to(images)
        return batch.attacked(FGSM(), eps, (images + noise).clamp_(0, 1))


@dataclass(frozen=True)
class _Apart(Goal):
    """Away from what the network says of the clean images: log-probabilities [N, K]."""

    before: Tensor | None = None

    def objective(self, logits: Tensor, rows: Tensor) -> Tensor:
        assert self.before is not None
        return _divergence(self.before[rows], logits)


def _divergence(before: Tensor, logits: Tensor) -> Tensor:
    """KL(before || logits) of each row, `before` in log-probabilities."""
    return (before.exp() * (before - logits.log_softmax(dim=1))).sum(dim=1)


class _Trades(Practice):
    def __init__(self, defense: Trades) -> None:
        self.defense = defense

    def loss(self, batch: Batch) -> Tensor:
        with torch.no_grad(), batch.network.still():
            before = batch.network(batch.images).log_softmax(dim=1)
        made = batch.attacked(PGD(steps=self.defense.steps), _risen(self.defense, batch),
                              goal=_Apart(batch.labels, before=before))
        logits = batch.learn(batch.images)
        same = _divergence(logits.log_softmax(dim=1), batch.learn(made)).mean()
        return batch.wrong(logits, batch.labels) + self.defense.beta * same


class _Ant(Practice):
    def __init__(self, defense: Ant) -> None:
        self.defense = defense
        self.attack = {defenses.FGSM: FGSM(), defenses.MIFGSM: MIFGSM(steps=defense.steps),
                       defenses.PGD: PGD(steps=defense.steps)}[defense.attack]
        self.changes: Tensor | None = None

    def prepare(self, pictures: Pictures, network: Network, seed: int, progress: Progress
                ) -> Generator[None, None, None]:
        if self.defense.made != defenses.ONCE:
            return
        count, eps, generator = len(pictures.labels), self.defense.eps, torch.Generator().manual_seed(seed)
        self.changes = torch.empty(pictures.images.shape, dtype=torch.int8, device=pictures.images.device)
        for start in range(0, count, _TOGETHER):
            progress.report(0.0, f"making adversarial images, {start:,} of {count:,}")
            some = slice(start, start + _TOGETHER)
            images = pictures.batch(some, network.device)
            with devices.exact():
                made = network.attacked(self.attack, images, Goal(pictures.labels[some].to(network.device)), eps,
                                        generator)
            self.changes[some] = ((made - images) / eps * _LEVELS).round_().clamp_(-_LEVELS, _LEVELS).to(self.changes)
            yield

    def twins(self, images: Tensor, chosen: Tensor) -> Tensor | None:
        if self.changes is None:
            return None
        return (images + self.changes[chosen].to(images) * (self.defense.eps / _LEVELS)).clamp_(0, 1)

    def loss(self, batch: Batch) -> Tensor:
        made = batch.attacked(self.attack, self.defense.eps) if batch.twins is None else batch.twins
        both = torch.stack([batch.images, made], dim=1).flatten(0, 1)
        return batch.wrong(batch.learn(_with_noise(batch, both, self.defense)), batch.labels.repeat_interleave(2))


def _with_noise(batch: Batch, images: Tensor, defense: Noise | Ant) -> Tensor:
    return (images + batch.noise(images) * defense.sigma + defense.mu).clamp_(0, 1)


def _risen(defense: AdversarialTraining | Trades, batch: Batch) -> float:
    """The eps that holds now."""
    return defense.eps * (min(1.0, batch.done / defense.warmup) if defense.warmup else 1.0)


_PRACTICES: dict[type[TrainingDefense], Callable[[Any], Practice]] = {
    AdversarialTraining: _Adversarial, Trades: _Trades, Ant: _Ant, Noise: _Noisy,
    # All that it does is among the training's own settings.
    defenses.Augment: lambda defense: Practice(),
}


class Watch:
    """Accuracy under attack on a fixed sample of the validation split, of every class as many pictures as there are,
    up to SAMPLE together: PGD of ten steps, and FGSM, by which one tells that one-step training collapses."""

    def __init__(self, held: Pictures, network: Network, eps: float, seed: int) -> None:
        labels = held.labels.cpu().numpy()
        each = max(1, defenses.SAMPLE // len(np.unique(labels)))
        chosen = torch.tensor(sorted(evenly_of_each(labels, each)))
        self._pictures = Pictures(held.images[chosen], held.labels[chosen])
        self._network, self._eps, self._seed = network, eps, seed

    def look(self, progress: Progress) -> Generator[None, None, dict[str, float]]:
        """What the history says of it; the random start is the same each time."""
        attacks = {"validation_robust": PGD(steps=10, stop=FIRST_SUCCESS), "validation_fgsm": FGSM()}
        right = dict.fromkeys(attacks, 0)
        count, generator = len(self._pictures.labels), torch.Generator().manual_seed(self._seed)
        for start in range(0, count, _TOGETHER):
            images = self._pictures.batch(slice(start, start + _TOGETHER), self._network.device)
            labels = self._pictures.labels[start:start + _TOGETHER].to(self._network.device)
            for name, attack in attacks.items():
                progress.report(0.0, "attacking a sample of validation")
                with devices.exact():
                    made = self._network.attacked(attack, images, Goal(labels), self._eps, generator)
                    with torch.no_grad(), self._network.still():
                        right[name] += int((self._network(made).argmax(dim=1) == labels).sum())
                yield
        return {name: found / count for name, found in right.items()}

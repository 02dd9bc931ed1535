"""Training a classifier: small pictures first, full size at the end."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine import device as devices
from engine.data import Dataset
from engine.data import load as load_dataset
from engine.errors import EngineError
from engine.metrics.classification import classification
from engine.params import values_of
from engine.progress import Progress
from engine.training.spec import TrainSpec
from engine.training.unfinished import kept_meanwhile
from engine.zoo import checkpoints
from engine.zoo.architectures import ARCHITECTURES
from engine.zoo.cards import Card
from engine.zoo.registry import load_model

__all__ = ["TrainSpec", "fit", "train"]

# The grey mean and spread of chest X-rays; one value for the three equal channels.
GREY_MEAN, GREY_STD = (0.48, 0.48, 0.48), (0.23, 0.23, 0.23)
_TRAINING, _MEASURING = 0.95, 1.0  # which part of the time is over when


@dataclass(frozen=True)
class Pictures:
    """A split in memory, decoded once: images uint8 [N, 1 or 3, H, W], labels int64 [N]."""

    images: Tensor
    labels: Tensor

    def batch(self, chosen: Tensor | slice, device: torch.device) -> Tensor:
        """Some images as float32 in [0,1]."""
        return self.images[chosen].to(device).float() / 255


@dataclass(frozen=True)
class Normalisation:
    """What is subtracted from each of three channels, and what they are divided by."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: Tensor) -> Tensor:
        """Images [N, 1 or 3, H, W] in [0,1] as the network sees them."""
        mean, std = (torch.tensor(v, device=images.device).view(1, -1, 1, 1) for v in (self.mean, self.std))
        return ((images.expand(-1, 3, -1, -1) - mean) / std).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Trained:
    """A trained network, what its images are normalised by, and the history of its epochs."""

    module: nn.Module
    classes: tuple[str, ...]
    normalisation: Normalisation
    history: list[dict[str, Any]]
    data: dict[str, str]


def train(spec: TrainSpec, path: Path, progress: Progress | None = None, device: str = "auto") -> Card:
    """Train, evaluate what will be on disk on every test split, write the checkpoint `path` and its card.

    Until then the best epoch so far is kept beside it (`kept_meanwhile`). Raises EngineError and Cancelled.
    """
    progress = progress or Progress()
    chosen = devices.choose(device)
    # Before hours of training, not after them: do these splits exist?
    tests = {split: _opened(spec, split) for split in spec.tests}
    with kept_meanwhile(path, spec.name) as keep:
        trained = fit(spec, progress.part(0.0, _TRAINING), chosen,
                      lambda best: keep(best.module, _unfinished(spec, best, chosen)))
        stored = copy.deepcopy(trained.module)
        stored.load_state_dict(checkpoints.unpacked(checkpoints.packed(trained.module.state_dict(), spec.storage)))
        evaluations, changed = {}, {}
        for split, dataset in tests.items():
            pictures = _read(dataset, progress.part(_TRAINING, _MEASURING))
            exact, kept = (_logits(m, pictures, trained.normalisation, chosen, progress.part(_TRAINING, _MEASURING))
                           for m in (trained.module, stored))
            evaluations[split] = classification(kept, pictures.labels.numpy(), trained.classes)
            changed[split] = {"predictions_changed": int((exact.argmax(1) != kept.argmax(1)).sum()),
                              "largest_logit_change": float(np.abs(exact - kept).max())}
        card = replace(_card(spec, trained, chosen), evaluations=evaluations, round_trip=changed)
        checkpoints.save(path, trained.module, card)
    return card


def _card(spec: TrainSpec, trained: Trained, device: torch.device) -> Card:
    """All but what is measured on the test splits."""
    return Card(name=spec.name, arch=spec.arch, classes=trained.classes, mean=trained.normalisation.mean,
                std=trained.normalisation.std, dataset=spec.dataset, split=spec.split, seed=spec.seed,
                command=spec.command, storage=spec.storage, limits=spec.limits, training=_facts(spec, trained),
                versions={"torch": torch.__version__, "device": devices.title(device)})


def _unfinished(spec: TrainSpec, best: Trained, device: torch.device) -> Card:
    said = (f"Its training ended early: these are the weights of epoch {len(best.history)} of {spec.epochs}, the best "
            "so far, and they were not evaluated on a test split.")
    card = _card(spec, best, device)
    return replace(card, limits=f"{said} {card.limits}".strip())


def _facts(spec: TrainSpec, trained: Trained) -> dict[str, Any]:
    return {"settings": values_of(spec), "start_from": spec.start_from, "validation": spec.validation,
            "data": trained.data, "history": trained.history}


def fit(spec: TrainSpec, progress: Progress, device: torch.device, keep: Callable[[Trained], None]) -> Trained:
    """Train `spec.arch` on `spec.dataset`; the epoch with the best balanced validation accuracy at full size wins, and
    `keep` is given each that is the best so far.

    The schedule is one cycle of AdamW; classes are weighted by inverse frequency. Raises EngineError and Cancelled.
    """
    training, validation = _opened(spec, spec.split), _opened(spec, spec.validation)
    classes = training.classes
    module = _network(spec, classes).to(device).to(memory_format=torch.channels_last).train()
    seen, held = (_read(dataset, progress.part(0.0, 0.0)) for dataset in (training, validation))
    normalisation = _normalisation(seen)
    course = _Course(spec, module, seen, normalisation, _class_weights(seen.labels, len(classes)).to(device), device)
    history: list[dict[str, Any]] = []
    data = {s.split: s.digest for s in (training, validation)}
    best, best_state = -1.0, module.state_dict()
    for epoch in range(spec.epochs):
        started = time.monotonic()
        size, full = course.size(epoch)
        loss = course.epoch(epoch, size, progress)
        logits = _logits(module, held, normalisation, device, progress.part((epoch + 1) / spec.epochs, 1.0))
        score = classification(logits, held.labels.numpy(), classes)
        balanced = float(np.mean(list(score["recall"].values())))
        history.append({"epoch": epoch + 1, "size": size, "loss": loss, "validation_accuracy": score["accuracy"],
                        "validation_balanced": balanced, "seconds": round(time.monotonic() - started, 1)})
        progress.report((epoch + 1) / spec.epochs, f"epoch {epoch + 1} of {spec.epochs}, {size} px, loss {loss:.3f}, "
                                                   f"validation accuracy {score['accuracy']:.1%}")
        if full and balanced >= best:
            best, best_state = balanced, copy.deepcopy(module.state_dict())
            keep(Trained(module, classes, normalisation, list(history), data))
    module.load_state_dict(best_state)
    return Trained(module.eval(), classes, normalisation, history, data)


class _Course:
    """The optimiser, its schedule and the random numbers of one run."""

    def __init__(self, spec: TrainSpec, module: nn.Module, pictures: Pictures, normalisation: Normalisation,
                 weights: Tensor, device: torch.device) -> None:
        self.spec, self.module, self.pictures, self.normalisation = spec, module, pictures, normalisation
        self.weights, self.device = weights, device
        self.batch = min(spec.batch, len(pictures.labels))
        self.steps = len(pictures.labels) // self.batch
        self.generator = torch.Generator().manual_seed(spec.seed)
        self.optimiser = torch.optim.AdamW(module.parameters(), lr=spec.lr, weight_decay=spec.weight_decay)
        # A cycle has a way up and a way down, for which the scheduler needs some steps.
        total = max(spec.epochs * self.steps, 10)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimiser, spec.lr, total_steps=total, pct_start=0.2)

    def size(self, epoch: int) -> tuple[int, bool]:
        """The side of the pictures in an epoch, and whether that is their full size."""
        whole = self.pictures.images.shape[-1]
        full = epoch >= self.spec.epochs - self.spec.full_size_epochs
        return (whole if full else min(whole, self.spec.small_size)), full

    def epoch(self, epoch: int, size: int, progress: Progress) -> float:
        """See every picture once; returns the mean loss. Raises EngineError where the training diverges."""
        order = torch.randperm(len(self.pictures.labels), generator=self.generator)
        total = 0.0
        for step in range(self.steps):
            total += self._step(order[step * self.batch:(step + 1) * self.batch], size)
            progress.report((epoch + (step + 1) / self.steps) / self.spec.epochs,
                            f"epoch {epoch + 1} of {self.spec.epochs}, {size} px, loss {total / (step + 1):.3f}")
        if not math.isfinite(total):
            raise EngineError(f"the training diverged in epoch {epoch + 1}; take a rate below {self.spec.lr:g}")
        return total / self.steps

    def _step(self, chosen: Tensor, size: int) -> float:
        x = self.normalisation(_augmented(self.pictures.batch(chosen, self.device), size, self.generator))
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.spec.precision == "bf16"):
            logits = self.module(x)
        loss = F.cross_entropy(logits.float(), self.pictures.labels[chosen].to(self.device), weight=self.weights)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.schedule.step()
        return loss.item()


def _augmented(images: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Each image turned, shifted, scaled and re-exposed a little, as between two visits to the X-ray room."""
    n = len(images)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(n, generator=generator) * (high - low) + low

    angle, scale = uniform(-10, 10).deg2rad(), uniform(0.88, 1.12)
    aspect = uniform(0.94, 1.06)
    theta = torch.stack([
        torch.stack([angle.cos() * scale * aspect, -angle.sin() * scale, uniform(-0.1, 0.1)], dim=1),
        torch.stack([angle.sin() * scale, angle.cos() * scale / aspect, uniform(-0.1, 0.1)], dim=1),
    ], dim=1).to(images.device)
    grid = F.affine_grid(theta, [n, images.shape[1], size, size], align_corners=False)
    moved = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    gamma, gain, shift = (v.to(images.device).view(-1, 1, 1, 1)
                          for v in (uniform(0.75, 1.33), uniform(0.85, 1.15), uniform(-0.08, 0.08)))
    return (moved.clamp(1e-4, 1).pow(gamma) * gain + shift).clamp(0, 1)


def _network(spec: TrainSpec, classes: tuple[str, ...]) -> nn.Module:
    """The network before training: random weights, or those of the model `spec.start_from` where shapes agree."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(spec.seed)
        module = ARCHITECTURES[spec.arch].build(len(classes))
    if spec.start_from:
        start = load_model(spec.start_from)
        if start.arch != spec.arch:
            raise EngineError(f"{spec.start_from} is {start.arch}, not {spec.arch}; start from one of that kind")
        state = start.module.state_dict()
        module.load_state_dict({k: state[k] if state[k].shape == v.shape else v
                                for k, v in module.state_dict().items()})
    return module


def _opened(spec: TrainSpec, split: str) -> Dataset:
    dataset = load_dataset(spec.dataset, split)
    if len(dataset) < 2:  # which also is the least that batch-norm can learn from
        raise EngineError(f"{spec.dataset}/{split} has too few images ({len(dataset)}); give it at least two")
    return dataset


def _read(dataset: Dataset, progress: Progress) -> Pictures:
    """All pictures of a split in memory: decoding once is cheaper than once an epoch."""
    images = []
    for i in range(len(dataset)):
        if i % 50 == 0:
            progress.report(i / len(dataset), f"reading {dataset.info.name}/{dataset.split}")
        images.append(torch.from_numpy(np.rint(dataset.image(i) * 255).astype(np.uint8)))
    return Pictures(torch.stack(images), torch.from_numpy(dataset.labels))


def _normalisation(pictures: Pictures) -> Normalisation:
    """The fixed one of chest X-rays for grey pictures; for colours, what is measured on (up to 1000 of) them."""
    if pictures.images.shape[1] == 1:
        return Normalisation(GREY_MEAN, GREY_STD)
    some = pictures.images[::math.ceil(len(pictures.images) / 1000)].float() / 255
    mean, std = some.mean(dim=(0, 2, 3)), some.std(dim=(0, 2, 3)).clamp_min(0.01)
    return Normalisation(tuple(round(v, 4) for v in mean.tolist()), tuple(round(v, 4) for v in std.tolist()))


def _class_weights(labels: Tensor, classes: int) -> Tensor:
    """Weights that make every class count alike, however rare it is."""
    counts = torch.bincount(labels, minlength=classes).clamp_min(1)
    return len(labels) / (classes * counts.float())


@torch.no_grad()
def _logits(module: nn.Module, pictures: Pictures, normalisation: Normalisation, device: torch.device,
            progress: Progress, batch: int = 32) -> np.ndarray:
    """Float32 logits [N, K] of all pictures, in eval mode."""
    was_training = module.training
    module.eval()
    parts = []
    for start in range(0, len(pictures.images), batch):
        progress.report(0.0, "evaluating")
        images = normalisation(pictures.batch(slice(start, start + batch), device))
        parts.append(module(images).float().cpu())
    module.train(was_training)
    return torch.cat(parts).numpy()


"""Training a classifier from scratch: small pictures first, full size at the end."""

import copy
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine import device as devices
from engine.data import load as load_dataset
from engine.data.base import Dataset
from engine.metrics.classification import classification
from engine.models import checkpoints
from engine.models.architectures import ARCHITECTURES
from engine.models.checkpoints import Card
from engine.params import param
from engine.progress import Progress

# The grey mean and spread of chest X-rays; one value for the three equal channels.
MEAN, STD = (0.48, 0.48, 0.48), (0.23, 0.23, 0.23)


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """Everything that decides a training run."""

    dataset: str
    arch: str
    name: str
    split: str = "train"
    validation: str = "validation"
    tests: tuple[str, ...] = ("test",)
    command: str = ""
    limits: str = ""
    start_from: str = ""
    epochs: int = param(12, title="Epochs", low=1, high=1000, help="How often every training image is seen.")
    full_size_epochs: int = param(3, title="Full-size epochs", low=1, high=1000,
                                  help="The last so many epochs see 224 x 224; earlier ones see smaller pictures.")
    small_size: int = param(112, title="Small size", low=32, high=224, unit="px",
                            help="Side of the pictures in the early epochs; a quarter of the time at half the side.")
    batch: int = param(32, title="Batch", low=2, high=1024, help="Images per optimiser step.")
    lr: float = param(1e-3, title="Learning rate", low=1e-6, high=1.0, help="Peak of the one-cycle schedule (AdamW).")
    weight_decay: float = param(0.02, title="Weight decay", low=0.0, high=1.0, help="AdamW's pull towards zero.")
    precision: str = param("bf16", title="Precision", choices=("bf16", "float32"),
                           help="Arithmetic of the forward pass in training; evaluation is always float32.")
    seed: int = param(0, title="Seed", low=0, high=2**31 - 1, help="Fixes initial weights, order and augmentation.")


@dataclass
class Trained:
    """A trained network with the history of its epochs."""

    module: nn.Module
    classes: tuple[str, ...]
    history: list[dict[str, Any]] = field(default_factory=list)


def _in_memory(dataset: Dataset) -> tuple[Tensor, Tensor]:
    """All images as uint8 [N, C, H, W] and labels [N]: decoding once is cheaper than once an epoch."""
    images = torch.stack([torch.from_numpy(np.rint(dataset.image(i) * 255).astype(np.uint8))
                          for i in range(len(dataset))])
    return images, torch.from_numpy(dataset.labels)


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


def _network_input(images: Tensor) -> Tensor:
    mean = torch.tensor(MEAN, device=images.device).view(1, -1, 1, 1)
    std = torch.tensor(STD, device=images.device).view(1, -1, 1, 1)
    return ((images.expand(-1, 3, -1, -1) - mean) / std).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def logits_of(module: nn.Module, images: Tensor, device: torch.device, batch: int = 32) -> np.ndarray:
    """Float32 logits [N, K] of uint8 images [N, C, H, W]."""
    was_training = module.training
    module.eval()
    parts = [module(_network_input(images[i:i + batch].to(device).float() / 255)).float().cpu()
             for i in range(0, len(images), batch)]
    module.train(was_training)
    return torch.cat(parts).numpy()


def fit(spec: TrainSpec, progress: Progress, device: torch.device) -> Trained:
    """Train `spec.arch` on `spec.dataset`; the epoch with the best balanced validation accuracy at full size wins.

    Raises Cancelled. The schedule is one cycle of AdamW; classes are weighted by inverse frequency.
    """
    generator = torch.Generator().manual_seed(spec.seed)
    train_set, validation_set = (load_dataset(spec.dataset, s) for s in (spec.split, spec.validation))
    progress.report(0.0, "reading the images")
    images, labels = _in_memory(train_set)
    held_images, held_labels = _in_memory(validation_set)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        module = ARCHITECTURES[spec.arch].build(len(train_set.classes))
    if spec.start_from:
        _warm_start(module, spec.start_from)
    module = module.to(device, memory_format=torch.channels_last).train()
    weights = len(labels) / (len(train_set.classes) * torch.bincount(labels).float())
    steps = len(images) // spec.batch
    optimiser = torch.optim.AdamW(module.parameters(), lr=spec.lr, weight_decay=spec.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, spec.lr, total_steps=spec.epochs * steps, pct_start=0.2)
    trained = Trained(module, train_set.classes)
    best, best_state = -1.0, copy.deepcopy(module.state_dict())
    for epoch in range(spec.epochs):
        full = epoch >= spec.epochs - spec.full_size_epochs
        size = images.shape[-1] if full else spec.small_size
        started, total = time.monotonic(), 0.0
        order = torch.randperm(len(images), generator=generator)
        for step in range(steps):
            chosen = order[step * spec.batch:(step + 1) * spec.batch]
            x = _network_input(_augmented(images[chosen].to(device).float() / 255, size, generator))
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=spec.precision == "bf16"):
                logits = module(x)
            loss = F.cross_entropy(logits.float(), labels[chosen].to(device), weight=weights.to(device))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
            progress.report((epoch + (step + 1) / steps) / spec.epochs,
                            f"epoch {epoch + 1} of {spec.epochs}, {size} px, loss {total / (step + 1):.3f}")
        score = classification(logits_of(module, held_images, device), held_labels.numpy(), train_set.classes)
        balanced = float(np.mean(list(score["recall"].values())))
        trained.history.append({"epoch": epoch + 1, "size": size, "loss": total / steps,
                                "validation_accuracy": score["accuracy"], "validation_balanced": balanced,
                                "seconds": round(time.monotonic() - started, 1)})
        print(trained.history[-1], file=sys.stderr, flush=True)
        if full and balanced >= best:
            best, best_state = balanced, copy.deepcopy(module.state_dict())
    module.load_state_dict(best_state)
    module.eval()
    return trained


def _warm_start(module: nn.Module, name: str) -> None:
    """Copy the weights of every layer but the last from a checkpoint of the same architecture."""
    state = checkpoints.load(Path(name)).module.state_dict()
    own = module.state_dict()
    module.load_state_dict({k: state[k] if state[k].shape == v.shape else v for k, v in own.items()})


def train(spec: TrainSpec, path: Path, progress: Progress | None = None, device: str = "auto") -> Card:
    """Train, evaluate what will be on disk (float16 weights) on every test split, write checkpoint and card."""
    chosen = devices.choose(device)
    trained = fit(spec, progress or Progress(), chosen)
    exact = trained.module
    stored = copy.deepcopy(exact)
    stored.load_state_dict(checkpoints.round_trip(exact.state_dict()))
    stored.to(chosen, memory_format=torch.channels_last)
    evaluations, changed = {}, {}
    for split in spec.tests:
        images, labels = _in_memory(load_dataset(spec.dataset, split))
        logits = logits_of(stored, images, chosen)
        evaluations[split] = classification(logits, labels.numpy(), trained.classes)
        before = logits_of(exact, images, chosen)
        changed[split] = {"predictions_changed": int((before.argmax(1) != logits.argmax(1)).sum()),
                          "largest_logit_change": float(np.abs(before - logits).max())}
    card = Card(name=spec.name, arch=spec.arch, classes=trained.classes, mean=MEAN, std=STD, dataset=spec.dataset,
                split=spec.split, seed=spec.seed, command=spec.command, storage="float16", evaluations=evaluations,
                round_trip=changed, limits=spec.limits, training={"history": trained.history},
                versions={"torch": torch.__version__, "device": devices.title(chosen)})
    checkpoints.save(path, exact, card)
    return card

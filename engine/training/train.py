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
from engine.training.augment import STRENGTHS, Augmentation, flips_of
from engine.training.spec import IMAGENET, SCRATCH, TrainSpec
from engine.training.unfinished import kept_meanwhile
from engine.zoo import checkpoints
from engine.zoo.architectures import ARCHITECTURES, Architecture
from engine.zoo.cards import Card
from engine.zoo.classifier import resized, too_small
from engine.zoo.pretrained import Start
from engine.zoo.registry import label_of, load_model, model_card

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

    def near(self, device: torch.device) -> "Pictures":
        """The same in a GPU's memory, where half of what is free there holds them."""
        if device.type != "cuda" or self.images.nbytes > torch.cuda.mem_get_info(device)[0] / 2:
            return self
        return Pictures(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Normalisation:
    """What is subtracted from each of three channels, and what they are divided by."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def for_grey(self) -> "Normalisation":
        """The same for three equal channels, which the network is quicker with."""
        mean, std = (sum(values) / len(values) for values in (self.mean, self.std))
        return Normalisation((round(mean, 4),) * 3, (round(std, 4),) * 3)

    def __call__(self, images: Tensor) -> Tensor:
        """Images [N, 1 or 3, H, W] in [0,1] as the network sees them."""
        mean, std = (torch.tensor(v, device=images.device).view(1, -1, 1, 1) for v in (self.mean, self.std))
        return ((images.expand(-1, 3, -1, -1) - mean) / std).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Trained:
    """A trained network, what its images are normalised by and brought to, and the history of its epochs; `held` is
    what they were chosen by."""

    module: nn.Module
    classes: tuple[str, ...]
    normalisation: Normalisation
    size: int
    source: str
    history: list[dict[str, Any]]
    data: dict[str, str]
    held: Pictures


def train(spec: TrainSpec, path: Path, progress: Progress | None = None, device: str = "auto") -> Card:
    """Train, evaluate what will be on disk on validation and every test split, write the checkpoint `path`, and a card.

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
        measuring = progress.part(_TRAINING, _MEASURING)
        for split in dict.fromkeys((*tests, spec.validation)):
            pictures = trained.held if split == spec.validation else _read(tests[split], measuring)
            exact, kept = (_logits(m, pictures, trained.normalisation, trained.size, chosen, measuring)
                           for m in (trained.module, stored))
            evaluations[split] = classification(kept, pictures.labels.cpu().numpy(), trained.classes)
            changed[split] = {"predictions_changed": int((exact.argmax(1) != kept.argmax(1)).sum()),
                              "largest_logit_change": float(np.abs(exact - kept).max())}
        card = replace(_card(spec, trained, chosen), evaluations=evaluations, round_trip=changed)
        checkpoints.save(path, trained.module, card)
    return card


def _card(spec: TrainSpec, trained: Trained, device: torch.device) -> Card:
    """All but what is measured on the test splits."""
    return Card(name=spec.name, arch=spec.arch, classes=trained.classes, mean=trained.normalisation.mean,
                std=trained.normalisation.std, size=_size_on_card(spec, trained), dataset=spec.dataset,
                split=spec.split, seed=spec.seed, command=spec.command, storage=spec.storage, limits=spec.limits,
                training=_facts(spec, trained),
                versions={"torch": torch.__version__, "device": devices.title(device)})


def _unfinished(spec: TrainSpec, best: Trained, device: torch.device) -> Card:
    said = (f"Its training ended early: these are the weights of epoch {len(best.history)} of {spec.epochs}, the best "
            "so far, and they were not evaluated on a test split.")
    card = _card(spec, best, device)
    return replace(card, limits=f"{said} {card.limits}".strip())


def _size_on_card(spec: TrainSpec, trained: Trained) -> int:
    """0 where pictures are taken as they are."""
    return trained.size if spec.size or ARCHITECTURES[spec.arch].fixed else 0


def _facts(spec: TrainSpec, trained: Trained) -> dict[str, Any]:
    return {"settings": values_of(spec), "start_from": spec.start_from, "start": trained.source,
            "validation": spec.validation, "data": trained.data, "history": trained.history}


def fit(spec: TrainSpec, progress: Progress, device: torch.device,
        keep: Callable[[Trained], None] = lambda best: None) -> Trained:
    """Train `spec.arch` on `spec.dataset`; of the epochs at full size the best on validation wins, by `spec.select`.

    `keep` is given each that is the best so far. Raises EngineError and Cancelled.
    """
    training, validation = _opened(spec, spec.split), _opened(spec, spec.validation)
    classes = training.classes
    begun = _begun(spec, classes)
    module = begun.module.to(device).to(memory_format=torch.channels_last).train()
    seen, held = (_read(dataset, progress.part(0.0, 0.0)).near(device) for dataset in (training, validation))
    normalisation = _normalisation(seen, begun.normalisation)
    course = _Course(spec, module, seen, normalisation, flips_of(spec.flips, training.info), len(classes), device)
    history: list[dict[str, Any]] = []
    data = {s.split: s.digest for s in (training, validation)}

    def so_far() -> Trained:
        return Trained(module, classes, normalisation, course.whole, begun.source, list(history), data, held)

    best, best_state, waited = -math.inf, module.state_dict(), 0
    for epoch in range(spec.epochs):
        started = time.monotonic()
        size, full = course.size(epoch)
        loss = course.epoch(epoch, size, progress)
        logits = _logits(module, held, normalisation, course.whole, device, progress.part((epoch + 1) / spec.epochs, 1))
        score = _score(logits, held.labels.cpu(), classes)
        history.append({"epoch": epoch + 1, "size": size, "loss": loss, **score,
                        "seconds": round(time.monotonic() - started, 1)})
        progress.report((epoch + 1) / spec.epochs,
                        f"epoch {epoch + 1} of {spec.epochs}, {size} px, loss {loss:.3f}, "
                        f"validation accuracy {score['validation_accuracy']:.1%}")
        if not full:
            continue
        found = _SELECT[spec.select](score)
        waited = 0 if found > best or epoch < course.frozen else waited + 1
        if found >= best:
            best, best_state = found, copy.deepcopy(module.state_dict())
            keep(so_far())
        if spec.patience and waited >= spec.patience:
            break
    module.load_state_dict(best_state)
    module.eval()
    return so_far()


def _score(logits: np.ndarray, labels: Tensor, classes: tuple[str, ...]) -> dict[str, Any]:
    """What the history says of validation."""
    score = classification(logits, labels.numpy(), classes)
    loss = float(F.cross_entropy(torch.from_numpy(logits), labels))
    return {"validation_accuracy": score["accuracy"], "validation_auc": score["auc"], "validation_loss": loss,
            "validation_balanced": float(np.mean(list(score["recall"].values())))}


# How good an epoch is, by what is to be chosen by; larger is better.
_SELECT: dict[str, Callable[[dict[str, Any]], float]] = {
    "accuracy": lambda score: float(score["validation_balanced"]),
    "auc": lambda score: float(score["validation_auc"] or 0.0),
    "loss": lambda score: -float(score["validation_loss"]),
}


class _Course:
    """The optimiser, its schedule and the random numbers of one run."""

    def __init__(self, spec: TrainSpec, module: nn.Module, pictures: Pictures, normalisation: Normalisation,
                 flips: str, classes: int, device: torch.device) -> None:
        self.spec, self.module, self.pictures, self.normalisation = spec, module, pictures, normalisation
        self.device = device
        self.augmented = Augmentation(STRENGTHS[spec.augmentation], flips)
        # Weights that make every class count alike, however rare it is: in the loss, or in how often it is drawn.
        rarity = _class_weights(pictures.labels.cpu(), classes)
        self.weights = rarity.to(device) if spec.balance == "weights" else None
        self.shares = rarity[pictures.labels.cpu()] if spec.balance == "sampling" else None
        self.batch = min(spec.batch, len(pictures.labels))
        self.steps = len(pictures.labels) // self.batch
        self.generator = torch.Generator().manual_seed(spec.seed)
        self.whole = _whole(spec, pictures)
        self.frozen = min(spec.frozen_epochs, spec.epochs)
        self._check_sizes()
        self._begin(self.frozen > 0)

    @torch.no_grad()
    def _check_sizes(self) -> None:
        """Raises EngineError where pictures are too small for the network."""
        for side in sorted({self.size(0)[0], self.whole}):
            try:
                self.module.eval()(torch.zeros(1, 3, side, side, device=self.device))
            except RuntimeError as error:
                if too_small(error):
                    raise EngineError(f"{self.spec.arch} cannot look at pictures as small as {side} x {side}; choose a "
                                      "larger size (and small size), or another architecture") from None
                raise

    def _begin(self, frozen: bool) -> None:
        """A new optimiser and schedule: for the last layer alone at the full rate, or for all."""
        spec, head = self.spec, f"{ARCHITECTURES[self.spec.arch].head}."
        for name, parameter in self.module.named_parameters():
            parameter.requires_grad_(not frozen or name.startswith(head))
        # Norms of layers that do not learn keep what they know of their values.
        self.module.train(not frozen)
        learning = [p for p in self.module.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(learning, lr=spec.lr, weight_decay=spec.weight_decay,
                                           fused=self.device.type == "cuda" or None)
        # A cycle has a way up and a way down, for which the scheduler needs some steps.
        total = max((spec.epochs - self.frozen) * self.steps, 10)
        self.schedule = _SCHEDULES["constant" if frozen else spec.schedule](self.optimiser, spec.lr, total)

    def size(self, epoch: int) -> tuple[int, bool]:
        """The side of the pictures in an epoch, and whether that is their full size."""
        full = epoch >= self.spec.epochs - self.spec.full_size_epochs
        fixed = full or ARCHITECTURES[self.spec.arch].fixed
        return (self.whole if fixed else min(self.whole, self.spec.small_size)), full

    def epoch(self, epoch: int, size: int, progress: Progress) -> float:
        """See every picture once; returns the mean loss. Raises EngineError where the training diverges."""
        if epoch == self.frozen and epoch > 0:
            self._begin(frozen=False)
        order = self._order().to(self.pictures.images.device)
        # A GPU goes on while it is not asked for the loss.
        every = 1 if self.device.type == "cpu" else 20
        total: float | Tensor = 0.0
        shown = "..."
        for step in range(self.steps):
            total = total + self._step(order[step * self.batch:(step + 1) * self.batch], size)
            if step % every == 0:
                shown = f"{float(total) / (step + 1):.3f}"
            progress.report((epoch + (step + 1) / self.steps) / self.spec.epochs,
                            f"epoch {epoch + 1} of {self.spec.epochs}, {size} px, loss {shown}")
        if not math.isfinite(total):
            raise EngineError(f"the training diverged in epoch {epoch + 1}; take a rate below {self.spec.lr:g}")
        return float(total) / self.steps

    def _order(self) -> Tensor:
        count = len(self.pictures.labels)
        if self.shares is None:
            return torch.randperm(count, generator=self.generator)
        return torch.multinomial(self.shares, count, replacement=True, generator=self.generator)

    def _step(self, chosen: Tensor, size: int) -> float | Tensor:
        x = self.normalisation(self.augmented(self.pictures.batch(chosen, self.device), size, self.generator))
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.spec.precision == "bf16"):
            logits = self.module(x)
        loss = F.cross_entropy(logits.float(), self.pictures.labels[chosen].to(self.device), weight=self.weights,
                               label_smoothing=self.spec.label_smoothing)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.schedule.step()
        return loss.detach()


def _whole(spec: TrainSpec, pictures: Pictures) -> int:
    """The side of whole pictures: the one asked for, the only one that the network takes, or their own."""
    architecture = ARCHITECTURES[spec.arch]
    if architecture.fixed and spec.size not in (0, architecture.size):
        raise EngineError(f"{spec.arch} takes pictures of {architecture.size} x {architecture.size} only; leave out "
                          f"the size {spec.size}")
    return spec.size or (architecture.size if architecture.fixed else pictures.images.shape[-1])


_Schedule = torch.optim.lr_scheduler.LRScheduler


def _cosine(optimiser: torch.optim.Optimizer, lr: float, steps: int) -> _Schedule:
    rising = max(1, steps // 20)

    def share(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rising) / max(1, steps - rising))))

    return torch.optim.lr_scheduler.LambdaLR(optimiser, share)


_SCHEDULES: dict[str, Callable[[torch.optim.Optimizer, float, int], _Schedule]] = {
    "one-cycle": lambda optimiser, lr, steps: torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps,
                                                                                  pct_start=0.2),
    "cosine": _cosine,
    "constant": lambda optimiser, lr, steps: torch.optim.lr_scheduler.ConstantLR(optimiser, 1.0),
}


@dataclass(frozen=True)
class Begun:
    """A network before training, what its pictures have to be normalised by (None: as the data set suggests), and where
    its weights are from."""

    module: nn.Module
    normalisation: Normalisation | None
    source: str


def _begun(spec: TrainSpec, classes: tuple[str, ...]) -> Begun:
    """The network before training: random weights, those learned on ImageNet, or those of the model `spec.start_from`.

    The last layer is a fresh one, unless it told the same classes apart.
    """
    architecture = ARCHITECTURES[spec.arch]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(spec.seed)
        module = architecture.build(len(classes))
    if spec.start_from in ("", SCRATCH):
        return Begun(module, None, "random weights")
    start, known = _start(spec, architecture)
    fresh = () if known == classes else (f"{architecture.head}.",)
    own = module.state_dict()
    module.load_state_dict({k: v if k.startswith(fresh) or start.state[k].shape != v.shape else start.state[k]
                            for k, v in own.items()})
    return Begun(module, Normalisation(_for_three(start.mean), _for_three(start.std)), start.source)


def _start(spec: TrainSpec, architecture: Architecture) -> tuple[Start, tuple[str, ...]]:
    """The weights to begin with, and the classes that their last layer tells apart; raises EngineError."""
    if spec.start_from == IMAGENET:
        if architecture.imagenet is None:
            raise EngineError(f"there are no ImageNet weights of {spec.arch}; start from {SCRATCH} or a model")
        return architecture.imagenet(), ()
    model, card = load_model(spec.start_from), model_card(spec.start_from)
    if model.arch != spec.arch:
        raise EngineError(f"{spec.start_from} is {model.arch}, not {spec.arch}; start from one of that kind")
    source = f"{label_of(spec.start_from)}, trained on {card.dataset or 'unknown data'}"
    return Start(model.module.state_dict(), card.mean, card.std, source), model.classes


def _for_three(values: tuple[float, ...]) -> tuple[float, ...]:
    return values * 3 if len(values) == 1 else values


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


def _normalisation(pictures: Pictures, start: Normalisation | None) -> Normalisation:
    """That of the weights to begin with; else the fixed one of chest X-rays for grey pictures, and for colours what is
    measured on (up to 1000 of) them."""
    grey = pictures.images.shape[1] == 1
    if start is not None:
        return start.for_grey() if grey else start
    if grey:
        return Normalisation(GREY_MEAN, GREY_STD)
    some = pictures.images[::math.ceil(len(pictures.images) / 1000)].float() / 255
    mean, std = some.mean(dim=(0, 2, 3)), some.std(dim=(0, 2, 3)).clamp_min(0.01)
    return Normalisation(tuple(round(v, 4) for v in mean.tolist()), tuple(round(v, 4) for v in std.tolist()))


def _class_weights(labels: Tensor, classes: int) -> Tensor:
    """Weights that make every class count alike, however rare it is."""
    counts = torch.bincount(labels, minlength=classes).clamp_min(1)
    return len(labels) / (classes * counts.float())


@torch.no_grad()
def _logits(module: nn.Module, pictures: Pictures, normalisation: Normalisation, size: int, device: torch.device,
            progress: Progress, batch: int = 32) -> np.ndarray:
    """Float32 logits [N, K] of all pictures, `size` pixels a side, in eval mode."""
    was_training = module.training
    module.eval()
    parts = []
    with devices.exact():  # as on a CPU, where it is attacked perhaps
        for start in range(0, len(pictures.images), batch):
            progress.report(0.0, "evaluating")
            images = resized(pictures.batch(slice(start, start + batch), device), size)
            parts.append(module(normalisation(images)).float().cpu())
    module.train(was_training)
    return torch.cat(parts).numpy()


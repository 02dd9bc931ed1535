"""Training a classifier: small pictures first, full size at the end."""

import contextlib
import copy
import logging
import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine import device as devices
from engine import digest
from engine.data import Dataset
from engine.data import load as load_dataset
from engine.errors import EngineError
from engine.metrics.classification import classification
from engine.params import values_of
from engine.progress import Progress, to_the_end
from engine.training.augment import STRENGTHS, Augmentation, flips_of
from engine.training.collapse import warnings_of
from engine.training.defenses import applied, defense_of, on_card
from engine.training.pictures import Normalisation, Pictures
from engine.training.practice import Batch, Network, Practice, Watch, practice_of
from engine.training.resting import resting
from engine.training.sofar import Sofar
from engine.training.spec import IMAGENET, SCRATCH, TrainSpec, chosen_of, network_of, side_of
from engine.training.state import Keeper, State, claimed
from engine.zoo import checkpoints
from engine.zoo.architectures import ARCHITECTURES, Architecture
from engine.zoo.cards import Card
from engine.zoo.classifier import resized, too_small
from engine.zoo.pretrained import Start
from engine.zoo.registry import label_of, load_model, model_card, model_digest
from engine.zoo.variants import OWN

__all__ = ["TrainSpec", "fit", "train", "training"]

# The grey mean and spread of chest X-rays; one value for the three equal channels.
GREY_MEAN, GREY_STD = (0.48, 0.48, 0.48), (0.23, 0.23, 0.23)
_TRAINING, _MEASURING = 0.95, 1.0  # which part of the time is over when
_TOGETHER = 10  # pictures that are read at once
_FORMAT = 1  # of the kept state; raise it when the same settings train otherwise than before
# What is written on the card and does not decide the weights that are learned.
_SAID = ("name", "command", "limits", "tests", "storage")
# Settings that came later, as all trainings were before.
_LATER = {"defense": "", "head": OWN}
log = logging.getLogger(__name__)

Show = Callable[[Sofar], None]


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


@dataclass(frozen=True, eq=False)
class Finished:
    """A trained model's card, and what the weights on disk say of every split that it was evaluated on: odds [N, K]."""

    card: Card
    odds: dict[str, np.ndarray]


class Diverged(EngineError):
    """The loss is no number any more."""


def train(spec: TrainSpec, path: Path, progress: Progress | None = None, device: str = "auto") -> Card:
    """All of `training` at once; the card."""
    return to_the_end(training(spec, path, progress, device)).card


def training(spec: TrainSpec, path: Path, progress: Progress | None = None, device: str = "auto",
             show: Show = lambda so_far: None, note: Callable[[str], None] = log.warning
             ) -> Generator[None, None, Finished]:
    """Train, evaluate what will be on disk on validation and every test split, write the checkpoint `path`, and a card;
    with a yield wherever something else may have its turn.

    A training that was cancelled or killed goes on after the last epoch that it ended: on a CPU it ends with the same
    weights as one that was not. Where it diverges, the weights of the last good epoch are kept as NAME.unfinished.
    `show` is told what there is so far. Raises EngineError and Cancelled.
    """
    spec = applied(spec)
    progress = progress or Progress()
    chosen = devices.choose(device)
    # Before hours of training, not after them: do these splits exist?
    tests = {split: _opened(spec, split) for split in spec.tests}
    with claimed(path, spec.name):
        keeper = Keeper(path, asdict(spec), spec.epochs, note)
        fitting = _Fitting(spec, chosen, keeper, progress.part(0.0, _TRAINING), show)
        try:
            trained = yield from fitting.steps()
        except Diverged as error:
            raise _diverged(error, fitting, path, keeper) from None
        finished = yield from _evaluated(spec, trained, tests, chosen, progress.part(_TRAINING, _MEASURING))
        checkpoints.save(path, trained.module, finished.card)
        keeper.remove()
    return finished


def _diverged(error: Diverged, fitting: "_Fitting", path: Path, keeper: Keeper) -> EngineError:
    """The error with what is left: the best epoch at full size, or else the last one. It would diverge again, so that
    there is nothing to go on with."""
    found, spec = fitting.kept(), fitting.spec
    if found is None:
        return error
    place = path.with_name(f"{path.stem}.unfinished{path.suffix}")
    epochs = len(found.history)
    card = _card(spec, found, fitting.device)
    said = f"Its training diverged: these are the weights of epoch {found.epoch}, not evaluated on a test split."
    checkpoints.save(place, found.module, replace(card, name=f"{spec.name}.unfinished",
                                                  limits=f"{said} {spec.limits}".strip()))
    keeper.remove()
    return EngineError(f"{error}. The weights of epoch {found.epoch} of the {epochs} before are kept: the model "
                       f"{spec.name}.unfinished, which --start-from takes, too")


def _evaluated(spec: TrainSpec, trained: Trained, tests: Mapping[str, Dataset], device: torch.device,
               progress: Progress) -> Generator[None, None, Finished]:
    """What the weights are worth as they will be on disk."""
    stored = copy.deepcopy(trained.module)
    stored.load_state_dict(checkpoints.unpacked(checkpoints.packed(trained.module.state_dict(), spec.storage)))
    evaluations, changed, odds = {}, {}, {}
    splits = list(dict.fromkeys((*tests, spec.validation)))
    for number, split in enumerate(splits):
        start, middle, end = ((number + part) / len(splits) for part in (0, 0.5, 1))
        pictures = trained.held
        if split != spec.validation:
            pictures = yield from _read(spec, tests[split], progress.part(start, middle))
        looks = progress.part(middle, end)
        exact = yield from _logits(trained.module, pictures, trained.normalisation, trained.size, device, looks)
        kept = yield from _logits(stored, pictures, trained.normalisation, trained.size, device, looks)
        evaluations[split] = classification(kept, pictures.labels.cpu().numpy(), trained.classes)
        changed[split] = {"predictions_changed": int((exact.argmax(1) != kept.argmax(1)).sum()),
                          "largest_logit_change": float(np.abs(exact - kept).max())}
        odds[split] = torch.from_numpy(kept).softmax(dim=1).numpy()
    card = replace(_card(spec, trained, device), evaluations=evaluations, round_trip=changed)
    return Finished(card, odds)


def _card(spec: TrainSpec, trained: Trained, device: torch.device) -> Card:
    """All but what is measured at the end."""
    return Card(name=spec.name, arch=spec.arch, classes=trained.classes, mean=trained.normalisation.mean,
                std=trained.normalisation.std, size=_size_on_card(spec, trained), head=spec.head, dataset=spec.dataset,
                split=spec.split, seed=spec.seed, command=spec.command, storage=spec.storage, limits=spec.limits,
                training=_facts(spec, trained), versions={"torch": torch.__version__, "device": devices.title(device)})


def _size_on_card(spec: TrainSpec, trained: Trained) -> int:
    """0 where pictures are taken as they are."""
    return trained.size if spec.size or ARCHITECTURES[spec.arch].fixed else 0


def _facts(spec: TrainSpec, trained: Trained) -> dict[str, Any]:
    collapsed = warnings_of(trained.history)
    return {"settings": values_of(spec), "start_from": spec.start_from, "start": trained.source,
            "validation": spec.validation, "data": trained.data, "history": trained.history, **on_card(spec),
            **({"warnings": collapsed} if collapsed else {})}


def fit(spec: TrainSpec, progress: Progress, device: torch.device) -> Trained:
    """Train `spec.arch` on `spec.dataset`, keeping nothing on the disk; of the epochs at full size the best on
    validation wins, by `spec.select`. Raises EngineError and Cancelled."""
    return to_the_end(_Fitting(applied(spec), device, None, progress, lambda so_far: None).steps())


class _Fitting:
    """One training up to its last epoch: what is learned, and which epoch was the best."""

    def __init__(self, spec: TrainSpec, device: torch.device, keeper: Keeper | None, progress: Progress,
                 show: Show) -> None:
        self.spec, self.device, self.keeper, self.progress, self.show = spec, device, keeper, progress, show
        self.key = ""
        self.best, self.best_epoch, self.waited = -math.inf, 0, 0
        self.best_state: dict[str, Any] | None = None
        self.history: list[dict[str, Any]] = []
        self.watch: Watch | None = None

    def steps(self) -> Generator[None, None, Trained]:
        """All of it; raises EngineError and Cancelled."""
        spec, device = self.spec, self.device
        splits = [_opened(spec, spec.split), _opened(spec, spec.validation)]
        training, classes = splits[0], splits[0].classes
        _check_classes(training)
        begun = _begun(spec, classes)
        module = begun.module.to(device).to(memory_format=torch.channels_last).train()
        seen = yield from _read(spec, splits[0], self.progress.part(0.0, 0.0))
        held = yield from _read(spec, splits[1], self.progress.part(0.0, 0.0))
        self.key = _key(spec, device, seen, held)
        seen, held = seen.near(device), held.near(device)
        normalisation = _normalisation(seen, begun.normalisation)
        defense = defense_of(spec.defense)
        practice = practice_of(defense)
        self.course = _Course(spec, module, seen, normalisation, flips_of(spec.flips, training.info), len(classes),
                              device, practice)
        self.trained = Trained(module, classes, normalisation, self.course.whole, begun.source, self.history,
                               {s.split: s.digest for s in splits}, held)
        whole = Network(module, classes, normalisation, self.course.whole, device)
        if defense is not None and defense.watched is not None:
            self.watch = Watch(held, whole, defense.watched, spec.seed)
        # What it makes of the undefended network it makes before that is another one.
        yield from practice.prepare(seen, whole, spec.seed, self.progress.part(0.0, 0.0))
        self._restore()
        for epoch in range(len(self.history), spec.epochs):
            if spec.patience and self.waited >= spec.patience:
                break
            yield from self._epoch(epoch)
        if self.best_state is not None:
            module.load_state_dict(self.best_state)
        module.eval()
        return self.trained

    def _epoch(self, epoch: int) -> Generator[None, None, None]:
        spec, course, trained = self.spec, self.course, self.trained
        started = time.monotonic()
        size, full = course.size(epoch)
        loss = yield from course.epoch(epoch, size, self.progress, lambda at, loss, rate: self.show(
            Sofar(spec.epochs, tuple(self.history), at, loss, rate)))
        rate = course.rate
        logits = yield from _logits(trained.module, trained.held, trained.normalisation, course.whole, self.device,
                                    self.progress.part((epoch + 1) / spec.epochs, 1))
        score = _score(logits, trained.held.labels.cpu(), trained.classes)
        if self.watch is not None:
            score |= yield from self.watch.look(self.progress.part((epoch + 1) / spec.epochs, 1))
        self.history.append({"epoch": epoch + 1, "size": size, "loss": loss, **score,
                             "seconds": round(time.monotonic() - started, 1), "images_per_second": round(rate, 2)})
        if full:
            found = _SELECT[spec.select](score)
            self.waited = 0 if found > self.best else self.waited + 1
            if found >= self.best:
                self.best, self.best_epoch = found, epoch + 1
                self.best_state = copy.deepcopy(trained.module.state_dict())
        if self.keeper is not None:
            self.keeper.save(self.key, self._state(), self.history)
        self.show(Sofar(spec.epochs, tuple(self.history)))
        self.progress.report((epoch + 1) / spec.epochs,
                             f"epoch {epoch + 1} of {spec.epochs}, {size} px, loss {loss:.3f}, "
                             f"validation accuracy {score['validation_accuracy']:.1%}"
                             + (f", under attack {score['validation_robust']:.1%}" if self.watch is not None else ""))

    def _state(self) -> State:
        last = self.best_epoch == len(self.history)
        return {**self.course.state(), "best": self.best, "best_epoch": self.best_epoch, "waited": self.waited,
                "best_state": None if last else self.best_state}

    def _restore(self) -> None:
        """Go on from what was kept."""
        state = None if self.keeper is None else self.keeper.load(self.key)
        if state is None:
            return
        self.history.extend(state["history"])
        self.course.restore(state, len(self.history))
        self.best, self.best_epoch, self.waited = state["best"], state["best_epoch"], state["waited"]
        self.best_state = state["best_state"]
        if self.best_epoch == len(self.history):
            self.best_state = copy.deepcopy(self.trained.module.state_dict())
        self.show(Sofar(self.spec.epochs, tuple(self.history)))

    def kept(self) -> "_Kept | None":
        """What was kept at the end of the last epoch: the best one at full size, or else that one itself."""
        state = None if self.keeper is None or not self.history else self.keeper.load(self.key)
        if state is None:
            return None
        self.trained.module.load_state_dict(state["best_state"] or state["module"])
        values = {field.name: getattr(self.trained, field.name) for field in fields(Trained)}
        return _Kept(**values, epoch=self.best_epoch or len(self.history))


@dataclass(frozen=True)
class _Kept(Trained):
    """The network as it was after an epoch."""

    epoch: int


def _key(spec: TrainSpec, device: torch.device, *seen: Pictures) -> str:
    """Identifies all that decides the weights that are learned."""
    deciding = {name: value for name, value in asdict(spec).items() if name not in _SAID}
    deciding["start_from"] = spec.start_from or SCRATCH
    deciding = {name: value for name, value in deciding.items() if _LATER.get(name) != value}
    known = spec.start_from in ("", SCRATCH, IMAGENET)
    return digest.of_spec({"format": _FORMAT, "spec": deciding, "device": device.type, "torch": torch.__version__,
                           "start": "" if known else model_digest(spec.start_from),
                           "pictures": [digest.of_arrays(p.images.numpy(), p.labels.numpy()) for p in seen]})


def _check_classes(training: Dataset) -> None:
    if len(shown := np.unique(training.labels)) < 2:
        raise EngineError(f"{training.info.name}/{training.split} shows {training.classes[shown[0]]} only; a "
                          "classifier learns from pictures of at least two classes")


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
    "robust": lambda score: float(score["validation_robust"]),
}


class _Course:
    """The optimiser, its schedule and the random numbers of one run."""

    def __init__(self, spec: TrainSpec, module: nn.Module, pictures: Pictures, normalisation: Normalisation,
                 flips: str, classes: int, device: torch.device, practice: Practice | None = None) -> None:
        self.spec, self.module, self.pictures, self.normalisation = spec, module, pictures, normalisation
        self.device, self.practice = device, practice or Practice()
        self.network = Network(module, tuple(map(str, range(classes))), normalisation, 0, device)
        self.top = network_of(spec, classes).top
        self.augmented = Augmentation(STRENGTHS[spec.augmentation], flips)
        # Weights that make every class count alike, however rare it is: in the loss, or in how often it is drawn.
        rarity = _class_weights(pictures.labels.cpu(), classes)
        self.weights = rarity.to(device) if spec.balance == "weights" else None
        self.shares = rarity[pictures.labels.cpu()] if spec.balance == "sampling" else None
        self.batch = min(spec.batch, len(pictures.labels))
        self.steps = len(pictures.labels) // self.batch
        self.generator = torch.Generator().manual_seed(spec.seed)
        self.whole = side_of(spec, pictures.images.shape[-1])
        self.frozen = min(spec.frozen_epochs, spec.epochs)
        self.rate = 0.0  # images a second in this epoch
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
        spec, head = self.spec, self.top
        for name, parameter in self.module.named_parameters():
            parameter.requires_grad_(not frozen or name.startswith(f"{head}."))
        # Norms of layers that do not learn keep what they know of their values.
        self.module.train(not frozen)
        self.module.get_submodule(head).train()
        learning = [p for p in self.module.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(learning, lr=spec.lr, weight_decay=spec.weight_decay,
                                           fused=self.device.type == "cuda" or None)
        # A cycle has a way up and a way down, for which the scheduler needs some steps.
        total = max((spec.epochs - self.frozen) * self.steps, 10)
        self.schedule = _SCHEDULES["constant" if frozen else spec.schedule](self.optimiser, spec.lr, total)

    def state(self) -> dict[str, Any]:
        """All that the next epochs depend on."""
        return {"module": self.module.state_dict(), "optimiser": self.optimiser.state_dict(),
                "schedule": self.schedule.state_dict(), "generator": self.generator.get_state()}

    def restore(self, state: State, epochs: int) -> None:
        """Be as after so many epochs."""
        if epochs > self.frozen > 0:
            self._begin(frozen=False)
        self.module.load_state_dict(state["module"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.generator.set_state(state["generator"])

    def size(self, epoch: int) -> tuple[int, bool]:
        """The side of the pictures in an epoch, and whether that is their full size."""
        full = epoch >= self.spec.epochs - self.spec.full_size_epochs
        fixed = full or ARCHITECTURES[self.spec.arch].fixed
        return (self.whole if fixed else min(self.whole, self.spec.small_size)), full

    def epoch(self, epoch: int, size: int, progress: Progress, show: Callable[[float, float, float], None]
              ) -> Generator[None, None, float]:
        """See every picture once; the mean loss. `show` is told how many epochs are over, the loss so far, and how many
        images a second are seen. Raises Diverged."""
        if epoch == self.frozen and epoch > 0:
            self._begin(frozen=False)
        order = self._order().to(self.pictures.images.device)
        # A GPU goes on while it is not asked for the loss.
        every = 1 if self.device.type == "cpu" else 20
        total: float | Tensor = 0.0
        shown, spent = "...", 0.0
        for step in range(self.steps):
            started = time.monotonic()
            with _chance(self.spec.seed, epoch * self.steps + step, self.device):
                total = total + self._step(order[step * self.batch:(step + 1) * self.batch], size,
                                           epoch + step / self.steps)
            done = epoch + (step + 1) / self.steps
            looked = step % every == 0 or step + 1 == self.steps
            mean = float(total) / (step + 1) if looked else 0.0
            spent += time.monotonic() - started
            if looked:
                if not math.isfinite(mean):
                    raise Diverged(f"the training diverged in epoch {epoch + 1}; take a rate below {self.spec.lr:g}")
                shown, self.rate = f"{mean:.3f}", (step + 1) * self.batch / max(spent, 1e-9)
                show(done, mean, self.rate)
            progress.report(done / self.spec.epochs, f"epoch {epoch + 1} of {self.spec.epochs}, {size} px, loss "
                                                     f"{shown}, {self.rate:.3g} images/s")
            yield
        return float(total) / self.steps

    def _order(self) -> Tensor:
        count = len(self.pictures.labels)
        if self.shares is None:
            return torch.randperm(count, generator=self.generator)
        return torch.multinomial(self.shares, count, replacement=True, generator=self.generator)

    def _step(self, chosen: Tensor, size: int, done: float) -> float | Tensor:
        loss = self.practice.loss(self._shown(chosen, size, done))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.schedule.step()
        return loss.detach()

    def _shown(self, chosen: Tensor, size: int, done: float) -> Batch:
        """The pictures of these numbers, augmented."""
        images = self.pictures.batch(chosen, self.device)
        twins = self.practice.twins(images, chosen)
        if twins is None:
            images = self.augmented(images, size, self.generator)
        else:  # as further channels they are turned and brightened by the same numbers
            images, twins = self.augmented(torch.cat([images, twins], dim=1), size, self.generator).chunk(2, dim=1)
        return Batch(images, twins, self.pictures.labels[chosen].to(self.device), done, self.network, self.generator,
                     self._learn, self._wrong)

    def _learn(self, images: Tensor) -> Tensor:
        x = self.normalisation(images)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.spec.precision == "bf16"):
            logits: Tensor = self.module(x)
        return logits.float()

    def _wrong(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, weight=self.weights, label_smoothing=self.spec.label_smoothing)


@contextlib.contextmanager
def _chance(seed: int, number: int, device: torch.device) -> Iterator[None]:
    """Step `number` draws what it drops out from numbers of its own: the global state that it would use otherwise
    belongs to everybody, and is another after a pause."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        torch.default_generator.manual_seed(own)
        if device.type == "cuda":
            torch.cuda.manual_seed(own)
        yield


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
    network = network_of(spec, len(classes))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(spec.seed)
        module = network.build()
    if spec.start_from in ("", SCRATCH):
        return Begun(module, None, "random weights")
    start, known = _start(spec, ARCHITECTURES[spec.arch])
    if known != classes and (defense := defense_of(spec.defense)) is not None and defense.needs_model:
        raise EngineError(f"{defense.info.name} makes its adversarial images from the model that the training starts "
                          f"from: {spec.start_from} does not tell {', '.join(classes)} apart")
    fresh = () if known == classes else (f"{network.top}.",)
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
    if (model.channels, bool(card.findings)) != (3, False):
        raise EngineError(f"{spec.start_from} is a network for grey pictures or of several findings; start from "
                          "another")
    return (Start(model.module.state_dict(), card.mean, card.std, source),
            model.classes if card.head == spec.head else ())


def _for_three(values: tuple[float, ...]) -> tuple[float, ...]:
    return values * 3 if len(values) == 1 else values


def _opened(spec: TrainSpec, split: str) -> Dataset:
    dataset = load_dataset(spec.dataset, split)
    if len(dataset) < 2:  # which also is the least that batch-norm can learn from
        raise EngineError(f"{spec.dataset}/{split} has too few images ({len(dataset)}); give it at least two")
    return dataset


def _read(spec: TrainSpec, dataset: Dataset, progress: Progress) -> Generator[None, None, Pictures]:
    """The pictures of a split in memory: decoding once is cheaper than once an epoch."""
    images, chosen = [], chosen_of(spec, dataset.split, dataset.labels)
    for at, number in enumerate(chosen.tolist()):
        if at % _TOGETHER == 0:
            progress.report(at / len(chosen), f"reading {dataset.info.name}/{dataset.split}, {at:,} of {len(chosen):,}")
            yield
        images.append(torch.from_numpy(np.rint(dataset.image(number) * 255).astype(np.uint8)))
    return Pictures(torch.stack(images), torch.from_numpy(dataset.labels[chosen]))


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


def _logits(module: nn.Module, pictures: Pictures, normalisation: Normalisation, size: int, device: torch.device,
            progress: Progress, batch: int = 32) -> Generator[None, None, np.ndarray]:
    """Float32 logits [N, K] of all pictures, `size` pixels a side, in eval mode."""
    parts = []
    for start in range(0, len(pictures.images), batch):
        progress.report(0.0, "evaluating")
        with torch.no_grad(), resting(module), devices.exact():  # as on a CPU, where it is attacked perhaps
            images = resized(pictures.batch(slice(start, start + batch), device), size)
            parts.append(module(normalisation(images)).float().cpu())
        yield
    return torch.cat(parts).numpy()

"""Runs any attack: checks, batches, randomness, progress, cancel, the final verdict, and the result."""

from __future__ import annotations

import math
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from engine import device as devices
from engine import digest
from engine.attacks.base import Attack, Budget, Goal, Others
from engine.attacks.batch import BatchRun, Learned, Memory, Setting
from engine.attacks.result import AttackResult, Finds, Trace, Walk
from engine.attacks.rows import Provenance, Rows, Tally, sizes
from engine.attacks.spec import OBLIVIOUS, AttackSpec, asking, attack_of, has_gradients
from engine.defenses.base import defenses_from
from engine.defenses.binding import bound
from engine.errors import EngineError
from engine.params import Value, build
from engine.progress import Progress
from engine.serving.defense import Client, Defense, Reference
from engine.serving.prepare import Prepared, placed, prepared
from engine.serving.served import Answer, Served
from engine.serving.threat import FirstLook, WhiteBox
from engine.zoo.classifier import Classifier
from engine.zoo.outputs import doubts, saturated

T = TypeVar("T")
SATURATED = ("a probability is exactly 0 or 1 (or lies beyond), where it has no gradient; give the network's logits "
             "instead, and leave outputs out")


@dataclass(frozen=True)
class Resources:
    """What the attacker has besides the target model, and the defender besides his defenses.

    `surrogate` is the model behind the gradients (default: the target model), `others` the further images that some
    attacks need (default: the attacked images themselves, whose outcomes then depend on each other), `mask` bool
    [N, 1, H, W] the part of each image that may change (default: all of it). `reference` are clean images, none of
    those attacked, for defenses that learn from such.
    """

    surrogate: Classifier | None = None
    others: Others | None = None
    mask: Tensor | None = None
    reference: Reference | None = None


def run_attack(spec: AttackSpec, model: Classifier, images: Tensor, labels: Tensor, *,
               identities: Sequence[str] | None = None, resources: Resources | None = None, device: str = "auto",
               progress: Progress | None = None, keep_steps: bool = False,
               memory: Memory | None = None) -> AttackResult:
    """Attack `images` [N, C, H, W] in [0,1] of classes `labels` [N]; raises EngineError and Cancelled.

    With `keep_steps` the result's trace holds the image of every step. Attacked is the surrogate, or else `model`,
    prepared as `spec.numerics` says; clean and adversarial predictions, and so success, are always those of `model`,
    served behind `spec.defenses`. `identities` [N] name the images, whose random numbers depend on name and seed alone
    (default: the digest of each image's values). What the attack learns is looked for, and kept, in `memory`.
    """
    arena = Arena.of(spec, model, images, labels, identities=identities, resources=resources, device=device,
                     memory=memory)
    return arena.run(progress, keep_steps)


@dataclass(frozen=True, eq=False)
class Arena:
    """An attack, a model and images, checked and made ready for a run, or for several at different eps.

    `source` is the model behind the gradients, `asked` the same as the attack asks it. Where runs `share`, the same
    verdict is not asked for twice, nor, of a straight attack, the gradient at the clean images. `clean` is the verdict
    on the images as they are, where it is known.
    """

    spec: AttackSpec
    attack: Attack
    model: Classifier
    source: Classifier
    asked: Classifier
    defenses: tuple[Defense, ...]
    images: Tensor
    labels: Tensor
    identities: tuple[str, ...]
    digests: tuple[str, ...]
    resources: Resources
    others: Others
    device: torch.device
    memory: Memory | None
    share: _Shared | None = None
    clean: _Verdict | None = None

    @classmethod
    def of(cls, spec: AttackSpec, model: Classifier, images: Tensor, labels: Tensor, *,
           identities: Sequence[str] | None = None, resources: Resources | None = None, device: str = "auto",
           memory: Memory | None = None) -> Self:
        """As `run_attack` takes it; raises EngineError."""
        resources = resources or Resources()
        images, labels = _checked(images, labels, model, spec.target)
        digests = tuple(digest.of_arrays(image.numpy()) for image in images)
        identities = _identities(identities, digests)
        _check_resources(resources, images, model)
        chosen = devices.choose(device)
        attack = attack_of(spec)
        model = placed(model, chosen)
        source = model if resources.surrogate is None else placed(resources.surrogate, chosen)
        draft = spec.numerics == "draft"
        asked = source if spec.numerics == "reference" else prepared(source, chosen, draft=draft)
        defenses = bound(defenses_from(spec.defenses), model, resources.reference, spec.seed)
        return cls(spec, attack, model, source, asked, defenses, images, labels, identities, digests, resources,
                   _others(resources, images, labels, attack, chosen), chosen, memory)

    def shared(self) -> Self:
        """The same, for runs that share what they have in common."""
        return replace(self, share=_Shared({} if self.attack.straight else None))

    def at(self, eps: float) -> Self:
        """The same at another eps."""
        return replace(self, spec=replace(self.spec, eps=eps))

    def setting(self, params: Mapping[str, Value]) -> Self:
        """The same with other settings of the attack."""
        return replace(self, spec=replace(self.spec, params=dict(params)),
                       attack=build(type(self.attack), dict(params)))

    def only(self, rows: np.ndarray) -> Self:
        """The same for those images alone; the attacker's further images stay what they are."""
        mask, clean = self.resources.mask, self.clean
        return replace(self, images=self.images[rows], labels=self.labels[rows],
                       identities=tuple(self.identities[row] for row in rows),
                       digests=tuple(self.digests[row] for row in rows),
                       resources=self.resources if mask is None else replace(self.resources, mask=mask[rows]),
                       clean=None if clean is None else _Verdict(clean.logits[rows], clean.refused[rows]))

    def knowing(self, judged: AttackResult) -> Self:
        """The same, with what the model said of the clean images in a run on all of them."""
        return replace(self, clean=_Verdict(judged.logits_clean, judged.refused_clean))

    @devices.exact()
    def run(self, progress: Progress | None = None, keep_steps: bool = False) -> AttackResult:
        """The attack; raises EngineError and Cancelled."""
        setting = Setting(self.spec, self.attack, self._target(),
                          self.others, self.device, keep_steps,
                          Learned(_learning(self.spec, self.source, self.others, self.device), self.memory),
                          None if self.share is None else self.share.looks)
        started, progress = time.perf_counter(), progress or Progress()
        pieces = list(_pieces(setting, self.images, self.labels, self.identities, self.resources.mask, progress))
        return self._judged(pieces, setting.learned, started, progress)

    @devices.exact()
    def untouched(self) -> AttackResult:
        """The images as they are, as if an attack had changed nothing and asked nothing."""
        pieces = [_idle(part, len(self.model.classes)) for part in self.images.split(self.spec.batch)]
        return self._judged(pieces, Learned({}), time.perf_counter(), Progress())

    def _target(self) -> Served:
        """What the attack asks: the served model, or the classifier alone where the attacker takes that for all of it.
        Before a model of his own an attacker puts defenses that have learned of that one."""
        defenses = self.defenses
        if has_gradients(self.attack.info.knowledge):
            if self.spec.attacker == OBLIVIOUS:
                defenses = ()
            elif self.source is not self.model:
                defenses = bound(defenses, self.source, self.resources.reference, self.spec.seed)
        return Served(self.asked, defenses, self.spec.seed)

    def _judged(self, pieces: list[_Piece], learned: Learned, started: float, progress: Progress) -> AttackResult:
        """What has become of the images, and what the unmodified model says of them."""
        def verdict(images: Tensor, what: str) -> _Verdict:
            progress.report(1.0, "the verdict")  # which takes longer than an attack of one step
            return self._verdict(served, images, what, max(batches))

        images, batches = self.images, tuple(len(p.adversarial) for p in pieces)
        adversarial = torch.cat([p.adversarial for p in pieces])
        rounded = (adversarial * 255).round() / 255
        served = Served(self.model, self.defenses, self.spec.seed)
        clean = self.clean or verdict(images, "clean")
        attacked, saved = verdict(adversarial, "adversarial"), verdict(rounded, "8 bit")
        return AttackResult(
            spec=self.spec,
            provenance=_provenance(self.model, self.device, batches, self.resources, (self.attack, *self.defenses)),
            classes=self.model.classes,
            identities=self.identities,
            digests=self.digests,
            labels=self.labels.numpy(),
            clean=images.numpy(),
            adversarial=adversarial.numpy(),
            adversarial_8bit=rounded.numpy(),
            logits_clean=clean.logits,
            logits_adversarial=attacked.logits,
            logits_8bit=saved.logits,
            refused_clean=clean.refused,
            refused_adversarial=attacked.refused,
            refused_8bit=saved.refused,
            **sizes(images.numpy(), adversarial.numpy()),
            queries=np.concatenate([p.queries for p in pieces]),
            gradients=np.concatenate([p.gradients for p in pieces]),
            refusals=np.concatenate([p.refusals for p in pieces]),
            trace=_joined([p.trace for p in pieces]),
            tally=Tally(sum(p.zero_gradients for p in pieces), sum(p.nan_gradients for p in pieces),
                        dict(sum((p.notes for p in pieces),
                                 _short(self.spec, batches) + _saturated(self.model, clean))),
                        (*_slower(self.spec, self.asked), *_no_logits(clean, images, self.model, self.source),
                         *learned.warnings())),
            seconds=time.perf_counter() - started,
        )

    def _verdict(self, served: Served, images: Tensor, what: str, batch: int) -> _Verdict:
        """The verdict on `images`. Behind defenses every verdict has draws of its own, and so its own name."""
        def ask() -> _Verdict:
            return _verdict(served, images, self.identities, what, batch, self.device)

        if self.share is None:
            return ask()
        key = what if self.defenses else "", batch, self.identities, digest.of_arrays(images.numpy())
        if key not in self.share.verdicts:
            self.share.verdicts[key] = ask()
        return self.share.verdicts[key]


def _checked(images: Tensor, labels: Tensor, model: Classifier, target: int | None) -> tuple[Tensor, Tensor]:
    images = torch.as_tensor(images).detach().cpu()
    labels = torch.as_tensor(labels).detach().cpu().to(torch.int64, copy=True)
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise EngineError(f"images must be [N, 1 or 3, H, W], not {list(images.shape)}")
    if len(images) == 0:
        raise EngineError("there is no image to attack; give at least one")
    if not images.is_floating_point():
        raise EngineError(f"images must be floating point in [0,1], not {images.dtype}; divide bytes by 255")
    # Copies, because the result keeps them and the caller may go on to change what it gave.
    images = images.to(torch.float32, copy=True).contiguous()
    if not bool(torch.isfinite(images).all()) or float(images.min()) < 0 or float(images.max()) > 1:
        raise EngineError("images must lie in [0,1] and be finite; divide bytes by 255 and do not normalise")
    if labels.shape != (len(images),):
        raise EngineError(f"labels must be one class for each of the {len(images)} images, not {list(labels.shape)}")
    highest = len(model.classes) - 1
    if int(labels.min()) < 0 or int(labels.max()) > highest:
        raise EngineError(f"labels must lie between 0 and {highest}, the classes of {model.name}")
    if target is not None and not 0 <= target <= highest:
        raise EngineError(f"target must lie between 0 and {highest}, not {target}")
    return images, labels


def _identities(identities: Sequence[str] | None, digests: tuple[str, ...]) -> tuple[str, ...]:
    """What the images are called: as given, or by the digest of their values."""
    if identities is None:
        return digests
    if len(identities) != len(digests):
        raise EngineError(f"identities must name each of the {len(digests)} images, not {len(identities)}")
    return tuple(identities)


def _check_resources(resources: Resources, images: Tensor, model: Classifier) -> None:
    """Raises EngineError where surrogate, mask or other images do not fit the attacked ones."""
    if resources.surrogate is not None and resources.surrogate.classes != model.classes:
        raise EngineError(f"the surrogate {resources.surrogate.name} has other classes than {model.name}; take one "
                          "trained on the same data")
    if resources.mask is not None:
        if resources.mask.shape != (len(images), 1, *images.shape[2:]):
            raise EngineError(f"the mask must be [{len(images)}, 1, H, W] like the images, not "
                              f"{list(resources.mask.shape)}")
        if not bool(resources.mask.flatten(1).any(dim=1).all()):
            raise EngineError("the mask is empty: nothing may change; mark at least one pixel of each image")
    if resources.others is not None and resources.others.images.shape[1:] != images.shape[1:]:
        raise EngineError(f"the other images must be {list(images.shape[1:])} like the attacked ones, not "
                          f"{list(resources.others.images.shape[1:])}")
    if resources.reference is not None and resources.reference.images.shape[1:] != images.shape[1:]:
        raise EngineError(f"the defender's clean images must be {list(images.shape[1:])} like the attacked ones, not "
                          f"{list(resources.reference.images.shape[1:])}")


@dataclass(frozen=True)
class _Piece:
    """The outcome of one batch."""

    adversarial: Tensor
    queries: np.ndarray
    gradients: np.ndarray
    refusals: np.ndarray
    zero_gradients: int
    nan_gradients: int
    trace: Trace
    notes: Counter[str]


def _idle(images: Tensor, classes: int) -> _Piece:
    """The outcome of an attack that does nothing."""
    size, nothing = len(images), np.zeros(len(images), np.int64)
    trace = Trace(np.empty((0, size, classes), np.float32), np.empty((0, size), np.float32), None)
    return _Piece(images.clone(), nothing, nothing, nothing, 0, 0, trace, Counter())


def _pieces(setting: Setting, images: Tensor, labels: Tensor, identities: Sequence[str], mask: Tensor | None,
            progress: Progress) -> Iterator[_Piece]:
    """The batches, attacked one after another."""
    total = len(images)

    def work(start: int, end: int) -> _Piece:
        which = f"images {start + 1} to {end} of {total}, " if end - start < total else ""

        def report(fraction: float, text: str) -> None:
            progress.report((start + fraction * (end - start)) / total, which + text)

        report(0.0, "first step")
        clean, of = images[start:end].to(setting.device), labels[start:end].to(setting.device)
        part = None if mask is None else mask[start:end].to(setting.device)
        return _one_batch(setting, clean, of, part,
                          BatchRun(setting, identities[start:end], clean, report, progress.preview))

    yield from _in_batches(total, setting.spec.batch, work)


def _in_batches(total: int, size: int, work: Callable[[int, int], T]) -> Iterator[T]:
    """`work(start, end)` for one batch after another; where memory is short, it is repeated and goes on in halves."""
    start = 0
    while start < total:
        end = min(start + size, total)
        try:
            outcome = work(start, end)
        except (RuntimeError, MemoryError) as error:
            if not devices.out_of_memory(error):
                raise
            if end - start == 1:
                raise EngineError("memory is too short for even one image; close other programs, or take a smaller "
                                  "model or another device") from error
        else:
            yield outcome
            start = end
            continue
        # Only here, when the error and with it the frames that hold the batch's tensors are gone.
        size = (end - start) // 2
        if torch.accelerator.is_available():
            torch.accelerator.empty_cache()


def _one_batch(setting: Setting, clean: Tensor, labels: Tensor, mask: Tensor | None, run: BatchRun) -> _Piece:
    spec, attack, oracle = setting.spec, asking(setting.attack, setting.spec.draws), run.oracle
    targets = None if spec.target is None else torch.full_like(labels, spec.target)
    goal, ball = Goal(labels, targets), Budget(spec.norm, spec.eps).around(clean, mask, patched=attack.info.patched)
    white = oracle if isinstance(oracle, WhiteBox) else None
    adversarial = attack.run(white.aiming(goal) if white else oracle, clean, goal, ball, run)
    adversarial = ball.project_(adversarial.detach().clone())
    return _Piece(
        adversarial=adversarial.cpu(),
        queries=oracle.queries.cpu().numpy(),
        gradients=white.gradients.cpu().numpy() if white else np.zeros(len(clean), np.int64),
        refusals=oracle.refusals.cpu().numpy(),
        zero_gradients=white.zero_gradients if white else 0,
        nan_gradients=white.nan_gradients if white else 0,
        trace=run.trace(oracle.classes),
        notes=run.notes,
    )


@dataclass(frozen=True)
class _Shared:
    """What runs of an arena that share have found out: gradients at the clean images, and verdicts."""

    looks: dict[tuple[str, ...], FirstLook] | None
    verdicts: dict[tuple[str, int, tuple[str, ...], str], _Verdict] = field(default_factory=dict)


@dataclass(frozen=True)
class _Verdict:
    """Logits [N, K], NaN where the image was refused, and whether it was, bool [N]."""

    logits: np.ndarray
    refused: np.ndarray

    @property
    def answered(self) -> np.ndarray:
        """The logits of those that got an answer."""
        return self.logits[~self.refused]


@torch.no_grad()
def _verdict(served: Served, images: Tensor, identities: Sequence[str], session: str, batch: int,
             device: torch.device) -> _Verdict:
    """What the unmodified model says behind its defenses, in batches of the size that the attack could use.

    Each image is the one query of a client of its own: neither what the attack asked nor the other verdicts are held
    against it, so an attack whose last image gets through is not excused by an account that was closed on the way.
    """
    def work(start: int, end: int) -> Answer:
        clients = [Client(name, session) for name in identities[start:end]]
        return served.answer(images[start:end].to(device), served.queries(clients, range(end - start)))

    answers = list(_in_batches(len(images), batch, work))
    refused = [torch.zeros(len(a.logits), dtype=torch.bool) if a.refused is None else a.refused.cpu() for a in answers]
    return _Verdict(torch.cat([a.logits.cpu() for a in answers]).numpy(), torch.cat(refused).numpy())


def _joined(traces: list[Trace]) -> Trace:
    """Traces of several batches as one; a batch that stopped early keeps its last state."""
    def join(arrays: list[np.ndarray]) -> np.ndarray:
        steps = max(len(a) for a in arrays)
        return np.concatenate([padded(a, steps) for a in arrays], axis=1)

    def padded(array: np.ndarray, steps: int) -> np.ndarray:
        last = array[-1:] if len(array) else np.full((1, *array.shape[1:]), np.nan, array.dtype)
        return np.concatenate([array, np.repeat(last, steps - len(array), axis=0)])

    images = [t.images for t in traces if t.images is not None]
    return Trace(join([t.logits for t in traces]), join([t.objective for t in traces]),
                 join(images) if images else None, max((t.kept for t in traces), key=len),
                 _joined_walks([t.walk for t in traces]), traces[0].curves, traces[0].learned)


def _joined_walks(walks: list[Walk | None]) -> Walk | None:
    """Walks of several batches as one; a batch that took fewer rounds stays where it ended."""
    known = [walk for walk in walks if walk is not None]
    if len(known) < len(walks):
        return None
    rounds = max(len(walk.queries) for walk in known)

    def join(arrays: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([np.concatenate([a, np.repeat(a[-1:], rounds - len(a), axis=0)]) for a in arrays], axis=1)

    films = [walk.film for walk in known if walk.film is not None]
    return Walk(join([w.queries for w in known]), join([w.distances for w in known]),
                np.concatenate(films, axis=1) if films else None,
                Finds.joined([(walk.finds, walk.queries.shape[1]) for walk in known]))


def _provenance(model: Classifier, device: torch.device, batches: tuple[int, ...], resources: Resources,
                parts: Sequence[Attack | Defense]) -> Provenance:
    return Provenance(model=model.name, model_digest=model.digest, device=devices.title(device), batches=batches,
                      versions=versions(),
                      files={name: file for part in parts for name, file in part.files().items()},
                      **_resource_digests(resources))


def _resource_digests(resources: Resources) -> dict[str, str]:
    """What identifies the surrogate, the mask and the other images; empty for what there is not."""
    return {
        "surrogate_digest": "" if resources.surrogate is None else resources.surrogate.digest,
        "mask_digest": "" if resources.mask is None else digest.of_arrays(resources.mask.cpu().numpy()),
        "others_digest": "" if resources.others is None else digest.of_arrays(
            resources.others.images.cpu().numpy(), resources.others.labels.cpu().numpy()),
    }


def _others(resources: Resources, images: Tensor, labels: Tensor, attack: Attack, device: torch.device) -> Others:
    """The images the attacker has: those given, or the attacked ones themselves; none where the attack needs none."""
    if not attack.info.others:
        return Others(images[:0].to(device), labels[:0].to(device))
    others = resources.others or Others(images, labels)
    return Others(others.images.to(device), others.labels.to(device))


def _learning(spec: AttackSpec, model: Classifier, others: Others, device: torch.device) -> dict[str, Any]:
    """Everything that decides what an attack learns, JSON-able: neither the attacked images nor the mask do, and the
    defenses only where the attacker looks through them."""
    deciding = replace(spec, mask="", max_queries=None)
    if spec.attacker == OBLIVIOUS:
        deciding = replace(deciding, defenses="", draws=1)
    return {"attack": deciding.canonical(), "model": model.digest, "device": device.type,
            "others": digest.of_arrays(others.images.cpu().numpy(), others.labels.cpu().numpy())}


def versions() -> dict[str, str]:
    """The libraries whose version can change a result."""
    return dict(_versions())


@lru_cache(maxsize=1)  # each asks for a file to be parsed, and every unit of a long sweep has them
def _versions() -> dict[str, str]:
    found: dict[str, str] = {"python": platform.python_version()}
    for package in ("torch", "torchvision", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _slower(spec: AttackSpec, model: Classifier) -> Iterator[str]:
    if isinstance(model, Prepared) and model.numerics != spec.numerics:
        yield f"the attack ran with {model.numerics} instead of {spec.numerics} numerics: {model.note}"
    for member in model.behind if isinstance(model, Prepared) else ():
        yield f"one model of the ensemble ran with reference instead of {spec.numerics} numerics: {member}"


def _no_logits(clean: _Verdict, images: Tensor, model: Classifier, source: Classifier) -> Iterator[str]:
    """Where `model`, or the source of the gradients, gives probabilities."""
    answered = clean.answered
    if len(answered) and answered.min() >= 0 and answered.max() <= 1 + 1e-5:  # else no pass over the model is worth it
        yield from doubts(model, images)
    if source is not model:
        yield from doubts(source, images)


def _short(spec: AttackSpec, batches: Sequence[int]) -> Counter[str]:
    """Of how many images the memory was short, so that batches were halved."""
    total = sum(batches)
    if len(batches) <= math.ceil(total / spec.batch):
        return Counter()
    return Counter({f"memory was short: batches of {min(batches)} to {max(batches)} instead of {spec.batch}; results "
                    "differ slightly": total})


def _saturated(model: Classifier, clean: _Verdict) -> Counter[str]:
    """Of how many images the model's probabilities have no gradient."""
    lost = int(saturated(model, clean.answered).sum())
    return Counter({SATURATED: lost} if lost else {})


@devices.exact()
def show(made: Rows, spec: AttackSpec, adversarial: Tensor, model: Classifier, images: Tensor, labels: Tensor, *,
         source: Classifier, reference: Reference | None = None, device: str = "auto") -> Rows:
    """What another `model`, of whose classes `labels` are, says of images that an attack has `made` on `source`; raises
    EngineError.

    These are the rows that `run_attack` would give of that model with that surrogate, for which the attack would be
    made once more. Here nothing is spent on any image, and what is to be said of the making stays with `made`. `spec`
    is the attack as this model would be told of it; `reference` are the defender's clean images.
    """
    images, labels = _checked(images, labels, model, spec.target)
    chosen = devices.choose(device)
    model = placed(model, chosen)
    started = time.perf_counter()
    defenses = bound(defenses_from(spec.defenses), model, reference, spec.seed)
    served, batch = Served(model, defenses, spec.seed), max(made.provenance.batches)
    said = {name: _verdict(served, x, made.identities, what, batch, chosen) for name, what, x in (
        ("clean", "clean", images), ("adversarial", "adversarial", adversarial),
        ("8bit", "8 bit", (adversarial * 255).round() / 255))}
    nothing = np.zeros(len(images), np.int64)
    return Rows(
        spec=spec,
        provenance=replace(made.provenance, model=model.name, model_digest=model.digest, versions=versions(),
                           device=devices.title(chosen), surrogate_digest=source.digest),
        classes=model.classes,
        identities=made.identities,
        digests=made.digests,
        labels=labels.numpy(),
        **{f"logits_{name}": verdict.logits for name, verdict in said.items()},
        **{f"refused_{name}": verdict.refused for name, verdict in said.items()},
        **{name: getattr(made, name) for name in ("linf", "l2", "l0")},
        queries=nothing,
        gradients=nothing,
        refusals=nothing,
        tally=Tally(notes=dict(_saturated(model, said["clean"])),
                    said=tuple(_no_logits(said["clean"], images, model, model))),
        seconds=time.perf_counter() - started,
    )

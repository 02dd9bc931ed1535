"""Runs any attack: checks, batches, randomness, progress, cancel, the final verdict, and the result."""

import copy
import math
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from engine import device as devices
from engine import digest
from engine.attacks.base import ATTACKS, Attack, Budget, Goal, Knowledge, Others, Run, length
from engine.attacks.norms import NORMS
from engine.attacks.result import MILESTONES, AttackResult, Provenance, Trace, Walk
from engine.attacks.spec import AttackSpec, whole
from engine.errors import EngineError
from engine.home import home
from engine.params import build
from engine.progress import Progress
from engine.serving.prepare import Prepared, prepared
from engine.serving.threat import DecisionBased, Oracle, ScoreBased, WhiteBox
from engine.work.store import Payload, store_in
from engine.zoo.classifier import Classifier
from engine.zoo.outputs import doubts, saturated

MOST_IMAGES = 64  # iterates of one run that are kept as images

T = TypeVar("T")

ORACLES: dict[Knowledge, type[Oracle]] = {
    Knowledge.WHITE_BOX: WhiteBox,
    Knowledge.TRANSFER: WhiteBox,
    Knowledge.SCORE: ScoreBased,
    Knowledge.DECISION: DecisionBased,
}


@dataclass(frozen=True)
class Means:
    """What the attacker has besides the target model.

    `surrogate` is the model behind the gradients (default: the target model), `others` the further images that some
    attacks need (default: the attacked images themselves), `mask` bool [N, 1, H, W] the part of each image that may
    change (default: all of it).
    """

    surrogate: Classifier | None = None
    others: Others | None = None
    mask: Tensor | None = None


def run_attack(spec: AttackSpec, model: Classifier, images: Tensor, labels: Tensor, *, means: Means | None = None,
               device: str = "auto", progress: Progress | None = None, keep_steps: bool = False) -> AttackResult:
    """Attack `images` [N, C, H, W] in [0,1] of classes `labels` [N]; raises EngineError and Cancelled.

    With `keep_steps` the result's trace holds the image of every step. Attacked is the surrogate, or else `model`,
    prepared as `spec.numerics` says; clean and adversarial predictions, and so success, are always those of `model`.
    """
    means = means or Means()
    images, labels = _checked(images, labels, model, spec.target)
    _check_means(means, images, model)
    chosen = devices.choose(device)
    attack = build(ATTACKS[spec.attack], spec.params)
    progress = progress or Progress()
    model = _on(chosen, model)
    source = model if means.surrogate is None else _on(chosen, means.surrogate)
    draft = spec.numerics == "draft"
    attacked_model = source if spec.numerics == "reference" else prepared(source, chosen, draft=draft)
    others = _others(means, images, labels, attack, chosen)
    setting = _Setting(spec, attack, attacked_model, others, chosen, keep_steps,
                       _Learned(_learning_spec(spec, source, others, chosen)))
    started = time.perf_counter()
    pieces = list(_pieces(setting, images, labels, means.mask, progress))
    batches = tuple(len(p.adversarial) for p in pieces)
    adversarial = torch.cat([p.adversarial for p in pieces])
    rounded = (adversarial * 255).round() / 255
    logits_clean, logits_adversarial, logits_8bit = (
        _verdict(model, x, max(batches), chosen) for x in (images, adversarial, rounded))
    result = AttackResult(
        spec=spec,
        provenance=_provenance(model, images, labels, chosen, batches, means, attack),
        classes=model.classes,
        labels=labels.numpy(),
        clean=images.numpy(),
        adversarial=adversarial.numpy(),
        adversarial_8bit=rounded.numpy(),
        logits_clean=logits_clean,
        logits_adversarial=logits_adversarial,
        logits_8bit=logits_8bit,
        queries=np.concatenate([p.queries for p in pieces]),
        gradients=np.concatenate([p.gradients for p in pieces]),
        trace=_joined([p.trace for p in pieces]),
        warnings=(),
        seconds=time.perf_counter() - started,
    )
    return replace(result, warnings=(*_slower(spec, attacked_model), *_no_logits(result, images, model, source),
                                      *_warnings(result, pieces), *setting.learned.warnings()))


def _on(device: torch.device, model: Classifier) -> Classifier:
    """`model` itself where all of it is on `device`, otherwise a copy: the caller's model stays where it is."""
    target = torch.empty(0, device=device).device
    if all(tensor.device == target for tensor in model.state_dict().values()):
        return model
    return copy.deepcopy(model).to(device)


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


def _check_means(means: Means, images: Tensor, model: Classifier) -> None:
    """Raises EngineError where surrogate, mask or other images do not fit the attacked ones."""
    if means.surrogate is not None and means.surrogate.classes != model.classes:
        raise EngineError(f"the surrogate {means.surrogate.name} has other classes than {model.name}; take one trained "
                          "on the same data")
    if means.mask is not None:
        if means.mask.shape != (len(images), 1, *images.shape[2:]):
            raise EngineError(f"the mask must be [{len(images)}, 1, H, W] like the images, not "
                              f"{list(means.mask.shape)}")
        if not bool(means.mask.flatten(1).any(dim=1).all()):
            raise EngineError("the mask is empty: nothing may change; mark at least one pixel of each image")
    if means.others is not None and means.others.images.shape[1:] != images.shape[1:]:
        raise EngineError(f"the other images must be {list(images.shape[1:])} like the attacked ones, not "
                          f"{list(means.others.images.shape[1:])}")


@dataclass(frozen=True)
class _Piece:
    """The outcome of one batch."""

    adversarial: Tensor
    queries: np.ndarray
    gradients: np.ndarray
    zero_gradients: int
    nan_gradients: int
    trace: Trace
    notes: Counter[str]


class _Learned:
    """What an attack learned before: kept in memory for the next batch, and in the store for the next run."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._spec, self._key = spec, digest.of_spec({"kind": "learned", **spec})
        self._payload: Payload | None = None
        self.note = ""

    def fetch(self, fit: Callable[[], dict[str, Tensor]], curves: dict[str, list[float]], oracle: Oracle) -> Payload:
        """The arrays that `fit` gave now or earlier, with the curves of its losses; it asked what is apart from
        `oracle`."""
        store = store_in(home() / "runs")
        self._payload = self._payload or store.get(self._key)
        if self._payload is None:
            arrays = {name: value.detach().cpu().numpy() for name, value in fit().items()}
            lesson = oracle.lesson.tolist() if isinstance(oracle, WhiteBox) else [0, 0, 0]
            self._payload = Payload({"curves": curves, "gradients": lesson}, arrays)
            try:
                store.put(self._key, "learned", f"learned by {self._spec['attack']}", self._spec, self._payload)
            except EngineError as error:
                self.note = f"what was learned is not kept: {error}"
        return self._payload

    def warnings(self) -> Iterator[str]:
        """What the lesson's gradients lacked, and where it is not kept."""
        if self._payload is not None:
            total, zero, bad = self._payload.facts.get("gradients", [0, 0, 0])
            yield from _troubles(total, zero, bad, "while learning, ")
        if self.note:
            yield self.note


class _BatchRun(Run):
    """One batch's view of the runner. Random numbers are drawn on the CPU, image by image, so that neither the device
    nor the other images of the batch change them."""

    def __init__(self, setting: "_Setting", first: int, clean: Tensor, report: Callable[[float, str], None]) -> None:
        self.others = setting.others
        self.oracle: Oracle | None = None  # what the attack asks
        self._setting = setting
        self._clean = clean
        self._generators = [torch.Generator().manual_seed(_image_seed(setting.spec.seed, first + i))
                            for i in range(len(clean))]
        self._report = report
        self._logits: list[Tensor] = []
        self._objective: list[Tensor] = []
        self._images: list[Tensor] = []
        self._kept: list[int] = []
        self._queries: list[Tensor] = []
        self._distances: list[Tensor] = []
        self._film: Tensor | None = None
        self._curves: dict[str, list[float]] = {}
        self.notes: Counter[str] = Counter()
        self._shown: dict[str, np.ndarray] = {}

    def _draw(self, like: Tensor, rows: Tensor | None, one: Callable[..., Tensor]) -> Tensor:
        images = range(len(self._generators)) if rows is None else rows.tolist()
        if len(like) != len(images):
            raise ValueError(f"random numbers for {len(like)} rows of {len(images)} images")
        drawn = torch.empty(like.shape, dtype=like.dtype)
        for row, image in zip(drawn, images, strict=True):
            one(like.shape[1:], generator=self._generators[image], dtype=like.dtype, out=row)
        return drawn.to(like.device)

    def noise(self, like: Tensor, rows: Tensor | None = None) -> Tensor:
        return self._draw(like, rows, torch.rand).mul_(2).sub_(1)

    def normal(self, like: Tensor, rows: Tensor | None = None) -> Tensor:
        return self._draw(like, rows, torch.randn)

    def walk(self, images: Tensor, queries: Tensor, done: float) -> None:
        self._queries.append(queries.clone())
        order = NORMS[self._setting.spec.norm].order
        self._distances.append(length(images - self._clean, order)[:, 0, 0, 0])
        if self._setting.keep_steps:
            now = images.detach().cpu()
            if self._film is None:
                self._film = now[None].repeat(len(MILESTONES), *[1] * now.ndim)
            before = torch.tensor(MILESTONES)[:, None] >= queries.cpu()
            self._film = now.where(before[:, :, None, None, None], self._film)
        self._report(done, f"{int(queries.max())} queries an image")

    def note(self, text: str, images: int = 1) -> None:
        self.notes[text] += images

    def learned(self, fit: Callable[[], dict[str, Tensor]], show: Sequence[str] = ()) -> dict[str, Tensor]:
        assert self.oracle is not None
        payload = self._setting.learned.fetch(fit, self._curves, self.oracle)
        self._curves = payload.facts["curves"]
        self._shown = {name: payload.arrays[name].copy() for name in show}
        return {name: torch.tensor(array).to(self._clean.device) for name, array in payload.arrays.items()}

    def dice(self) -> torch.Generator:
        seeds = np.random.SeedSequence(self._setting.spec.seed, spawn_key=(0,))  # unlike those of any image
        return torch.Generator().manual_seed(_first_word(seeds))

    def learning(self, step: int, steps: int, **losses: float) -> None:
        for name, value in losses.items():
            self._curves.setdefault(name, []).append(float(value))
        shown = ", ".join(f"{name} {value:.3g}" for name, value in losses.items())
        self._report(0.9 * step / steps, f"learning, step {step} of {steps}{': ' if shown else ''}{shown}")

    def record(self, step: int, steps: int, images: Tensor, logits: Tensor, value: Tensor) -> None:
        # Kept where they are: moving them to the CPU now would make a GPU wait for every step.
        self._logits.append(logits)
        self._objective.append(value)
        if self._setting.keep_steps and step % math.ceil(steps / MOST_IMAGES) == 0:
            self._images.append(images.detach().to("cpu", copy=True))
            self._kept.append(len(self._logits) - 1)
        self._report((step + 1) / steps, f"step {step + 1} of {steps}")

    def trace(self, classes: int) -> Trace:
        n, keep = len(self._clean), self._setting.keep_steps
        curves = {name: tuple(values) for name, values in self._curves.items()}
        if not self._logits:
            images = np.empty((0, *self._clean.shape), np.float32) if keep else None
            return Trace(np.empty((0, n, classes), np.float32), np.empty((0, n), np.float32), images,
                         walk=self._walk(), curves=curves, learned=self._shown)
        return Trace(
            logits=torch.stack(self._logits).cpu().numpy(),
            objective=torch.stack(self._objective).cpu().numpy(),
            images=torch.stack(self._images).numpy() if keep else None,
            kept=tuple(self._kept),
            walk=self._walk(),
            curves=curves,
            learned=self._shown,
        )

    def _walk(self) -> Walk | None:
        if not self._queries:
            return None
        return Walk(torch.stack(self._queries).cpu().numpy(), torch.stack(self._distances).cpu().numpy(),
                    None if self._film is None else self._film.numpy())


def _image_seed(seed: int, index: int) -> int:
    return _first_word(np.random.SeedSequence([seed, index]))


def _first_word(sequence: np.random.SeedSequence) -> int:
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


@dataclass(frozen=True)
class _Setting:
    """What all batches of a run have in common."""

    spec: AttackSpec
    attack: Attack
    model: Classifier
    others: Others
    device: torch.device
    keep_steps: bool
    learned: _Learned

    @property
    def max_queries(self) -> int | None:
        """A black-box attack may spend what it declares, or less where the spec says so."""
        if whole(self.attack.info.knowledge):
            return self.spec.max_queries
        declared = self.attack.cost().queries
        return declared if self.spec.max_queries is None else min(declared, self.spec.max_queries)


def _pieces(setting: _Setting, images: Tensor, labels: Tensor, mask: Tensor | None,
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
        return _one_batch(setting, clean, of, part, _BatchRun(setting, start, clean, report))

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


def _one_batch(setting: _Setting, clean: Tensor, labels: Tensor, mask: Tensor | None, run: _BatchRun) -> _Piece:
    spec, attack = setting.spec, setting.attack
    oracle = ORACLES[attack.info.knowledge](setting.model, len(clean), setting.max_queries, spec.batch)
    run.oracle = oracle
    targets = None if spec.target is None else torch.full_like(labels, spec.target)
    ball = Budget(spec.norm, spec.eps).around(clean, mask, patched=attack.info.patched)
    adversarial = attack.run(oracle, clean, Goal(labels, targets), ball, run)
    adversarial = ball.project_(adversarial.detach().clone())
    white = oracle if isinstance(oracle, WhiteBox) else None
    return _Piece(
        adversarial=adversarial.cpu(),
        queries=oracle.queries.cpu().numpy(),
        gradients=white.gradients.cpu().numpy() if white else np.zeros(len(clean), np.int64),
        zero_gradients=white.zero_gradients if white else 0,
        nan_gradients=white.nan_gradients if white else 0,
        trace=run.trace(oracle.classes),
        notes=run.notes,
    )


@torch.no_grad()
def _verdict(model: Classifier, images: Tensor, batch: int, device: torch.device) -> np.ndarray:
    """Logits [N, K] of the unmodified model, in batches of the size that the attack could use."""
    def work(start: int, end: int) -> Tensor:
        return model(images[start:end].to(device)).float().cpu()

    return torch.cat(list(_in_batches(len(images), batch, work))).numpy()


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
                np.concatenate(films, axis=1) if films else None)


def _provenance(model: Classifier, images: Tensor, labels: Tensor, device: torch.device, batches: tuple[int, ...],
                means: Means, attack: Attack) -> Provenance:
    return Provenance(model=model.name, model_digest=model.digest, device=devices.title(device), batches=batches,
                      data_digest=digest.of_arrays(images.numpy(), labels.numpy()), versions=versions(),
                      files=attack.files(), **_means_digests(means))


def _means_digests(means: Means) -> dict[str, str]:
    """What identifies the surrogate, the mask and the other images; empty for what there is not."""
    return {
        "surrogate_digest": "" if means.surrogate is None else means.surrogate.digest,
        "mask_digest": "" if means.mask is None else digest.of_arrays(means.mask.cpu().numpy()),
        "others_digest": "" if means.others is None else digest.of_arrays(means.others.images.cpu().numpy(),
                                                                          means.others.labels.cpu().numpy()),
    }


def _others(means: Means, images: Tensor, labels: Tensor, attack: Attack, device: torch.device) -> Others:
    """The images the attacker has: those given, or the attacked ones themselves; none where the attack needs none."""
    if not attack.info.others:
        return Others(images[:0].to(device), labels[:0].to(device))
    others = means.others or Others(images, labels)
    return Others(others.images.to(device), others.labels.to(device))


def _learning_spec(spec: AttackSpec, model: Classifier, others: Others, device: torch.device) -> dict[str, Any]:
    """Everything that decides what an attack learns: neither the attacked images nor the mask do."""
    return {"attack": spec.attack, "version": ATTACKS[spec.attack].info.version,
            "params": spec.params, "norm": spec.norm, "eps": spec.eps, "target": spec.target,
            "seed": spec.seed, "batch": spec.batch, "numerics": spec.numerics, "model": model.digest,
            "device": devices.title(device),
            "others": digest.of_arrays(others.images.cpu().numpy(), others.labels.cpu().numpy())}


def versions() -> dict[str, str]:
    """The libraries whose version can change a result."""
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


def _no_logits(result: AttackResult, images: Tensor, model: Classifier, source: Classifier) -> Iterator[str]:
    """Where `model`, or the source of the gradients, gives probabilities."""
    low, high = result.logits_clean.min(), result.logits_clean.max()
    if low >= 0 and high <= 1 + 1e-5:  # else no pass over the model is worth it
        yield from doubts(model, images)
    if source is not model:
        yield from doubts(source, images)
    if lost := int(saturated(model, result.logits_clean).sum()):
        yield (f"{lost} of {len(images)} images: a probability is exactly 0 or 1 (or lies beyond), where it has no "
               "gradient; give the network's logits instead, and leave outputs out")


def _troubles(total: int, zero: int, bad: int, when: str = "") -> Iterator[str]:
    if zero:
        yield f"{when}{zero} of {total} gradients were zero everywhere: the attack could not see which way to go"
    if bad:
        yield f"{when}{bad} of {total} gradients held NaN or infinity; those entries were taken as 0"


def _warnings(result: AttackResult, pieces: list[_Piece]) -> Iterator[str]:
    zero, bad = sum(p.zero_gradients for p in pieces), sum(p.nan_gradients for p in pieces)
    yield from _troubles(int(result.gradients.sum()), zero, bad)
    for text, count in sum((p.notes for p in pieces), Counter()).items():
        yield f"{count} of {len(result.labels)} images: {text}"
    lost = int((result.success & ~result.success_8bit).sum())
    if lost:
        yield f"{lost} of {int(result.success.sum())} successes vanish when the image is saved with 8 bits"
    planned, sizes = result.spec.batch, result.provenance.batches
    if len(sizes) > math.ceil(len(result.labels) / planned):
        yield f"memory was short: batches of {min(sizes)} to {max(sizes)} instead of {planned}; results differ slightly"
    if not result.attacked.any():
        yield "no image was classified correctly before the attack, so there was nothing to succeed on"

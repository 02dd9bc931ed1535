"""Runs any attack: checks, batches, randomness, progress, cancel, the final verdict, and the result."""

import copy
import math
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from engine import device as devices
from engine import digest
from engine.attacks.base import ATTACKS, Attack, Budget, Goal, Knowledge, Run
from engine.attacks.result import AttackResult, Provenance, Trace
from engine.attacks.spec import AttackSpec
from engine.errors import EngineError
from engine.models.classifier import Classifier, looks_like_probabilities
from engine.models.prepare import Prepared, prepared
from engine.models.threat import DecisionBased, Oracle, ScoreBased, WhiteBox
from engine.params import build
from engine.progress import Progress

T = TypeVar("T")

ORACLES: dict[Knowledge, type[Oracle]] = {
    Knowledge.WHITE_BOX: WhiteBox,
    Knowledge.TRANSFER: WhiteBox,
    Knowledge.SCORE: ScoreBased,
    Knowledge.DECISION: DecisionBased,
}


def run_attack(spec: AttackSpec, model: Classifier, images: Tensor, labels: Tensor, *, device: str = "auto",
               progress: Progress | None = None, keep_steps: bool = False) -> AttackResult:
    """Attack `images` [N, C, H, W] in [0,1] of classes `labels` [N]; raises EngineError and Cancelled.

    With `keep_steps` the result's trace holds the image of every step. Attacked is `model` prepared as
    `spec.numerics` says; clean and adversarial predictions, and so success, are always those of `model` itself.
    """
    images, labels = _checked(images, labels, model, spec.target)
    chosen = devices.choose(device)
    attack = build(ATTACKS[spec.attack], spec.params)
    progress = progress or Progress()
    model = _on(chosen, model)
    attacked_model = model if spec.numerics == "reference" else prepared(model, chosen, draft=spec.numerics == "draft")
    started = time.perf_counter()
    pieces = list(_pieces(spec, attack, attacked_model, images, labels, chosen, progress, keep_steps))
    batches = tuple(len(p.adversarial) for p in pieces)
    adversarial = torch.cat([p.adversarial for p in pieces])
    rounded = (adversarial * 255).round() / 255
    logits_clean, logits_adversarial, logits_8bit = (
        _verdict(model, x, max(batches), chosen) for x in (images, adversarial, rounded))
    result = AttackResult(
        spec=spec,
        provenance=_provenance(model, images, labels, chosen, batches),
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
    return replace(result, warnings=(*_slower(spec, attacked_model), *_warnings(result, pieces)))


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


@dataclass(frozen=True)
class _Piece:
    """The outcome of one batch."""

    adversarial: Tensor
    queries: np.ndarray
    gradients: np.ndarray
    zero_gradients: int
    nan_gradients: int
    trace: Trace


class _BatchRun(Run):
    """One batch's view of the runner. Random numbers are drawn on the CPU, image by image, so that neither the device
    nor the other images of the batch change them."""

    def __init__(self, seed: int, first: int, size: int, keep_images: bool,
                 report: Callable[[float, str], None]) -> None:
        self._generators = [torch.Generator().manual_seed(_image_seed(seed, first + i)) for i in range(size)]
        self._keep_images = keep_images
        self._report = report
        self._logits: list[Tensor] = []
        self._objective: list[Tensor] = []
        self._images: list[Tensor] = []

    def _draw(self, like: Tensor, one: Callable[..., Tensor]) -> Tensor:
        if len(like) != len(self._generators):
            raise ValueError(f"random numbers for {len(like)} rows in a batch of {len(self._generators)} images")
        rows = [one(like.shape[1:], generator=g, dtype=like.dtype) for g in self._generators]
        return torch.stack(rows).to(like.device)

    def noise(self, like: Tensor) -> Tensor:
        return self._draw(like, torch.rand).mul_(2).sub_(1)

    def normal(self, like: Tensor) -> Tensor:
        return self._draw(like, torch.randn)

    def record(self, step: int, steps: int, images: Tensor, logits: Tensor, value: Tensor) -> None:
        # Kept where they are: moving them to the CPU now would make a GPU wait for every step.
        self._logits.append(logits)
        self._objective.append(value)
        if self._keep_images:
            self._images.append(images.detach().to("cpu", copy=True))
        self._report((step + 1) / steps, f"step {step + 1} of {steps}")

    def trace(self, like: Tensor, classes: int) -> Trace:
        n = len(like)
        if not self._logits:
            images = np.empty((0, *like.shape), np.float32) if self._keep_images else None
            return Trace(np.empty((0, n, classes), np.float32), np.empty((0, n), np.float32), images)
        return Trace(
            logits=torch.stack(self._logits).cpu().numpy(),
            objective=torch.stack(self._objective).cpu().numpy(),
            images=torch.stack(self._images).numpy() if self._keep_images else None,
        )


def _image_seed(seed: int, index: int) -> int:
    return int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _pieces(spec: AttackSpec, attack: Attack, model: Classifier, images: Tensor, labels: Tensor, device: torch.device,
            progress: Progress, keep_steps: bool) -> Iterator[_Piece]:
    """The batches, attacked one after another."""
    total = len(images)

    def work(start: int, end: int) -> _Piece:
        which = f"images {start + 1} to {end} of {total}, " if end - start < total else ""

        def report(fraction: float, text: str) -> None:
            progress.report((start + fraction * (end - start)) / total, which + text)

        report(0.0, "first step")
        run = _BatchRun(spec.seed, start, end - start, keep_steps, report)
        return _one_batch(spec, attack, model, images[start:end].to(device), labels[start:end].to(device), run)

    yield from _in_batches(total, spec.batch, work)


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


def _one_batch(spec: AttackSpec, attack: Attack, model: Classifier, clean: Tensor, labels: Tensor,
               run: _BatchRun) -> _Piece:
    oracle = ORACLES[attack.info.knowledge](model, len(clean), spec.max_queries)
    targets = None if spec.target is None else torch.full_like(labels, spec.target)
    ball = Budget(spec.norm, spec.eps).around(clean)
    adversarial = attack.run(oracle, clean, Goal(labels, targets), ball, run)
    adversarial = ball.project_(adversarial.detach().clone())
    white = oracle if isinstance(oracle, WhiteBox) else None
    return _Piece(
        adversarial=adversarial.cpu(),
        queries=oracle.queries.cpu().numpy(),
        gradients=white.gradients.cpu().numpy() if white else np.zeros(len(clean), np.int64),
        zero_gradients=white.zero_gradients if white else 0,
        nan_gradients=white.nan_gradients if white else 0,
        trace=run.trace(clean, oracle.classes),
    )


@torch.no_grad()
def _verdict(model: Classifier, images: Tensor, batch: int, device: torch.device) -> np.ndarray:
    """Logits [N, K] of the unmodified model, in batches of the size that the attack could use."""
    def work(start: int, end: int) -> Tensor:
        return model(images[start:end].to(device)).float().cpu()

    return torch.cat(list(_in_batches(len(images), batch, work))).numpy()


def _joined(traces: list[Trace]) -> Trace:
    """Traces of several batches as one; a batch that stopped early keeps its last state."""
    steps = max(len(t.logits) for t in traces)

    def padded(array: np.ndarray) -> np.ndarray:
        last = array[-1:] if len(array) else np.full((1, *array.shape[1:]), np.nan, array.dtype)
        return np.concatenate([array, np.repeat(last, steps - len(array), axis=0)])

    def join(arrays: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([padded(a) for a in arrays], axis=1)

    images = [t.images for t in traces if t.images is not None]
    return Trace(join([t.logits for t in traces]), join([t.objective for t in traces]),
                 join(images) if images else None)


def _provenance(model: Classifier, images: Tensor, labels: Tensor, device: torch.device,
                batches: tuple[int, ...]) -> Provenance:
    return Provenance(model=model.name, model_digest=model.digest, device=devices.title(device), batches=batches,
                      data_digest=digest.of_arrays(images.numpy(), labels.numpy()), versions=versions())


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


def _warnings(result: AttackResult, pieces: list[_Piece]) -> Iterator[str]:
    if looks_like_probabilities(result.logits_clean):
        yield "the model's outputs look like probabilities, not logits: gradients vanish and attacks look too weak"
    zero, bad = sum(p.zero_gradients for p in pieces), sum(p.nan_gradients for p in pieces)
    total = int(result.gradients.sum())
    if zero:
        yield f"{zero} of {total} gradients were zero everywhere: the attack could not see which way to go"
    if bad:
        yield f"{bad} of {total} gradients held NaN or infinity; those entries were taken as 0"
    lost = int((result.success & ~result.success_8bit).sum())
    if lost:
        yield f"{lost} of {int(result.success.sum())} successes vanish when the image is saved with 8 bits"
    planned, sizes = result.spec.batch, result.provenance.batches
    if len(sizes) > math.ceil(len(result.labels) / planned):
        yield f"memory was short: batches of {min(sizes)} to {max(sizes)} instead of {planned}; results differ slightly"
    if not result.attacked.any():
        yield "no image was classified correctly before the attack, so there was nothing to succeed on"

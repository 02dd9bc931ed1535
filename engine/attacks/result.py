"""What an attack run leaves behind: images, numbers and everything needed to repeat it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.attacks.spec import AttackSpec
from engine.metrics.rates import interval

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Provenance:
    """Where a result comes from."""

    model: str
    model_digest: str
    data_digest: str
    device: str
    versions: dict[str, str]
    batches: tuple[int, ...]
    surrogate_digest: str = ""
    mask_digest: str = ""
    others_digest: str = ""
    files: dict[str, str] = field(default_factory=dict)


MILESTONES = (100, 250, 1_000, 5_000, 10_000, 20_000)  # queries at which a walk's images are kept


@dataclass(frozen=True)
class Walk:
    """The way of an attack that sees no logits: `queries` spent [T, N] and `distances` from the clean images in the
    norm of the run [T, N]; `film` holds the images at MILESTONES [M, N, C, H, W] (or None: not kept)."""

    queries: np.ndarray
    distances: np.ndarray
    film: np.ndarray | None

    def __post_init__(self) -> None:
        _lock(self)


@dataclass(frozen=True)
class Trace:
    """The iterates on the way: logits [T, N, K], objective [T, N], images [S, N, C, H, W] (or None: not kept).

    `kept` [S] numbers the iterates whose images are kept: all, or some spread evenly over a long run. `walk` is
    there where the attack saw no logits, and `curves` holds what it learned by, a list of losses a name. `learned` are
    the things learned that can be looked at, such as a "pattern" [C, H, W] that is added to every image.
    """

    logits: np.ndarray
    objective: np.ndarray
    images: np.ndarray | None
    kept: tuple[int, ...] = ()
    walk: Walk | None = None
    curves: dict[str, tuple[float, ...]] = field(default_factory=dict)
    learned: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _lock(self)
        for value in self.learned.values():
            value.setflags(write=False)


def _predicted(logits: np.ndarray, refused: np.ndarray) -> np.ndarray:
    return np.where(refused, -1, logits.argmax(axis=1))


def _lock(instance: Walk | Trace | AttackResult) -> None:
    """Make the arrays of a result read-only, as it is kept and shown more than once."""
    for value in (getattr(instance, f.name) for f in fields(instance)):
        if isinstance(value, np.ndarray):
            value.setflags(write=False)


@dataclass(frozen=True)
class AttackResult:
    """N attacked images. Images are float32 [N, C, H, W] in [0,1]; logits [N, K] come from the unmodified model, behind
    its defenses where it has any.

    A defended model may refuse an image: it then predicts nothing (-1, logits NaN), which is neither right nor wrong. A
    refused adversarial image is no success, for it got no wrong answer; a refused clean one is not classified
    correctly, so nothing is attacked there; and none counts as accurate. `refusals` [N] counts, of the attack's
    `queries`, those that were refused.

    `adversarial_8bit` is the adversarial image after rounding to 8 bits, as a PNG would keep it; rounding may go beyond
    the budget by half a grey level. `success` counts only where the clean prediction was right (`attacked`). Norms are
    in [0,1] intensity. Arrays are read-only.
    """

    spec: AttackSpec
    provenance: Provenance
    classes: tuple[str, ...]
    identities: tuple[str, ...]
    labels: np.ndarray
    clean: np.ndarray
    adversarial: np.ndarray
    adversarial_8bit: np.ndarray
    logits_clean: np.ndarray
    logits_adversarial: np.ndarray
    logits_8bit: np.ndarray
    refused_clean: np.ndarray
    refused_adversarial: np.ndarray
    refused_8bit: np.ndarray
    queries: np.ndarray
    gradients: np.ndarray
    refusals: np.ndarray
    trace: Trace
    warnings: tuple[str, ...]
    seconds: float

    def __post_init__(self) -> None:
        _lock(self)

    @property
    def predicted_clean(self) -> np.ndarray:
        return _predicted(self.logits_clean, self.refused_clean)

    @property
    def predicted_adversarial(self) -> np.ndarray:
        return _predicted(self.logits_adversarial, self.refused_adversarial)

    @property
    def predicted_8bit(self) -> np.ndarray:
        return _predicted(self.logits_8bit, self.refused_8bit)

    @property
    def attacked(self) -> np.ndarray:
        """The images that count: classified correctly before, and not of the target class already. Bool [N]."""
        right = self.predicted_clean == self.labels
        return right if self.spec.target is None else right & (self.labels != self.spec.target)

    def _reached(self, predicted: np.ndarray) -> np.ndarray:
        moved = predicted != self.labels if self.spec.target is None else predicted == self.spec.target
        return self.attacked & moved & (predicted >= 0)

    @property
    def success(self) -> np.ndarray:
        """Whether the attack reached its goal, bool [N]; False where `attacked` is False."""
        return self._reached(self.predicted_adversarial)

    @property
    def success_8bit(self) -> np.ndarray:
        return self._reached(self.predicted_8bit)

    @property
    def open(self) -> np.ndarray:
        """The images whose prediction could be driven off: all that have one, or those not taken for the target class
        already."""
        return ~self.refused_clean & (self.spec.target is None or self.predicted_clean != self.spec.target)

    @property
    def fooled(self) -> np.ndarray:
        """Whether the prediction, right or not, was driven elsewhere, or to the target: what the fooling rate of the
        papers on universal perturbations counts, over those that are `open`. Bool [N]."""
        then = self.predicted_adversarial
        driven = then != self.predicted_clean if self.spec.target is None else then == self.spec.target
        return self.open & driven & (then >= 0)

    @property
    def linf(self) -> np.ndarray:
        return np.abs(self.adversarial - self.clean).reshape(len(self.clean), -1).max(axis=1)

    @property
    def l0(self) -> np.ndarray:
        """How many pixels differ, whatever the number of channels."""
        return (self.adversarial != self.clean).any(axis=1).reshape(len(self.clean), -1).sum(axis=1)

    @property
    def l2(self) -> np.ndarray:
        return np.linalg.norm((self.adversarial - self.clean).reshape(len(self.clean), -1).astype(np.float64), axis=1)

    def summary(self) -> dict[str, Any]:
        """The numbers of the command line's contract, JSON-able."""
        attacked, fooled, open_ = int(self.attacked.sum()), int(self.fooled.sum()), int(self.open.sum())
        return {
            "n": len(self.labels),
            "accuracy_clean": float((self.predicted_clean == self.labels).mean()),
            "accuracy_adversarial": float((self.predicted_adversarial == self.labels).mean()),
            "accuracy_adversarial_8bit": float((self.predicted_8bit == self.labels).mean()),
            "attacked": attacked,
            "success_rate": float(self.success.sum() / attacked) if attacked else None,
            "success_rate_8bit": float(self.success_8bit.sum() / attacked) if attacked else None,
            "fooling_rate": fooled / open_ if open_ else None,
            "fooling_interval": list(interval(fooled, open_)),
            "fooling_of": open_,
            "linf_max": float(self.linf.max()),
            "l2_mean": float(self.l2.mean()),
            "l2_median": float(np.median(self.l2)),
            "l0_mean": float(self.l0.mean()),
            "queries_mean": float(self.queries.mean()),
            "gradients_mean": float(self.gradients.mean()),
            "refused": int(self.refusals.sum()),
            "refused_clean": int(self.refused_clean.sum()),
            "refused_adversarial": int(self.refused_adversarial.sum()),
            "refused_8bit": int(self.refused_8bit.sum()),
            "seconds": self.seconds,
            "seed": self.spec.seed,
            "eps": self.spec.eps,
            "warnings": list(self.warnings),
        }

    def facts(self) -> dict[str, Any]:
        """Summary, spec and provenance, JSON-able: enough to run it again."""
        return {**self.summary(), "spec": asdict(self.spec), "provenance": asdict(self.provenance),
                "classes": list(self.classes)}


class TensorResult:
    """An AttackResult whose arrays are tensors on `device`: what who attacks tensors gets back.

    Everything else (summary, spec, trace, warnings ...) is the result's own, and `arrays` is that result itself, with
    NumPy arrays. A tensor is made when it is first asked for; it is a copy, and may be written to.
    """

    def __init__(self, arrays: AttackResult, device: torch.device) -> None:
        self.arrays = arrays
        self.device = device

    def __getattr__(self, name: str) -> Any:
        """Only called for what is not known yet: a tensor is then kept under its name."""
        if name in ("arrays", "device"):  # not there before __init__, as when the object is copied or unpickled
            raise AttributeError(name)
        value = getattr(self.arrays, name)
        if isinstance(value, np.ndarray):
            import torch

            value = torch.tensor(value, device=self.device)
            setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self.arrays)})

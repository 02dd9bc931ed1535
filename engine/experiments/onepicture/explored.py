"""What the work on one picture leaves behind, typed: the one place that knows by which names it is kept.

Each Result is that of a kind of work; the facts of Explored are also what a downloaded run says. Does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Annotated, Self

import numpy as np
from pydantic import AfterValidator, Field, PlainSerializer

from engine.attacks import ATTACKS
from engine.attacks.norms import NORMS
from engine.attacks.rows import Provenance
from engine.attacks.spec import AttackSpec
from engine.errors import EngineError
from engine.experiments.units import LEARNED, learned_arrays
from engine.explain.shift import CamShift
from engine.metrics.visibility import Visibility
from engine.work.results import Result
from engine.work.specs import from_json
from engine.work.store import Payload


def _sized(dimensions: int, low: float = -np.inf, high: float = np.inf) -> Callable[[np.ndarray], np.ndarray]:
    """Takes arrays of so many dimensions with numbers from `low` to `high`."""
    def check(values: np.ndarray) -> np.ndarray:
        if values.ndim != dimensions or values.dtype.kind not in "iuf":
            raise EngineError(f"it must be numbers in {dimensions} dimensions, not {values.dtype} {values.shape}")
        if values.size and not (values.min() >= low and values.max() <= high):
            raise EngineError(f"its numbers must lie between {low:g} and {high:g}")
        return values

    return check


_KEPT_ASIDE = Field(exclude=True)  # arrays are no facts
Image = Annotated[np.ndarray, _KEPT_ASIDE, AfterValidator(_sized(3, 0, 1))]
Images = Annotated[np.ndarray, _KEPT_ASIDE, AfterValidator(_sized(4))]
Heat = Annotated[np.ndarray, _KEPT_ASIDE, AfterValidator(_sized(2))]
Numbers = Annotated[np.ndarray, _KEPT_ASIDE, AfterValidator(_sized(1))]
Learned = Annotated[np.ndarray, AfterValidator(_sized(3))]


def _must(fits: bool, what: str) -> None:
    if not fits:
        raise EngineError(f"{what} do not fit together")


@dataclass(frozen=True)
class Summary:
    """Rows.summary: the numbers of the command line's contract."""

    n: int
    accuracy_clean: float
    accuracy_adversarial: float
    accuracy_adversarial_8bit: float
    attacked: int
    success_rate: float | None
    success_rate_8bit: float | None
    fooling_rate: float | None
    fooling_interval: tuple[float, float]
    fooling_of: int
    linf_max: float
    l2_mean: float
    l2_median: float
    l0_mean: float
    queries_mean: float
    gradients_mean: float
    refused: int
    refused_clean: int
    refused_adversarial: int
    refused_8bit: int
    seconds: float
    seed: int
    eps: float | None
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Origin(Provenance):
    """Where a result comes from, and what identifies its images and their classes."""

    data_digest: str = field(kw_only=True)


@dataclass(frozen=True)
class Ran(Summary):
    """Rows.facts: the numbers, and what is needed to run it again."""

    spec: AttackSpec
    provenance: Origin
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        _must(self.spec.attack in ATTACKS and self.spec.norm in NORMS, "the attack and what is known of attacks")
        _must(self.spec.target is None or 0 <= self.spec.target < len(self.classes), "the target and the classes")


@dataclass(frozen=True)
class Probabilities:
    """What the model says, a probability a class: of the clean image, of the adversarial one, and of that saved as PNG
    with 8 bits or as JPEG."""

    clean: tuple[float, ...]
    adversarial: tuple[float, ...]
    png8: tuple[float, ...]
    jpeg90: tuple[float, ...]


@dataclass(frozen=True)
class InFile:
    """What the model says where the picture is in the values of its file: `rounded` to their steps, and `written` into
    the file's own `rows` and `columns`, read again. A step is a `step` in `unit`, and `finer` times finer than one of 8
    bits; `largest` is the largest change of a value that was written, in `unit`."""

    rounded: tuple[float, ...]
    written: tuple[float, ...]
    unit: str
    step: float
    finer: float
    largest: float
    rows: int
    columns: int


@dataclass(frozen=True)
class Size:
    """PerturbationSize as JSON can say it: the PSNR of equal images is infinite, here None."""

    l0: int
    l0_share: float
    l2: float
    linf: float
    psnr: float | None
    ssim: float


@dataclass(frozen=True)
class Steps:
    """Probabilities [T, K] and loss [T] at every iterate; the last one is the final image. `shown` numbers those of
    which there are pictures."""

    probabilities: tuple[tuple[float, ...], ...]
    loss: tuple[float, ...]
    shown: tuple[int, ...]

    def __post_init__(self) -> None:
        last = len(self.probabilities) - 1
        _must(len(self.loss) == len(self.probabilities) > 0, "the loss and the steps")
        _must(len(self.shown) > 0 and all(0 <= step <= last for step in self.shown), "the pictures and the steps")


@dataclass(frozen=True)
class Way:
    """A black-box attack's way: the distance (None: none was known yet) after so many queries, and at which numbers of
    queries there are pictures."""

    queries: tuple[int, ...]
    distances: tuple[float | None, ...]
    milestones: tuple[int, ...]

    def __post_init__(self) -> None:
        _must(len(self.queries) == len(self.distances) > 0, "the queries and the distances")


@dataclass(frozen=True, eq=False)
class Explored(Result):
    """An attack on one picture. `map` has the model's name for each of the data set's classes; `label` is the true
    class, or what the model said first where that is not known; `learned` what the attack learned from other pictures
    and `curves` the losses it learned by; `layers` those at which a heatmap can be computed; `in_file` is of pictures
    whose file's values are known.

    Images are float32 [C, H, W] in [0,1]: `snapshots` [S, C, H, W] those of `steps.shown`, `film` [M, C, H, W] those of
    `walk.milestones`.
    """

    run: Ran
    map: dict[str, str]
    label: int
    label_known: bool
    probabilities: Probabilities
    attacked: bool
    success: bool
    queries: int
    gradients: int
    size: Size
    visibility: Visibility
    steps: Steps
    walk: Way | None
    learned: Annotated[dict[str, Learned], PlainSerializer(list)]
    curves: dict[str, tuple[float, ...]]
    layers: tuple[str, ...]
    clean: Image
    adversarial: Image
    adversarial_8bit: Image
    snapshots: Images
    film: Images
    in_file: InFile | None = None

    def __post_init__(self) -> None:
        said = self.probabilities
        each = [said.clean, said.adversarial, said.png8, said.jpeg90, *self.steps.probabilities]
        if self.in_file is not None:
            each += [self.in_file.rounded, self.in_file.written]
        _must({len(values) for values in each} == {len(self.run.classes)}, "the probabilities and the classes")
        _must(0 <= self.label < len(self.run.classes), "the label and the classes")
        _must(len(self.snapshots) == len(self.steps.shown), "the pictures and the steps")
        _must(len(self.film) == (len(self.walk.milestones) if self.walk else 0), "the film and the milestones")
        shapes = {image.shape for image in (self.clean, self.adversarial, self.adversarial_8bit)}
        shapes |= {images.shape[1:] for images in (self.snapshots, self.film)}
        _must(len(shapes) == 1, "the sizes of the images")

    def arrays(self) -> dict[str, np.ndarray]:
        return super().arrays() | learned_arrays(self.learned)

    def light(self) -> Payload:
        """As it is given away, in a tenth of the bytes: of the pictures on the way only the last, which is the result,
        and that as the change of a picture of 8 bits, from which it follows to the last digit. Raises EngineError where
        it does not."""
        steps = replace(self.steps, shown=self.steps.shown[-1:])
        payload = replace(self, steps=steps, snapshots=self.adversarial[None]).payload()
        arrays = {**{name: values for name, values in payload.arrays.items() if name not in _FOLLOWS},
                  "clean": np.rint(self.clean * LEVELS).astype(np.uint8), CHANGE: self.adversarial - self.clean}
        _must(all(np.array_equal(values, payload.arrays[name]) for name, values in _from_change(arrays).items()),
              "the pictures and their difference")
        return Payload(payload.facts, arrays)

    @classmethod
    def of(cls, payload: Payload) -> Self:
        learned = {name: payload.arrays.get(LEARNED + name) for name in payload.facts.get("learned", ())}
        arrays = payload.arrays if CHANGE not in payload.arrays else _from_change(payload.arrays)
        return from_json(cls, {**payload.facts, **arrays, "learned": learned})


CHANGE = "change"  # what `light` has instead of the arrays that follow from it
LEVELS = np.float32(255)
_FOLLOWS = ("clean", "adversarial", "adversarial_8bit", "snapshots")


def _from_change(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of a result that was made light."""
    kept = dict(arrays)
    clean = kept["clean"] / LEVELS
    adversarial = clean + kept.pop(CHANGE)
    rounded = np.rint(adversarial * LEVELS) / LEVELS
    return {**kept, **dict(zip(_FOLLOWS, (clean, adversarial, rounded, adversarial[None]), strict=True))}


@dataclass(frozen=True, eq=False)
class Explained(Result):
    """Where the model looked `before` and `after` an attack, [H, W] from 0 to 1, for what it said of each image: the
    `classes`. `on_lesion` is each map's share on the lesion, where one is marked, and `lesion_share` the lesion's share
    of the picture."""

    layer: str
    method: str
    classes: tuple[int, int]
    peak: tuple[float, float]
    shift: CamShift
    before: Heat
    after: Heat
    on_lesion: tuple[float | None, float | None] | None = None
    lesion_share: float | None = None

    def __post_init__(self) -> None:
        _must(self.before.shape == self.after.shape, "the sizes of the heatmaps")


@dataclass(frozen=True, eq=False)
class Measured(Summary, Result):
    """How often what an attack learned fools the model: the numbers, and of each image its number in the split, its
    label and what the model said [N]."""

    indices: Numbers
    labels: Numbers
    predicted_clean: Numbers
    predicted_adversarial: Numbers

    def __post_init__(self) -> None:
        _must(len({len(values) for values in self.arrays().values()}) == 1, "the numbers of images")

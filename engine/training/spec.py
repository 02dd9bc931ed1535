"""What decides a training run; readable without PyTorch."""

import math
from dataclasses import dataclass

import numpy as np

from engine.data.splits import evenly
from engine.errors import EngineError
from engine.params import param
from engine.zoo.architectures import ARCHITECTURES
from engine.zoo.cards import STORAGES
from engine.zoo.variants import HEADS, OWN, Variant

SCRATCH, IMAGENET = "scratch", "imagenet"


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """Everything that decides a training run.

    The network sees `split`, the best epoch is chosen on `validation`, the card reports on that and on `tests`.
    `start_from` is what it begins with: "" or "scratch" (random weights), "imagenet", or a model's name or path;
    `defense` is the defense at training time (engine.training.defenses), "" for none.
    """

    dataset: str
    arch: str
    name: str
    split: str = "train"
    validation: str = "validation"
    tests: tuple[str, ...] = ("test",)
    command: str = ""
    limits: str = ""
    start_from: str = ""
    defense: str = ""
    limit: int = param(0, title="Pictures", low=0, high=10_000_000, help="Learn from so many pictures, spread evenly, "
                       "and look at a third as many of each other split; 0: all.")
    epochs: int = param(12, title="Epochs", low=1, high=1000, help="How often every training image is seen.")
    full_size_epochs: int = param(3, title="Full-size epochs", low=1, high=1000,
                                  help="The last so many epochs see full size; earlier ones see smaller pictures.")
    small_size: int = param(112, title="Small size", low=32, high=1024, unit="px",
                            help="Side of the pictures in the early epochs; a quarter of the time at half the side.")
    size: int = param(0, title="Full size", low=0, high=1024, unit="px",
                      help="Side that pictures are brought to, in training and ever after; 0: as they are.")
    head: str = param(OWN, title="Head", choices=HEADS,
                      help="What makes the decision of the features: the network's own, or that of the papers, average "
                           "pool, flatten, batch norm and two dense layers.")
    frozen_epochs: int = param(0, title="Frozen epochs", low=0, high=1000,
                               help="In the first so many epochs only the last layer learns, at the full rate.")
    batch: int = param(32, title="Batch", low=2, high=1024, help="Images per optimiser step.")
    lr: float = param(1e-3, title="Learning rate", low=1e-6, high=1.0, help="Peak of the schedule (AdamW).")
    schedule: str = param("one-cycle", title="Schedule", choices=("one-cycle", "cosine", "constant"),
                          help="one-cycle: a fifth of the steps up, then down; cosine: up in a twentieth, then down.")
    weight_decay: float = param(0.02, title="Weight decay", low=0.0, high=1.0, help="AdamW's pull towards zero.")
    label_smoothing: float = param(0.0, title="Label smoothing", low=0.0, high=0.9,
                                   help="Share of every label that is spread over all classes.")
    balance: str = param("weights", title="Balance", choices=("weights", "sampling", "none"),
                         help="How rare classes are made to count: by a weight in the loss, or by being drawn oftener.")
    augmentation: str = param("mild", title="Augmentation", choices=("none", "mild", "strong"),
                              help="How far pictures are turned, shifted, scaled, brightened and re-exposed at random.")
    flips: str = param("none", title="Flips", choices=("none", "horizontal", "all", "modality"),
                       help="Mirror images; all: also upside down and on their side; modality: as these data allow.")
    select: str = param("accuracy", title="Best epoch by", choices=("accuracy", "auc", "loss", "robust"),
                        help="By which figure on the validation split the best epoch is chosen; accuracy is balanced; "
                             "robust: accuracy under PGD-10, where the defense has an eps.")
    patience: int = param(0, title="Patience", low=0, high=1000,
                          help="Stop after so many full-size epochs without a better one; 0: never.")
    precision: str = param("bf16", title="Precision", choices=("bf16", "float32"),
                           help="Arithmetic of the forward pass in training; evaluation is always float32.")
    storage: str = param("float16", title="Storage", choices=STORAGES,
                         help="How weights are kept on disk; uint8 is half as large and a little less exact.")
    seed: int = param(0, title="Seed", low=0, high=2**31 - 1, help="Fixes initial weights, order and augmentation.")

    @property
    def starts_from_model(self) -> bool:
        """Whether it begins with what another training has learned here."""
        return self.start_from not in ("", SCRATCH, IMAGENET)


def side_of(spec: TrainSpec, own: int) -> int:
    """The side of whole pictures: the one asked for, the only one that the network takes, or their `own`; raises
    EngineError."""
    architecture = ARCHITECTURES[spec.arch]
    if architecture.fixed and spec.size not in (0, architecture.size):
        raise EngineError(f"{spec.arch} takes pictures of {architecture.size} x {architecture.size} only; leave out "
                          f"the size {spec.size}")
    return spec.size or (architecture.size if architecture.fixed else own)


def network_of(spec: TrainSpec, outputs: int) -> Variant:
    """The network that is trained."""
    return Variant(spec.arch, outputs, spec.head)


def chosen_of(spec: TrainSpec, split: str, labels: np.ndarray) -> np.ndarray:
    """The numbers of the pictures of a split that the training sees: spread evenly over each class, and of each the
    same share of its pictures."""
    most = spec.limit if split == spec.split else math.ceil(spec.limit / 3)
    if not spec.limit or most >= len(labels):
        return np.arange(len(labels))
    of_class = [np.flatnonzero(labels == k) for k in np.unique(labels)]
    return np.sort(np.concatenate([evenly(one.tolist(), max(1, round(most * len(one) / len(labels))))
                                   for one in of_class]))

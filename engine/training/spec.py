"""What decides a training run; readable without PyTorch."""

from dataclasses import dataclass

from engine.params import param
from engine.zoo.cards import STORAGES


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """Everything that decides a training run.

    The network sees `split`, the best epoch is chosen on `validation`, the card reports on `tests`. `start_from` is a
    model's name or path whose weights it begins with.
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
    storage: str = param("float16", title="Storage", choices=STORAGES,
                         help="How weights are kept on disk; uint8 is half as large and a little less exact.")
    seed: int = param(0, title="Seed", low=0, high=2**31 - 1, help="Fixes initial weights, order and augmentation.")

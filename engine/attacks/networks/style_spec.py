"""What decides the training of a style network; readable without PyTorch."""

from dataclasses import dataclass

from engine.params import param


@dataclass(frozen=True, kw_only=True)
class StyleSpec:
    """Everything that decides the training of a style network. `command` is kept in its card."""

    command: str = ""
    pictures: int = param(300, title="Pictures", low=2, high=3000, help="How many phantoms are trained on.")
    steps: int = param(900, title="Steps", low=1, high=100_000, help="How many times the network is improved.")
    batch: int = param(4, title="Batch", low=1, high=256, help="Pictures per step.")
    lr: float = param(3e-3, title="Learning rate", low=1e-6, high=1.0, help="Peak of the one-cycle schedule (AdamW).")
    style_weight: float = param(30.0, title="Style weight", low=0.0, high=1000.0,
                                help="How much style counts against content.")
    seed: int = param(0, title="Seed", low=0, high=2**31 - 1, help="Fixes initial weights, pictures and styles.")

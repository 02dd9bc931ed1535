"""Whether a training against one kind of attack has lost what it had learned against all others ("catastrophic
overfitting"), told from its history alone. Does not import torch."""

from collections.abc import Mapping, Sequence
from typing import Any

HAD = 0.2  # robust accuracy that there was to lose
GAP = 0.3  # by which one step fails where ten succeed


def collapsed(history: Sequence[Mapping[str, Any]]) -> int | None:
    """The first epoch in which PGD finds less than half of the best robust accuracy before, while FGSM fails as often
    as it did then, and on many more pictures than PGD; None where there is no such."""
    best: Mapping[str, Any] | None = None
    for line in history:
        if line.get("validation_robust") is None:
            continue
        robust, one_step = line["validation_robust"], line["validation_fgsm"]
        if (best is not None and best["validation_robust"] >= HAD and robust < best["validation_robust"] / 2
                and one_step >= best["validation_fgsm"] and one_step - robust >= GAP):
            return int(line["epoch"])
        if best is None or robust > best["validation_robust"]:
            best = line
    return None


def warnings_of(history: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a reader must know of it."""
    epoch = collapsed(history)
    if epoch is None:
        return []
    line = next(line for line in history if line["epoch"] == epoch)
    return [f"From epoch {epoch} on the network withstands one-step attacks only (on the watched pictures it is right "
            f"about {line['validation_fgsm']:.0%} under FGSM, {line['validation_robust']:.0%} under PGD-10): "
            "catastrophic overfitting. Take more steps, n-fgsm, or a smaller eps."]

"""Perturbscope's engine: everything that works without a browser. Importing it is cheap; torch comes when needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from engine.attacks.result import AttackResult
    from engine.attacks.runner import Means
    from engine.data.base import Dataset
    from engine.progress import Progress
    from engine.zoo.classifier import Classifier

__all__ = ["attack", "load_dataset", "load_model", "wrap"]


def load_dataset(name: str, split: str | None = None) -> Dataset:
    """One split of a registered data set or of "folder:PATH"; raises EngineError."""
    from engine.data import load

    return load(name, split)


def load_model(name: str) -> Classifier:
    """A bundled or trained model by name, or a checkpoint by path; raises EngineError."""
    from engine.zoo.registry import load_model

    return load_model(name)


def wrap(module: nn.Module, classes: Sequence[str], **options: Any) -> Classifier:
    """Any network as a Classifier; options are those of engine.zoo.classifier.wrap (mean, std, channels...)."""
    from engine.zoo.classifier import wrap

    return wrap(module, classes, **options)


def attack(name: str, model: Classifier, images: Tensor | np.ndarray, labels: Tensor | np.ndarray, *,
           eps: float | None = None, norm: str | None = None, target: int | None = None, seed: int = 0,
           batch: int = 16, numerics: str = "fast", max_queries: int | None = None, means: Means | None = None,
           device: str = "auto", keep_steps: bool = False, progress: Progress | None = None,
           **params: Any) -> AttackResult:
    """Run the attack called `name` on images [N, C, H, W] in [0,1]; eps in [0,1]. Raises EngineError and Cancelled.

    `params` are the attack's own (steps, momentum ...); `target` is a class to reach, None for any wrong one; `means`
    is what the attacker has beside the model (engine.attacks.runner.Means: surrogate, further images, mask).
    """
    import torch

    from engine.attacks.runner import run_attack
    from engine.attacks.spec import make_spec

    spec = make_spec(name, eps=eps, norm=norm, target=target, seed=seed, batch=batch, numerics=numerics,
                     max_queries=max_queries, params=params)
    return run_attack(spec, model, torch.as_tensor(images), torch.as_tensor(labels), means=means, device=device,
                      progress=progress, keep_steps=keep_steps)

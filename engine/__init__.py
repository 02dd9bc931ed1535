"""Perturbscope's engine: everything that works without a browser. Importing it is cheap; torch comes when needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from engine.attacks.result import AttackResult, TensorResult
    from engine.attacks.runner import Resources
    from engine.data.base import Dataset
    from engine.progress import Progress
    from engine.zoo.classifier import Classifier

__all__ = ["attack", "load_dataset", "load_model", "wrap"]


def load_dataset(name: str, split: str | None = None) -> Dataset:
    """One split of a registered data set, of "folder:PATH" or of "manifest:PATH"; raises EngineError."""
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
           batch: int = 16, numerics: str = "fast", max_queries: int | None = None, defenses: str = "",
           attacker: str = "oblivious", draws: int = 1, identities: Sequence[str] | None = None,
           resources: Resources | None = None, device: str = "auto", keep_steps: bool = False,
           progress: Progress | None = None, keep_learned: bool = False,
           **params: Any) -> AttackResult | TensorResult:
    """Run the attack called `name` on images [N, C, H, W] in [0,1]; eps in [0,1]. Raises EngineError and Cancelled.

    `params` are the attack's own (steps, momentum ...); `target` is a class to reach, None for any wrong one;
    `resources` are what the attacker has beside the model (engine.attacks.runner.Resources: surrogate, further images,
    mask). `defenses` are what the model is served behind, such as "jpeg(quality=75), rnd(sigma=0.02)"; an `attacker`
    who has the model is "oblivious" of them or "adaptive", with so many `draws` where a defense is random. `identities`
    name the images; an image's random numbers depend on seed and name alone (default: the digest of its values). With
    `keep_learned`, what the attack learns (a pattern, a generator) is kept in PERTURBSCOPE_HOME, and found there again.

    Of tensors the result holds tensors, on the device that `images` came from; of NumPy arrays read-only NumPy arrays.
    """
    import torch

    from engine.attacks.result import TensorResult
    from engine.attacks.runner import run_attack
    from engine.attacks.spec import make_spec
    from engine.home import home
    from engine.work.lessons import StoredLessons
    from engine.work.store import store_in

    spec = make_spec(name, eps=eps, norm=norm, target=target, seed=seed, batch=batch, numerics=numerics,
                     max_queries=max_queries, defenses=defenses, attacker=attacker, draws=draws, params=params)
    memory = StoredLessons(store_in(home() / "runs")) if keep_learned else None
    result = run_attack(spec, model, torch.as_tensor(images), torch.as_tensor(labels), identities=identities,
                        resources=resources, device=device, progress=progress, keep_steps=keep_steps, memory=memory)
    return TensorResult(result, images.device) if isinstance(images, torch.Tensor) else result

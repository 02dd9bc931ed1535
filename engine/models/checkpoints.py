"""Checkpoints on disk: weights as safetensors, facts as a JSON card beside them. No pickles."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from engine.errors import EngineError
from engine.models.architectures import ARCHITECTURES
from engine.models.classifier import Classifier


@dataclass(frozen=True)
class Card:
    """What a reader must know about a trained model before believing anything measured on it."""

    name: str
    arch: str
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dataset: str
    split: str
    seed: int
    command: str
    storage: str
    evaluations: dict[str, dict[str, Any]]
    round_trip: dict[str, Any]
    limits: str
    training: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


def _packed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Floating-point tensors as float16; counters as they are."""
    return {k: (v.half() if v.is_floating_point() else v).cpu().contiguous() for k, v in state.items()}


def _unpacked(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}


def round_trip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights as they come back from disk."""
    return _unpacked(_packed(state))


def save(weights_path: Path, module: nn.Module, card: Card) -> None:
    """Write `weights_path` (.safetensors, float16) and the card beside it (.json)."""
    weights_path.parent.mkdir(parents=True, exist_ok=True)
    save_file(_packed(module.state_dict()), weights_path)
    weights_path.with_suffix(".json").write_text(json.dumps(asdict(card), indent=2, ensure_ascii=False) + "\n")


def read_card(weights_path: Path) -> Card:
    """The card beside a checkpoint; raises EngineError."""
    path = weights_path.with_suffix(".json")
    try:
        facts = json.loads(path.read_text())
        return Card(**{k: tuple(v) if isinstance(v, list) else v for k, v in facts.items()})
    except FileNotFoundError:
        raise EngineError(f"{weights_path.name} has no card: put {path.name} with arch and classes beside it") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise EngineError(f"{path.name} is not a model card ({error})") from None


def load(weights_path: Path) -> Classifier:
    """The classifier in a checkpoint; raises EngineError where the file is broken, a pickle or of another network."""
    card = read_card(weights_path)
    architecture = ARCHITECTURES[card.arch]
    state = _read_weights(weights_path)
    outputs = _outputs(state)
    if outputs not in (1, len(card.classes)) or (outputs == 1 and len(card.classes) != 2):
        raise EngineError(f"{weights_path.name} has {outputs} outputs but its card names {len(card.classes)} classes")
    module = architecture.build(outputs)
    try:
        module.load_state_dict(_unpacked(state))
    except RuntimeError:
        raise EngineError(f"{weights_path.name} does not fit {card.arch}: it was saved from another network; "
                          "correct 'arch' in its card") from None
    return Classifier(module, card.classes, mean=card.mean, std=card.std, name=card.name, arch=card.arch)


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise EngineError(f"there is no checkpoint at {path}")
    try:
        return load_file(path)
    except (SafetensorError, ValueError, OSError):
        raise EngineError(f"{path.name} is not a safetensors file; pickled checkpoints can run code and are not opened: "
                          "convert it with safetensors first") from None


def _outputs(state: dict[str, Tensor]) -> int:
    matrices = [v for v in state.values() if v.ndim == 2]
    return int(matrices[-1].shape[0]) if matrices else 0



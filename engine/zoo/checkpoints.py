"""Checkpoints on disk: weights as safetensors, facts as a JSON card beside them. Pickled code is never run."""

import itertools
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TypeGuard

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from safetensors.torch import save as as_bytes
from torch import Tensor, nn

from engine.disk import advice, replacing_all
from engine.errors import EngineError, shortened
from engine.zoo.architectures import ARCHITECTURES, THRESHOLDS
from engine.zoo.cards import Card, card_path, card_text, read_card
from engine.zoo.classifier import Classifier, OneFinding
from engine.zoo.exported import network as exported
from engine.zoo.variants import EXPORTED, HEADS, LAYERS, PAPERS, Variant, as_many

PICKLED = (".pt", ".pth", ".ckpt")
# Where training frameworks put the weights in what they save.
_INSIDE = ("state_dict", "model_state_dict", "model")

# A tensor stored as uint8 is low + scale * bytes, with one low and one scale for each output channel.
_SCALE, _LOW = "#scale", "#low"

State = Mapping[str, Tensor]


def save(weights: Path, module: nn.Module, card: Card) -> None:
    """Write the checkpoint `weights` (.safetensors, stored as the card says) and the card beside it.

    A file is complete or not there. Raises EngineError where the disk is full or the folder is read-only.
    """
    try:
        weights.parent.mkdir(parents=True, exist_ok=True)
        with replacing_all([card_path(weights), weights]) as (new_card, new_weights):
            new_weights.write_bytes(as_bytes(packed(module.state_dict(), card.storage)))
            new_card.write_text(card_text(card), encoding="utf-8")
    except OSError as error:
        raise EngineError(f"{weights} cannot be written {advice(error)}") from None


def load(weights: Path) -> Classifier:
    """The classifier in a checkpoint (.safetensors, .pt/.pth/.ckpt with a state dict, or .pt2), its card beside it.

    Raises EngineError, in one line, where a file is missing, broken, holds code, or does not fit its card.
    """
    if not weights.is_file():
        raise EngineError(f"there is no checkpoint at {weights}; give the path of a .safetensors file")
    return load_as(weights, read_card(weights))


def load_as(weights: Path, card: Card) -> Classifier:
    """The same where the card is not beside it; raises EngineError."""
    if card.arch == EXPORTED:
        return _exported(weights, card)
    architecture, asked = ARCHITECTURES[card.arch], Variant(card.arch, len(card.classes), card.head, card.channels)
    stored = unpacked(_stored(weights))
    state = _own(stored, asked)
    variant = _sized(state, asked)
    _check_named(weights, variant, card)
    if card.findings:
        state, variant = _one_of(state, stored, variant, card)
    # On the meta device nothing is initialised: quicker, and no random numbers are used up.
    with torch.device("meta"):
        module = variant.build()
    _check_fits(weights, state, module.state_dict(), card)
    module.load_state_dict(state, assign=True)
    size = card.size or (architecture.size if architecture.fixed else 0)
    return Classifier(module, card.classes, mean=card.mean, std=card.std, channels=card.channels, name=card.name,
                      arch=card.arch, size=size)


def _exported(weights: Path, card: Card) -> Classifier:
    if not exported.holds_program(weights):
        raise EngineError(f"{weights.name} holds no exported program; correct 'arch' in its card")
    module, variant = exported.opened(weights)
    _check_named(weights, variant, card)
    network = OneFinding(module, card.findings.index(card.finding)) if card.findings else module
    return Classifier(network, card.classes, mean=card.mean, std=card.std, channels=card.channels, name=card.name,
                      arch=EXPORTED, size=variant.size)


def _check_named(weights: Path, variant: Variant, card: Card) -> None:
    """Raises EngineError where a card says otherwise than the network is."""
    named, field = (card.findings, "findings") if card.findings else (card.classes, "classes")
    if not as_many(variant.outputs, named):
        raise EngineError(f"{weights.name} has {variant.outputs} outputs but its card names {len(named)} {field}; "
                          f"correct '{field}' in the card")
    if variant.channels != card.channels:
        raise EngineError(f"{weights.name} takes pictures of {variant.channels} channel{'s' * (variant.channels > 1)}, "
                          f"but its card says {card.channels}; correct 'channels' in the card")


def _one_of(state: State, stored: State, variant: Variant, card: Card) -> tuple[State, Variant]:
    """Of a network that says of each finding whether it is there, the one logit that is looked at: 0 where the network
    calls for a decision, which is half or, with TorchXRayVision, a threshold that is kept among the weights."""
    place, cut = card.findings.index(card.finding), dict(state)
    for name in (f"{variant.last}.weight", f"{variant.last}.bias"):
        if name in state:
            cut[name] = state[name][place:place + 1]
    threshold = thresholds_in(stored)[place] if len(thresholds_in(stored)) == variant.outputs else torch.tensor(0.5)
    if bool(threshold.isfinite()) and f"{variant.last}.bias" in cut:
        cut[f"{variant.last}.bias"] = cut[f"{variant.last}.bias"] - threshold.logit()
    return cut, replace(variant, outputs=1)


def thresholds_in(state: State) -> Tensor:
    """TorchXRayVision's thresholds of each output, where there are any."""
    return next((value for name, value in state.items() if name.endswith(THRESHOLDS)), torch.empty(0))


def recognised(weights: Path) -> Variant:
    """Which network a checkpoint without a card holds; raises EngineError.

    It is told by the names and shapes of its tensors, or is an exported program, which says what it computes.
    """
    if exported.holds_program(weights):
        return exported.opened(weights)[1]
    return _recognised(weights, unpacked(_stored(weights)))


def rewritten(weights: Path, to: Path) -> Variant:
    """`recognised`, and the network's own tensors written to `to` (.safetensors), as exact as they were.

    `to` is complete or not there. Raises EngineError.
    """
    variant, tensors, beside = _program(weights) if exported.holds_program(weights) else _tensors(weights)
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with replacing_all([to]) as (new,):
            save_file(tensors, new, beside)
    except (OSError, SafetensorError) as error:
        why = advice(error) if isinstance(error, OSError) else f"({error})"
        raise EngineError(f"{weights.name} cannot be kept {why}") from None
    return variant


def _program(weights: Path) -> tuple[Variant, dict[str, Tensor], dict[str, str] | None]:
    module, variant = exported.opened(weights)
    return variant, *exported.parts(module)


def _tensors(weights: Path) -> tuple[Variant, dict[str, Tensor], dict[str, str] | None]:
    state = unpacked(_stored(weights))
    variant = _recognised(weights, state)
    own = _own(state, variant)
    _check_values(weights, own, _skeleton(variant))
    thresholds = thresholds_in(state)
    return variant, packed({**own, THRESHOLDS: thresholds} if len(thresholds) else own, "float32"), None


def _recognised(weights: Path, state: State) -> Variant:
    found, most = f"it has {_some(state)}", 0
    for arch, head in itertools.product(ARCHITECTURES, HEADS):
        asked = Variant(arch, 2, head)
        own = _own(state, asked)
        last = own.get(f"{asked.last}.weight")
        if last is None or last.ndim != 2:
            continue
        variant = _sized(own, asked)
        misfit = _misfit(own, _skeleton(variant))
        if misfit is None:
            return variant
        if (shared := _shared(own, variant)) > most:
            found, most = f"it is nearest to {variant.text}, but {misfit}", shared
    raise EngineError(f"{weights.name} is none of the networks known here (python -m engine list architectures): "
                      f"{found}; save the state_dict() of one of them, as torchvision builds it")


def _sized(state: State, asked: Variant) -> Variant:
    """The network whose head, and whose first kernels, have the sizes of these tensors, as far as they are there."""
    last, first = state.get(f"{asked.last}.weight"), state.get(_first(asked.arch))
    outputs = asked.outputs if last is None or last.ndim != 2 else len(last)
    width = last.shape[1] if last is not None and last.ndim == 2 and asked.head == PAPERS else asked.width
    channels = 1 if first is not None and first.ndim == 4 and first.shape[1] == 1 else 3
    return replace(asked, outputs=outputs, width=width, channels=channels)


@cache
def _first(arch: str) -> str:
    """The name of its first kernels."""
    return next(name for name, value in _skeleton(Variant(arch, 2)).items() if value.ndim == 4)


def _shared(state: State, variant: Variant) -> int:
    """How many tensors are as that network has them."""
    wanted = _skeleton(variant)
    return sum(key in wanted and wanted[key].shape == value.shape for key, value in state.items())


@cache
def _skeleton(variant: Variant) -> State:
    """That network's tensors without values."""
    with torch.device("meta"):
        return dict(variant.build().state_dict())


def _some(state: State) -> str:
    names = [f"'{shortened(name)}'" for name in list(state)[:2]]
    return f"{' and '.join(names)}{' and others' if len(state) > 2 else ''}" if names else "no tensors"


def _stored(weights: Path) -> State:
    return _read_pickled(weights) if weights.suffix in PICKLED else _read(weights)


def _read(path: Path) -> State:
    try:
        return load_file(path)
    except (SafetensorError, ValueError, KeyError, OSError):
        raise EngineError(f"{path.name} is not a complete safetensors file (pickles, which can run code, are not "
                          "opened); save it with safetensors.torch.save_file") from None


def _read_pickled(path: Path) -> State:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # whatever a stranger's bytes bring about
        content = None
    inside = [content.get(name) for name in _INSIDE] if isinstance(content, dict) else []
    state = next(filter(_is_state, [content, *inside]), None)
    if state is None:
        raise EngineError(f"{path.name} is broken or more than weights, and code in it is not run; save "
                          "model.state_dict() with safetensors.torch.save_file")
    return state


def _is_state(content: object) -> TypeGuard[dict[str, Tensor]]:
    return isinstance(content, dict) and bool(content) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items())


def _own(state: State, variant: Variant) -> State:
    """The tensors as the network alone calls them, without those that only training uses.

    DataParallel puts `module.` before every name, Lightning what the network was called, torch.compile `_orig_mod.`;
    what has another beginning is not the network's.
    """
    if variant.head == PAPERS:
        state = _renumbered(state, variant.top)
    known, unused = f"{variant.last}.weight", ARCHITECTURES[variant.arch].unused
    beginnings = {name.removesuffix(known) for name in state if name.endswith(f".{known}")}
    beginnings = {beginning for beginning in beginnings if not beginning.endswith(unused)} if unused else beginnings
    if known not in state and len(beginnings) == 1:
        (beginning,) = beginnings
        state = {name.removeprefix(beginning): value for name, value in state.items() if name.startswith(beginning)}
    return {name: value for name, value in state.items() if not name.startswith(unused)} if unused else state


def _renumbered(state: State, top: str) -> State:
    """With the layers of a papers' head numbered as they are here, whatever else without weights (pooling, dropout)
    stands between them there."""
    inside = re.compile(rf"((?:.*\.)?{re.escape(top)}\.)(\d+)\.\w+")
    layers = {name: match for name in state if (match := inside.fullmatch(name))}
    numbers = sorted({int(match[2]) for match in layers.values()})
    if len(numbers) != len(LAYERS):
        return state
    new = dict(zip(numbers, LAYERS, strict=True))
    return {name if name not in layers else f"{(m := layers[name])[1]}{new[int(m[2])]}{name[m.end(2):]}": value
            for name, value in state.items()}


def _check_fits(path: Path, state: State, wanted: State, card: Card) -> None:
    if problem := _misfit(state, wanted):
        origin = next((name for name in ARCHITECTURES
                       if name != card.arch and _skeleton(Variant(name, 2)).keys() == state.keys()), None)
        if origin is not None:
            raise EngineError(f"{path.name} does not fit {card.arch}, it was saved from {origin}; correct 'arch' in "
                              "its card")
        raise EngineError(f"{path.name} does not fit {card.arch}: {problem}; correct 'arch' in its card (python "
                          f"-m engine list architectures), or save the state_dict() of torchvision's {card.arch}")
    _check_values(path, state, wanted)


def _check_values(path: Path, state: State, wanted: State) -> None:
    if any(wanted[k].is_floating_point() != state[k].is_floating_point() for k in wanted):
        raise EngineError(f"{path.name} stores weights in a way that is not known here; save them as float16")
    if not all(bool(v.isfinite().all()) for v in state.values()):
        raise EngineError(f"{path.name} has weights that are NaN or infinite; take another checkpoint")


def _misfit(state: State, wanted: State) -> str | None:
    """The first tensor of a network that `state` lacks, has too many, or has in another shape."""
    for name, value in wanted.items():
        if name not in state:
            others = f" (but '{shortened(next(iter(state)))}' and others)" if state else ""
            return f"it has no '{name}'{others}"
        if state[name].shape != value.shape:
            return f"'{name}' has the shape {list(state[name].shape)}, not {list(value.shape)}"
    more = next((name for name in state if name not in wanted), None)
    return None if more is None else f"it has '{shortened(more)}', which that network has not"


def packed(state: State, storage: str) -> dict[str, Tensor]:
    """The tensors as they are written: all floats as float16, or matrices and kernels as uint8 and the rest float16, or
    all as they are ("float32")."""
    out: dict[str, Tensor] = {}
    for name, value in state.items():
        value = value.detach().cpu()
        if storage == "uint8" and value.is_floating_point() and value.ndim > 1 and len(value) > 1:
            out |= _quantised(name, value.float())
        else:
            out[name] = (value if storage == "float32" else _halved(value)).contiguous()
    return out


def unpacked(state: State) -> dict[str, Tensor]:
    """The tensors as a network takes them; floats are float32 again."""
    return {name: _restored(name, value, state).contiguous() for name, value in state.items()
            if not name.endswith((_SCALE, _LOW))}


def _quantised(name: str, value: Tensor) -> dict[str, Tensor]:
    rows = value.flatten(1)
    low = rows.amin(dim=1)
    scale = (rows.amax(dim=1) - low) / 255
    steps = ((rows - low[:, None]) / scale.clamp_min(torch.finfo(torch.float32).tiny)[:, None]).round()
    return {name: steps.to(torch.uint8).reshape(value.shape), name + _SCALE: scale, name + _LOW: low}


def _halved(value: Tensor) -> Tensor:
    """`value` as float16 where it is a float that float16 can hold."""
    if not value.is_floating_point():
        return value
    half = value.half()
    return half if bool((half.isfinite() == value.isfinite()).all()) else value.float()


def _restored(name: str, value: Tensor, state: State) -> Tensor:
    if name + _SCALE in state and name + _LOW in state:
        shape = (-1, *(1,) * (value.ndim - 1))
        return value.float() * state[name + _SCALE].reshape(shape) + state[name + _LOW].reshape(shape)
    return value.float() if value.is_floating_point() else value

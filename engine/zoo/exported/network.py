"""The network that an exported program is: its steps, computed one after another by PyTorch's own operations."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from engine.disk import read_json
from engine.errors import EngineError, shortened
from engine.wording import counted
from engine.zoo.exported import archive
from engine.zoo.exported.archive import DTYPES, MOST_JSON
from engine.zoo.exported.program import Code, Device, Program, Step, Value, names_in, read
from engine.zoo.variants import EXPORTED, Variant

SUFFIX = ".pt2"
PROGRAM = "program"  # what it is called beside the weights in a safetensors file
# Values of one result, and of all together, where so many pictures are asked as the program takes at least.
MOST_VALUES, MOST_TOGETHER = 2**28, 2**31
_MOST_NUMBER = 2**63

_FORMATS = {1: torch.contiguous_format, 2: torch.channels_last, 4: torch.preserve_format}
_NAMES: dict[str, Mapping[int, Any]] = {"dtype": DTYPES, "memory_format": _FORMATS}


class Exported(nn.Module):
    """Takes pictures [N, C, H, W] as the program does and gives its logits [N, K], float32, or [N] where it gives one.

    A program that was exported for so many pictures at once is asked for that many, the last ones again where there are
    fewer. Neither weights nor pictures are changed.
    """

    def __init__(self, program: Program, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.contents = program.contents  # stands for what it computes where networks are told apart
        self._program = program
        self._places = {}
        for place, (name, path) in enumerate(program.weights):
            self._places[name] = f"weight_{place}"
            self.register_buffer(self._places[name], weights[path])
        self._steps = tuple(_Bound(step) for step in program.steps)
        self._last = _last_uses(program)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images [N, C, H, W], as the program is given them."""
        portion = self._program.portion
        if not portion or (len(images) <= portion and not self._program.fixed):
            return self.computed(images)
        return torch.cat([self._portion(part, portion) for part in images.split(portion)])

    def _portion(self, images: Tensor, portion: int) -> Tensor:
        if len(images) == portion or not self._program.fixed:
            return self.computed(images)
        fill = images[-1:].detach().expand(portion - len(images), -1, -1, -1)
        return self.computed(torch.cat([images, fill]))[:len(images)]

    def computed(self, images: Tensor, look: Callable[[Step, Any], None] | None = None) -> Tensor:
        """What the program gives for so many pictures as it takes; `look` is shown what each step gives."""
        values: dict[str, Any] = {name: getattr(self, place) for name, place in self._places.items()}
        values[self._program.image] = images.to(DTYPES[self._program.dtype])
        for place, bound in enumerate(self._steps):
            result = bound(values, images.device)
            if look is not None:
                look(bound.step, result)
            _put(values, bound.step.results, result)
            for name in self._last[place]:
                values.pop(name, None)
        output: Tensor = values[self._program.output]
        return output.float()


class _Bound:
    """A step with the operation that it names."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self._operation = _number_operation(step.operation) if not step.overload else _tensor_operation(step)
        self._given, self._named = _arranged(step, self._operation)
        if (step.operation, step.overload) == ("view", "default"):
            # The same values, also where memory lies otherwise than it did when the network was exported.
            self._operation = torch.ops.aten.reshape.default

    def __call__(self, values: Mapping[str, Any], device: torch.device) -> Any:
        given = [_found(one, values, device) for one in self._given]
        named = {name: _found(one, values, device) for name, one in self._named.items()}
        return self._operation(*given, **named)


def _tensor_operation(step: Step) -> Any:
    packet = getattr(torch.ops.aten, step.operation, None)
    found = getattr(packet, step.overload, None)
    if not isinstance(found, torch._ops.OpOverload):
        raise EngineError(f"it computes {shortened(step.text)}, which this PyTorch ({torch.__version__}) does not have")
    return found


def _number_operation(name: str) -> Callable[..., Any]:
    function = getattr(operator, name)

    def computed(*numbers: Any) -> Any:
        taken = numbers[1:] if name == "getitem" else numbers
        if not all(isinstance(number, int | float | torch.SymInt) for number in taken):
            raise TypeError(f"{name} takes numbers")
        result = function(*numbers)
        if isinstance(result, int | float) and abs(result) >= _MOST_NUMBER:
            raise OverflowError(f"{name} gives a number that is too large")
        return result

    return computed


def _arranged(step: Step, operation: Any) -> tuple[list[Any], dict[str, Any]]:
    """What the operation is given by place, and by name."""
    if not step.overload:
        return [value for _, value in step.arguments], {}
    wanted, said = operation._schema.arguments, dict(step.arguments)
    if unknown := said.keys() - {argument.name for argument in wanted}:
        raise EngineError(f"it gives {shortened(step.text)} a '{shortened(min(unknown))}', which that does not take")
    takes_tensors = any("Tensor" in str(argument.type) for argument in wanted)
    if not takes_tensors and any(argument.name == "device" for argument in wanted):
        said["device"] = Device()  # what is made of nothing is made where the pictures are
    given: list[Any] = []
    for argument in wanted:
        if argument.kwarg_only or argument.name not in said:
            break
        given.append(said.pop(argument.name))
    return given, said


def _found(said: Any, values: Mapping[str, Any], device: torch.device) -> Any:
    if isinstance(said, Value):
        return values[said.name]
    if isinstance(said, list):
        return [_found(one, values, device) for one in said]
    if isinstance(said, Code):
        return _NAMES[said.of][said.number]
    return device if isinstance(said, Device) else said


def _put(values: dict[str, Any], results: tuple[Any, ...], result: Any) -> None:
    """Keep what a step gives under the names that it says."""
    for said, one in zip(results, [result] if len(results) == 1 else result, strict=True):
        if isinstance(said, Value):
            values[said.name] = one
        elif said is not None:
            _put(values, tuple(said), one if len(said) != 1 else one[0])


def _last_uses(program: Program) -> list[list[str]]:
    """For each step what nothing after it takes."""

    seen = {program.output, *(name for name, _ in program.weights)}
    uses: list[list[str]] = []
    for step in reversed(program.steps):
        new = [name for name in {*names_in(step.arguments), *names_in(step.results)} if name not in seen]
        seen.update(new)
        uses.append(new)
    return uses[::-1]


# ---- files


def holds_program(weights: Path) -> bool:
    """Whether that file holds an exported program: as .pt2, or beside its weights as safetensors."""
    return weights.suffix == SUFFIX or (weights.suffix == ".safetensors" and PROGRAM in _facts(weights))


def opened(weights: Path) -> tuple[Exported, Variant]:
    """The network in such a file, tried without values, and what it takes and gives; raises EngineError."""
    program, tensors = archive.opened(weights) if weights.suffix == SUFFIX else _kept(weights)
    try:
        network = Exported(program, tensors)
        return network, Variant(EXPORTED, _outputs(network, program), channels=program.channels, size=program.side)
    except EngineError as error:
        raise EngineError(f"{weights.name}: {error}") from None


def parts(network: Exported) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Its weights, and what is written beside them, as a safetensors file has them."""
    program = network._program
    tensors = {path: getattr(network, network._places[name]).clone() for name, path in program.weights}
    return tensors, {PROGRAM: program.text}


def _facts(weights: Path) -> dict[str, str]:
    try:
        with safe_open(weights, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError, ValueError):
        return {}  # whoever reads the tensors says what is wrong


def _kept(weights: Path) -> tuple[Program, dict[str, Tensor]]:
    from safetensors.torch import load_file

    try:
        program = read(read_json(_facts(weights)[PROGRAM].encode(), MOST_JSON))
        return program, archive.wanted(program, load_file(weights))
    except EngineError as error:
        raise EngineError(f"{weights.name}: {error}") from None
    except (SafetensorError, OSError, ValueError, KeyError):
        raise EngineError(f"{weights.name} is not a complete safetensors file; take another copy of it") from None


# ---- tried


def _outputs(network: Exported, program: Program) -> int:
    """How many logits it gives. Its steps are gone through on tensors without values, so that one that asks for too
    much memory, fails, or changes weights is found before anything is computed; raises EngineError."""
    count = program.portion if program.fixed else 1
    place = _Place()
    images = torch.empty(count, program.channels, program.side, program.side, device="meta",
                         dtype=DTYPES[program.dtype])
    with torch.device("meta"), torch.no_grad():
        bare = Exported(program, {path: torch.empty_like(getattr(network, network._places[name]), device="meta")
                                  for name, path in program.weights})
        try:
            logits = bare.computed(images, place.look)
        except EngineError:
            raise
        except Exception as error:  # whatever a stranger's steps bring about
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise EngineError(f"it cannot be computed behind its {place.text}: {shortened(reason, 200)}") from None
    if images._version or any(value._version for value in bare.buffers()):
        raise EngineError("it writes into its own weights or pictures; export it in eval mode, and without that")
    if not isinstance(logits, Tensor) or logits.ndim not in (1, 2) or len(logits) != count or not logits.numel():
        shape = " x ".join(map(str, logits.shape)) if isinstance(logits, Tensor) else "no tensor"
        raise EngineError(f"it gives {shape or 'one number'} for {counted(count, 'picture')}; a classifier gives its "
                          "logits [N, K]")
    return 1 if logits.ndim == 1 else logits.shape[1]


class _Place:
    """How far a program is, and how much it has asked for."""

    def __init__(self) -> None:
        self.text, self._together = "first step", 0

    def look(self, step: Step, result: Any) -> None:
        self.text = f"step {step.text}"
        for one in result if isinstance(result, list | tuple) else [result]:
            # A view, and what is written in place, takes no memory of its own.
            if isinstance(one, Tensor) and not one._is_view() and not step.operation.endswith("_"):
                self._together += one.numel()
                if one.numel() > MOST_VALUES or self._together > MOST_TOGETHER:
                    raise EngineError(f"its {self.text} makes it hold more than {MOST_VALUES * 4 / 2**30:.0f} GiB, or "
                                      f"{MOST_TOGETHER * 4 / 2**30:.0f} GiB together; export it for fewer or smaller "
                                      "pictures")

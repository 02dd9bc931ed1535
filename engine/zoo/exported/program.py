"""What an exported program says, checked: its steps, which pictures go in and what comes out. Does not import torch.

The JSON is PyTorch's (torch/_export/serde/schema.py, version 8). Nothing in it is evaluated: sizes that are not numbers
are computed as the program runs, and names are keys.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from engine import digest
from engine.errors import EngineError, shortened
from engine.zoo.exported.operations import ASSERTIONS, ATEN, NUMBERS, OFF, SETTLED

VERSION = 8
MOST_STEPS, MOST_SIDE, MOST_ITEMS = 20_000, 4096, 4096
FLOATS = {6: "float16", 7: "float32", 8: "float64", 13: "bfloat16"}  # by their numbers in the schema
AGAIN = "export it again, in eval mode: torch.export.save(torch.export.export(net.eval(), (pictures,)), 'net.pt2')"
_NAME, _PATH = re.compile(r"\w{1,300}", re.ASCII), re.compile(r"\w[\w.]{0,300}", re.ASCII)
_WORD = re.compile(r"[\w ,.>-]{0,200}", re.ASCII)  # such as "tanh", "same" and "bhqd,bhkd->bhqk"
_SYMBOL = re.compile(r"(?:Symbol\('(\w{1,40})'(?:, (?:positive|integer|nonnegative)=True)*\)|(\w{1,40}))", re.ASCII)
_OPERATION = re.compile(r"torch\.ops\.aten\.(\w{1,100})\.(\w{1,60})", re.ASCII)


@dataclass(frozen=True)
class Value:
    """What a weight, the picture or an earlier step is known as."""

    name: str


@dataclass(frozen=True)
class Code:
    """A setting that PyTorch has names for ("dtype" or "memory_format"), by its number in the schema."""

    of: str
    number: int


class Device:
    """Where the pictures are."""


@dataclass(frozen=True)
class Step:
    """One operation; `results` are the names of what it gives: a Value, a list of them, or None for each."""

    operation: str
    overload: str
    arguments: tuple[tuple[str, Any], ...]
    results: tuple[Any, ...]

    @property
    def text(self) -> str:
        return f"aten.{self.operation}.{self.overload}" if self.overload else self.operation


@dataclass(frozen=True)
class Program:
    """Takes pictures [N, channels, side, side] known as `image`, of the schema's `dtype`, and gives `output`.

    `weights` are the names in the program and among the weights. `portion` pictures are taken at once: always
    (`fixed`), or at most (0: any number).
    """

    image: str
    output: str
    channels: int
    side: int
    dtype: int
    portion: int
    fixed: bool
    weights: tuple[tuple[str, str], ...]
    steps: tuple[Step, ...]
    text: str = field(repr=False)

    @property
    def contents(self) -> str:
        """Tells it from all that compute otherwise."""
        return digest.of_spec({"program": self.text})


def read(facts: Any) -> Program:
    """The program in the JSON of an archive, or in another one's `text`; raises EngineError, saying what is wrong."""
    try:
        if (version := facts["schema_version"]["major"]) != VERSION:
            raise EngineError(f"it is written in version {shortened(str(version))} of PyTorch's schema, and {VERSION} "
                              "is read; save it with PyTorch 2.6 or newer")
        return _program(_needed(facts))
    except EngineError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError):
        raise EngineError(f"its program is not written as PyTorch writes them; {AGAIN}") from None


def _needed(facts: Any) -> dict[str, Any]:
    """Without what only tells where the program came from, in the schema's own form."""
    module = facts["graph_module"]
    graph, signature = module["graph"], module["signature"]
    images = {spec["user_input"]["arg"]["as_tensor"]["name"] for spec in signature["input_specs"]
              if "as_tensor" in spec.get("user_input", {}).get("arg", {})}
    return {
        "schema_version": {"major": VERSION},
        "graph_module": {
            "graph": {"nodes": [{key: node[key] for key in ("target", "inputs", "outputs")} for node in graph["nodes"]],
                      "tensor_values": {name: {key: graph["tensor_values"][name][key] for key in ("dtype", "sizes")}
                                        for name in sorted(images)}},
            "signature": {key: signature[key] for key in ("input_specs", "output_specs")}},
        "range_constraints": facts.get("range_constraints") or {},
    }


def _program(facts: dict[str, Any]) -> Program:
    module = facts["graph_module"]
    graph, signature = module["graph"], module["signature"]
    image, weights = _inputs(signature["input_specs"])
    output = _output(signature["output_specs"])
    if len(graph["nodes"]) > MOST_STEPS:
        raise EngineError(f"it has {len(graph['nodes']):,} steps, and at most {MOST_STEPS:,} are read")
    steps = tuple(_steps(graph["nodes"]))
    known = {image, *(name for name, _ in weights)}
    for step in steps:
        if missing := next((name for name in names_in(step.arguments) if name not in known), None):
            raise EngineError(f"its step {step.text} takes '{shortened(missing)}', which nothing before it gives")
        known |= set(names_in(step.results))
    if output not in known:
        raise EngineError(f"it gives '{shortened(output)}', which none of its steps makes")
    portion, fixed, channels, side, dtype = _picture(graph["tensor_values"][image], facts["range_constraints"])
    return Program(image, output, channels, side, dtype, portion, fixed, weights, steps,
                   json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False))


# ---- what goes in and out


def _inputs(specs: list[Any]) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The picture's name, and the weights'."""
    images, weights = [], []
    for spec in specs:
        ((kind, said),) = spec.items()
        if kind in _WEIGHTS:
            weights.append((_name(said["arg"]["name"]), _path(said[_WEIGHTS[kind]])))
        elif kind == "user_input":
            ((form, value),) = said["arg"].items()
            if form == "as_tensor":
                images.append(_name(value["name"]))
            elif form in ("as_sym_int", "as_sym_float", "as_sym_bool", "as_custom_obj"):
                raise EngineError(f"it takes something beside pictures; {AGAIN}")
        elif kind != "constant_input":  # which is written into the steps already
            raise EngineError(f"it takes what is no tensor ({shortened(kind)}); {AGAIN}")
    if len(images) != 1:
        raise EngineError(f"it takes {len(images)} tensors, and a network for pictures takes 1")
    return images[0], tuple(weights)


_WEIGHTS = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}


def _output(specs: list[Any]) -> str:
    kinds = [next(iter(spec)) for spec in specs]
    if other := next((kind for kind in kinds if kind != "user_output"), None):
        raise EngineError(f"it changes its own weights or its pictures ({shortened(other)}); {AGAIN}")
    if len(specs) != 1:
        raise EngineError(f"it gives {len(specs)} results; export a network that gives its logits [N, K] alone")
    return _name(specs[0]["user_output"]["arg"]["as_tensor"]["name"])


def _picture(meta: Any, ranges: Any) -> tuple[int, bool, int, int, int]:
    """How many pictures at once and whether always so many, their channels, side and dtype."""
    sizes = [_size(size) for size in meta["sizes"]]
    if len(sizes) != 4 or sizes[1][0] not in (1, 3):
        shape = " x ".join(str(size) for size, _ in sizes)
        raise EngineError(f"it takes {shape}; a network for pictures takes N x 3 (or 1) x height x width")
    (count, symbol), (channels, _), (height, _), (width, _) = sizes
    if height != width or not 1 <= height <= MOST_SIDE:
        raise EngineError(f"it takes pictures of {width} x {height}; only square ones up to {MOST_SIDE} are given here")
    if meta["dtype"] not in FLOATS:
        raise EngineError("it takes pictures that are no floats; export it with pictures in "
                          f"{', '.join(FLOATS.values())}")
    if not symbol:
        if not 1 <= count <= MOST_ITEMS:
            raise EngineError(f"it takes {count} pictures at once; 1 to {MOST_ITEMS} are given here")
        return count, True, channels, height, meta["dtype"]
    said = (ranges.get(symbol) or {}).get("max_val")
    most = 0 if said is None else _whole(said)
    return (most if most <= MOST_ITEMS else 0), False, channels, height, meta["dtype"]


def _size(size: Any) -> tuple[int, str]:
    """A size, or the example's where it may vary, and the name that it then has."""
    ((kind, said),) = size.items()
    if kind == "as_int":
        return _whole(said), ""
    symbol = _SYMBOL.fullmatch(said["expr_str"])
    if symbol is None:
        raise EngineError(f"its pictures' size is no plain number or name: {shortened(str(said['expr_str']))}")
    if not (said.get("hint") or {}).get("as_int"):
        raise EngineError("how large its pictures are is not said; export it with a size that is fixed")
    return _whole(said["hint"]["as_int"]), symbol[1] or symbol[2]


# ---- its steps


def _steps(nodes: list[Any]) -> Iterator[Step]:
    for node in nodes:
        operation, overload = _operation(node["target"])
        if operation in ASSERTIONS:
            continue
        arguments = tuple((_name(given["name"]) if overload else "", _argument(given["arg"]))
                          for given in node["inputs"] if given["name"] not in SETTLED)
        if any(name in OFF and value not in (False, 0) for name, value in arguments):
            raise EngineError(f"its step aten.{operation} is in training mode; {AGAIN}")
        yield Step(operation, overload, arguments, tuple(map(_result, node["outputs"])))


def _operation(target: Any) -> tuple[str, str]:
    """An operation of ATen and its overload, or one on numbers and ""."""
    if (found := _OPERATION.fullmatch(target)) and not found[2].endswith("out"):
        if found[1] in ATEN or found[1] in ASSERTIONS:
            return found[1], found[2]
    elif target.removeprefix("_operator.") in NUMBERS and target.startswith("_operator."):
        return target.removeprefix("_operator."), ""
    raise EngineError(f"it computes {shortened(target.removeprefix('torch.ops.'))}, which is none of the operations "
                      "that are taken from a file; export the network without it, or save its state_dict()")


def _argument(given: Any) -> Any:
    ((kind, said),) = given.items()
    if kind not in _ARGUMENTS:
        raise EngineError(f"one of its steps takes something other than tensors and numbers ({shortened(kind)})")
    return _ARGUMENTS[kind](said)


def _result(given: Any) -> Any:
    ((kind, _),) = given.items()
    if kind not in _RESULTS:
        raise EngineError(f"one of its steps gives something other than tensors and numbers ({shortened(kind)})")
    return _argument(given)


def _name(text: Any) -> str:
    return _matching(_NAME, text)


def _path(text: Any) -> str:
    return _matching(_PATH, text)


def _matching(pattern: re.Pattern[str], text: Any) -> str:
    if not isinstance(text, str) or not pattern.fullmatch(text):
        raise EngineError(f"'{shortened(str(text))}' in it is no name that PyTorch gives")
    return text


def _whole(said: Any) -> int:
    if not isinstance(said, int) or isinstance(said, bool) or abs(said) >= 2**63:
        raise TypeError
    return said


def _number(said: Any) -> float:
    """JSON has no infinity, which is a word there."""
    if isinstance(said, str) and said in ("Infinity", "-Infinity", "NaN"):
        return float(said)
    if isinstance(said, bool) or not isinstance(said, int | float) or not math.isfinite(said):
        raise TypeError
    return said


def _yes_or_no(said: Any) -> bool:
    if not isinstance(said, bool):
        raise TypeError
    return said


def _list_of(one: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    def several(said: Any) -> list[Any]:
        if not isinstance(said, list) or len(said) > MOST_ITEMS:
            raise TypeError
        return list(map(one, said))

    return several


def _tensor(said: Any) -> Value:
    return Value(_name(said["name"]))


def _either(said: Any) -> Any:
    """One of a list of which some are not there, or a size that is computed or not."""
    return _argument(said) if next(iter(said)) != "as_name" else Value(_name(said["as_name"]))


def _coded(of: str) -> Callable[[Any], Code]:
    return lambda said: Code(of, _whole(said))


_PLAIN: dict[str, Callable[[Any], Any]] = {
    "tensor": _tensor, "int": _whole, "float": _number, "bool": _yes_or_no, "optional_tensor": _either,
    "sym_int": _either, "sym_float": _either, "sym_bool": _either,
}
_ARGUMENTS: dict[str, Callable[[Any], Any]] = {
    **{f"as_{name}": one for name, one in _PLAIN.items()},
    **{f"as_{name}s": _list_of(one) for name, one in _PLAIN.items()},
    "as_none": lambda said: None, "as_string": lambda said: _matching(_WORD, said),
    "as_scalar_type": _coded("dtype"), "as_memory_format": _coded("memory_format"), "as_device": lambda said: Device(),
}
_RESULTS = ("as_tensor", "as_tensors", "as_none", "as_sym_int", "as_sym_float", "as_sym_bool")


def names_in(of: Any) -> Iterator[str]:
    if isinstance(of, Value):
        yield of.name
    elif isinstance(of, list | tuple):
        for one in of:
            yield from names_in(one)

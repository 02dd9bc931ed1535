"""An exported program's archive (.pt2, a ZIP), read without PyTorch's loader: the program as JSON, and its weights.

Weights are raw bytes, or, as PyTorch 2.8 and older saved them, a state dict that is read with `weights_only`. What may
be pickled otherwise (example inputs, objects, tensors of other classes) is not looked at, or refused.
"""

from __future__ import annotations

import io
import math
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from engine.disk import read_json
from engine.errors import EngineError, shortened
from engine.zoo.exported.program import AGAIN, Program, read

MOST_BYTES, MOST_MEMBERS, MOST_JSON = 4 * 2**30, 100_000, 32 * 2**20
_FOLDER = r"(?:[^/]+/)?"  # a PT2 archive has all its files in one
_MODEL = re.compile(rf"({_FOLDER})models/([^/]+)\.json")
_OLD = "serialized_exported_program.json"  # of torch.export.save before PyTorch 2.8
_OLD_TENSORS = ("serialized_state_dict.pt", "serialized_constants.pt")
# By their numbers in the schema.
DTYPES: dict[int, torch.dtype] = {
    1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 6: torch.float16, 7: torch.float32,
    8: torch.float64, 12: torch.bool, 13: torch.bfloat16,
}
_STRIDED = 7


def opened(path: Path) -> tuple[Program, dict[str, Tensor]]:
    """The program in the archive at `path`, checked, and its weights by their names; raises EngineError."""
    try:
        with zipfile.ZipFile(path) as file:
            members = _members(file)
            program, tensors = _parts(file, members)
            return program, wanted(program, tensors)
    except EngineError as error:
        raise EngineError(f"{path.name}: {error}") from None
    # What a stranger's bytes bring about: no ZIP, a checksum that is wrong, a way of packing that is not known.
    except (zipfile.BadZipFile, OSError, EOFError, LookupError, TypeError, AttributeError, ValueError, RuntimeError,
            NotImplementedError, OverflowError, zipfile.LargeZipFile):
        raise EngineError(f"{path.name} is no complete exported program; {AGAIN}") from None


def _members(file: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """What the archive holds, by name; raises EngineError where that is more than is read, or not one file a name."""
    infos = file.infolist()
    if len(infos) > MOST_MEMBERS or sum(info.file_size for info in infos) > MOST_BYTES:
        raise EngineError(f"it unpacks to more than {MOST_BYTES // 2**30} GiB or {MOST_MEMBERS:,} files")
    members = {info.filename: info for info in infos}
    odd = next((name for name in members if name.startswith("/") or ".." in name or "\\" in name), None)
    if len(members) < len(infos) or odd is not None:
        which = "" if odd is None else f": {shortened(odd)}"
        raise EngineError(f"its files have names that PyTorch does not give{which}")
    return members


def _parts(file: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]) -> tuple[Program, dict[str, Tensor]]:
    if _OLD in members:
        tensors = [_state(file, name) for name in _OLD_TENSORS if name in members]
        return read(_json(file, members, _OLD)), {name: value for one in tensors for name, value in one.items()}
    models = [match for name in members if (match := _MODEL.fullmatch(name))]
    if len(models) != 1:
        raise EngineError(f"it holds {len(models)} exported programs, and 1 is taken" if models else
                          "it holds no exported program, only what was compiled of one" if _compiled(members) else
                          "it holds no exported program")
    folder, model = models[0].groups()
    program = read(_json(file, members, models[0].string))  # before any weight is looked at
    return program, {name: value for kind in ("weights", "constants")
                     for name, value in _tensors(file, members, f"{folder}data/{kind}/", model, kind)}


def _compiled(members: dict[str, zipfile.ZipInfo]) -> bool:
    return any("data/aotinductor/" in name for name in members)


def _json(file: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], name: str) -> Any:
    if members[name].file_size > MOST_JSON:
        raise EngineError(f"its program has {members[name].file_size / 2**20:.0f} MiB, and at most "
                          f"{MOST_JSON // 2**20} are read")
    return read_json(file.read(name), MOST_JSON)


def _tensors(file: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], folder: str, model: str,
             kind: str) -> Iterator[tuple[str, Tensor]]:
    """The weights or constants in that folder."""
    if (old := f"{folder}{model}.pt") in members:
        yield from _state(file, old).items()
    if (config := f"{folder}{model}_{kind}_config.json") not in members:
        return
    bytes_of: dict[str, bytearray] = {}
    for name, said in _json(file, members, config)["config"].items():
        if said["use_pickle"] or said["tensor_meta"] is None:
            raise EngineError(f"its '{shortened(name)}' is pickled, and is not opened; {AGAIN}")
        place = folder + said["path_name"]
        if place not in bytes_of:
            bytes_of[place] = bytearray(file.read(place))
        yield name, _tensor(name, said["tensor_meta"], bytes_of[place])


def _tensor(name: str, meta: Any, data: bytearray) -> Tensor:
    """What `meta` says of those bytes, which must hold all of it."""
    sizes, strides = ([_whole(size["as_int"]) for size in meta[key]] for key in ("sizes", "strides"))
    start, dtype = _whole(meta["storage_offset"]["as_int"]), DTYPES[meta["dtype"]]
    count = math.prod(sizes)
    if not count:
        return torch.empty(sizes, dtype=dtype)
    last = start + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    if meta["layout"] != _STRIDED or max(last + 1, count) * dtype.itemsize > len(data):
        raise EngineError(f"its '{shortened(name)}' is not as large as it says")
    values = torch.frombuffer(data, dtype=torch.uint8)[:len(data) // dtype.itemsize * dtype.itemsize].view(dtype)
    return values.as_strided(sizes, strides, start).clone(memory_format=torch.contiguous_format)


def _whole(said: Any) -> int:
    if not isinstance(said, int) or isinstance(said, bool) or said < 0:
        raise TypeError
    return said


def _state(file: zipfile.ZipFile, name: str) -> dict[str, Tensor]:
    """The tensors of a state dict in the archive."""
    data = io.BytesIO(file.read(name))
    _check_inner(data)
    try:
        content = torch.load(data, map_location="cpu", weights_only=True)
    except Exception:  # whatever a stranger's bytes bring about
        content = None
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise EngineError(f"its {name.rpartition('/')[2]} is broken or more than weights, and code in it is not run; "
                          f"{AGAIN}")
    return {str(key): value.detach() for key, value in content.items()}


def _check_inner(data: IO[bytes]) -> None:
    """A state dict is a ZIP as well, which may swell again."""
    with zipfile.ZipFile(data) as inner:
        _members(inner)
    data.seek(0)


def wanted(program: Program, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those that the program takes, as plain tensors."""
    found = {}
    for _, name in program.weights:
        value = tensors.get(name)
        if value is None:
            raise EngineError(f"its weight '{shortened(name)}' is not there; {AGAIN}")
        if type(value) not in (Tensor, torch.nn.Parameter) or value.layout is not torch.strided or \
                value.dtype not in DTYPES.values() or value.device.type != "cpu":
            raise EngineError(f"its weight '{shortened(name)}' is no plain tensor; {AGAIN}")
        if bool(value.isnan().any()):  # masks may well be infinite
            raise EngineError(f"its weight '{shortened(name)}' is NaN in places; take another file")
        found[name] = value.contiguous()
    return found

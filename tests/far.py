"""A device that is not there: it computes on the CPU, keeps the rules of an accelerator and notes who waits for it.

Its tensors are a subclass on PyTorch's `meta` device (so that every operation on them, backward passes included, is
dispatched to Python, and none goes unseen), each holding the CPU tensor that is really computed with. Only what lies
there counts: random numbers, bookkeeping and everything else on the CPU may be read as often as one likes. What is put
in line for the device makes nobody wait, but costs as much to start as a computation: it is counted apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from engine import device as devices
from engine.serving import crossing

DEVICE = torch.device("meta")

aten = torch.ops.aten
# What cannot go on before the host knows a number, or a size, that the device has yet to compute.
READS = {aten._local_scalar_dense, aten.is_nonzero, aten.equal, aten.nonzero, aten.masked_select, aten._unique2,
         aten.unique_dim, aten.unique_consecutive, aten.bincount, aten.repeat_interleave}
COPIES = {aten._to_copy, aten.copy_}
INDEXED = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}


class Far(Tensor):
    """A tensor on the device that is not there; `near` holds its values."""

    near: Tensor

    @staticmethod
    def __new__(cls, near: Tensor) -> Far:
        far = Tensor._make_wrapper_subclass(cls, near.shape, strides=near.stride(), dtype=near.dtype, device=DEVICE,
                                            storage_offset=near.storage_offset())
        far.near = near
        return far

    def __repr__(self, **_: Any) -> str:
        return f"Far({self.near!r})"

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} outside of far.watched()")


class Waits(Counter[str]):
    """What was waited for, by kind, and how many copies were put in line for the device."""

    sent = 0


class _Dispatched(TorchDispatchMode):
    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self._waits = waits

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        tensors = list(_tensors([*args, *kwargs.values()]))
        asked = kwargs.get("device")
        here = any(isinstance(x, Far) for x in tensors)
        there = here if asked is None else torch.device(asked) == DEVICE
        if not here and not there:
            return func(*args, **kwargs)
        name = func.overloadpacket
        self._judge(name, args, kwargs, tensors, there)
        if asked is not None:
            kwargs["device"] = torch.device("cpu")
        if name is aten._to_copy:
            kwargs.pop("non_blocking", None)
        found = func(*_near(args), **{key: _near(value) for key, value in kwargs.items()})
        if name is aten._local_scalar_dense or not there:
            return found
        return _aliased(func, args, kwargs, _far(found))

    def _judge(self, name: Any, args: Any, kwargs: Any, tensors: list[Tensor], there: bool) -> None:
        """Note a wait; raise what an accelerator raises where the two sides are mixed."""
        far = [x for x in tensors if isinstance(x, Far)]
        near = [x for x in tensors if not isinstance(x, Far) and x.ndim]
        if name in COPIES:
            source, goes_there = (args[1], isinstance(args[0], Far)) if name is aten.copy_ else (args[0], there)
            queued = kwargs.get("non_blocking") or (name is aten.copy_ and len(args) > 2 and args[2])
            if isinstance(source, Far) != goes_there and not queued:
                self._waits["copy to the device" if goes_there else "copy from the device"] += 1
            self._waits.sent += goes_there and not isinstance(source, Far) and bool(queued)
            return
        if name in READS and far:
            self._waits[str(name)] += 1
        if name in INDEXED and isinstance(args[0], Far):
            self._index(name, args)
        elif near and far:
            raise RuntimeError(f"Expected all tensors to be on the same device ({name})")

    def _index(self, name: Any, args: Any) -> None:
        for index in args[1]:
            if index is None:
                continue
            if not isinstance(index, Far):
                self._waits["index from the host"] += index.ndim > 0
            elif index.dtype in (torch.bool, torch.uint8) and not (
                    name is not aten.index and args[2].ndim == 0):  # which is a masked_fill
                self._waits["mask as index"] += 1
        if name is not aten.index and not isinstance(args[2], Far) and args[2].ndim:
            raise RuntimeError("Expected all tensors to be on the same device (index_put)")


class _Called(TorchFunctionMode):
    """What does not get as far as being dispatched."""

    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self._waits = waits

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.pin_memory:
            return args[0].clone()  # there is no such memory without an accelerator
        if func is Tensor.tolist and isinstance(args[0], Far):
            self._waits["tolist"] += 1
            return args[0].near.tolist()
        if func in (torch.tensor, Tensor.new_tensor) and self._there(func, args, kwargs):
            self._waits["copy to the device"] += 1
            dtype = kwargs.get("dtype", args[0].dtype if func is Tensor.new_tensor else None)
            return Far(torch.tensor(args[func is Tensor.new_tensor], dtype=dtype))
        if func is Tensor.numpy and isinstance(args[0], Far):
            raise TypeError("can't convert a tensor on a device to numpy")
        return func(*args, **kwargs)


    @staticmethod
    def _there(func: Any, args: Any, kwargs: Any) -> bool:
        asked = kwargs.get("device")
        return isinstance(args[0], Far) if asked is None else torch.device(asked) == DEVICE


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)


def _near(x: Any) -> Any:
    return x.near if isinstance(x, Far) else type(x)(map(_near, x)) if type(x) in (list, tuple) else x


def _far(x: Any) -> Any:
    return Far(x) if isinstance(x, Tensor) else type(x)(map(_far, x)) if type(x) in (list, tuple) else x


def _aliased(func: Any, args: Any, kwargs: Any, found: Any) -> Any:
    """What was written to is returned as itself."""
    returns = func._schema.returns
    if len(returns) == 1 and returns[0].alias_info is not None and returns[0].alias_info.is_write:
        for place, argument in enumerate(func._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                return args[place] if place < len(args) else kwargs[argument.name]
    return found


@contextmanager
def watched() -> Iterator[Waits]:
    """What the device that is not there was waited for, by kind; it exists within."""
    waits = Waits()
    with pytest.MonkeyPatch.context() as patch, _Called(waits), _Dispatched(waits):
        patch.setattr(devices, "choose", lambda name="auto": DEVICE)
        patch.setattr(crossing, "QUEUES", {DEVICE.type})
        yield waits

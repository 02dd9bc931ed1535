"""What crosses between the host and the device, with as little waiting as can be.

A device computes behind the host's back. Whoever reads from it waits until it has done all it was given, and while
nothing new comes it has nothing to do: this is dear in a loop. On the CPU all of this costs nothing.
"""

from collections import defaultdict

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

QUEUES = {"cuda"}  # kinds of devices that copy in turn, from and to pinned memory, while the host goes on


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`; coming from the host it is put in line behind what the device still has to do."""
    if tensor.device.type == "cpu" and device.type in QUEUES:
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def fetched(tensor: Tensor) -> Tensor:
    """A copy of `tensor` on the host. From a device that queues it is not to be read before that was waited for."""
    if tensor.device.type in QUEUES:
        return tensor.detach().to("cpu", non_blocking=True)
    return tensor.detach().to("cpu", copy=True)


class Listed:
    """The numbers in a tensor of rows, read from the device the first time only; such tensors are never changed."""

    def __init__(self) -> None:
        self._known = WeakTensorKeyDictionary()

    def __call__(self, rows: Tensor) -> list[int]:
        if rows.device.type == "cpu":
            return rows.tolist()
        if rows not in self._known:
            self._known[rows] = rows.tolist()
        return self._known[rows]


class Tally:
    """Sums, by name, of single numbers on the device, which are read all at once."""

    def __init__(self) -> None:
        self._values: dict[str, list[Tensor]] = defaultdict(list)
        self._weights: dict[str, list[int]] = defaultdict(list)

    def add(self, name: str, value: Tensor, weight: int = 1) -> None:
        self._values[name].append(value)
        self._weights[name].append(weight)

    def read(self) -> dict[str, float]:
        sums: dict[str, float] = defaultdict(float)
        for name, values in self._values.items():
            for value, weight in zip(torch.stack(values).tolist(), self._weights[name], strict=True):
                sums[name] += value * weight
        return sums

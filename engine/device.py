"""Which processor computes. Importing this does not import torch."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import platform
import sys
import threading
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from engine.errors import EngineError

if TYPE_CHECKING:
    import torch

NAMES = ("auto", "cuda", "mps", "cpu")


def available() -> tuple[str, ...]:
    """The kinds of device this machine has, best first."""
    import torch

    found = []
    if torch.cuda.is_available():
        found.append("cuda")
    if torch.backends.mps.is_available():
        found.append("mps")
    return (*found, "cpu")


def choose(name: str = "auto") -> torch.device:
    """The device called `name` ("auto": the best one here); raises EngineError where it does not exist."""
    import torch

    here = available()
    if name == "auto":
        return torch.device(here[0])
    if name.split(":")[0] not in here:
        raise EngineError(f"device '{name}' is not on this machine; choose one of: auto, {', '.join(here)}")
    return torch.device(name)


@cache
def resolved(name: str = "auto") -> str:
    """The kind of device that `name` means on this machine, found without importing torch: "cuda", "mps" or "cpu".

    What is computed on one kind of device has the same bytes; so "auto" and "cpu" are one where there is nothing else.
    """
    if name != "auto":
        return name.split(":")[0]
    if "torch" in sys.modules:
        return available()[0]
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return "mps"
    return "cuda" if _has_nvidia() else "cpu"


def _has_nvidia() -> bool:
    """Whether the driver knows of a GPU that this process may use, and PyTorch was built for one."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1"):
        return False
    with contextlib.suppress(PackageNotFoundError):
        if version("torch").endswith("+cpu"):
            return False
    try:
        driver = ctypes.CDLL("nvml.dll" if os.name == "nt" else "libnvidia-ml.so.1")
        count = ctypes.c_uint()
        return driver.nvmlInit_v2() == 0 and driver.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 0 and count.value > 0
    except (OSError, AttributeError):
        return False


@cache
def multiplies_bfloat16(name: str = "auto") -> bool:
    """Whether bfloat16 is quick on that device, as far as can be told without importing torch: processors that do not
    know it take eight times as long."""
    if resolved(name) != "cpu":
        return True
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            known = file.read()
        return any(flag in known for flag in ("avx512_bf16", "amx_bf16"))
    except OSError:
        return False


def title(device: torch.device) -> str:
    """The device's name for people."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return {"cpu": "CPU", "mps": "Apple GPU"}.get(device.type, device.type)


class _Exact:
    """How many are computing exactly, and what was set before the first of them began."""

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._before: tuple[str, bool] = ("", False)

    def enter(self) -> None:
        from torch.backends import cudnn

        with self._lock:
            if not self._inside:
                self._before = cudnn.conv.fp32_precision, cudnn.deterministic  # type: ignore[attr-defined]
                cudnn.conv.fp32_precision, cudnn.deterministic = "ieee", True  # type: ignore[attr-defined]
            self._inside += 1

    def leave(self) -> None:
        from torch.backends import cudnn

        with self._lock:
            self._inside -= 1
            if not self._inside:
                cudnn.conv.fp32_precision, cudnn.deterministic = self._before  # type: ignore[attr-defined]


_exact = _Exact()


@contextlib.contextmanager
def exact() -> Iterator[None]:
    """While this lasts, a GPU's convolutions compute in float32 where float32 is asked for, and always alike.

    PyTorch's default there, TF32, keeps 10 bits of a factor, and which batch sizes it is used for varies: a black-box
    attack that ends a hair beyond the boundary is then told another class by the verdict, and one that compares two
    near images is led by the rounding.
    """
    _exact.enter()
    try:
        yield
    finally:
        _exact.leave()


@cache
def load_libraries() -> None:
    """Import PyTorch and what goes with it as a server has to: once, without slowing everything else down.

    Whenever Python looks for garbage it goes through the hundred thousands of objects that these libraries keep for
    ever, and nobody else gets through: frozen, they are left out. Threads that wait for one another in OpenMP sleep
    instead of spinning, because the server needs the cores too.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    gc.disable()  # while modules come, hardly anything is garbage, and looking for it takes a sixth of the time
    try:
        for library in ("sklearn.metrics", "torch", "torchvision.models", "torch.fx", "pytorch_grad_cam"):
            importlib.import_module(library)
            gc.freeze()
    finally:
        gc.enable()


_MEMORY_SHORT = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed", "could not allocate")


def out_of_memory(error: BaseException) -> bool:
    """Whether a computation failed for want of memory, whichever words its device has for it."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(phrase in text for phrase in _MEMORY_SHORT)


# glibc's mallopt: no memory straight from the system, none given back, one arena for all threads.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def keep_heap() -> bool:
    """Keep freed memory in the process; returns whether that could be done (glibc only).

    Every step of an attack needs the same large tensors again; fetching their pages from the system each time costs 3
    to 15 % where one thread computes. The process stays as large as it once was.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all([mallopt(_M_TRIM_THRESHOLD, -1), mallopt(_M_MMAP_MAX, 0), mallopt(_M_ARENA_MAX, 1)])

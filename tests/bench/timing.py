"""How candidates are timed against one another, and what the machine is."""

import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from engine.device import exact

Candidates = dict[str, Callable[[], object]]


def interleaved(candidates: Candidates, rounds: int, warm_up: int = 1) -> dict[str, float]:
    """Seconds of each one's fastest round, as other programs only ever add time.

    They take turns, in another order each round, so that a busy moment does not hit one of them alone. On a GPU all
    compute in float32, without TF32.
    """
    names = list(candidates)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + warm_up):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            with exact():
                taken = _timed(candidates[name])
            print(f"  round {number + 1}, {name}: {taken:.3f} s", file=sys.stderr, flush=True)
            if number >= warm_up:
                seconds[name].append(taken)
    return {name: min(taken) for name, taken in seconds.items()}


def _timed(work: Callable[[], object]) -> float:
    _wait()
    started = time.perf_counter()
    work()
    _wait()
    return time.perf_counter() - started


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def where(device: str) -> str:
    """What `device` ("cpu" or "cuda") is, in one line."""
    return f"{torch.cuda.get_device_name()}, torch {torch.__version__}" if device == "cuda" else machine()


def machine() -> str:
    """Processor, cores, threads and versions in one line."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines()
             if line.startswith("model name")] if cpuinfo.exists() else []
    processor = names[0] if names else platform.processor() or platform.machine()
    return (f"{processor}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, load "
            f"{os.getloadavg()[0]:.1f} before; Python {platform.python_version()}, torch {torch.__version__}")

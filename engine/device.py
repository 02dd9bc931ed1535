"""Which processor computes."""

import torch

from engine.errors import EngineError

NAMES = ("auto", "cuda", "mps", "cpu")


def available() -> tuple[str, ...]:
    """The kinds of device this machine has, best first."""
    found = []
    if torch.cuda.is_available():
        found.append("cuda")
    if torch.backends.mps.is_available():
        found.append("mps")
    return (*found, "cpu")


def choose(name: str = "auto") -> torch.device:
    """The device called `name` ("auto": the best one here); raises EngineError where it does not exist."""
    here = available()
    if name == "auto":
        return torch.device(here[0])
    if name.split(":")[0] not in here:
        raise EngineError(f"device '{name}' is not on this machine; choose one of: auto, {', '.join(here)}")
    return torch.device(name)


def title(device: torch.device) -> str:
    """The device's name for people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return {"cpu": "CPU", "mps": "Apple GPU"}.get(device.type, device.type)

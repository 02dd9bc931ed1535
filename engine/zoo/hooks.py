"""Looking into a network while it runs, without a trace on it."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

Hook = Callable[..., Any]


@contextmanager
def hooked(modules: Mapping[str, nn.Module], hook_for: Callable[[str], Hook]) -> Iterator[None]:
    """Forward hooks on `modules` for the time of a `with` block, deaf to forward passes of other threads."""
    owner = threading.get_ident()

    def only_here(hook: Hook) -> Hook:
        return lambda *call: hook(*call) if threading.get_ident() == owner else None

    handles = []
    try:
        for name, module in modules.items():
            handles.append(module.register_forward_hook(only_here(hook_for(name))))
        yield
    finally:
        for handle in handles:
            handle.remove()

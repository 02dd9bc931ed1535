"""How long a step of training takes here, and what it holds: measured on a few made-up pictures."""

import time

import torch
from torch.nn import functional as F

from engine import device as devices
from engine.errors import EngineError
from engine.zoo.classifier import too_small
from engine.zoo.variants import Variant

PICTURES = 8  # in the measured step: enough that more take no less time each


def measured(network: Variant, size: int, precision: str, device: str) -> dict[str, float]:
    """`seconds` and `bytes` for each picture of a step, and `weights`, the bytes of the network's; raises EngineError
    where it cannot take pictures of that size."""
    chosen = devices.choose(device)
    with torch.random.fork_rng(devices=[]):
        module = network.build().to(chosen).to(memory_format=torch.channels_last).train()
    images = torch.rand(PICTURES, 3, size, size, generator=torch.Generator().manual_seed(0)).to(chosen)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(PICTURES, device=chosen) % network.outputs
    held: dict[int, int] = {}

    def hold(tensor: torch.Tensor) -> torch.Tensor:
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    seconds = 0.0
    try:
        for _ in range(2):  # the first one also makes ready what all others use
            started = time.monotonic()
            with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor), \
                    torch.autocast(chosen.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
                logits = module(images)
            F.cross_entropy(logits.float(), labels).backward()
            if chosen.type == "cuda":
                torch.cuda.synchronize(chosen)
            seconds = time.monotonic() - started
            activations, held = sum(held.values()), {}
    except RuntimeError as error:
        if too_small(error):
            raise EngineError(f"{network.arch} cannot look at pictures as small as {size} x {size}; choose a larger "
                              "size, or another architecture") from None
        raise
    weights = sum(p.nbytes for p in module.parameters())
    return {"seconds": seconds / PICTURES, "bytes": max(0, activations - weights) / PICTURES, "weights": weights}

"""How many images a second a training learns from, against a bare PyTorch loop on the same pictures."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.progress import Progress, to_the_end
from engine.training.spec import TrainSpec
from engine.training.train import GREY_MEAN, GREY_STD, Normalisation, Pictures, _Course
from engine.zoo.architectures import ARCHITECTURES
from tests.bench.timing import interleaved, where

ARCH, CLASSES, SIDE, BATCH = "resnet18", 3, 224, 16
BARE = "bare PyTorch loop"
WANTED = "at least 85 % where no picture is changed at random"


def on_cpu(quick: bool) -> str:
    """One table; `quick` only shows that it runs."""
    count, rounds, side = (4, 1, 64) if quick else (2 * BATCH, 3, SIDE)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, side, side), dtype=torch.uint8, generator=generator)
    seen = Pictures(images, torch.arange(count) % CLASSES)
    candidates = {BARE: _Bare(seen), **{f"training, augmentation {name}": _Ours(seen, side, name)
                                        for name in ("none", "mild")}}
    seconds = interleaved(candidates, rounds)  # type: ignore[arg-type]
    lines = [f"## Training {ARCH}, CPU", "",
             f"{count} grey pictures of {side} x {side} in float32, batches of {min(BATCH, count)}, AdamW; the bare "
             f"loop normalises, goes forward and backward, and steps. Wanted: {WANTED}.", "", where("cpu"), "",
             "| | images a second | of the bare loop's |", "|---|---|---|"]
    lines += [f"| {name} | {count / taken:.2f} | {seconds[BARE] / taken:.0%} |" for name, taken in seconds.items()]
    return "\n".join(lines)


def _network() -> nn.Module:
    return ARCHITECTURES[ARCH].build(CLASSES).to(memory_format=torch.channels_last).train()


class _Bare:
    """What anybody would write."""

    def __init__(self, seen: Pictures) -> None:
        self.seen, self.module = seen, _network()
        self.optimiser = torch.optim.AdamW(self.module.parameters(), lr=1e-3)

    def __call__(self) -> None:
        for start in range(0, len(self.seen.labels), BATCH):
            x: Tensor = (self.seen.images[start:start + BATCH].float() / 255 - GREY_MEAN[0]) / GREY_STD[0]
            x = x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
            self.optimiser.zero_grad()
            F.cross_entropy(self.module(x), self.seen.labels[start:start + BATCH]).backward()
            self.optimiser.step()


class _Ours:
    """An epoch of a training."""

    def __init__(self, seen: Pictures, side: int, augmentation: str) -> None:
        self.side = side
        spec = TrainSpec(dataset="", arch=ARCH, name="", epochs=1000, batch=BATCH, lr=1e-3, precision="float32",
                         augmentation=augmentation)
        self.course = _Course(spec, _network(), seen, Normalisation(GREY_MEAN, GREY_STD), "none", CLASSES,
                              torch.device("cpu"))

    def __call__(self) -> None:
        to_the_end(self.course.epoch(0, self.side, Progress(), lambda at, loss, rate: None))

"""A split in memory, and what its pictures are normalised by."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Pictures:
    """A split in memory, decoded once: images uint8 [N, 1 or 3, H, W], labels int64 [N]."""

    images: Tensor
    labels: Tensor

    def batch(self, chosen: Tensor | slice, device: torch.device) -> Tensor:
        """Some images as float32 in [0,1]."""
        return self.images[chosen].to(device).float() / 255

    def near(self, device: torch.device) -> "Pictures":
        """The same in a GPU's memory, where half of what is free there holds them."""
        if device.type != "cuda" or self.images.nbytes > torch.cuda.mem_get_info(device)[0] / 2:
            return self
        return Pictures(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Normalisation:
    """What is subtracted from each of three channels, and what they are divided by."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def for_grey(self) -> "Normalisation":
        """The same for three equal channels, which the network is quicker with."""
        mean, std = (sum(values) / len(values) for values in (self.mean, self.std))
        return Normalisation((round(mean, 4),) * 3, (round(std, 4),) * 3)

    def __call__(self, images: Tensor) -> Tensor:
        """Images [N, 1 or 3, H, W] in [0,1] as the network sees them."""
        mean, std = (torch.tensor(v, device=images.device).view(1, -1, 1, 1) for v in (self.mean, self.std))
        return ((images.expand(-1, 3, -1, -1) - mean) / std).contiguous(memory_format=torch.channels_last)

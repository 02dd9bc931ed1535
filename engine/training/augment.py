"""Pictures changed at random while a network learns: on the device, a batch at once, from given random numbers."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.data.base import DatasetInfo
from engine.registry import Registry

Range = tuple[float, float]


@dataclass(frozen=True)
class Strength:
    """From where to where random numbers go: degrees turned, size, width against height, shift (of half a side), and
    of the intensities gamma, gain and what is added."""

    name: str
    angle: Range
    scale: Range
    aspect: Range
    shift: Range
    gamma: Range
    gain: Range
    brightness: Range


STRENGTHS: Registry[Strength] = Registry("augmentation")
for _strength in (
    Strength("none", (0, 0), (1, 1), (1, 1), (0, 0), (1, 1), (1, 1), (0, 0)),
    # As between two visits to the X-ray room.
    Strength("mild", (-10, 10), (0.88, 1.12), (0.94, 1.06), (-0.1, 0.1), (0.75, 1.33), (0.85, 1.15), (-0.08, 0.08)),
    # As between two papers that print the same kind of picture.
    Strength("strong", (-20, 20), (0.7, 1.2), (0.85, 1.18), (-0.2, 0.2), (0.6, 1.67), (0.7, 1.3), (-0.15, 0.15)),
):
    STRENGTHS.add(_strength.name, _strength)

# What may be mirrored and still be such a picture, by a word of its modality or title: cells have no right way up, and
# of a slice of the lungs either side may be the left one.
_MIRRORED = (("histolog", "all"), ("ct ", "horizontal"))


def flips_of(chosen: str, info: DatasetInfo) -> str:
    """Which flips those of "modality" are for a data set; the others are what they are."""
    if chosen != "modality":
        return chosen
    about = f"{info.modality} {info.title} ".lower()
    return next((flips for word, flips in _MIRRORED if word in about), "none")


@dataclass(frozen=True)
class Augmentation:
    """Turns, shifts, scales, mirrors and re-exposes each image by its own random numbers."""

    strength: Strength
    flips: str = "none"

    def __call__(self, images: Tensor, size: int, generator: torch.Generator) -> Tensor:
        """Images [N, C, H, W] in [0,1] as [N, C, size, size]; draws from `generator`, which is the CPU's."""
        n, s = len(images), self.strength

        def uniform(limits: Range) -> Tensor:
            low, high = limits
            return torch.rand(n, generator=generator) * (high - low) + low

        angle, scale, aspect = uniform(s.angle).deg2rad(), uniform(s.scale), uniform(s.aspect)
        across = torch.stack([angle.cos() * scale * aspect, -angle.sin() * scale, uniform(s.shift)], dim=1)
        down = torch.stack([angle.sin() * scale, angle.cos() * scale / aspect, uniform(s.shift)], dim=1)
        exposure = torch.stack([uniform(s.gamma), uniform(s.gain), uniform(s.brightness)])
        theta = self._flipped(torch.stack([across, down], dim=1), generator).to(images.device)
        grid = F.affine_grid(theta, [n, images.shape[1], size, size], align_corners=False)
        moved = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        gamma, gain, brightness = exposure.to(images.device).view(3, -1, 1, 1, 1)
        return (moved.clamp(1e-4, 1).pow(gamma) * gain + brightness).clamp(0, 1)

    def _flipped(self, theta: Tensor, generator: torch.Generator) -> Tensor:
        """Maps [N, 2, 3] with mirrors before them, each of which half the images get."""
        if self.flips == "none":
            return theta
        mirrors = 1 if self.flips == "horizontal" else 3
        coins = torch.rand(len(theta), mirrors, generator=generator) < 0.5
        linear, shift = theta[:, :, :2], theta[:, :, 2:]
        signs = torch.where(coins[:, :2], -1.0, 1.0)
        linear = linear * F.pad(signs, (0, 2 - signs.shape[1]), value=1.0)[:, None, :]
        if mirrors == 3:
            linear = torch.where(coins[:, 2, None, None], linear.flip(2), linear)
        return torch.cat([linear, shift], dim=2)

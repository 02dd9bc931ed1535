"""Small networks that an attacker trains: generators, which draw perturbations and patches, and a discriminator.

All are made without weights; `initialised` draws these from a generator of the caller's, so that neither the process's
random state decides what is learned nor is it touched. Statistics are those of each image alone (instance norm), so an
image's perturbation does not depend on the others of its batch. Pooling and resizing are of the kinds whose backward
pass is deterministic on every device.
"""

import math
from itertools import pairwise

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

Size = tuple[int, ...]  # height and width

SPREAD = 0.02  # standard deviation of fresh weights, as in DCGAN and pix2pix
BLOCK = 4  # so many pixels high and wide are the blocks that generators read and paint at once


def initialised(network: nn.Module, generator: Generator) -> nn.Module:
    """`network`, made on the meta device, on the CPU with weights from N(0, SPREAD²) and biases 0."""
    network = network.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, SPREAD, generator=generator)
            else:
                parameter.zero_()
    return network


class ImagePerturber(nn.Module):
    """AdvGAN's generator (Xiao et al. 2018): an image [N, C, H, W] to values in (-1, 1) of the same shape.

    A convolution, one that halves, four residual blocks, one that doubles, and the last. Deviation: blocks of 4 x 4
    pixels become channels before, and channels pixels after, so that no layer works at full size: a fifth of the time.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.down = _conv(channels * BLOCK**2, 32), _conv(32, 32, stride=2)
        self.middle = nn.ModuleList([_Residual(32) for _ in range(4)])
        self.up, self.last = _conv(32, 32), _conv(32, channels * BLOCK**2)

    def forward(self, images: Tensor) -> Tensor:
        wide = _active(self.first(_blocks(images)))
        x = _active(self.down(wide))
        for block in self.middle:
            x = block(x)
        x = _active(self.up(_doubled(x, wide.shape[-2:])))
        return torch.tanh(_pixels(self.last(x), images.shape[-2:]))


class FeaturePerturber(nn.Module):
    """AdvGAN++'s generator (Jandial et al. 2019): a feature map [N, K, h, w] to values in (-1, 1) [N, C, H, W].

    The map is doubled until it has a value for every block of 4 x 4 pixels, which the last convolution paints.
    """

    def __init__(self, features: torch.Size, images: torch.Size) -> None:
        super().__init__()
        self.size = images[-2:]
        sizes = [_over(self.size, BLOCK)]
        while any(wanted > known for wanted, known in zip(sizes[0], features[-2:], strict=True)):
            sizes.insert(0, _over(sizes[0], 2))
        self.sizes = sizes
        self.first = _conv(features[1], 64, kernel=1)
        widths = [64] + [32] * len(sizes)
        self.up = nn.ModuleList([_conv(a, b) for a, b in pairwise(widths)])
        self.last = _conv(widths[-1], images[1] * BLOCK**2)

    def forward(self, features: Tensor) -> Tensor:
        # One scale for the whole map: within it, which channel is strong is what tells the classes apart.
        x = F.leaky_relu(self.first(F.layer_norm(features, features.shape[1:])), 0.2)
        for layer, size in zip(self.up, self.sizes, strict=True):
            x = _active(layer(_doubled(x, size)))
        return torch.tanh(_pixels(self.last(x), self.size))


class Patcher(nn.Module):
    """GDPA's generator (Li and Ji 2021): an image to a patch in (0, 1) [N, C, side, side] and its place [N, 2].

    The place is in (-1, 1), (0, 0) in the middle, (-1, -1) top left. Deviation: blocks of 4 x 4 pixels and three
    strided convolutions instead of six residual blocks on a 56 x 56 map, a hundredth of the work. So that the patch
    still travels as fast (which goes with the inputs of the last layer), the paper's slope of 3000 for 802,816 inputs
    is scaled to those here.
    """

    def __init__(self, images: torch.Size, side: int) -> None:
        super().__init__()
        channels, self.side = images[1], side
        widths = [channels * BLOCK**2, 32, 64, 32]
        self.down = nn.ModuleList([_conv(a, b, stride=2) for a, b in pairwise(widths)])
        inputs = widths[-1] * math.prod(_over(images[-2:], BLOCK * 2 ** len(self.down)))
        self.slope = 3000 * inputs / 802_816
        self.paint = nn.Linear(inputs, channels * side * side, device="meta")
        self.place = nn.Linear(inputs, 2, device="meta")

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = _blocks(images)
        for layer in self.down:
            x = _active(layer(x))
        x = x.flatten(1)
        patch = torch.tanh(self.paint(x)) / 2 + 0.5
        return patch.view(len(x), -1, self.side, self.side), torch.tanh(self.place(x) / self.slope)


class Discriminator(nn.Module):
    """AdvGAN's discriminator (C8, C16, C32): a score [N] that is to be 1 for clean images and 0 for others.

    Deviation: the score is the mean of what is said of every place (as in pix2pix), not a linear layer over all of
    them: at 224 x 224 that one has 25,088 inputs, and a step of Adam's throws it about.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down = nn.ModuleList([_conv(a, b, stride=2) for a, b in pairwise([channels, 8, 16, 32])])
        self.score = _conv(32, 1)

    def forward(self, images: Tensor) -> Tensor:
        x = images - 0.5
        for number, layer in enumerate(self.down):
            x = layer(x)
            x = F.leaky_relu(_normed(x) if number else x, 0.2)
        score: Tensor = self.score(x).mean(dim=(1, 2, 3))
        return score


def pasted(images: Tensor, patches: Tensor, places: Tensor, opacity: float = 1.0) -> Tensor:
    """`images` [N, C, H, W] with `patches` [N, C, p, p] over them at `places` [N, 2] (vertical, horizontal) in [-1, 1].

    Between whole pixels the patch is interpolated, so that the place has a gradient; opacity below 1 lets the image
    shine through.
    """
    down, across = (_spread(places[:, axis], patches.shape[-1], images.shape[2 + axis]) for axis in (0, 1))
    covered = (down.sum(2)[:, :, None] * across.sum(2)[:, None, :])[:, None] * opacity
    paint = down[:, None] @ patches @ across[:, None].transpose(2, 3)
    return images * (1 - covered) + paint * opacity


def _spread(place: Tensor, side: int, length: int) -> Tensor:
    """[N, length, side]: how much of each patch row falls on each image row; every patch row falls on two."""
    start = (place + 1) / 2 * (length - side)
    rows, lines = (torch.arange(n, device=place.device, dtype=place.dtype) for n in (length, side))
    return (1 - (rows[None, :, None] - lines[None, None, :] - start[:, None, None]).abs()).clamp_min(0.0)


class _Residual(nn.Module):
    """x plus two normed 3 x 3 convolutions of x."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = _conv(channels, channels), _conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + _normed(self.second(_active(self.first(x))))


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    """A convolution without weights yet, that keeps the size but for its stride."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, device="meta")


def _active(x: Tensor) -> Tensor:
    return F.relu(_normed(x))


def _normed(x: Tensor) -> Tensor:
    """Instance norm; a map of a single pixel has no spread and stays as it is."""
    return F.instance_norm(x) if x.shape[-2:].numel() > 1 else x


def _doubled(x: Tensor, size: Size) -> Tensor:
    """Twice as high and wide by repetition, then cut to `size`; cut only, where it is that large already."""
    if tuple(x.shape[-2:]) != tuple(size):
        x = F.interpolate(x, scale_factor=2, mode="nearest")
    return x[..., :size[0], :size[1]]


def _blocks(images: Tensor) -> Tensor:
    """Images [N, C, H, W] as [N, C BLOCK BLOCK, H / BLOCK, W / BLOCK] around 0, with grey at the end where needed."""
    height, width = images.shape[-2:]
    return F.pixel_unshuffle(F.pad(images - 0.5, (0, -width % BLOCK, 0, -height % BLOCK)), BLOCK)


def _pixels(blocks: Tensor, size: Size) -> Tensor:
    """The opposite: [N, C BLOCK BLOCK, h, w] as [N, C, *size]."""
    return F.pixel_shuffle(blocks, BLOCK)[..., :size[0], :size[1]]


def _over(size: tuple[int, ...] | torch.Size, by: int) -> tuple[int, ...]:
    """Height and width divided by `by`, rounded up."""
    return tuple(math.ceil(length / by) for length in size)

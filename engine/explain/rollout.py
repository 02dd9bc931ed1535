"""Attention rollout: how much of the answer comes from each patch, by way of all attention of a network."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.swin_transformer import PatchMerging, ShiftedWindowAttention

from engine.errors import EngineError
from engine.zoo.classifier import Classifier
from engine.zoo.hooks import Hook, hooked

# From the heat of what a layer gives, [N,T] or [N,h,w], the heat of what it was given.
Back = Callable[[Tensor], Tensor]


@torch.no_grad()
def rollout(classifier: Classifier, images: Tensor) -> Tensor:
    """Each patch's share of what the network answers from, [N,h,w].

    Abnar and Zuidema 2020: a layer gives every token half of itself and half of what it attends to, averaged over the
    heads; these matrices are multiplied from the class token down to the patches. Where the answer is made of the mean
    of all tokens (Swin), that mean is what one begins with; attention within shifted windows is such a matrix too, with
    zeros between the windows, and merged patches get a quarter of the heat each. Raises EngineError.
    """
    attention = {name: layer for name, layer in classifier.module.named_modules() if type(layer) in _BACK}
    ways: list[Back] = []

    def note(name: str) -> Hook:
        back = _BACK[type(attention[name])]
        return lambda layer, inputs, output: ways.append(back(layer, inputs))

    with hooked(attention, note):
        classifier(images.to(classifier.device))
    if not any(isinstance(layer, nn.MultiheadAttention | ShiftedWindowAttention) for layer in attention.values()):
        raise EngineError(f"the layers of {classifier.name} do not attend to anything, so attention cannot be rolled "
                          "out; choose another heatmap method, or a transformer")
    heat = _answers(ways[-1], len(images))
    for back in reversed(ways):
        heat = back(heat)
    return heat if heat.ndim == 3 else _of_patches(heat)


def _answers(last: Any, count: int) -> Tensor:
    """How much of the answer comes from each token after the last layer."""
    if isinstance(last, _WithinWindows):
        height, width = last.windows.size
        return last.attention.new_full((count, height, width), 1 / (height * width))
    return F.one_hot(torch.zeros(count, dtype=torch.int64), last.attention.shape[-1]).to(last.attention)


def _of_patches(heat: Tensor) -> Tensor:
    """Of a class token and h x w patches, as many across as down, those of the patches."""
    side = math.isqrt(heat.shape[1] - 1)
    if side < 2 or side * side + 1 != heat.shape[1]:
        raise EngineError("attention is rolled out for networks with a class token and patches in a square; choose "
                          "another heatmap method")
    return heat[:, 1:].unflatten(1, (side, side))


@dataclass(frozen=True)
class _OverAll:
    """Attention [N,T,T] of every token to all, averaged over the heads."""

    attention: Tensor

    def __call__(self, heat: Tensor) -> Tensor:
        return (heat + (heat[:, None] @ self.attention)[:, 0]) / 2


def _over_all(layer: nn.MultiheadAttention, inputs: tuple[Tensor, ...]) -> _OverAll:
    query, key, value = inputs
    if query is not key:
        raise EngineError("attention is rolled out where tokens attend to one another; choose another heatmap method")
    # Not a call of the module: that would be noted, too.
    attention = layer.forward(query, key, value, need_weights=True)[1]
    assert attention is not None  # it was asked for
    return _OverAll(attention)


@dataclass(frozen=True)
class _Windows:
    """How tokens [N,h,w,K] fall into windows: padded below and at the right to `padded`, shifted, and cut."""

    size: tuple[int, int]
    padded: tuple[int, int]
    window: tuple[int, int]
    shift: tuple[int, int]

    def cut(self, x: Tensor) -> Tensor:
        """[N,h,w,K] as [N windows, T, K]."""
        (height, width), (h, w), (rows, columns) = self.padded, self.window, self.shift
        x = F.pad(x, (0, 0, 0, width - x.shape[2], 0, height - x.shape[1])).roll((-rows, -columns), (1, 2))
        x = x.unflatten(2, (width // w, w)).unflatten(1, (height // h, h)).transpose(2, 3)
        return x.flatten(0, 2).flatten(1, 2)

    def join(self, x: Tensor) -> Tensor:
        """The reverse of `cut`."""
        (height, width), (h, w), (rows, columns) = self.padded, self.window, self.shift
        x = x.unflatten(1, (h, w)).unflatten(0, (-1, height // h, width // w)).transpose(2, 3).flatten(3, 4)
        return x.flatten(1, 2).roll((rows, columns), (1, 2))[:, :self.size[0], :self.size[1]]

    def apart(self) -> Tensor:
        """Which tokens of a window came together by the shift only, from opposite sides: [windows, T, T]."""
        height, width = self.padded
        rows, columns = (torch.arange(side) < shift for side, shift in zip(self.padded, self.shift, strict=True))
        sides = self.cut((rows[:, None] + 2 * columns[None]).view(1, height, width, 1))[..., 0]
        return sides[:, :, None] != sides[:, None]


@dataclass(frozen=True)
class _WithinWindows:
    """Attention [N windows, T, T] averaged over the heads."""

    windows: _Windows
    attention: Tensor

    def __call__(self, heat: Tensor) -> Tensor:
        given = self.windows.cut(heat[..., None]).transpose(1, 2) @ self.attention
        return (heat + self.windows.join(given.transpose(1, 2))[..., 0]) / 2


def _within_windows(layer: ShiftedWindowAttention, inputs: tuple[Tensor, ...]) -> _WithinWindows:
    (x,) = inputs
    windows = _windows(layer, x)
    return _WithinWindows(windows, attended(layer, windows, x).mean(dim=1))


def _windows(layer: ShiftedWindowAttention, x: Tensor) -> _Windows:
    height, width = x.shape[1:3]
    h, w = layer.window_size
    padded = (math.ceil(height / h) * h, math.ceil(width / w) * w)
    # One window that holds everything is not shifted.
    rows, columns = (0 if window >= side else shift
                     for window, side, shift in zip((h, w), padded, layer.shift_size, strict=True))
    return _Windows((height, width), padded, (h, w), (rows, columns))


def attended(layer: ShiftedWindowAttention, windows: _Windows, x: Tensor) -> Tensor:
    """What torchvision's layer attends to, which it does not tell: [N windows, heads, T, T]."""
    qkv = layer.qkv(windows.cut(x)).unflatten(2, (3, layer.num_heads, -1))
    query, key, _ = qkv.permute(2, 0, 3, 1, 4)
    scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[-1]) + layer.get_relative_position_bias()
    apart = windows.apart().to(x.device).repeat(len(x), 1, 1)
    return scores.masked_fill(apart[:, None], -torch.inf).softmax(dim=-1)


def _merged(layer: PatchMerging, inputs: tuple[Tensor, ...]) -> Back:
    height, width = inputs[0].shape[1:3]

    def back(heat: Tensor) -> Tensor:
        return (heat / 4).repeat_interleave(2, 1).repeat_interleave(2, 2)[:, :height, :width]

    return back


_BACK: dict[type[nn.Module], Callable[[Any, tuple[Tensor, ...]], Back]] = {
    nn.MultiheadAttention: _over_all, ShiftedWindowAttention: _within_windows, PatchMerging: _merged}

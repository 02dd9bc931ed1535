"""EfficientNet-Lite0, which torchvision lacks, of torchvision's blocks."""

import itertools
from collections import OrderedDict

from torch import Tensor, nn
from torchvision.ops.misc import Conv2dNormActivation

# Of each stage: blocks, side of the kernel, stride of the first block, how many times wider inside, channels.
_STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112),
           (4, 5, 2, 6, 192), (1, 3, 1, 6, 320))
_FIRST, _LAST = 32, 1280
_EPS = 1e-3


class _Block(nn.Module):
    """An inverted bottleneck: wider, across space channel by channel, narrower; with a shortcut where shapes agree."""

    def __init__(self, inside: int, kernel: int, stride: int, wider: int, outside: int) -> None:
        super().__init__()
        middle = inside * wider
        expand = [_layer(inside, middle, 1)] if wider > 1 else []
        self.layers = nn.Sequential(*expand, *_same(kernel, stride), _layer(middle, middle, kernel, stride, middle),
                                    _layer(middle, outside, 1, acts=False))
        self.shortcut = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return x + out if self.shortcut else out


def efficientnet_lite0(outputs: int) -> nn.Module:
    """The network, untrained: the layers of `efficientnet_lite_pytorch`, in the same order."""
    return nn.Sequential(OrderedDict([
        ("stem", nn.Sequential(*_same(3, 2), _layer(3, _FIRST, 3, 2))),
        ("blocks", nn.Sequential(*_blocks())),
        ("head", _layer(_STAGES[-1][-1], _LAST, 1)),
        ("pool", nn.AdaptiveAvgPool2d(1)),
        ("flat", nn.Flatten()),
        ("dropout", nn.Dropout(0.2)),
        ("classifier", nn.Linear(_LAST, outputs)),
    ]))


def _blocks() -> list[nn.Module]:
    blocks: list[nn.Module] = []
    widths = (_FIRST, *(stage[-1] for stage in _STAGES))
    for (count, kernel, stride, wider, outside), (inside, _) in zip(_STAGES, itertools.pairwise(widths), strict=True):
        blocks += [_Block(inside if i == 0 else outside, kernel, stride if i == 0 else 1, wider, outside)
                   for i in range(count)]
    return blocks


def _same(kernel: int, stride: int) -> list[nn.Module]:
    """TensorFlow's padding before a strided kernel, as for pictures of even sides: one pixel more at the end."""
    return [nn.ZeroPad2d(((kernel - 2) // 2, (kernel - 1) // 2) * 2)] if stride == 2 else []


def _layer(inside: int, outside: int, kernel: int, stride: int = 1, groups: int = 1, acts: bool = True) -> nn.Module:
    """Convolution, norm and ReLU6."""
    layer = Conv2dNormActivation(inside, outside, kernel, stride, padding=0 if stride == 2 else kernel // 2,
                                 groups=groups, norm_layer=lambda c: nn.BatchNorm2d(c, eps=_EPS),
                                 activation_layer=nn.ReLU6 if acts else None)
    for part in layer.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out")
    return layer

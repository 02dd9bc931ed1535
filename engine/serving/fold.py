"""Exact algebra that makes a frozen network cheaper to differentiate with respect to its input.

Nothing here changes what a network computes, beyond float rounding, and no parameter gets a gradient.
"""

import copy
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.densenet import _DenseBlock

_threshold_backward = torch.ops.aten.threshold_backward.grad_input
_convolution_backward = torch.ops.aten.convolution_backward


def folded(module: nn.Module, mean: Tensor, std: Tensor) -> nn.Module:
    """A copy of `module` that takes images in [0,1] of 1 or 3 channels as they are, normalises and is channels-last.

    `mean` [1, C, 1, 1] has a value for each channel that `module` takes, `std` too or one for all. Batch-norm goes into
    the convolutions before it, normalisation into the first one. Raises whatever torch.fx says of a module that it
    cannot trace.
    """
    module = copy.deepcopy(module)
    _replace(module, _DenseBlock, DenseBlock)
    graph = _Tracer().trace(module)
    traced = fx.GraphModule(module, graph)
    _fold_norms(traced)
    _pool_before_1x1(traced)
    traced.delete_all_unused_submodules()
    whole = traced if _take_stem(traced, mean, std) else nn.Sequential(Normalise(mean, std), traced)
    return whole.eval().requires_grad_(False).to(memory_format=torch.channels_last)


class _Tracer(fx.Tracer):
    """Takes the blocks that are rewritten by hand as they are.

    torch.fx replaces nn.Module's own methods while it traces, for all threads. What other threads compute meanwhile
    passes through untouched, and one trace waits for another.
    """

    _tracing = threading.Lock()

    def trace(self, root: nn.Module | Callable[..., Any], concrete_args: dict[str, Any] | None = None) -> fx.Graph:
        with self._tracing:
            self._thread = threading.get_ident()
            return super().trace(root, concrete_args)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...],
                    kwargs: dict[str, Any]) -> Any:
        return super().call_module(m, forward, args, kwargs) if self._is_mine() else forward(*args, **kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        return super().getattr(attr, attr_val, parameter_proxy_cache) if self._is_mine() else attr_val

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, DenseBlock) or super().is_leaf_module(m, module_qualified_name)

    def _is_mine(self) -> bool:
        return threading.get_ident() == self._thread


def _replace(module: nn.Module, kind: type[nn.Module], by: Callable[[Any], nn.Module]) -> None:
    for name, child in module.named_children():
        if isinstance(child, kind):
            setattr(module, name, by(child))
        else:
            _replace(child, kind, by)


# ---- batch-norm ----------------------------------------------------------------------------------------------------


class Affine(nn.Module):
    """Batch-norm in eval mode as scale * x + shift, [1, C, 1, 1] each: its backward needs no copy of x."""

    scale: Tensor
    shift: Tensor

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        assert norm.running_mean is not None and norm.running_var is not None
        mean, var = norm.running_mean.double(), norm.running_var.double()
        scale = (var + norm.eps).rsqrt() * (1.0 if norm.weight is None else norm.weight.double())
        shift = (0.0 if norm.bias is None else norm.bias.double()) - mean * scale
        for name, value in (("scale", scale), ("shift", shift)):
            self.register_buffer(name, value.to(norm.running_mean.dtype).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.shift, x, self.scale)


def _is_frozen_norm(module: nn.Module | None) -> bool:
    """Without running statistics batch-norm looks at the batch even in eval mode, and cannot be folded."""
    return isinstance(module, nn.BatchNorm2d) and module.running_mean is not None


def _fold_norms(traced: fx.GraphModule) -> None:
    """Every batch-norm into the convolution whose output only it sees; the others become Affine."""
    calls = _calls(traced)
    for norm in [n for n in calls if _is_frozen_norm(_module(traced, n))]:
        source = _source(norm)
        conv = _module(traced, source)
        if isinstance(conv, nn.Conv2d) and len(source.users) == 1 and _runs_once(calls, source):
            _put(traced, source, fuse_conv_bn_eval(conv, _module(traced, norm)))
            norm.replace_all_uses_with(source)
            traced.graph.erase_node(norm)
        elif _runs_once(calls, norm):
            _put(traced, norm, Affine(_module(traced, norm)))
    traced.recompile()


def _pool_before_1x1(traced: fx.GraphModule) -> None:
    """Average pooling and a 1x1 convolution can change places: then the convolution has a quarter of the work."""
    calls = _calls(traced)
    for pool in calls:
        source = _source(pool)
        conv = _module(traced, source)
        if (_is_plain_pool(_module(traced, pool)) and _is_pointwise(conv) and len(source.users) == 1
                and _runs_once(calls, source)):
            pool.replace_all_uses_with(source)
            pool.args = (source.args[0],)
            source.args = (pool,)
            source.prepend(pool)
    traced.recompile()


def _is_plain_pool(module: nn.Module | None) -> bool:
    return isinstance(module, nn.AvgPool2d) and module.padding in (0, (0, 0)) and not module.ceil_mode


def _is_pointwise(module: nn.Module | None) -> bool:
    return (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.stride == (1, 1)
            and module.padding == (0, 0))


def _calls(traced: fx.GraphModule) -> list[fx.Node]:
    """The calls of submodules on one tensor."""
    return [n for n in traced.graph.nodes
            if n.op == "call_module" and len(n.args) == 1 and isinstance(n.args[0], fx.Node) and not n.kwargs]


def _source(call: fx.Node) -> fx.Node:
    """Where the tensor that `call` works on comes from."""
    return cast(fx.Node, call.args[0])


def _module(traced: fx.GraphModule, node: fx.Node) -> Any:
    """The submodule that `node` calls, if it does."""
    return traced.get_submodule(str(node.target)) if node.op == "call_module" else None


def _runs_once(calls: Sequence[fx.Node], node: fx.Node) -> bool:
    return sum(n.target == node.target for n in calls) == 1


def _put(traced: fx.GraphModule, node: fx.Node, module: nn.Module) -> None:
    parent, _, name = str(node.target).rpartition(".")
    setattr(traced.get_submodule(parent), name, module)


# ---- the first convolution -----------------------------------------------------------------------------------------


class Normalise(nn.Module):
    """Images in [0,1] as a network of three channels (or one) sees them, channels-last."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.clone())
        self.register_buffer("std", std.clone())

    def forward(self, images: Tensor) -> Tensor:
        normalised = (images - self.mean.float()) / self.std.float()
        return normalised.to(self.mean.dtype).contiguous(memory_format=torch.channels_last)


class Stem(nn.Module):
    """Normalisation and the first convolution in one.

    The division by std is in the kernels; the mean is subtracted before, so that zero padding stays exact. Where it is
    the same for all channels, a grey image needs one channel only, with the kernels of the three added up. A stride s
    becomes space-to-depth: the s x s pixels under one output turn into channels, and the kernel is cut to match, which
    gives the same sums without the slow backward pass of strided convolutions.
    """

    mean: Tensor
    colour: Tensor
    grey: Tensor | None
    bias: Tensor | None

    def __init__(self, conv: nn.Conv2d, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = conv.kernel_size, conv.stride[0], _pair(conv.padding)
        weight = (conv.weight.double() / std.double()).to(conv.weight.dtype)
        equal_means = bool((mean == mean.flatten()[0]).all())
        self.register_buffer("mean", mean.flatten()[:1].view(1, 1, 1, 1).clone() if equal_means else mean.clone())
        self.register_buffer("colour", self._cut(weight))
        self.register_buffer("grey", self._cut(weight.sum(1, keepdim=True)) if equal_means else None)
        self.register_buffer("bias", conv.bias)

    def forward(self, images: Tensor) -> Tensor:
        x = (images - self.mean.float()).to(self.colour.dtype)
        weight = self.grey if self.grey is not None and x.shape[1] == 1 else self.colour
        x = F.pixel_unshuffle(F.pad(x, self._margins(*x.shape[-2:])), self.stride)
        return F.conv2d(x.contiguous(memory_format=torch.channels_last), weight, self.bias)

    def _leads(self) -> tuple[int, int]:
        """Zeros put before the kernel, so that kernel and stride start at the same pixel: (vertical, horizontal)."""
        vertical, horizontal = (-p % self.stride for p in self.padding)
        return vertical, horizontal

    def _cut(self, weight: Tensor) -> Tensor:
        """Kernels [O, C, h, w] as [O, C s s, h', w'], with zeros added to make both sides multiples of s."""
        (top, left), s = self._leads(), self.stride
        bottom, right = (-(k + lead) % s for k, lead in zip(self.kernel, (top, left), strict=True))
        return F.pixel_unshuffle(F.pad(weight, (left, right, top, bottom)), s)

    def _margins(self, height: int, width: int) -> list[int]:
        """Zeros around an image (left, right, top, bottom), fewer than none where pixels at the end are not used."""
        margins: list[int] = []
        for size, kernel, padding, lead in zip((width, height), self.kernel[::-1], self.padding[::-1],
                                               self._leads()[::-1], strict=True):
            outputs = (size + 2 * padding - kernel) // self.stride + 1
            needed = self.stride * (outputs - 1 + math.ceil((kernel + lead) / self.stride))
            margins += [padding + lead, needed - size - padding - lead]
        return margins


def _pair(padding: Any) -> tuple[int, int]:
    return padding if isinstance(padding, tuple) else (padding, padding)


def _take_stem(traced: fx.GraphModule, mean: Tensor, std: Tensor) -> bool:
    """Replace the first convolution by a Stem; False where the images go elsewhere too, or it is of another kind."""
    inputs = [n for n in traced.graph.nodes if n.op == "placeholder"]
    users = list(inputs[0].users)
    conv = _module(traced, users[0]) if len(inputs) == len(users) == 1 else None
    if not isinstance(conv, nn.Conv2d) or not _runs_once(_calls(traced), users[0]) or not _can_be_stem(conv):
        return False
    _put(traced, users[0], Stem(conv, mean, std))
    return True


def _can_be_stem(conv: nn.Conv2d) -> bool:
    return (conv.groups == 1 and conv.dilation == (1, 1) and conv.padding_mode == "zeros"
            and not isinstance(conv.padding, str) and conv.stride[0] == conv.stride[1])


# ---- DenseNet ------------------------------------------------------------------------------------------------------


class DenseBlock(nn.Module):
    """torchvision's dense block without its concatenations: all layers read and write slices of one tensor.

    That tensor and each layer's 128-channel middle are all that the backward pass keeps.
    """

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_DenseStep(layer) for layer in block.values())

    def forward(self, x: Tensor) -> Tensor:
        return _DenseBlockFunction.apply(x, list(self.layers))


class _DenseStep(nn.Module):
    """Norm, ReLU, 1x1 convolution, norm (folded), ReLU, 3x3 convolution: c channels in, `growth` new ones out."""

    back: Tensor

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.norm = Affine(layer.norm1)
        self.narrow = fuse_conv_bn_eval(layer.conv1, layer.norm2)
        self.grow = layer.conv2
        self.register_buffer("back", (self.narrow.weight * self.norm.scale).detach())

    @property
    def growth(self) -> int:
        return int(self.grow.out_channels)

    def activated(self, x: Tensor, out: Tensor) -> Tensor:
        """The normalised x, before its ReLU, in the memory of `out`."""
        return torch.addcmul(self.norm.shift, x, self.norm.scale, out=out)


class _DenseBlockFunction(torch.autograd.Function):
    """A whole dense block, with a backward pass to its input only."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, steps: list[_DenseStep]) -> Tensor:
        n, channels, h, w = x.shape
        total = channels + sum(step.growth for step in steps)
        features, scratch = (_channels_last(x.new_empty(n * h * w * total), n, total, h, w) for _ in range(2))
        features[:, :channels] = x
        middles = []
        for step in steps:
            active = step.activated(features[:, :channels], _first_channels(scratch, channels)).relu_()
            middle = step.narrow(active).relu_()
            features[:, channels:channels + step.growth] = step.grow(middle)
            channels += step.growth
            if ctx.needs_input_grad[0]:
                middles.append(middle)
        ctx.save_for_backward(features, *middles)
        ctx.steps = steps
        return features

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        features, *middles = ctx.saved_tensors
        gradient = gradients[0].clone(memory_format=torch.channels_last)
        scratch = torch.empty_like(features)
        channels = features.shape[1]
        for step, middle in zip(reversed(ctx.steps), reversed(middles), strict=True):
            channels -= step.growth
            new = gradient[:, channels:channels + step.growth].contiguous(memory_format=torch.channels_last)
            down = _masked_(_to_input(new, middle, step.grow.weight, padding=1), middle)
            active = _first_channels(scratch, channels)
            # The scale of the norm is already in `back`; `active` lends its shape now and its signs afterwards.
            up = _to_input(down, active, step.back, padding=0)
            gradient[:, :channels] += _masked_(up, step.activated(features[:, :channels], active))
        return gradient[:, :channels].contiguous(memory_format=torch.channels_last), None


def _to_input(gradient: Tensor, like: Tensor, weight: Tensor, padding: int) -> Tensor:
    """The gradient of a convolution's input, shaped as `like`, whose values do not matter."""
    return _convolution_backward(gradient, like, weight, [0], [1, 1], [padding] * 2, [1, 1], False, [0, 0], 1,
                                 [True, False, False])[0]


def _masked_(gradient: Tensor, active: Tensor) -> Tensor:
    """`gradient` set to 0, in place, where a ReLU of `active` was closed."""
    return _threshold_backward(gradient, active, 0, grad_input=gradient)


def _channels_last(flat: Tensor, n: int, c: int, h: int, w: int) -> Tensor:
    return flat[:n * c * h * w].view(n, h, w, c).permute(0, 3, 1, 2)


def _first_channels(scratch: Tensor, channels: int) -> Tensor:
    """Memory of `scratch` as a dense channels-last tensor of fewer channels."""
    n, _, h, w = scratch.shape
    return _channels_last(scratch.permute(0, 2, 3, 1).reshape(-1), n, channels, h, w)

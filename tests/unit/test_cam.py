"""Heatmaps against ones worked out by explicit gradients and against the grad-cam package; no trace on the model."""

import itertools
import threading
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.swin_transformer import ShiftedWindowAttention, SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

from engine.errors import EngineError
from engine.explain.cam import CAMS, _at_layer, cam, layers_for
from engine.explain.methods import eigen, methods_for
from engine.explain.rollout import _windows, attended, rollout
from engine.explain.shift import cam_shift, heat_on, hottest
from engine.zoo.architectures import ARCHITECTURES
from engine.zoo.classifier import Classifier

CLASSES = ("normal", "pneumonia", "covid")


def seeded(build, seed: int = 0):
    """What `build` makes with random weights drawn from `seed`, the global random state left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def classifier_of(arch: str, **options) -> Classifier:
    module = seeded(lambda: ARCHITECTURES[arch].build(len(CLASSES)))
    # Fresh networks have batch-norm offsets of zero; these make values before and after a ReLU differ in earnest.
    for name, parameter in module.named_parameters():
        if parameter.ndim == 1 and name.endswith("bias"):
            parameter.data.add_(0.1)
    return Classifier(module.double(), CLASSES, mean=(0.5,), std=(0.25,), arch=arch, **options).double()


@pytest.fixture(scope="module")
def classifiers() -> dict[str, Classifier]:
    return {arch: classifier_of(arch) for arch in ("resnet18", "densenet121")}


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


INDEX = [2, 0]


class Tiny(nn.Module):
    """A user's own model, with an in-place ReLU right after its last feature map."""

    def __init__(self, outputs: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2))
        self.body = nn.Conv2d(4, 5, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(5, outputs)
        self.unused = nn.Conv2d(3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.relu(self.body(self.stem(x)))).flatten(1))


def tiny(outputs: int = 3) -> Classifier:
    return Classifier(seeded(lambda: Tiny(outputs)), CLASSES[:max(2, outputs)])


# Maps by hand

def resnet_parts(net: nn.Module, x: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """Values at a stage of torchvision's ResNet, and logits computed from them, written out without hooks."""
    x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
    stages = ["layer1", "layer2", "layer3", "layer4"]
    for stage in stages[:stages.index(layer) + 1]:
        x = getattr(net, stage)(x)
    values = x = x.detach().requires_grad_()
    for stage in stages[stages.index(layer) + 1:]:
        x = getattr(net, stage)(x)
    return values, net.fc(net.avgpool(x).flatten(1))


def densenet_parts(net: nn.Module, x: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """Values of a DenseNet block, or of `features` before the ReLU, and logits from them."""
    names = list(net.features._modules)
    until = len(names) if layer == "features" else names.index(layer.split(".")[1]) + 1
    for name in names[:until]:
        x = net.features._modules[name](x)
    values = x = x.detach().requires_grad_()
    for name in names[until:]:
        x = net.features._modules[name](x)
    return values, net.classifier(F.relu(x).mean(dim=(2, 3)))


def by_hand(method: str, values: Tensor, logits: Tensor) -> np.ndarray:
    """The formulas of the papers, map by map."""
    (gradients,) = torch.autograd.grad(logits[[0, 1], INDEX].sum(), values)
    maps = []
    for a, g in zip(values.detach(), gradients, strict=True):
        if method == "grad-cam":
            heat = sum(g[k].mean() * a[k] for k in range(len(a)))
        elif method == "layer-cam":
            heat = (g.clamp(min=0) * a).sum(0)
        else:
            total = a.sum(dim=(1, 2), keepdim=True)
            share = torch.where(g != 0, g ** 2 / (2 * g ** 2 + total * g ** 3 + 1e-6), 0)
            heat = ((share * g.clamp(min=0)).sum(dim=(1, 2), keepdim=True) * a).sum(0)
        maps.append(heat.clamp(min=0))
    return torch.stack(maps).numpy()


def stretched(maps: np.ndarray) -> np.ndarray:
    low, high = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2), keepdims=True)
    return (maps - low) / np.where(high > low, high - low, 1)


@pytest.mark.parametrize("method", ["grad-cam", "grad-cam++", "layer-cam"])
@pytest.mark.parametrize(("arch", "layer"), [
    ("resnet18", "layer4"), ("resnet18", "layer2"),
    ("densenet121", "features"), ("densenet121", "features.denseblock2"),
])
def test_maps_are_those_worked_out_by_hand(arch: str, layer: str, method: str, classifiers, images) -> None:
    classifier = classifiers[arch]
    parts = resnet_parts if arch == "resnet18" else densenet_parts
    heat = by_hand(method, *parts(classifier.module, classifier.normalised(images), layer))
    assert heat.max() > 0, "the test needs a map with heat"
    enlarged = F.interpolate(torch.from_numpy(stretched(heat))[:, None], (64, 64), mode="bilinear")[:, 0].numpy()

    found = cam(classifier, images, INDEX, method, layer)

    assert found.maps.dtype == np.float32 and found.peak.dtype == np.float32
    np.testing.assert_allclose(found.peak, heat.max(axis=(1, 2)), rtol=1e-5)
    np.testing.assert_allclose(found.maps, stretched(enlarged), atol=2e-6)
    assert (found.method, found.layer) == (method, layer)


@pytest.mark.parametrize(("arch", "layer", "method", "class_name"), [
    ("resnet18", "layer4", "grad-cam", "GradCAM"),
    ("resnet18", "layer2", "grad-cam++", "GradCAMPlusPlus"),
    ("resnet18", "layer2", "layer-cam", "LayerCAM"),
    ("densenet121", "features.denseblock3", "grad-cam", "GradCAM"),
])
def test_maps_are_the_packages_where_it_is_right(arch, layer, method, class_name, classifiers, images) -> None:
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    classifier = classifiers[arch]
    with getattr(pytorch_grad_cam, class_name)(classifier, [classifier.module.get_submodule(layer)]) as package:
        expected = package(images.clone().requires_grad_(), [ClassifierOutputTarget(k) for k in INDEX])
    # The package divides by the peak plus 1e-7 and enlarges with OpenCV.
    np.testing.assert_allclose(cam(classifier, images, INDEX, method, layer).maps, expected, atol=2e-3)


def test_densenets_last_map_is_taken_before_the_relu(classifiers, images) -> None:
    classifier = classifiers["densenet121"]
    values = densenet_parts(classifier.module, classifier.normalised(images), "features")[0].detach().numpy()
    assert (values < 0).any()
    found, gradients = _at_layer(classifier, "features", images, torch.tensor(INDEX), needs_gradient=True)
    np.testing.assert_allclose(found, values, atol=1e-12)
    assert gradients is not None and not gradients[values < 0].any(), "the ReLU lets no gradient through below zero"


# Eigen-CAM

def test_eigen_cam_is_the_first_component_up_to_sign() -> None:
    from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection

    for shape in ((2, 6, 5, 4), (2, 30, 4, 4)):
        values = np.random.default_rng(0).standard_normal(shape)
        for ours, theirs in zip(eigen(values), get_2d_projection(values), strict=True):
            np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-5)
            assert abs(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1]) > 0.99999


def test_eigen_cam_is_hot_where_the_layer_is_active() -> None:
    spot = np.zeros((6, 6))
    spot[1:3, 4:6] = 1
    weights = np.array([3.0, 1.0, 2.0])
    values = weights[:, None, None] * spot
    heat = eigen(values[None])[0]
    assert heat[1:3, 4:6].min() > 0 > heat[4, 0]
    # A layer that is quiet everywhere but for one hole is hot outside the hole.
    assert eigen((weights[:, None, None] * (1 - spot))[None])[0][1, 5] < 0


def test_eigen_cam_keeps_its_sign_under_a_small_perturbation(classifiers, images) -> None:
    for classifier in classifiers.values():
        before = cam(classifier, images, INDEX, "eigen-cam")
        noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        after = cam(classifier, images + noise.sign() * 1e-4, INDEX, "eigen-cam")
        for first, second in zip(before.maps, after.maps, strict=True):
            assert cam_shift(first, second).correlation > 0.99


# Attention rollout

def rows_of_attention(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, heads: int) -> np.ndarray:
    """[T,T] averaged over the heads, head by head and token by token."""
    width = x.shape[1]
    each, found = width // heads, np.zeros((heads, len(x), len(x)))
    query, key = (x @ weight[k * width:(k + 1) * width].T + bias[k * width:(k + 1) * width] for k in (0, 1))
    for head in range(heads):
        own = slice(head * each, (head + 1) * each)
        for i in range(len(x)):
            scores = np.exp([query[i, own] @ key[j, own] / each ** 0.5 for j in range(len(x))])
            found[head, i] = scores / scores.sum()
    return found.mean(0)


def test_attention_is_rolled_out_as_by_hand() -> None:
    def build() -> nn.Module:
        net = VisionTransformer(image_size=12, patch_size=4, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=8)
        for parameter in net.parameters():
            nn.init.normal_(parameter, std=0.7)
        return net.double()

    net = seeded(build).eval()
    image = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        x = torch.cat([net.class_token, net._process_input(image)], dim=1) + net.encoder.pos_embedding
        mixed = np.eye(10)
        for block in net.encoder.layers:
            layer = block.self_attention
            attention = rows_of_attention(block.ln_1(x)[0].numpy(), layer.in_proj_weight.numpy(),
                                          layer.in_proj_bias.numpy(), 2)
            mixed = (np.eye(10) + attention) / 2 @ mixed
            x = block(x)
    wanted = mixed[0, 1:].reshape(3, 3)
    model = Classifier(net, [str(i) for i in range(1000)])
    np.testing.assert_allclose(rollout(model, image)[0], wanted, rtol=1e-6)
    assert np.ptp(wanted) > 0.01 and wanted.sum() == pytest.approx(1 - mixed[0, 0])
    found = cam(model, image, [3], "attention-rollout")
    assert found.peak[0] == pytest.approx(wanted.max()) and found.maps.max() == 1 and state_of(model)[0] == 0
    with pytest.raises(EngineError, match="leave the layer out"):
        cam(model, image, [3], "attention-rollout", "encoder")


def in_one_window(place: int, other: int, side: int, window: int, shift: int) -> bool:
    """Whether two rows (or columns) meet in a window after a cyclic shift, without having come around."""
    first, second = ((p - shift) % side for p in (place, other))
    return first // window == second // window and (place < shift) == (other < shift)


def test_shifted_windows_are_rolled_out_as_by_hand() -> None:
    def build() -> nn.Module:
        net = SwinTransformer([1, 1], 4, [2, 1], [2, 2], [2, 2], num_classes=3, stochastic_depth_prob=0.0)
        for parameter in net.parameters():
            nn.init.normal_(parameter, std=0.7)
        return net.double()

    net = seeded(build).eval()
    image = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    seen, mixed = {}, []
    handles = [m.register_forward_hook(lambda m, i, o: seen.__setitem__(m, i[0])) for m in net.modules()
               if isinstance(m, ShiftedWindowAttention)]
    with torch.no_grad():
        net(image)
    for handle in handles:
        handle.remove()
    for layer, x in seen.items():
        side, flat = x.shape[1], x[0].flatten(0, 1).detach()
        places = [(i, j) for i in range(side) for j in range(side)]
        shift = 0 if side == 2 else layer.shift_size[0]
        query, key, _ = layer.qkv(flat).detach().view(side * side, 3, 2, -1).permute(1, 2, 0, 3)
        attention = np.zeros((side * side,) * 2)
        for (a, (i, j)), head in itertools.product(enumerate(places), (0, 1)):
            scores = np.zeros(side * side)
            for b, (k, m) in enumerate(places):
                if in_one_window(i, k, side, 2, shift) and in_one_window(j, m, side, 2, shift):
                    apart = ((i - shift) % side % 2 - (k - shift) % side % 2 + 1) * 3 \
                        + ((j - shift) % side % 2 - (m - shift) % side % 2 + 1)
                    bias = layer.relative_position_bias_table[apart, head].detach()
                    scores[b] = torch.exp(query[head, a] @ key[head, b] / query.shape[-1] ** 0.5 + bias)
            attention[a] += scores / scores.sum() / 2
        mixed.append((np.eye(side * side) + attention) / 2)
    assert len(mixed) == 3
    merged = np.zeros((4, 16))
    for i, j in itertools.product(range(4), range(4)):
        merged[i // 2 * 2 + j // 2, i * 4 + j] = 1 / 4
    wanted = (np.full(4, 1 / 4) @ mixed[2] @ merged @ mixed[1] @ mixed[0]).reshape(4, 4)
    np.testing.assert_allclose(rollout(Classifier(net, CLASSES), image)[0], wanted, rtol=1e-6)
    assert np.ptp(wanted) > 0.005 and wanted.sum() == pytest.approx(1)


def test_swins_own_output_follows_from_the_attention_that_is_rolled_out() -> None:
    layer = seeded(lambda: ShiftedWindowAttention(8, [3, 3], [1, 1], 2)).double().eval()
    nn.init.normal_(layer.relative_position_bias_table)
    x = torch.rand(2, 5, 7, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    windows = _windows(layer, x)
    value = layer.qkv(windows.cut(x))[..., 16:].unflatten(2, (2, 4)).transpose(1, 2)
    out = layer.proj((attended(layer, windows, x) @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(windows.join(out), layer(x))


def test_only_networks_that_attend_are_rolled_out() -> None:
    assert "attention-rollout" in methods_for("vit_b_16") and "attention-rollout" in methods_for("swin_t")
    assert "attention-rollout" not in methods_for("resnet18") + methods_for("")
    with pytest.raises(EngineError, match="do not attend to anything"):
        cam(tiny(), torch.rand(1, 3, 16, 16), [0], "attention-rollout")


# No trace on the model

def state_of(classifier: Classifier) -> tuple:
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in classifier.modules()]
    grads = [p.grad for p in classifier.parameters()]
    needs = [p.requires_grad for p in classifier.parameters()]
    modes = [m.training for m in classifier.modules()]
    return sum(hooks), [g is not None for g in grads], needs, modes


@pytest.mark.parametrize("method", methods_for("resnet18"))
@pytest.mark.parametrize("frozen", [True, False])
def test_nothing_is_left_behind(method: str, frozen: bool) -> None:
    classifier = tiny().requires_grad_(not frozen)
    image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    before, random_state, weights = state_of(classifier), torch.get_rng_state(), classifier.module.head.weight.clone()
    found = cam(classifier, image, [1], method, "stem")
    assert state_of(classifier) == before and not any(before[1]) and before[0] == 0
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.equal(weights, classifier.module.head.weight)
    assert torch.is_grad_enabled() and image.grad is None
    assert found.maps.max() == 1 and found.maps.min() == 0


class Fails(Tiny):
    def forward(self, x: Tensor) -> Tensor:
        super().forward(x)
        raise RuntimeError("broken model")


@pytest.mark.parametrize("layer", ["body", None])
def test_nothing_is_left_behind_after_an_exception(layer: str | None) -> None:
    classifier = Classifier(Fails(), CLASSES)
    with pytest.raises(RuntimeError, match="broken model"):
        cam(classifier, torch.rand(1, 3, 16, 16), [0], layer=layer)
    assert state_of(classifier)[0] == 0 and torch.is_grad_enabled()


def test_no_gradient_is_recorded_before_the_layer() -> None:
    """With all parameters trainable, a recorded stem would show in the gradient of its output."""
    classifier = tiny().requires_grad_(True)
    recorded: dict[str, bool] = {}
    handles = [getattr(classifier.module, name).register_forward_hook(
        lambda m, i, output, name=name: recorded.__setitem__(name, output.requires_grad))
        for name in ("stem", "head")]
    cam(classifier, torch.rand(1, 3, 16, 16), [0], layer="body")
    for handle in handles:
        handle.remove()
    assert recorded == {"stem": False, "head": True}


def test_it_works_inside_inference_mode_and_no_grad() -> None:
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    classifier = tiny()
    expected = cam(classifier, image, [1]).maps
    with torch.no_grad():
        assert np.array_equal(cam(classifier, image, [1]).maps, expected)
    with torch.inference_mode():
        assert np.array_equal(cam(classifier, image, [1]).maps, expected)


def test_other_threads_passes_are_left_alone(images) -> None:
    """Two threads on one model: each gets its own maps."""
    classifier = tiny()
    pictures = [torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    expected = [cam(classifier, picture, [1]).maps for picture in pictures]
    wrong: list[int] = []

    def work(which: int) -> None:
        for _ in range(20):
            if not np.array_equal(cam(classifier, pictures[which], [1]).maps, expected[which]):
                wrong.append(which)

    threads = [threading.Thread(target=work, args=(which,)) for which in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and state_of(classifier)[0] == 0


# Layers, scores, maps without heat

def test_layers_of_known_and_unknown_models(classifiers) -> None:
    for arch, classifier in classifiers.items():
        assert layers_for(classifier) == ARCHITECTURES[arch].cam_layers
    unknown = Classifier(classifiers["resnet18"].module, CLASSES).double()
    assert layers_for(unknown) == ("layer4", "layer3", "layer2", "layer1", "relu")
    unknown = Classifier(classifiers["densenet121"].module, CLASSES).double()
    assert layers_for(unknown)[0] == "features"
    assert layers_for(tiny()) == ("relu", "stem.1")


def test_the_default_layer_is_the_first_of_the_layers(classifiers, images) -> None:
    assert cam(classifiers["resnet18"], images, INDEX).layer == "layer4"
    assert cam(tiny(), images.float(), torch.tensor([0, 1])).layer == "relu"


def test_a_single_logit_speaks_for_both_classes() -> None:
    classifier = tiny(outputs=1)
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)).expand(2, -1, -1, -1)
    linear = Classifier(seeded(lambda: Tiny(1)), ("normal", "ill"))
    with torch.no_grad():
        values = linear.module.relu(linear.module.body(linear.module.stem(image)))[0].numpy()
    weights = linear.module.head.weight[0].numpy() / 64
    ill = (weights[:, None, None] * values).sum(0)
    found = cam(classifier, image, [0, 1], "grad-cam", "relu")
    np.testing.assert_allclose(found.peak, [max(0, (-ill).max()), max(0, ill.max())], rtol=1e-4)
    assert found.peak.max() > 0


def test_a_map_without_heat_stays_zero() -> None:
    classifier = tiny()
    head = classifier.module.head
    head.weight.data[0] = -1
    found = cam(classifier, torch.rand(1, 3, 16, 16), [0], "grad-cam", "relu")
    assert found.peak[0] == 0 and not found.maps.any()


@pytest.mark.parametrize(("options", "message"), [
    ({"method": "grad-cm"}, "unknown heatmap method 'grad-cm'; did you mean: grad-cam"),
    ({"layer": "bodi"}, "unknown layer 'bodi'; did you mean: body"),
    ({"layer": ""}, "unknown layer ''; there are: body"),
    ({"layer": "head"}, "no feature map"),
    ({"layer": "unused"}, "does not run"),
    ({"class_index": [3]}, "outside 0 to 2"),
    ({"class_index": [0, 1]}, "one per image"),
])
def test_wrong_use_is_explained(options: dict, message: str) -> None:
    classifier = tiny()
    call = {"class_index": [0], **options}
    with pytest.raises(EngineError, match=message) as error:
        cam(classifier, torch.rand(1, 3, 16, 16), **call)
    assert "\n" not in str(error.value) and state_of(classifier)[0] == 0


def test_models_without_feature_maps_and_with_broken_weights() -> None:
    flat = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(3 * 224 * 224, 2)), ("a", "b"))
    with pytest.raises(EngineError, match="no layer with a feature map"):
        layers_for(flat)
    broken = tiny()
    broken.module.body.weight.data.fill_(float("nan"))
    with pytest.raises(EngineError, match="not finite"):
        cam(broken, torch.rand(1, 3, 16, 16), [0], "eigen-cam", "body")


def test_half_precision_gives_finite_maps() -> None:
    classifier = tiny().to(torch.bfloat16)
    found = cam(classifier, torch.rand(1, 3, 16, 16).to(torch.bfloat16), [1], "grad-cam", "stem")
    assert found.maps.dtype == np.float32 and np.isfinite(found.maps).all()


def test_every_method_is_described_and_draws_without_warnings() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for method in CAMS.values():
            assert CAMS[method.name] is method and method.sentence.endswith(".") and method.formula and method.paper
            assert method.heat(np.ones((1, 2, 3, 3)), np.ones((1, 2, 3, 3))).shape == (1, 3, 3)


# How far a heatmap moved

def blob(row: float, column: float) -> np.ndarray:
    rows, columns = np.indices((40, 50))
    return np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 18)


def test_the_same_map_has_not_moved() -> None:
    shift = cam_shift(blob(20, 20), blob(20, 20))
    assert shift.correlation == pytest.approx(1) and shift.overlap == 1 and shift.centre_distance == 0


def test_a_moved_map_by_hand() -> None:
    shift = cam_shift(blob(20, 20), blob(17, 24))
    assert shift.centre_distance == pytest.approx(5, abs=0.01)
    before, after = np.array([[0.0, 1, 2, 3, 10]]), np.array([[10.0, 1, 2, 3, 10]])
    shift = cam_shift(before, after)
    assert shift.correlation == pytest.approx(np.corrcoef(before, after)[0, 1])
    # Hottest fifth of `before` is its last pixel; `after` has two such.
    assert shift.overlap == pytest.approx(1 / 2)
    assert cam_shift(np.eye(5), np.eye(5)[::-1]).overlap == pytest.approx(1 / 9)


@pytest.mark.parametrize("constant", [np.zeros((40, 50)), np.full((40, 50), 0.3)])
def test_a_constant_map_has_no_shift(constant: np.ndarray) -> None:
    for pair in ((constant, blob(20, 20)), (blob(20, 20), constant), (constant, constant)):
        shift = cam_shift(*pair)
        assert (shift.correlation, shift.overlap, shift.centre_distance) == (None, None, None)


def test_hottest_is_a_fifth_and_never_the_floor() -> None:
    heat = np.random.default_rng(0).random((50, 40))
    assert hottest(heat).sum() == 400
    spot = np.zeros((50, 40))
    spot[3, 4] = 1
    assert hottest(spot).sum() == 1


def test_heat_on_a_lesion() -> None:
    heat = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    assert heat_on(np.array([[False, False], [False, True]]), heat) == pytest.approx(0.4)
    assert heat_on(np.array([[0.5, 0.0], [0.0, 0.0]]), heat) == pytest.approx(0.05)
    assert heat_on(np.ones((2, 2), bool), heat) == pytest.approx(1)
    assert heat_on(np.zeros((2, 2), bool), heat) is None
    assert heat_on(np.ones((2, 2), bool), np.zeros((2, 2))) is None


def test_maps_of_different_size_are_refused() -> None:
    with pytest.raises(EngineError, match="one size"):
        cam_shift(np.zeros((2, 2)), np.zeros((2, 3)))
    with pytest.raises(EngineError, match="one size"):
        heat_on(np.zeros((1, 2, 2)), np.zeros((1, 2, 2)))

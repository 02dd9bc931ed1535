"""The quick twin computes what the original does, whatever layers it rearranges, and says when it cannot."""

import copy
import platform
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import densenet121, resnet18
from torchvision.models.densenet import _DenseBlock, _Transition
from torchvision.models.vision_transformer import VisionTransformer

from engine.attacks.runner import Resources
from engine.errors import EngineError
from engine.serving import prepare as module
from engine.serving.fold import Affine, DenseBlock, Normalise, Stem, folded
from engine.serving.prepare import prepare, prepared
from engine.zoo.classifier import Classifier, wrap
from engine.zoo.ensemble import ensemble
from tests import nets
from tests.tiny import attack

CLASSES = ("a", "b", "c")
GREY, COLOUR = (0.48,) * 3, (0.485, 0.456, 0.406)


@pytest.fixture(autouse=True)
def one_thread():
    """Threads only wait for one another in networks as small as these."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def images(count: int = 2, channels: int = 1, size: int = 40, seed: int = 0) -> Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(seed))


def shaken(build, seed: int = 0, **options) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = build(**options)
        nets.shake(net)
    return net.eval()


def both(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs, and the gradient of a fixed random projection of them to the input."""
    x = x.clone().requires_grad_(True)
    out = model(x)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=out.dtype)
    return out.detach(), torch.autograd.grad((out * weights).sum(), x)[0]


def assert_same(one: nn.Module, other: nn.Module, x: Tensor, tolerance: float = 1e-9) -> None:
    for a, b in zip(both(one, x), both(other, x), strict=True):
        assert a.shape == b.shape
        assert float((a - b).norm() / b.norm()) < tolerance


# ---- whole networks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("build", "channels", "mean"), [
    (resnet18, 1, GREY), (resnet18, 1, COLOUR), (resnet18, 3, COLOUR), (densenet121, 1, GREY)])
def test_the_networks_agree_to_the_last_digits(build, channels, mean):
    # In double precision: there a unit that closes by rounding, which moves a float gradient by 1 %, is rare.
    net = shaken(build, num_classes=3).double()
    model = Classifier(net, CLASSES, mean=mean, std=(0.22, 0.23, 0.24)).double()
    quick = folded(model.module, model.mean, model.std)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in quick.modules())
    assert_same(quick, model, images(channels=channels, size=37).double(), 1e-6)


def test_a_prepared_network_is_a_classifier_that_leaves_its_original_alone():
    model = Classifier(shaken(resnet18, num_classes=3), CLASSES, mean=GREY, std=(0.2,), name="net")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    random = torch.get_rng_state()
    twin = prepare(model)
    x = images(3)
    logits, gradient = both(twin, x)
    assert (twin.numerics, twin.note, twin.original, twin.digest) == ("fast", "", model, model.digest)
    assert (twin.name, twin.classes, twin.device) == (model.name, CLASSES, model.device)
    assert torch.allclose(logits, model(x), rtol=1e-4, atol=1e-5 * float(logits.abs().max()))
    assert gradient.shape == x.shape and gradient.is_contiguous()
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert not any(p.requires_grad for p in twin.parameters()) and not twin.train().training


def test_a_draft_computes_in_bfloat16_and_answers_in_float32():
    model = Classifier(shaken(resnet18, num_classes=3), CLASSES, mean=GREY, std=(0.2,))
    twin = prepare(model, draft=True)
    logits, gradient = both(twin, images())
    assert (twin.numerics, logits.dtype, gradient.dtype) == ("draft", torch.float32, torch.float32)
    difference = float((logits - model(images())).abs().max() / logits.abs().max())
    assert 1e-5 < difference < 0.05


# ---- threads -------------------------------------------------------------------------------------------------------


class Meeting(nn.Module):
    """Calls `meanwhile` in the middle of its forward pass, so of its trace."""

    def __init__(self, meanwhile) -> None:
        super().__init__()
        self.first, self.meanwhile, self.second = nn.Conv2d(3, 2, 3), meanwhile, nn.BatchNorm2d(2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        self.meanwhile()
        return self.second(x).mean((2, 3))

    def __deepcopy__(self, memo: dict) -> "Meeting":
        copied = Meeting(self.meanwhile)
        copied.load_state_dict(self.state_dict())
        return copied.eval()


class Scale(nn.Module):
    """Asks for a parameter of its own, and calls a module of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.inner = nn.Parameter(torch.ones(1)), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x * self.scale)


def test_what_other_threads_compute_while_a_network_is_traced_is_computed():
    net, x = Scale(), torch.rand(2, 3)
    with ThreadPoolExecutor() as pool:
        met = []
        traced = prepare(Classifier(Meeting(lambda: met.append(pool.submit(net, x).result(60))), CLASSES[:2]))
    assert (traced.numerics, len(met)) == ("fast", 1) and type(met[0]) is Tensor
    torch.testing.assert_close(met[0], net(x))


def test_networks_folded_at_once_by_several_threads_are_all_folded():
    inside, gone = threading.Event(), threading.Event()

    def another() -> None:
        inside.set()
        gone.wait(60)

    def fold(meanwhile) -> list[str]:
        quick = folded(Meeting(meanwhile), torch.full((1, 3, 1, 1), 0.5), torch.ones(1, 1, 1, 1))
        return sorted(type(layer).__name__ for layer in quick.modules() if not list(layer.children()))

    with ThreadPoolExecutor() as pool:
        later = []
        # The other must not get in before this one is out: it is given a moment to try.
        first = fold(lambda: (later.append(pool.submit(fold, another)), inside.wait(0.2)))
        gone.set()
        assert first == later[0].result(60) == ["Stem"]


# ---- ensembles -----------------------------------------------------------------------------------------------------


def convnet(seed: int, mean: tuple[float, ...] = GREY) -> Classifier:
    return Classifier(shaken(nets.small_cnn, seed, outputs=3), CLASSES, mean=mean, std=(0.2,), name=f"net {seed}")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("draft", [False, True])
def test_an_ensemble_is_prepared_member_by_member(channels, draft):
    whole = ensemble([convnet(0), convnet(1, COLOUR)])
    twin = prepare(whole, draft=draft)
    found, expected = (both(model, images(3, channels)) for model in (twin, whole))
    assert (twin.numerics, twin.note, twin.behind, twin.original) == ("draft" if draft else "fast", "", [], whole)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in twin.modules())
    for one, other in zip(found, expected, strict=True):
        assert float((one - other).norm() / other.norm()) < (0.1 if draft else 1e-4)


def test_a_member_that_cannot_be_rearranged_is_named_and_the_others_are_quick():
    class Untraceable(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean(dim=(2, 3)) if float(x.sum()) > 0 else -x.mean(dim=(2, 3))

    stubborn = Classifier(Untraceable(), CLASSES, name="stubborn")
    twin = prepare(ensemble([convnet(0), stubborn]))
    torch.testing.assert_close(twin(images()), (convnet(0)(images()) + stubborn(images())) / 2, atol=1e-4, rtol=1e-4)
    (said,) = twin.behind
    assert twin.numerics == "fast" and said.startswith("stubborn: torch.fx cannot trace")
    result = attack("fgsm", convnet(5), images(), [0, 1], eps=0.01, numerics="fast",
                    resources=Resources(surrogate=ensemble([convnet(0), stubborn])))
    assert any("one model of the ensemble ran with reference instead of fast numerics: stubborn" in w
               for w in result.warnings)
    alone = prepare(ensemble([stubborn, stubborn]))
    assert alone.numerics == "reference" and "stubborn: torch.fx" in alone.note


def test_an_ensembles_digest_is_that_of_its_members_wherever_they_were_loaded():
    digests = [ensemble([convnet(0), convnet(1)]).digest for _ in range(2)]
    assert digests[0] == digests[1] != ensemble([convnet(1), convnet(0)]).digest


def test_an_ensemble_of_the_same_models_is_made_and_prepared_once():
    members = [convnet(0), convnet(1)]
    assert ensemble(members) is ensemble(list(members))
    assert prepared(ensemble(members)) is prepared(ensemble(members))
    assert ensemble(members) is not ensemble(members[::-1])
    assert ensemble(members) is not ensemble([convnet(0), convnet(1)])


# ---- single rearrangements -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(32, 32), (31, 45), (33, 34)])
@pytest.mark.parametrize("conv", [
    {"kernel_size": 7, "stride": 2, "padding": 3}, {"kernel_size": 3, "stride": 1, "padding": 1},
    {"kernel_size": 4, "stride": 4}, {"kernel_size": 3, "stride": 2, "padding": 1, "bias": False},
    {"kernel_size": 5, "stride": 3, "padding": (2, 0)}, {"kernel_size": (3, 6), "stride": 2, "padding": (0, 4)},
    {"kernel_size": 2, "stride": 3},
])
@pytest.mark.parametrize("mean", [(0.5,), COLOUR])
def test_a_stem_is_its_convolution_at_every_geometry(conv, size, channels, mean):
    layer = shaken(lambda: nn.Conv2d(3, 4, **conv)).double()
    mean, std = (torch.tensor(v, dtype=torch.float32).view(1, -1, 1, 1) for v in (mean, (0.2, 0.3, 0.4)))
    x = torch.rand(2, channels, *size, generator=torch.Generator().manual_seed(0)).double()

    class Plain(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return layer((x.expand(-1, 3, -1, -1) - mean) / std)

    assert_same(Stem(layer, mean, std), Plain(), x)


def test_a_norm_becomes_scale_and_shift():
    norm = shaken(lambda: nn.BatchNorm2d(5)).double()
    assert_same(Affine(norm), norm, images(channels=5, size=4).double())
    plain = nn.BatchNorm2d(5, affine=False).eval().double()
    plain.running_mean.uniform_(-1, 1)
    assert_same(Affine(plain), plain, images(channels=5, size=4).double())


def test_a_dense_block_is_torchvisions():
    block = shaken(lambda: _DenseBlock(num_layers=3, num_input_features=6, bn_size=2, growth_rate=4, drop_rate=0.0,
                                       memory_efficient=False)).double()
    x = images(channels=6, size=9).double() - 0.5
    assert_same(DenseBlock(copy.deepcopy(block)), block, x)
    rearranged = DenseBlock(copy.deepcopy(block))
    narrow = torch.cat([x, x], dim=1)[:, 3:9]  # neither dense nor channels-last
    assert_same(rearranged, block, narrow)
    with torch.no_grad():
        assert torch.equal(rearranged(x), rearranged(x.clone().requires_grad_(True)))


def test_pooling_goes_before_a_pointwise_convolution():
    net = nn.Sequential(nn.Conv2d(3, 6, 3), shaken(lambda: _Transition(6, 4)), nn.Flatten(), nn.Linear(4 * 15 * 15, 3))
    model = wrap(net, CLASSES, mean=COLOUR)
    order = [str(n.target) for n in folded(model.module, model.mean, model.std).graph.nodes]
    assert order.index("1.pool") < order.index("1.conv")
    twin = prepare(model)
    assert_same(twin, model, images(channels=3, size=32), 1e-5)
    assert twin.numerics == "fast"


class Branches(nn.Module):
    """A convolution seen by its norm and by others too, one that runs twice, and images that go two ways."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.again = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.twice, self.head = nn.Conv2d(3, 3, 1), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.conv(x)
        y = self.norm(seen) + seen + x
        y = self.again(self.twice(y).relu()) + self.twice(y)
        return self.head(self.again(self.twice(y)).mean((2, 3)))


def test_what_is_shared_is_not_folded():
    model = wrap(shaken(Branches), CLASSES, mean=COLOUR, std=(0.2,))
    twin = prepare(model)
    assert isinstance(twin.module[0], Normalise)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in twin.modules()) == 1  # the one that runs twice
    assert_same(twin, model, images(channels=3), 1e-5)
    assert twin.numerics == "fast"


def test_a_norm_without_running_statistics_stays():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.ReLU(),
                        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3))
    model = wrap(net, CLASSES)
    twin = prepare(model)
    assert_same(twin, model, images(), 1e-5)
    assert twin.numerics == "fast"


def test_grey_networks_take_colours_as_the_original_does():
    net = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1))
    model = wrap(net, ("no", "yes"), channels=1, mean=(0.5,), std=(0.2,))
    twin = prepare(model)
    for channels in (1, 3):
        assert_same(twin, model, images(channels=channels), 1e-5)
    assert twin.numerics == "fast"


def tiny_vit() -> nn.Module:
    net = VisionTransformer(image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32,
                            num_classes=3)
    nn.init.normal_(net.heads.head.weight)  # torchvision's is 0 at first
    return net


class OneByOne(nn.Module):
    """Takes the image's channels apart, as torchvision's Inception does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x[:, 0:1] * 2, x[:, 1:2], x[:, 2:3] - 1], dim=1)
        return self.head(self.conv(x).relu().mean((2, 3)))


class Grouped(nn.Module):
    """Its first convolution sees each channel alone, and cannot be a stem."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 6, 3, groups=3), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).relu().mean((2, 3)))


@pytest.mark.parametrize("build", [tiny_vit, OneByOne, Grouped])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("mean", "std"), [((0.5,), (0.2,)), (COLOUR, (0.2,)), ((0.5,), (0.2, 0.3, 0.4))])
@pytest.mark.parametrize("count", [1, 3])
def test_a_network_without_a_stem_takes_grey_images_too(build, channels, mean, std, count):
    model = wrap(shaken(build), CLASSES, mean=mean, std=std)
    twin = prepare(model)
    assert_same(twin, model, images(count, channels, size=32), 1e-4)
    assert (twin.numerics, twin.note) == ("fast", "")


# ---- where it steps back -------------------------------------------------------------------------------------------


class Untraceable(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) if float(x.sum()) > 0 else x.amax((2, 3))


class Flattening(nn.Module):
    """`view` needs the default memory layout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 2, 3), nn.Linear(2 * 6 * 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).view(len(x) if isinstance(x, list) else -1, 2 * 6 * 6))


def test_a_network_that_cannot_be_traced_comes_back_as_it_is():
    model = wrap(Untraceable(), CLASSES, mean=COLOUR, std=(0.3,))
    twin = prepare(model)
    assert twin.numerics == "reference" and "cannot trace" in twin.note and "\n" not in twin.note
    assert torch.equal(twin(images(channels=3)), model(images(channels=3)))


def test_a_twin_that_fails_steps_back_and_says_why():
    model = wrap(Flattening(), CLASSES)
    twin = prepare(model)
    assert torch.equal(twin(images(size=8)), model(images(size=8)))
    assert twin.numerics == "reference" and "fails" in twin.note and "\n" not in twin.note


def test_a_member_of_an_ensemble_steps_back_by_itself_and_says_why():
    for odd, reason in ((Untraceable(), "cannot trace"), (Flattening(), "fails")):
        model = ensemble([wrap(nets.seeded(3), CLASSES), wrap(odd, CLASSES, name="odd")])
        twin = prepare(model)
        assert_same(twin, model, images(channels=3, size=8), 1e-4)
        assert twin.numerics == "fast" and len(twin.behind) == 1
        assert "odd" in twin.behind[0] and reason in twin.behind[0]


@pytest.mark.parametrize("damage", [
    lambda net: net[-1].bias.add_(1.0),  # other logits
    lambda net: net[0].register_full_backward_hook(lambda m, i, o: (torch.zeros_like(i[0]),)),  # other gradients
])
def test_a_twin_that_differs_steps_back_and_says_why(monkeypatch, damage):
    def wrong(net: nn.Module, mean: Tensor, std: Tensor) -> nn.Module:
        net = copy.deepcopy(net)
        damage(net)
        return net

    monkeypatch.setattr(module, "folded", wrong)
    model = wrap(nets.seeded(3), CLASSES)
    twin = prepare(model)
    assert_same(twin, model, images(channels=3), 1e-9)
    assert twin.numerics == "reference" and "differ" in twin.note


def test_reference_numerics_are_kept_when_asked_for():
    model = wrap(nets.seeded(3), CLASSES, numerics="reference")
    twin = prepare(model)
    assert twin.numerics == "reference" and torch.equal(twin(images()), model(images()))


def test_the_originals_own_error_is_what_one_sees():
    model = wrap(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 3)), CLASSES)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        prepare(model)(images(size=9))
    with pytest.raises(EngineError, match="3 logits for 2 classes"):
        prepare(wrap(nets.seeded(3), ("a", "b")))(images())


# ---- memory and heap -----------------------------------------------------------------------------------------------


def test_a_twin_is_made_once_for_a_classifier_and_its_copies():
    model, other = wrap(nets.seeded(3), CLASSES), wrap(nets.seeded(3), CLASSES)
    twin = prepared(model, "cpu")
    assert prepared(copy.deepcopy(model), torch.device("cpu")) is twin
    assert prepared(other, "cpu") is not twin
    assert prepared(model, "cpu", draft=True).numerics == "draft"


def test_few_twins_are_remembered():
    models = [wrap(nets.seeded(3), CLASSES) for _ in range(8)]
    twins = [prepared(m) for m in models]
    assert prepared(models[-1]) is twins[-1] and prepared(models[0]) is not twins[0]
    assert len(module._twins._kept) <= 4


def test_the_heap_is_kept_where_glibc_allows():
    code = ("import sys, engine.device as d; assert 'torch' not in sys.modules; kept = d.keep_heap();"
            "blocks = [bytearray(1 << 25) for _ in range(4)]; sys.exit(10 + kept)")
    status = subprocess.run([sys.executable, "-c", code], check=False).returncode
    assert status == 10 + (platform.libc_ver()[0] == "glibc")

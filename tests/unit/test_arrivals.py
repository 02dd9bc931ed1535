"""Checkpoints that are brought along from a page: recognised, tried, kept, or refused and nothing left behind."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from engine.errors import EngineError
from engine.experiments import arrivals
from engine.experiments.arrivals import Recognised, recognising_task, trying, trying_task, uploaded
from engine.progress import Progress
from engine.work.kinds import KINDS, Bench, Task
from engine.work.store import Store
from engine.zoo.adopting import IMAGENET_MEAN, IMAGENET_STD, NORMALISATIONS
from engine.zoo.architectures import ARCHITECTURES
from engine.zoo.cards import Card
from engine.zoo.classifier import Classifier
from engine.zoo.registry import load_model, models
from engine.zoo.trying import remarks
from tests import collected, nets

KNOWN = ("dark", "light")


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    for name in list(ARCHITECTURES):
        monkeypatch.delitem(ARCHITECTURES._items, name)  # each is built for a look, which takes a while
    nets.register(monkeypatch)
    return tmp_path / "home"


@pytest.fixture
def pictures(tmp_path):
    """A data set of dark and light pictures."""
    for place, kind in enumerate(KNOWN):
        for i in range(10):
            collected.save(tmp_path / "data" / kind / f"{i}.png", np.full((24, 24), 40 + 160 * place + i, np.uint8))
    return f"folder:{tmp_path / 'data'}"


def bright(outputs: int = 2, at: float = 0.5) -> nn.Module:
    """The small network, which says how bright a picture is beside `at`, the mean it is normalised by elsewhere."""
    net = nets.seeded(outputs)
    with torch.no_grad():
        for value in net.parameters():
            value.zero_()
        net.conv.weight[0, :, 2, 2] = 1 / 3
        net.conv.bias[0] = 4.0
        net.norm.running_mean.zero_()
        net.norm.running_var.fill_(1)
        net.norm.weight[0] = 1
        net.head.weight[-1, :4] = 1.0
        net.head.bias[-1] = -4 * 4.0 - 4 * (at - 0.449) / 0.226
    return net


def file(content: object) -> io.BytesIO:
    out = io.BytesIO()
    torch.save(content, out)
    out.seek(0)
    return out


def done(task: Task):
    bench = Bench("cpu", Store(Path("/nonexistent")), Progress(), lambda task: None)
    return KINDS[task.kind].reads(KINDS[task.kind].perform(task.spec, bench))


def left(home: Path) -> list[str]:
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())


def card(classes=KNOWN, mean=IMAGENET_MEAN, std=IMAGENET_STD) -> Card:
    return Card(arch="small-cnn", classes=tuple(classes), mean=mean, std=std)


@pytest.mark.parametrize("beginning", ["", "module."])
def test_what_is_brought_is_recognised_tried_and_kept_as_exact_as_it_was(home, pictures, beginning):
    net = bright()
    state = {beginning + name: value for name, value in net.state_dict().items()}
    arrival = uploaded(file({"state_dict": state}), "my net.pth")
    known = done(recognising_task(arrival))
    assert known == Recognised("small-cnn", 2) and not Path(arrival.path).exists()
    assert arrivals.assumed_classes(known, ["phantom-cxr", pictures]) == (KNOWN, pictures)
    asked = trying(arrival, known, card(), pictures)
    tried = done(trying_task(asked))
    assert tried.right == tried.pictures > 1 and not tried.doubts
    assert arrivals.name_for(arrival) == "my/my-net"
    arrivals.keep(asked, tried, "my/my-net")
    assert left(home) == ["models/my/my-net.json", "models/my/my-net.safetensors"]
    (entry,) = (entry for entry in models() if entry.name == "my/my-net")
    assert entry.card.classes == KNOWN and "pictures of folder" in entry.card.limits
    assert entry.title == "Small CNN, my/my-net" and arrivals.name_for(arrival) == "my/my-net-2"
    loaded = load_model("my/my-net").module.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in net.state_dict().items())


class Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("/tmp/perturbscope-was-unpickled"),))


@pytest.mark.parametrize(("content", "name", "words"), [
    (b"", "net.pt", "broken or more than weights"),
    (b"no tensors at all", "net.safetensors", "not a complete safetensors file"),
    (pickle.dumps(Bomb()), "net.pt", "code in it is not run"),
    (file({"state_dict": Bomb()}).getvalue(), "net.pth", "code in it is not run"),
    (file({"x": torch.zeros(2)}).getvalue(), "net.pt", "none of the networks known here .*it has 'x'"),
    (file(nets.small_cnn(2).state_dict() | {"conv.weight": torch.zeros(8, 2, 5, 5)}).getvalue(), "net.pt",
     r"nearest to small-cnn.*\[8, 2, 5, 5\], not \[8, 3"),
    (file(nets.small_cnn(2).state_dict() | {"conv.bias": torch.full((8,), torch.nan)}).getvalue(), "net.pt", "NaN"),
    (b"PK", "net.pt2", "no complete exported program"),
    (b"PK", "net.onnx", r"state_dict\(\) in one of"),
])
def test_a_wrong_file_is_refused_and_nothing_of_it_stays(home, content, name, words):
    with pytest.raises(EngineError, match=words) as caught:
        done(recognising_task(uploaded(io.BytesIO(content), name)))
    assert name in str(caught.value) and "\n" not in str(caught.value) and not left(home)
    assert not Path("/tmp/perturbscope-was-unpickled").exists()


def test_what_is_said_of_it_must_fit_and_a_name_must_be_free(home, pictures, monkeypatch):
    arrival = uploaded(file(bright().state_dict()), "net.pt")
    known = done(recognising_task(arrival))
    for wrong, words in ((card(("a", "b", "c")), "2 outputs, and 3 classes"), (card(("a", "a")), "different"),
                         (card(std=(0.0,)), "above 0"), (card(mean=(1.0, 2.0)), "three channels")):
        with pytest.raises(EngineError, match=words):
            trying(arrival, known, wrong)
    asked = trying(arrival, known, card(("a", "b")), pictures)
    tried = done(trying_task(asked))
    assert tried.right is None and "the model has other classes" in tried.unknown
    for name, words in (("../out", "cannot be called"), ("phantom-cxr/resnet18", "already")):
        with pytest.raises(EngineError, match=words):
            arrivals.keep(asked, tried, name)
    monkeypatch.setattr(arrivals.os, "replace", failing)
    with pytest.raises(EngineError, match="cannot be kept"):
        arrivals.keep(asked, tried, "net")
    assert not (home / "models" / "net.json").exists() and not (home / "models" / "net.safetensors").exists()


def failing(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_path_stays_as_it_is_and_what_nobody_kept_is_removed(home, tmp_path, monkeypatch):
    path = tmp_path / "net.pt"
    path.write_bytes(file(bright().state_dict()).getvalue())
    arrival = arrivals.found(str(path))
    assert done(recognising_task(arrival)).outputs == 2 and path.exists() and len(left(home)) == 1
    monkeypatch.setattr(arrivals, "FORGOTTEN", -1)
    with pytest.raises(EngineError):
        done(recognising_task(uploaded(io.BytesIO(b""), "other.pt")))
    assert not left(home)
    for wrong in ("phantom-cxr/resnet18", str(tmp_path / "none.pt"), str(tmp_path)):
        with pytest.raises(EngineError):
            arrivals.found(wrong)


# ---- doubts


def shown(model: Classifier, labels=None) -> tuple[int | None, str]:
    images = torch.cat([torch.full((8, 1, 24, 24), 0.2), torch.full((8, 1, 24, 24), 0.8)])
    images += 0.01 * torch.rand(images.shape, generator=torch.Generator().manual_seed(0))
    right, lines = remarks(model, images, np.repeat([0, 1], 8) if labels is None else labels)
    return right, " ".join(lines)


class Ends(nn.Sequential):
    """A network whose last layer is hidden: only its values show what it ends in."""

    def __init__(self, end) -> None:
        super().__init__(bright())
        self.end = end

    def forward(self, x):
        return self.end(super().forward(x))


@pytest.mark.parametrize(("model", "right", "words"), [
    (Classifier(bright(), KNOWN, mean=IMAGENET_MEAN, std=IMAGENET_STD), 16, ""),
    (Classifier(bright(at=3.0), KNOWN, mean=IMAGENET_MEAN, std=IMAGENET_STD), 8, "says dark of all 16"),
    (Classifier(Ends(lambda x: x.softmax(1)), KNOWN, mean=IMAGENET_MEAN, std=IMAGENET_STD), 16, "like probabilities"),
    (Classifier(Ends(lambda x: 0 * x), KNOWN), 8, "gradients are 0"),
])
def test_doubts_are_said(model, right, words):
    found, lines = shown(model)
    assert found == right and (words in lines if words else not lines)


def test_another_order_or_range_that_is_right_more_often_is_named():
    model = Classifier(bright(), KNOWN, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    right, lines = shown(model, np.repeat([1, 0], 8))
    assert right == 0 and "16 of 16 would be right if its classes were, in this order: light, dark" in lines
    images = torch.cat([torch.full((8, 1, 24, 24), value) for value in (0.2, 0.3, 0.6, 0.8)])
    wrong = Classifier(bright(), KNOWN, mean=(0.0,), std=(1.0,))
    right, found = remarks(wrong, images, np.repeat([0, 0, 1, 1], 8))
    assert right == 24 and found == (f"32 of 32 pictures would be right, not 24, if pictures were "
                                     f"{next(iter(NORMALISATIONS))}",)

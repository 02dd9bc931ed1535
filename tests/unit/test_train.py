"""Training: a small network learns a small task, repeatably, and its card says what was done."""

import errno
import io
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.data.base import DATASETS
from engine.errors import Cancelled, EngineError, UnknownName
from engine.params import params_of, values_of
from engine.progress import Progress
from engine.training import state
from engine.training import train as training
from engine.training.augment import Augmentation
from engine.training.spec import TrainSpec, side_of
from engine.training.train import train
from engine.training.unfinished import unfinished
from engine.zoo import checkpoints
from engine.zoo.architectures import ARCHITECTURES
from engine.zoo.cards import read_card
from tests import nets, stripes
from tests.stripes import SIZES, Stripes, spec


@pytest.fixture(autouse=True)
def registered(monkeypatch, tmp_path):
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    with stripes.registered(monkeypatch):
        yield


def test_it_learns_and_the_card_tells_how(tmp_path):
    said: list[tuple[float, str]] = []
    path = tmp_path / "models" / "stripes" / "cnn.safetensors"
    card = train(spec(command="python -m engine train ..."), path, Progress(lambda f, t: said.append((f, t))), "cpu")
    assert read_card(path) == card
    assert card.evaluations["test"]["accuracy"] > 0.9 and card.evaluations["test"]["n"] == 30
    assert [e["size"] for e in card.training["history"]] == [32] * 6
    assert card.training["settings"] == values_of(spec())
    assert set(card.training["data"]) == {"train", "validation"}
    assert card.round_trip["test"]["predictions_changed"] <= 1
    assert [f for f, _ in said] == sorted(f for f, _ in said) and any("epoch 6 of 6" in t for _, t in said)
    # The card speaks of the weights on disk: attacks see the same accuracy.
    data = DATASETS["stripes"].load("test")
    predicted = checkpoints.load(path)(torch.from_numpy(data.images(range(30)))).argmax(1).numpy()
    assert float((predicted == data.labels).mean()) == card.evaluations["test"]["accuracy"]


def test_the_same_spec_gives_the_same_weights_and_leaves_the_random_state(tmp_path):
    before = torch.get_rng_state()
    for name in ("one", "two", "other"):
        chosen = spec(epochs=2, seed=int(name == "other"), precision="bf16")
        train(chosen, tmp_path / f"{name}.safetensors", device="cpu")
    one, two, other = ((tmp_path / f"{n}.safetensors").read_bytes() for n in ("one", "two", "other"))
    assert one == two != other
    assert torch.equal(before, torch.get_rng_state())


def test_colours_are_normalised_channel_by_channel(tmp_path):
    path = tmp_path / "net.safetensors"
    card = train(spec(dataset="colouredstripes", epochs=1), path, device="cpu")
    red, green, blue = card.mean
    assert red == pytest.approx(0.1, abs=0.02) and green == pytest.approx(0.5, abs=0.05) and blue < red
    assert card.std[1] > 3 * card.std[0] and min(card.std) >= 0.01
    assert checkpoints.load(path).mean.flatten().tolist() == pytest.approx(card.mean)


def test_early_epochs_see_small_pictures_and_no_picture_is_enlarged(tmp_path, monkeypatch):
    monkeypatch.setattr(Stripes, "image", lambda self, i: np.full((1, 48, 48), 0.5, np.float32))
    sizes = []
    augmented = Augmentation.__call__
    monkeypatch.setattr(Augmentation, "__call__", lambda s, x, size, g: sizes.append(size) or augmented(s, x, size, g))
    train(spec(epochs=3, full_size_epochs=1, small_size=32, batch=80), tmp_path / "a.safetensors", device="cpu")
    assert sizes == [32, 32, 48]
    sizes.clear()
    train(spec(epochs=1, full_size_epochs=9, small_size=224, batch=80), tmp_path / "b.safetensors", device="cpu")
    assert sizes == [48]


def test_a_data_set_smaller_than_a_batch_is_one_batch(tmp_path):
    card = train(spec(split="few", validation="few", tests=("few",), batch=32, epochs=2), tmp_path / "n.safetensors",
                 device="cpu")
    assert card.evaluations["few"]["n"] == 5 and card.split == "few"


def test_a_class_without_an_image_is_no_division_by_zero(tmp_path, monkeypatch):
    monkeypatch.setattr(Stripes, "classes", ("across", "along", "never"))
    card = train(spec(epochs=1), tmp_path / "n.safetensors", device="cpu")
    assert card.evaluations["test"]["recall"]["never"] == 0
    assert np.isfinite(card.training["history"][0]["loss"])


@pytest.mark.parametrize(("changes", "words"), [
    ({"split": "one"}, "at least two"), ({"validation": "no"}, "at least two"), ({"tests": ("no",)}, "at least two"),
    ({"arch": "vgg"}, "vgg16"), ({"tests": ("tset",)}, "test"), ({"start_from": "nothing"}, "unknown model"),
    ({"dataset": "stripe"}, "unknown data set"),
])
def test_what_cannot_be_trained_is_refused_before_training(tmp_path, changes, words, monkeypatch):
    monkeypatch.setattr(training._Course, "epoch", lambda *_: pytest.fail("training began"))
    with pytest.raises(EngineError, match=words) as caught:
        train(spec(**changes), tmp_path / "net.safetensors", device="cpu")
    assert "\n" not in str(caught.value) and not list(tmp_path.glob("net*"))


def test_a_training_that_diverges_says_so_and_keeps_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(training._Course, "_step", lambda *_: float("nan"))
    with pytest.raises(EngineError, match="diverged in epoch 1"):
        train(spec(), tmp_path / "net.safetensors", device="cpu")
    assert not list(tmp_path.glob("net*"))


@pytest.mark.parametrize(("full", "epoch"), [(1, 2), (3, 1)])
def test_a_training_that_diverges_later_keeps_the_last_good_epoch_as_a_model(tmp_path, monkeypatch, full, epoch):
    path, step, steps = tmp_path / "net.safetensors", training._Course._step, []
    monkeypatch.setattr(training._Course, "_step", lambda *args: steps.append(args) or (
        float("nan") if len(steps) > 11 else step(*args)))  # the second of five steps of epoch 3
    scores = iter([{"validation_balanced": 0.9}, {"validation_balanced": 0.2}])
    monkeypatch.setattr(training, "_score", lambda *_: {"validation_accuracy": 0.5} | next(scores))
    with pytest.raises(EngineError, match=f"diverged in epoch 3; take a rate below 0.03.*epoch {epoch} .*my/net.unf"):
        train(spec(name="my/net", epochs=3, full_size_epochs=full), path, device="cpu")
    assert len(steps) == 12, "it stopped at once"
    assert {p.name for p in tmp_path.glob("*net*")} == {"net.unfinished.safetensors", "net.unfinished.json"}
    kept = checkpoints.load(tmp_path / "net.unfinished.safetensors")
    assert all(bool(value.isfinite().all()) for value in kept.module.state_dict().values())
    assert f"of epoch {epoch}," in read_card(tmp_path / "net.unfinished.safetensors").limits


def stopped(at: str, chosen: TrainSpec, path: Path, how: type[BaseException] = Cancelled) -> None:
    """Train until that is said."""
    def report(_: float, text: str) -> None:
        if text.startswith(at):
            raise how

    with pytest.raises(how):
        train(chosen, path, Progress(report), "cpu")


@pytest.mark.parametrize("at", ["reading stripes/train", "epoch 1 of 6"])
def test_a_training_cancelled_in_its_first_epoch_keeps_nothing(tmp_path, at):
    stopped(at, spec(), tmp_path / "net.safetensors")
    assert not list(tmp_path.glob("*net*"))


class Killed(BaseException):
    """As if the process were gone."""


@pytest.mark.parametrize(("at", "changes"), [
    ("epoch 2 of 4", {}), ("epoch 4 of 4", {"precision": "bf16", "schedule": "cosine"}),
    ("reading stripes/test", {"balance": "sampling"}), ("epoch 2 of 4", {"frozen_epochs": 1}),
    ("epoch 3 of 4", {"frozen_epochs": 1, "full_size_epochs": 4, "patience": 1, "schedule": "constant"}),
])
def test_a_training_that_was_stopped_or_killed_goes_on_to_the_same_bytes(tmp_path, monkeypatch, at, changes):
    def dropping(outputs: int) -> torch.nn.Module:  # draws besides what the order and the augmentation draw
        layers = list(nets.small_cnn(outputs).named_children())
        return torch.nn.Sequential(OrderedDict([*layers[:5], ("drop", torch.nn.Dropout(0.3)), *layers[5:]]))

    monkeypatch.setitem(ARCHITECTURES._items, "small-cnn", replace(ARCHITECTURES["small-cnn"], build=dropping))
    chosen, whole, path = spec(epochs=4, **changes), tmp_path / "whole.safetensors", tmp_path / "net.safetensors"
    train(chosen, whole, device="cpu")
    torch.rand(3)  # the state that everybody shares is another one now
    stopped(at, chosen, path, Killed)
    left = unfinished(path)
    assert not path.exists() and left is not None
    epochs = len(left.history)
    assert epochs == (int(at.split()[1]) - 1 if at[0] == "e" else 4)
    said: list[str] = []
    card = train(chosen, path, Progress(lambda _, text: said.append(text)), "cpu")
    assert path.read_bytes() == whole.read_bytes()
    assert [e["loss"] for e in card.training["history"]] == [e["loss"] for e in
                                                             read_card(whole).training["history"]]
    assert not any(text.startswith(f"epoch {epochs} of") for text in said), "an epoch was trained twice"
    assert {p.name for p in tmp_path.glob("*net*")} == {"net.safetensors", "net.json"}


@pytest.mark.parametrize(("changes", "damage"), [({"lr": 0.02}, None), ({"split": "test"}, None), ({}, b"PK damaged")])
def test_a_training_never_goes_on_from_anothers_state(tmp_path, caplog, changes, damage):
    chosen, path = spec(epochs=2) if damage else spec(epochs=2, **changes), tmp_path / "net.safetensors"
    train(chosen, tmp_path / "whole.safetensors", device="cpu")
    stopped("epoch 2 of 2", spec(epochs=2), path)
    if damage:
        path.with_suffix(".training").write_bytes(damage)
    train(chosen, path, device="cpu")
    assert path.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    assert "begins anew" in caplog.text


@pytest.mark.parametrize("whole", [0, 1, 2])
def test_a_disk_that_fills_up_costs_neither_the_last_epoch_nor_an_earlier_model(tmp_path, monkeypatch, whole):
    """The third thing that is written is the finished model."""
    path, uninterrupted = tmp_path / "net.safetensors", tmp_path / "whole.safetensors"
    nets.kept(path)
    earlier, chosen, writes = path.read_bytes(), spec(name="my/net", epochs=2, full_size_epochs=2), []
    train(chosen, uninterrupted, device="cpu")

    def filling(write, full):
        def writing(target, *rest):
            if len(writes) == whole:
                full(target)
                raise OSError(errno.ENOSPC, "No space left on device")
            writes.append(target)
            return write(target, *rest)
        return writing

    with monkeypatch.context() as patch:
        patch.setattr(state, "_write", filling(state._write, lambda at: at.write_bytes(b"half")))
        patch.setattr(Path, "write_bytes", filling(Path.write_bytes, lambda at: at.touch()))
        with pytest.raises(EngineError, match=r"No space left on device.*free some space there") as caught:
            train(chosen, path, device="cpu")
    assert "\n" not in str(caught.value) and path.read_bytes() == earlier
    assert ("goes on after epoch 1" in str(caught.value)) == (whole == 1)
    kept = unfinished(path)
    assert (len(kept.history) if kept else 0) == whole
    said: list[str] = []
    train(chosen, path, Progress(lambda _, text: said.append(text)), "cpu")
    assert path.read_bytes() == uninterrupted.read_bytes()
    assert any(text.startswith("epoch 1 of 2") for text in said) == (whole == 0)


def test_what_a_full_disk_said_is_not_hidden_by_pytorch(tmp_path, monkeypatch):
    class Full(io.FileIO):
        def write(self, data):
            if self.tell() > 1000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    monkeypatch.setattr(Path, "open", lambda self, mode: Full(self, mode))
    with pytest.raises(OSError, match="No space left"):
        state._write(tmp_path / "state", {"weights": torch.zeros(10_000)})


def test_a_name_is_trained_by_one_at_a_time(tmp_path):
    path = tmp_path / "net.safetensors"
    steps = training.training(spec(epochs=2, name="my/net"), path, device="cpu")
    next(steps)
    with pytest.raises(EngineError, match="my/net is being trained already"):
        train(spec(epochs=1, name="my/net"), path, device="cpu")
    steps.close()
    train(spec(epochs=1), path, device="cpu")


def test_pictures_of_one_class_are_told_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(training._Course, "epoch", lambda *_: pytest.fail("training began"))
    entry = DATASETS["stripes"]
    same = replace(entry, open=lambda split: Stripes(entry.info, split, np.ones(SIZES[split], np.int64)))
    monkeypatch.setitem(DATASETS._items, "stripes", same)
    with pytest.raises(EngineError, match="stripes/train shows along only"):
        train(spec(), tmp_path / "net.safetensors", device="cpu")


def test_it_can_start_from_another_model_of_its_kind(tmp_path):
    path = tmp_path / "start.safetensors"
    nets.kept(path)  # three classes: the last layer cannot be taken over
    begun = training._begun(spec(start_from=str(path)), ("across", "along")).module
    wanted = checkpoints.load(path).module
    assert torch.equal(begun.conv.weight, wanted.conv.weight)
    assert torch.equal(begun.norm.running_var, wanted.norm.running_var)
    assert begun.head.weight.shape == (2, 32)
    with pytest.raises(EngineError, match="is small-cnn, not resnet18"):
        training._begun(spec(arch="resnet18", start_from=str(path)), ("across", "along"))


def test_weights_are_kept_as_the_spec_says(tmp_path):
    sizes = {}
    for storage in ("float16", "uint8"):
        path = tmp_path / f"{storage}.safetensors"
        assert train(spec(epochs=1, storage=storage), path, device="cpu").storage == storage
        sizes[storage] = path.stat().st_size
    assert sizes["uint8"] < sizes["float16"]


def test_options_are_declared_with_a_range():
    declared = {p.name: p for p in params_of(TrainSpec)}
    assert {"epochs", "full_size_epochs", "small_size", "batch", "lr", "seed", "storage"} <= declared.keys()
    with pytest.raises(UnknownName):
        declared["precision"].check("fp8")


def test_frozen_epochs_teach_the_last_layer_only(tmp_path, monkeypatch):
    start = tmp_path / "start.safetensors"
    nets.kept(start, outputs=2, classes=("here", "there"))
    frozen = spec(start_from=str(start), frozen_epochs=9, epochs=2, full_size_epochs=2)
    trained, begun = training.fit(frozen, Progress(), torch.device("cpu")).module, checkpoints.load(start).module
    same = {name for name, value in begun.state_dict().items() if torch.equal(trained.state_dict()[name], value)}
    assert same == begun.state_dict().keys() - {"head.weight", "head.bias"}
    thawed = training.fit(spec(start_from=str(start), frozen_epochs=1, epochs=2), Progress(), torch.device("cpu"))
    assert not torch.equal(thawed.module.conv.weight, begun.conv.weight)
    # A fresh last layer for other classes, the known one for the same.
    assert not torch.equal(training._begun(frozen, ("across", "along")).module.head.weight, begun.head.weight)
    assert torch.equal(training._begun(frozen, ("here", "there")).module.head.weight, begun.head.weight)


def test_the_papers_head_learns_as_a_whole_and_is_on_the_card(tmp_path):
    path, start = tmp_path / "net.safetensors", tmp_path / "start.safetensors"
    nets.kept(start)
    asked = spec(head="papers", start_from=str(start), frozen_epochs=1, epochs=2, full_size_epochs=2)
    begun = training._begun(asked, ("across", "along")).module
    assert torch.equal(begun.conv.weight, checkpoints.load(start).module.conv.weight)
    card, model = train(asked, path, device="cpu"), checkpoints.load(path)
    assert (card.head, [type(layer).__name__ for layer in model.module.head]) == (
        "papers", ["BatchNorm1d", "Linear", "ReLU", "Linear"])
    assert not torch.equal(model.module.head[0].running_mean, begun.head[0].running_mean)
    assert not torch.equal(model.module.head[1].weight, begun.head[1].weight.half().float())
    # What was learned with one head begins another, with the same or not.
    for head, same in (("papers", True), ("own", False)):
        again = training._begun(spec(head=head, start_from=str(path)), model.classes).module
        assert torch.equal(again.conv.weight, model.module.conv.weight)
        assert (head == "papers" and torch.equal(again.head[3].weight, model.module.head[3].weight)) == same
    with pytest.raises(EngineError, match="'channels' in the card"):
        checkpoints.load_as(path, replace(card, channels=1))


def test_the_card_says_what_it_started_from_and_normalises_alike(tmp_path):
    start, path = tmp_path / "start.safetensors", tmp_path / "net.safetensors"
    nets.kept(start, dataset="pictures", mean=(0.1, 0.2, 0.3), std=(0.2,))
    card = train(spec(dataset="colouredstripes", start_from=str(start), epochs=1), path, device="cpu")
    assert (card.mean, card.std) == ((0.1, 0.2, 0.3), (0.2, 0.2, 0.2))
    assert card.training["start"] == "start, trained on pictures" and card.training["start_from"] == str(start)
    grey = train(spec(start_from=str(start), epochs=1), path, device="cpu")
    assert grey.mean == (0.2, 0.2, 0.2)
    assert train(spec(epochs=1, start_from="scratch"), path, device="cpu").training["start"] == "random weights"


@pytest.mark.parametrize("select", ["accuracy", "auc", "loss"])
def test_it_stops_early_where_validation_gets_no_better_and_keeps_the_best(monkeypatch, select):
    better = {"validation_balanced": 0.8, "validation_accuracy": 0.8, "validation_auc": 0.8, "validation_loss": 0.2}
    worse = {"validation_balanced": 0.5, "validation_accuracy": 0.5, "validation_auc": 0.5, "validation_loss": 0.9}
    scores, states = iter([worse, better, worse, worse, better]), []
    monkeypatch.setattr(training, "_score", lambda *_: next(scores))

    def logits(module, *_):
        states.append(module.head.weight.detach().clone())
        yield

    monkeypatch.setattr(training, "_logits", logits)
    trained = training.fit(spec(epochs=9, full_size_epochs=9, select=select, patience=2), Progress(),
                           torch.device("cpu"))
    assert len(trained.history) == 4 and torch.equal(trained.module.head.weight, states[1])


def test_rare_classes_are_drawn_as_often_as_others():
    seen = training.Pictures(torch.zeros(400, 1, 8, 8, dtype=torch.uint8), (torch.arange(400) < 40).long())
    course = training._Course(spec(balance="sampling"), nets.small_cnn(2), seen,
                              training.Normalisation((0.5,) * 3, (0.2,) * 3), "none", 2, torch.device("cpu"))
    assert course.weights is None and 0.4 < float(seen.labels[course._order()].float().mean()) < 0.6


def test_schedules_rise_and_end_low():
    for name, (first, peak, last) in {"one-cycle": (0.1, 40, 0.01), "cosine": (0.2, 10, 0.01),
                                      "constant": (1.01, 0, 1.01)}.items():
        optimiser = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=0.5)
        schedule, rates = training._SCHEDULES[name](optimiser, 0.5, 200), []
        for _ in range(200):
            rates.append(optimiser.param_groups[0]["lr"] / 0.5)
            optimiser.step()
            schedule.step()
        assert rates[0] < first and rates[-1] < last and max(rates) == pytest.approx(1)
        assert abs(rates.index(max(rates)) - peak) <= 1


def test_pictures_too_small_for_a_network_are_refused_before_the_first_step(monkeypatch):
    monkeypatch.setattr(training._Course, "epoch", lambda *_: pytest.fail("training began"))
    with pytest.raises(EngineError, match=r"inception_v3 cannot look at pictures as small as 32 x 32; .* size"):
        training.fit(spec(arch="inception_v3"), Progress(), torch.device("cpu"))


def test_another_size_is_learned_and_used_ever_after(tmp_path):
    path = tmp_path / "net.safetensors"
    card = train(spec(epochs=1, size=40, small_size=40), path, device="cpu")
    assert card.size == 40 and card.training["history"][0]["size"] == 40 and checkpoints.load(path).size == 40
    with pytest.raises(EngineError, match="224 x 224 only"):
        side_of(spec(arch="vit_b_16", size=64), 8)
    assert side_of(spec(arch="vit_b_16"), 8) == 224

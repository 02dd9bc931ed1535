"""Defenses at training time: what the network learns from under each, and that none is ever left out."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.cli import main
from engine.data.base import DATASETS
from engine.errors import Cancelled, EngineError
from engine.experiments.trainings.pace import WATCHED, Cost, cost_of
from engine.experiments.trainings.training import command_of, epochs_done, made_alike, training_task
from engine.params import values_of
from engine.progress import Progress, to_the_end
from engine.training import practice
from engine.training import train as training
from engine.training.collapse import warnings_of
from engine.training.defenses import TRAINING_DEFENSES, Noise, applied, defense_of, on_card, written
from engine.training.pictures import Normalisation, Pictures
from engine.training.practice import Batch, Network, Practice, Watch, practice_of
from engine.training.train import train
from engine.training.unfinished import unfinished
from engine.work.store import Payload
from engine.zoo import checkpoints
from engine.zoo.registry import model_card
from tests import nets, stripes, tiny
from tests.stripes import SIZES, spec

CPU, EPS = torch.device("cpu"), 0.1
AS_THEY_ARE = Normalisation((0.0,) * 3, (1.0,) * 3)
SLOPE = (1.0, -2.0, 0.5, 0.0) * 3  # of three channels alike: up, down, up, and a pixel that decides nothing


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    with stripes.registered(monkeypatch):
        yield


@pytest.fixture
def start(tmp_path: Path) -> str:
    """An undefended model of the stripes."""
    path = tmp_path / "start.safetensors"
    nets.kept(path, outputs=2, classes=("across", "along"))
    return str(path)


def shown(defense: str, images: Tensor, labels: Tensor, *, done: float = 9.0,
          twins: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
    """What a network of that slope learns from under the defense, and the loss that it is told."""
    learned: list[Tensor] = []
    network = Network(tiny.Slope(SLOPE), ("no", "yes"), AS_THEY_ARE, 0, CPU)

    def learn(some: Tensor) -> Tensor:
        learned.append(some)
        return network(some)

    batch = Batch(images, twins, labels, done, network, torch.Generator().manual_seed(3), learn,
                  torch.nn.functional.cross_entropy)
    return learned, practice_of(defense_of(defense)).loss(batch).detach()


GREY, LABELS = torch.full((4, 1, 2, 2), 0.5), torch.tensor([0, 1, 0, 1])
# Away from "no" (0) is up the slope, away from "yes" (1) down.
WAYS = torch.tensor([[1.0, -1.0, 1.0, 0.0]]) * torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None]
DECIDING = [0, 1, 2]


@pytest.mark.parametrize(("attack", "least"), [("attack=pgd,steps=2", EPS), ("attack=fgsm", EPS / 4)])
def test_adversarial_training_learns_from_images_within_the_budget(attack: str, least: float) -> None:
    (made,), loss = shown(f"at:eps={EPS},{attack}", GREY, LABELS)
    changes = (made - GREY).flatten(1)
    # From anywhere in the budget one step of 1.25 eps comes to a quarter of eps at least, and two to its edge.
    assert float((changes * WAYS)[:, DECIDING].min()) >= least - 1e-6
    assert float(changes.abs().max()) <= EPS + 1e-6 and float(changes[:, 3].abs().max()) > 0, "from a random start"
    assert float(loss) > float(shown("augment", GREY, LABELS)[1]), "they are harder than the pictures"


def test_n_fgsm_goes_beyond_the_budget_and_stays_a_picture() -> None:
    (made,), _ = shown(f"at:eps={EPS},attack=n-fgsm", GREY, LABELS)
    beyond = ((made - GREY).flatten(1) * WAYS)[:, DECIDING]
    assert float(beyond.max()) > EPS and float(beyond.min()) >= -EPS - 1e-6 and float(beyond.max()) <= 3 * EPS + 1e-6
    (dark,), _ = shown("at:eps=0.5,attack=n-fgsm", GREY * 0, LABELS)
    assert float(dark.min()) >= 0 and float(dark.max()) <= 1


def test_only_a_share_is_attacked_and_eps_rises() -> None:
    (made,), _ = shown(f"at:eps={EPS},share=0.5", GREY, LABELS)
    assert torch.equal(made[2:], GREY[2:]) and not torch.equal(made[:2], GREY[:2])
    (half,), _ = shown(f"at:eps={EPS},warmup=4", GREY, LABELS, done=2.0)
    torch.testing.assert_close((half - GREY).flatten(1)[:, DECIDING], EPS / 2 * WAYS[:, DECIDING])
    (none,), _ = shown(f"at:eps={EPS},warmup=4", GREY, LABELS, done=0.0)
    assert torch.equal(none, GREY)


def test_trades_is_right_about_clean_images_and_says_the_same_of_attacked_ones() -> None:
    (clean, made), loss = shown(f"trades:eps={EPS},beta=2,steps=3", GREY, LABELS)
    assert torch.equal(clean, GREY) and 0.99 * EPS < float((made - GREY).abs().max()) <= EPS + 1e-6
    model = Network(tiny.Slope(SLOPE), ("no", "yes"), AS_THEY_ARE, 0, CPU)
    said, attacked = model(GREY).softmax(1), model(made).softmax(1)
    apart = (said * (said / attacked).log()).sum(1).mean()  # Kullback and Leibler's, by hand
    by_hand = torch.nn.functional.cross_entropy(model(GREY), LABELS) + 2 * apart
    torch.testing.assert_close(loss, by_hand)
    assert float(apart.detach()) > 0.001


def test_noise_is_fresh_gaussian_and_clipped() -> None:
    many, none = torch.full((64, 1, 2, 2), 0.5), torch.zeros(64, dtype=torch.int64)
    (noisy,), _ = shown("noise:sigma=0.1,mu=0.05", many, none)
    assert float((noisy - many).mean()) == pytest.approx(0.05, abs=0.02)
    assert float((noisy - many).std()) == pytest.approx(0.1, rel=0.15)
    (bright,), _ = shown("noise:sigma=0.5", many, none)
    assert float(bright.min()) == 0 and float(bright.max()) == 1


def test_ant_interleaves_each_image_with_its_adversarial_twin() -> None:
    (both,), loss = shown(f"ant:eps={EPS},made=anew,sigma=0,steps=4", GREY, LABELS)
    assert torch.equal(both[::2], GREY)
    torch.testing.assert_close((both[1::2] - GREY).flatten(1), EPS * WAYS)
    model = Network(tiny.Slope(SLOPE), ("no", "yes"), AS_THEY_ARE, 0, CPU)
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(model(both), LABELS.repeat_interleave(2)))
    (noisy,), _ = shown("ant:sigma=0.1", GREY, LABELS, twins=GREY + 0.2)
    assert torch.equal((noisy[1::2] - noisy[::2]).mean() > 0.1, torch.tensor(True))
    assert len(torch.unique(noisy)) == noisy.numel(), "each has noise of its own"


def test_ants_twins_are_of_the_undefended_model_at_full_size_and_turned_as_their_pictures(start: str) -> None:
    module = checkpoints.load(Path(start)).module.requires_grad_(True)
    random = np.random.default_rng(0)
    seen = Pictures(torch.from_numpy(random.integers(30, 220, (20, 1, 32, 32)).astype(np.uint8)), torch.arange(20) % 2)
    made = practice_of(defense_of(f"ant:eps={EPS},attack=fgsm"))
    network = Network(module, ("across", "along"), AS_THEY_ARE, 32, CPU)
    for _ in made.prepare(seen, network, 0, Progress()):
        pass
    images, some = seen.batch(slice(0, 20), CPU), torch.arange(20)
    twins = made.twins(images, some)
    wanted = network.attacked(practice.FGSM(), images, practice.Goal(seen.labels), EPS, torch.Generator())
    assert twins is not None and float((twins - wanted).abs().max()) < EPS / 100
    course = training._Course(spec(augmentation="strong", flips="all"), module, seen, AS_THEY_ARE, "all", 2, CPU, made)
    turned = course._shown(some[:8], 32, 0.0)
    assert turned.twins is not None
    difference = (turned.twins - turned.images).abs()
    assert float(difference.mean()) < 2 * EPS and not torch.equal(turned.images, images[:8])


def test_looks_and_attacks_leave_the_network_as_it_was() -> None:
    module = nets.small_cnn(2).eval()
    module.head.train()  # as in frozen epochs
    before = {name: value.clone() for name, value in module.state_dict().items()}
    module.conv.weight.requires_grad_(False)
    network = Network(module, ("a", "b"), AS_THEY_ARE, 0, CPU)
    network.attacked(practice.PGD(steps=2), torch.rand(4, 1, 32, 32), practice.Goal(LABELS), EPS, torch.Generator())
    held = Pictures(torch.zeros(2, 1, 32, 32, dtype=torch.uint8), torch.tensor([0, 1]))
    to_the_end(training._logits(module, held, AS_THEY_ARE, 32, CPU, Progress()))
    assert not module.training and not module.norm.training and module.head.training
    assert not module.conv.weight.requires_grad and module.head.weight.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(p.grad is None for p in module.parameters())


DEFENSES = ["noise:sigma=0.1", "augment", "at:eps=8/255,attack=fgsm", "trades:eps=8/255,steps=1",
            "ant:eps=8/255,steps=2", "ant:eps=8/255,steps=2,made=anew"]


def test_every_defense_is_trained_here() -> None:
    assert {text.split(":")[0] for text in DEFENSES} == set(TRAINING_DEFENSES)


class Killed(BaseException):
    """As if the process were gone."""


@pytest.mark.parametrize("defense", DEFENSES)
def test_each_is_applied_told_on_the_card_and_goes_on_to_the_same_bytes(tmp_path: Path, start: str,
                                                                        defense: str) -> None:
    known = defense_of(defense)
    assert known is not None
    select = {"select": "robust"} if known.watched else {}
    chosen = spec(epochs=2, limit=32, start_from=start, defense=defense, **select)
    whole, path, plain = (tmp_path / f"{name}.safetensors" for name in ("whole", "net", "plain"))
    card = train(chosen, whole, device="cpu")
    train(replace(chosen, defense="", select="accuracy"), plain, device="cpu")
    assert whole.read_bytes() != plain.read_bytes()
    assert card.training["defense"] == on_card(chosen)["defense"] and card.training["defense"]["name"] in defense
    assert card.training["settings"] == values_of(applied(chosen)) and made_alike(card, chosen)
    assert not made_alike(card, replace(chosen, defense="", select="accuracy"))
    assert all(("validation_robust" in line) == (known.watched is not None) for line in card.training["history"])

    def kill(_: float, text: str) -> None:
        if text.startswith("epoch 2 of 2"):
            raise Killed

    with pytest.raises(Killed):
        train(chosen, path, Progress(kill), "cpu")
    left = unfinished(path)
    assert left is not None and len(left.history) == 1
    train(chosen, path, device="cpu")
    assert path.read_bytes() == whole.read_bytes()


def test_the_best_robust_epoch_is_kept_and_told_while_it_learns(tmp_path: Path,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([{"validation_robust": robust, "validation_fgsm": one_step}
                  for robust, one_step in ((0.6, 0.6), (0.1, 0.9), (0.0, 1.0))])
    states: list[Tensor] = []

    def look(self: Watch, progress: Progress) -> Any:
        states.append(self._network.module.head.weight.detach().clone())
        yield
        return next(found)

    monkeypatch.setattr(Watch, "look", look)
    said: list[str] = []
    chosen = spec(epochs=3, full_size_epochs=3, defense="at:attack=fgsm", select="robust", storage="float32")
    card = train(chosen, tmp_path / "net.safetensors", Progress(lambda _, text: said.append(text)), "cpu")
    assert torch.equal(checkpoints.load(tmp_path / "net.safetensors").module.head.weight, states[0])
    assert any("epoch 1 of 3" in text and "under attack 60.0%" in text for text in said)
    (warning,) = card.training["warnings"]
    assert "From epoch 2" in warning and "90% under FGSM, 10% under PGD-10" in warning


def test_robust_accuracy_is_that_of_a_fixed_sample_of_all_classes() -> None:
    labels = torch.tensor([0] * 500 + [1] * 40)
    held = Pictures(torch.full((540, 1, 2, 2), 128, dtype=torch.uint8), labels)
    watch = Watch(held, Network(tiny.Slope(SLOPE, b=0.0), ("no", "yes"), AS_THEY_ARE, 0, CPU), EPS, 0)
    assert torch.bincount(watch._pictures.labels).tolist() == [32, 32]

    def found(b: float, eps: float = EPS) -> dict[str, float]:
        network = Network(tiny.Slope(SLOPE, b), ("no", "yes"), AS_THEY_ARE, 0, CPU)
        steps, looked = Watch(held, network, eps, 0).look(Progress()), {}
        while True:
            try:
                next(steps)
            except StopIteration as end:
                looked = end.value
                return looked

    # The slope gives 128/255 * -1.5 = -0.753 less b; eps moves it by 3 * 3.5 * eps = 1.05 either way.
    assert found(0.0) == {"validation_robust": 0.0, "validation_fgsm": 0.0}
    assert found(0.4) == {"validation_robust": 0.5, "validation_fgsm": 0.5}
    cancelled = Progress()
    cancelled._cancel.set()
    with pytest.raises(Cancelled):
        next(watch.look(cancelled))


@pytest.mark.parametrize(("robust", "fgsm", "epoch"), [
    ([0.5, 0.6, 0.1, 0.0], [0.5, 0.6, 0.9, 1.0], 3), ([0.5, 0.6, 0.55], [0.5, 0.6, 0.6], None),
    ([0.0, 0.0, 0.1], [0.4, 0.5, 0.6], None), ([0.6, 0.1], [0.65, 0.2], None), ([], [], None),
])
def test_a_collapse_is_told_from_robust_accuracy_that_was_not_there_or_falls_with_the_other(
        robust: list[float], fgsm: list[float], epoch: int | None) -> None:
    history = [{"epoch": k + 1, "validation_robust": r, "validation_fgsm": f}
               for k, (r, f) in enumerate(zip(robust, fgsm, strict=True))]
    found = warnings_of(history)
    assert len(found) == (epoch is not None) and (epoch is None or f"From epoch {epoch} " in found[0])


def test_one_image_a_class_is_enough_to_learn_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(SIZES, "few", 2)
    card = train(spec(split="few", validation="few", tests=("few",), epochs=1, defense="at:steps=1", select="robust"),
                 tmp_path / "net.safetensors", device="cpu")
    assert card.evaluations["few"]["n"] == 2 and "validation_robust" in card.training["history"][0]


@pytest.mark.parametrize(("changes", "words"), [
    ({"defense": "att"}, "unknown defense at training time 'att'"), ({"defense": "at:eps=0"}, "eps must lie between"),
    ({"defense": "at:epsilon=1/255"}, "unknown parameter 'epsilon'"), ({"defense": "at:eps"}, "written key=value"),
    ({"defense": "ant"}, "undefended model"), ({"defense": "ant", "start_from": "imagenet"}, "undefended model"),
    ({"select": "robust"}, "robust accuracy"), ({"select": "robust", "defense": "noise"}, "robust accuracy"),
])
def test_what_makes_no_sense_is_refused_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                        changes: dict[str, str], words: str) -> None:
    monkeypatch.setattr(training._Course, "epoch", lambda *_: pytest.fail("training began"))
    for begin in (lambda: train(spec(**changes), tmp_path / "net.safetensors", device="cpu"),
                  lambda: training_task(spec(**changes))):
        with pytest.raises(EngineError, match=words) as caught:
            begin()
        assert "\n" not in str(caught.value)


def test_ant_is_refused_where_its_model_tells_other_classes_apart(tmp_path: Path) -> None:
    nets.kept(tmp_path / "three.safetensors")
    with pytest.raises(EngineError, match="does not tell across, along apart"):
        train(spec(defense="ant", start_from=str(tmp_path / "three.safetensors")), tmp_path / "n.safetensors",
              device="cpu")


def test_a_defense_that_nothing_applies_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delitem(practice._PRACTICES, Noise)
    with pytest.raises(KeyError):
        train(spec(defense="noise"), tmp_path / "n.safetensors", device="cpu")
    assert type(practice_of(None)) is Practice


def test_one_way_of_writing_it_and_one_key() -> None:
    assert written(defense_of("at: eps = 2/255 ,attack=pgd,steps=3")) == "at:eps=2/255"
    assert defense_of(written(defense_of("noise:sigma=0.012345678"))) == Noise(sigma=0.012345678)
    one, other = (training_task(spec(defense=text)) for text in ("noise:sigma=0.03,mu=0", "noise"))
    assert one.key == other.key != training_task(spec()).key
    assert training_task(spec(defense="augment")).key == training_task(spec(defense="augment", flips="all")).key
    assert epochs_done(spec(defense="noise")) == 0


def test_the_command_line_applies_it_with_what_suits_it(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--dataset", "stripes", "--arch", "small-cnn", "--name", "my/net", "--epochs", "1", "--batch",
             "16", "--defense", "at:eps=8/255,attack=fgsm"]
    assert main(words) == 0
    card = model_card("my/net")
    assert card.training["defense"]["written"] == "at:eps=8/255,attack=fgsm"
    assert card.training["settings"]["select"] == "robust" and card.training["settings"]["precision"] == "float32"
    chosen = replace(spec(epochs=1, full_size_epochs=3, small_size=112, lr=1e-3, defense="at:eps=8/255,attack=fgsm",
                          select="robust"), name="my/net")
    assert made_alike(card, chosen) and "--select" not in command_of(chosen)
    assert "--select accuracy" in command_of(replace(chosen, select="accuracy"))
    capsys.readouterr()
    for name, says in (("att", "unknown defense at training time"), ("jpeg:quality=75", "jpeg is a defense at inf")):
        assert main([*words[:-1], name]) == 2 and says in capsys.readouterr().err


def test_the_list_has_them_with_their_papers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "defenses", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out) if row["kind"] == "training"}
    assert set(rows) == {"at", "trades", "ant", "noise", "augment"}
    assert all(row["paper"]["title"] and row["sentence"].endswith(".") and row["formula"] for row in rows.values())
    assert next(p["unit"] for p in rows["at"]["params"] if p["name"] == "eps") == "/255"


@pytest.mark.parametrize(("text", "says"), [
    ("noise:sigma=0.8", "standard deviation 0.8 drowns the picture"), ("noise:mu=-0.9", "nearly black"),
    ("ant:made=anew,sigma=0.9,eps=0.5", "127.5/255 leaves hardly anything"), ("at:eps=64/255", "near chance"),
    ("trades:eps=0.3", "near chance")])
def test_what_leaves_nothing_of_pictures_is_said_before_training(text: str, says: str) -> None:
    assert says in " ".join(defense_of(text).cautions()) and not defense_of(text.partition(":")[0]).cautions()


def test_what_a_defense_costs_is_told_before() -> None:
    data, counts = DATASETS["stripes"].load("train"), {"train": 1000, "validation": 10, "test": 10}
    measured = Payload({"seconds": 1.0, "bytes": 100.0, "weights": 0.0}, {})

    def cost(**changes: object) -> Cost:
        return cost_of(spec(epochs=10, full_size_epochs=10, **changes), data, counts, measured)

    plain, watched = cost(), 10 * WATCHED
    assert cost(defense="noise") == plain
    assert cost(defense="at:steps=4,share=0.5").seconds == pytest.approx(plain.seconds + 10 * 2 * 1000 + watched)
    ant = cost(defense="ant:steps=6", start_from="a model")
    assert ant.seconds == pytest.approx(plain.seconds + 10 * 1000 + 6 * 1000 + watched) and ant.bytes > plain.bytes


def test_a_training_without_later_settings_goes_on_from_what_was_kept_before_there_were_any(
        monkeypatch: pytest.MonkeyPatch) -> None:
    decided: list[dict[str, Any]] = []
    monkeypatch.setattr(training.digest, "of_spec", lambda facts: decided.append(facts["spec"]))
    seen = Pictures(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), torch.zeros(1))
    for chosen in (spec(), spec(defense="noise", head="papers")):
        training._key(chosen, CPU, seen)
    assert decided[1].keys() - decided[0].keys() == {"defense", "head"}

"""Defenses at inference time: what each does to images and answers, by hand, and how they are declared and written."""

import json
import subprocess
import sys
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from engine.attacks.spec import make_spec
from engine.defenses import DEFENSES
from engine.defenses.base import cautions, defenses_from, written
from engine.errors import EngineError
from engine.serving.defense import DETECTION, INFERENCE, Client
from engine.serving.served import Served
from engine.serving.threat import ScoreBased, WhiteBox
from tests.tiny import Slope, grey, small_net, some_images

NAMES = tuple(DEFENSES)


def let_through(text: str, images: Tensor, served: Served | None = None) -> Tensor:
    """What the classifier gets to see of images, each sent by a client of its own, behind the defenses `text`."""
    served = served or Served(small_net(), defenses_from(text))
    clients = [Client(str(number)) for number in range(len(images))]
    return served.behind(images, served.queries(clients, range(len(images))))


# ---- declared ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_defense_says_what_it_is(name: str) -> None:
    info = DEFENSES[name].info
    assert info.name == name and info.title and info.sentence.endswith(".") and info.kind in (INFERENCE, DETECTION)
    assert info.paper.authors and info.paper.title and (info.paper.url.startswith("https://") or info.paper.where)
    assert info.formula and info.cost and (not info.ours or info.ours.endswith("."))
    chosen = defenses_from(name)
    assert defenses_from(written(chosen)) == chosen and cautions(chosen) == []


def test_pages_list_defenses_without_pytorch() -> None:
    code = "import sys, engine.defenses.base as b, engine.defenses; b.written(b.defenses_from('rnd, jpeg')); " \
           "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_command_line_lists_them_with_kind_parameters_and_paper(capsys: pytest.CaptureFixture[str]) -> None:
    from engine.cli import main

    main(["list", "defenses", "--json"])
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(NAMES) <= set(rows)
    assert rows["rnd"]["kind"] == "inference" and rows["rnd"]["paper"]["year"] == 2021
    assert [(p["name"], p["kind"], p["default"]) for p in rows["rnd"]["params"]] == [("sigma", "float", 0.02)]


# ---- written -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("short", "long"), [
    ("rnd:sigma=0.02+jpeg:quality=75", "rnd(sigma=0.02), jpeg(quality=75)"),
    (" jpeg + rnd : sigma = 0.02", "jpeg(quality=75), rnd(sigma=0.02)"),
    ("dnd:m=1e-2,n=1e+1+resize-pad", "dnd(m=0.01, n=10.0), resize-pad(shrink=0.1)"),
    ("rnd(sigma=1/4)+jpeg", "rnd(sigma=0.25), jpeg(quality=75)"),
    ("rnd:sigma", None), ("rnd:", "rnd(sigma=0.02)"), ("rnd++jpeg", None), ("rnd:sigma=0.1,jpeg", None),
    ("rnd:sigma=0.1(2)", None),
])
def test_defenses_are_written_as_on_a_command_line_too(short: str, long: str | None) -> None:
    if long is None:
        with pytest.raises(EngineError) as error:
            defenses_from(short)
        assert "\n" not in str(error.value)
    else:
        assert written(defenses_from(short)) == long == make_spec("fgsm", eps=0.1, defenses=short).defenses


# ---- what they do to images ----------------------------------------------------------------------------------------


ROW = torch.tensor([0.0, 0.2, 1.0, 0.4, 0.6]).view(1, 1, 1, 5).expand(1, 1, 5, 5).contiguous()


@pytest.mark.parametrize(("text", "expected"), [
    ("bits:bits=1", [0, 0, 1, 0, 1]),
    ("bits:bits=2", [0, 1 / 3, 1, 1 / 3, 2 / 3]),
    ("median:size=3", [0, 0.2, 0.4, 0.6, 0.6]),  # of each and its neighbours, the border mirrored
    ("nlm:strength=0.1/255", [0, 0.2, 1, 0.4, 0.6]),  # nothing looks like anything else
    ("rnd:sigma=0", [0, 0.2, 1, 0.4, 0.6]), ("resize-pad:shrink=0", [0, 0.2, 1, 0.4, 0.6]),
    ("gaussian:sigma=0.1", [0, 0.2, 1, 0.4, 0.6]),
])
def test_what_reaches_the_classifier(text: str, expected: Sequence[float]) -> None:
    torch.testing.assert_close(let_through(text, ROW)[0, 0, 2], torch.tensor(expected).float())


@pytest.mark.parametrize("text", ["rnd:sigma=0.3", "dnd:m=0.3", "jpeg:quality=10", "bits", "median", "gaussian",
                                  "nlm:strength=0.5", "resize-pad:shrink=0.5"])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_stay_images(text: str, channels: int) -> None:
    images = some_images(3, channels, 16)
    seen = let_through(text, images)
    assert seen.shape == images.shape and seen.dtype == images.dtype and not torch.equal(seen, images)
    assert float(seen.min()) >= 0 and float(seen.max()) <= 1
    alone = let_through(text, images[:1])
    torch.testing.assert_close(alone, seen[:1])


def test_noise_has_the_deviation_that_was_chosen() -> None:
    grey_field = torch.full((1, 1, 100, 100), 0.5)
    added = let_through("rnd:sigma=0.05", grey_field) - 0.5
    assert float(added.std()) == pytest.approx(0.05, rel=0.03) and abs(float(added.mean())) < 0.002
    served = Served(grey(Slope((0.0,) * 2)), defenses_from("dnd:m=0,n=3"))
    pixels = torch.zeros(2000, 1, 1, 2)
    answers = served.answer(pixels, served.queries([Client("a")], [0] * len(pixels))).logits
    assert float(answers.std()) == pytest.approx(3, rel=0.05) and abs(float(answers.mean())) < 0.15


def test_a_resized_image_is_smaller_whole_and_anywhere() -> None:
    white = torch.ones(200, 1, 8, 8)
    seen = let_through("resize-pad:shrink=0.25", white)
    heights, widths = (seen[:, 0].amax(dim=axis).sum(dim=1) for axis in (2, 1))
    assert torch.equal(heights, widths) and set(heights.tolist()) == {6, 7, 8}
    assert torch.equal(seen.sum(dim=(1, 2, 3)), heights * widths)
    assert {tuple(place) for place in seen[heights == 6][:, 0].flatten(1).argmax(dim=1)[:, None].tolist()} >= {
        (0,), (8 + 1,), (16 + 2,)}


@pytest.mark.parametrize("name", [name for name in NAMES if DEFENSES[name].info.random])
def test_two_queries_are_answered_with_other_draws_and_the_same_seed_with_the_same(name: str) -> None:
    images = some_images(2, size=16)
    asked = [ScoreBased(Served(small_net(), defenses_from(name), seed), 2) for seed in (0, 0, 1)]
    first, again, other = (oracle.scores(images) for oracle in asked)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(asked[0].scores(images), first), "the second query drew what the first had"


def _second(logits: Tensor, rows: Tensor) -> Tensor:
    return logits[:, 1]


@pytest.mark.parametrize(("text", "slope"), [
    # Of 3x0 - 4x1: as it is where a defense has no gradient; blurred, each pixel counts for what is smeared into it.
    ("jpeg", (3.0, -4.0)), ("bits", (3.0, -4.0)), ("median", (3.0, -4.0)), ("nlm", (3.0, -4.0)),
    ("rnd", (3.0, -4.0)), ("dnd", (3.0, -4.0)), ("gaussian:sigma=0.1", (3.0, -4.0)),
    ("gaussian:sigma=10", None), ("resize-pad:shrink=0.5", None),
])
def test_gradients_come_through_every_defense(text: str, slope: tuple[float, float] | None) -> None:
    images = torch.full((8, 1, 2, 2), 0.5)
    oracle = WhiteBox(Served(grey(Slope((3.0, -4.0) * 2)), defenses_from(text)), 8)
    gradient = oracle.gradient(images, _second).gradient[:, 0, 0].mean(dim=0).tolist()
    if slope is None:
        assert gradient != [3.0, -4.0] and any(gradient)
    else:
        assert gradient == pytest.approx(slope)


# ---- said before anything runs -------------------------------------------------------------------------------------


def test_noise_that_drowns_the_picture_is_said_beforehand() -> None:
    assert cautions(defenses_from("rnd:sigma=0.5+dnd:m=0.5+jpeg")) == []
    said = cautions(defenses_from("rnd:sigma=0.6+dnd:m=1"))
    assert len(said) == 2 and all("near chance" in line and "\n" not in line for line in said)

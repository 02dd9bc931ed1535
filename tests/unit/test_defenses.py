"""Defenses at inference time: what each does to images and answers, by hand, and how they are declared and written."""

import json
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.attacks.spec import ADAPTIVE, ATTACKERS, OBLIVIOUS, make_spec
from engine.defenses import DEFENSES
from engine.defenses import soft_jpeg as soft_jpeg_module
from engine.defenses.alarms import false_alarms
from engine.defenses.base import cautions, defenses_from, passes, written
from engine.defenses.fingerprints import fingerprints
from engine.defenses.soft_jpeg import soft_jpeg, tables
from engine.errors import EngineError
from engine.metrics.survival import HALF_COLOUR, as_jpeg
from engine.serving.defense import DETECTION, INFERENCE, Client
from engine.serving.draws import Draws, Stream, key_of
from engine.serving.served import Served
from engine.serving.threat import ScoreBased, WhiteBox
from tests.tiny import Counted, Slope, grey, quick, small_net, some_images

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
    ("bits", (3.0, -4.0)), ("nlm", (3.0, -4.0)), ("median:size=3", None), ("jpeg", None),
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


@pytest.mark.parametrize("size", [2, 3, 5])
def test_a_median_has_the_gradient_of_the_pixel_that_it_is(size: int) -> None:
    """By differences of images in which no two pixels are alike."""
    images = torch.randperm(2 * 9 * 7, generator=torch.Generator().manual_seed(0)).double().view(1, 2, 9, 7)
    wanted, way = torch.randn(2, *images.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    leaf = images.clone().requires_grad_(True)
    through = let_through(f"median:size={size}", leaf)
    before, after = (let_through(f"median:size={size}", images + step * way) for step in (0.0, 0.01))
    assert torch.equal(through.detach(), before)
    gradient, = torch.autograd.grad((through * wanted).sum(), leaf)
    assert float((gradient * way).sum()) == pytest.approx(float(((after - before) * wanted).sum()) / 0.01)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_jpeg_is_to_the_bit_the_files_and_its_arithmetic_nearly(channels: int, monkeypatch) -> None:
    random = torch.Generator().manual_seed(0)
    images = torch.nn.functional.interpolate(torch.rand(4, channels, 9, 8, generator=random), size=(45, 37),
                                             mode="bicubic").clamp(0.1, 0.9).mul(255).round() / 255
    file = as_jpeg(images, 40, HALF_COLOUR)
    assert torch.equal(let_through("jpeg:quality=40", images.clone().requires_grad_(True)).detach(), file)
    monkeypatch.setattr(soft_jpeg_module, "_rounded", torch.round)
    near, lost = (float((found - file).abs().mean()) for found in (soft_jpeg(images, 40), images))
    assert near < 0.15 * lost


def test_a_jpegs_gradient_is_large_where_little_changes_the_file() -> None:
    """Of a flat block there is one coefficient, which at quality 75 is how many levels its pixels lie above 128: that
    is rounded, and the slope is that of a cubic. All finer changes are forgotten."""
    assert tables(75)[0][0, 0] == 8
    for above, slope in ((0.0, 0.0), (0.25, 3 / 16), (3.4, 0.48)):
        leaf = torch.full((1, 1, 8, 8), (128 + above) / 255, dtype=torch.float64, requires_grad=True)
        wanted = torch.arange(64.0, dtype=torch.float64).view(1, 1, 8, 8)
        gradient, = torch.autograd.grad((soft_jpeg(leaf, 75) * wanted).sum(), leaf)
        torch.testing.assert_close(gradient, torch.full_like(leaf, slope * float(wanted.mean())), atol=1e-9, rtol=1e-5)


def test_results_are_told_from_those_of_another_gradient() -> None:
    who = {attacker: make_spec("pgd", eps=0.01, defenses="median", attacker=attacker) for attacker in ATTACKERS}
    assert who[ADAPTIVE].canonical()["gradients"] == {"median": 2} and "gradients" not in who[OBLIVIOUS].canonical()
    assert "gradients" not in make_spec("pgd", eps=0.01, defenses="bits", attacker=ADAPTIVE).canonical()


# ---- said before anything runs -------------------------------------------------------------------------------------


def test_noise_that_drowns_the_picture_is_said_beforehand() -> None:
    assert cautions(defenses_from("rnd:sigma=0.5+dnd:m=0.5+jpeg")) == []
    said = cautions(defenses_from("rnd:sigma=0.6+dnd:m=1"))
    assert len(said) == 2 and all("near chance" in line and "\n" not in line for line in said)


# ---- who asks what -------------------------------------------------------------------------------------------------


def refused(served: Served, images: Tensor, client: Client) -> list[bool]:
    """Which of images are refused that one client sends one after the other."""
    return [bool(served.refusals(one, served.queries([client], [0]))) for one in images.split(1)]


def test_a_query_limit_counts_each_client_for_itself() -> None:
    served = Served(small_net(), defenses_from("query-limit:most=2"))
    images, first = some_images(4), Client("a")
    assert refused(served, images, first) == [False, False, True, True]
    assert refused(served, images[:3], Client("b")) == [False, False, True] and refused(served, images[:1], first)[0]
    assert torch.equal(served.behind(images[:1], served.queries([first], [0])), images[:1])


def test_a_limit_of_0_is_said_beforehand_and_is_a_result() -> None:
    text = "query-limit:most=0"
    assert "answers nobody" in cautions(defenses_from(text))[0]
    model, images, labels = small_net(), some_images(2), [0, 1]
    for name in ("fgsm", "square", "hopskipjump"):
        result = quick(name, model, images, labels, defenses=text)
        assert not result.success.any() and result.predicted_clean.tolist() == [-1, -1]
        assert any("got no answer" in warning for warning in result.warnings)


@pytest.mark.parametrize("name", ["square", "hopskipjump", "simba"])
def test_a_limit_under_an_attacks_start_ends_in_a_result(name: str) -> None:
    model, images = small_net(), some_images(2)
    labels = model(images).argmax(dim=1).tolist()
    result = quick(name, model, images, labels, eps=0.01, defenses="query-limit:most=1")
    assert result.predicted_clean.tolist() == labels and (result.queries - result.refusals <= 1).all()
    assert np.isfinite(result.adversarial).all()


def test_pictures_that_are_nearly_the_same_are_refused_within_the_memory() -> None:
    image, others = some_images(1, 1, 32), some_images(3, 1, 32, seed=1)
    near = (image + 2 / 255 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0)) * (
        torch.arange(32) < 8)).clamp(0, 1)  # as if an attacker tried a patch
    sent = torch.cat([image, others, near])
    for memory, last in ((4, True), (3, False)):
        served = Served(small_net(), defenses_from(f"stateful:window={memory}"))
        client = Client("a")
        assert refused(served, sent, client) == [False, False, False, False, last]
        assert len(client.memories[0]["fingerprints"]) == memory, "more was remembered than was said"
        assert refused(served, near, Client("b")) == [False], "one client's queries were held against another"


def test_a_fingerprint_is_of_contents_not_of_places() -> None:
    image = some_images(1, 1, 16).flatten(1)
    moved = torch.cat([image[:, 40:], image[:, :40]], dim=1)
    (own,), (other,) = (fingerprints(x.view(1, 1, 16, 16), 50 / 255, 20, 1000) for x in (image, moved))
    assert len(own) == 16 * 16 - 19 and len(own & other) > 190
    dark, grey_field = (fingerprints(torch.full((1, 1, 8, 8), level), 0.2, 20, 50)[0] for level in (0.0, 0.19))
    assert dark == grey_field and len(dark) == 1
    steps = torch.arange(256).view(1, 1, 16, 16) / 255
    assert fingerprints(steps, 1 / 255, 1, 1000)[0] == fingerprints(steps + 0.4 / 255, 1 / 255, 1, 1000)[0]


def test_false_alarms_are_counted_for_one_client_or_for_each_alone() -> None:
    images = some_images(2, 1, 16)[[0, 1, 0]]
    chosen = defenses_from("rnd:sigma=0+stateful")
    assert false_alarms(small_net(), chosen, images.split(2)).tolist() == [False, False, True]
    assert false_alarms(small_net(), chosen, images.split(2), one_client=False).tolist() == [False] * 3
    assert not false_alarms(small_net(), [], [images]).any()


@pytest.mark.parametrize(("text", "says"), [
    ("query-limit+jpeg+query-limit:most=3", "Query limit can stand before a model once only"),
    ("smoothing+smoothing", "once only"),
    ("smoothing+jpeg+query-limit", "Query limit has to stand before Randomized smoothing"),
    ("smoothing+stateful", "name it first"), ("query-limit:most=-1", "most must lie between"),
])
def test_what_cannot_stand_in_a_row_is_told(text: str, says: str) -> None:
    with pytest.raises(EngineError, match=says) as error:
        make_spec("fgsm", eps=0.1, defenses=text)
    assert "\n" not in str(error.value)


# ---- several copies ------------------------------------------------------------------------------------------------


# Logits [0, x0 - 0.5] of a pixel under noise: class 1 of half of the copies at 0.5, of 84 % a deviation above it.
EDGE = grey(Slope((1.0,), b=0.5))


def test_smoothing_answers_what_most_noisy_copies_are_taken_for() -> None:
    images = torch.tensor([0.5, 0.6, 0.9]).view(3, 1, 1, 1)
    served = Served(grey(Counted(Slope((1.0,), b=0.5))), defenses_from("smoothing:sigma=0.1,copies=2000"))
    shares = served.answer(images, served.queries([Client("a")], [0, 0, 0])).logits.exp()
    assert shares[:, 1].tolist() == pytest.approx([0.5, 0.841, 1 - 0.5 / 2001], abs=0.03)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(3))
    forwards = served.classifier.module.forwards
    assert sum(forwards) == 3 * 2000 and max(forwards) <= 16


@pytest.mark.parametrize("answer", ["mean", "majority"])
def test_the_gradient_of_smoothing_is_that_of_the_mean_probability(answer: str) -> None:
    """However few copies pass together. The noise is the first query's own, drawn here once more."""
    images, copies = torch.tensor([0.45, 0.6]).view(2, 1, 1, 1), 20
    served = Served(EDGE, defenses_from(f"smoothing:sigma=0.1,copies={copies},answer={answer}"))
    noise = torch.stack([Draws([Stream(key_of(0, "attack", name), 0, copy) for name in "ab"], 0).normal(images)
                         for copy in range(copies)])
    given = images.clone().requires_grad_(True)
    probabilities = torch.stack([EDGE(given + 0.1 * one).softmax(dim=1) for one in noise]).mean(dim=0)
    (expected,) = torch.autograd.grad(probabilities.log()[:, 1].sum(), given)
    ascent = WhiteBox(served, 2, identities=["a", "b"]).gradient(images, _second)
    torch.testing.assert_close(ascent.gradient, expected)
    if answer == "mean":
        torch.testing.assert_close(ascent.logits, probabilities.detach().log())


def test_defenses_behind_smoothing_see_every_copy_with_numbers_of_its_own() -> None:
    images = some_images(2)
    served = Served(small_net(), defenses_from("jpeg+smoothing:sigma=0,copies=3,answer=mean+rnd:sigma=0.3"))
    oracle = WhiteBox(served, 2, identities=["a", "b"])
    first = oracle.logits(images)
    alone = WhiteBox(served, 1, identities=["b"]).logits(images[1:])
    torch.testing.assert_close(first[1:], alone)
    without = WhiteBox(Served(small_net(), defenses_from("jpeg+smoothing:sigma=0,copies=3,answer=mean")), 2)
    assert not torch.allclose(first, without.logits(images))
    assert passes(served.defenses) == 3

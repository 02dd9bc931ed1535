"""The style network keeps what a picture shows and changes how it looks; it is small, and its training can be run."""

import json

import numpy as np
import pytest
import torch

from engine.attacks.networks import style_train
from engine.attacks.networks.style import StyleNet, load_style, save_style
from engine.attacks.networks.style_train import distance, likeness, measured, restyled_by_code
from engine.cli import main
from engine.data import load as load_dataset
from engine.errors import EngineError
from engine.zoo.cards import card_path
from engine.zoo.registry import STYLES, style_digest, style_path, trained_style_path

COUNT = 12


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    dataset = load_dataset("phantom-cxr", "test")
    return torch.stack([torch.from_numpy(dataset.image(100 + i)) for i in range(COUNT)])


@pytest.fixture(scope="module")
def network() -> StyleNet:
    return load_style("phantom")


def test_the_bundled_network_is_small_and_its_card_says_how_it_was_made() -> None:
    path = STYLES / "phantom.safetensors"
    assert path.stat().st_size < 400_000
    card = json.loads(card_path(path).read_text())
    assert card["command"].startswith("python -m engine train-style --name phantom")
    assert {"seed", "data", "limits", "evaluation", "history", "versions", "critic"} <= set(card)
    assert card["history"][-1]["style"] < 0.7 * card["history"][0]["style"]


def test_content_stays_and_style_changes(pictures: torch.Tensor, network: StyleNet) -> None:
    """In the style of another picture: its structure is the picture's own, its looks are nearer to the other's."""
    random = np.random.default_rng(5)
    styles = torch.stack([torch.from_numpy(restyled_by_code(p[0].numpy(), random))[None] for p in pictures.roll(1, 0)])
    with torch.no_grad():
        made = network(pictures, network.describe(styles))
    own, others = likeness(pictures, made), likeness(pictures.roll(1, 0), made)
    assert float(own.median()) > 0.6 and bool((own > 2 * others).all()), (own, others)
    before, after = distance(pictures, styles), distance(made, styles)
    assert float(after.median()) < 0.6 * float(before.median())
    assert float((after < before).float().mean()) > 0.7


def test_random_styles_differ_and_keep_the_content(pictures: torch.Tensor, network: StyleNet) -> None:
    normal = torch.randn(COUNT, network.codes, generator=torch.Generator().manual_seed(1))
    some, again, others = (network.restyled(pictures, n) for n in (normal, normal, normal.roll(1, 0)))
    assert torch.equal(some, again)
    assert float(some.min()) >= 0 and float(some.max()) <= 1
    assert float((some - others).abs().mean()) > 0.05
    assert float((some - pictures).abs().mean()) > 0.05
    assert float(likeness(pictures, some).median()) > 0.6


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (1, 1, 1, 2), (3, 1, 13, 6)])
def test_any_size_and_number_of_channels(network: StyleNet, shape: tuple[int, ...]) -> None:
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    styled = network.restyled(images, torch.zeros(shape[0], network.codes))
    assert styled.shape == images.shape and bool(styled.isfinite().all())


def test_colours_are_styled_one_by_one(network: StyleNet) -> None:
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    normal = torch.randn(2, network.codes, generator=torch.Generator().manual_seed(1))
    whole = network.restyled(images, normal)
    for channel in range(3):
        one = images[:, channel:channel + 1]
        torch.testing.assert_close(whole[:, channel:channel + 1], network.restyled(one, normal))


def test_measuring_tells_a_network_that_keeps_nothing(pictures: torch.Tensor) -> None:
    """An untrained network's output, and noise, are told from a trained one's."""
    class Blank(StyleNet):
        def forward(self, grey: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
            return torch.rand(grey.shape, generator=torch.Generator().manual_seed(0))

    from engine.zoo.registry import load_model

    found = measured(Blank(), pictures, load_model(style_train.CRITIC))
    assert found.content < 0.1


def test_a_training_leaves_a_network_and_a_card(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path))
    state = torch.get_rng_state()
    argv = ["train-style", "--name", "mine", "--steps", "2", "--pictures", "6", "--batch", "2", "--seed", "3", "--json"]
    monkeypatch.setattr("sys.argv", ["engine", *argv])
    assert main(argv) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["seed"] == 3 and card["command"] == "python -m engine " + " ".join(argv)
    assert style_path("mine") == tmp_path / "style" / "mine.safetensors"
    assert json.loads(card_path(style_path("mine")).read_text()) == card
    first = style_digest("mine")
    assert main(argv) == 0 and style_digest("mine") == first, "the same command gives other bytes"
    assert torch.equal(torch.get_rng_state(), state)
    loaded = load_style("mine")
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    # Another one under the bundled one's name takes its place.
    bundled = style_digest("phantom")
    save_style(tmp_path / "style" / "phantom.safetensors", loaded, card)
    assert style_digest("phantom") not in (bundled, "")


def test_a_file_that_is_no_style_network_is_told(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path))
    (tmp_path / "style").mkdir()
    (tmp_path / "style" / "bad.safetensors").write_bytes(b"no")
    with pytest.raises(EngineError, match="no style network with its card"):
        load_style("bad")
    with pytest.raises(EngineError, match="cannot be called"):
        trained_style_path("a/b")

"""What is measured is measured over the pixels that may change: a mask makes an attack small, not weak."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.attacks import ATTACKS
from engine.attacks.base import Others
from engine.attacks.runner import Resources
from engine.attacks.spec import has_gradients
from tests.tiny import Slope, attack, grey

SIDE, OPEN = 16, 12  # 12 of 256 pixels: 4.7 %
MASK = torch.zeros(1, 1, SIDE, SIDE, dtype=torch.bool)
MASK[..., 5:8, 6:10] = True
FREE = MASK.flatten().numpy()
W = torch.randn(SIDE * SIDE, generator=torch.Generator().manual_seed(1))
CLEAN = torch.full((1, 1, SIDE, SIDE), 0.5)
LEARNED = [n for n in ATTACKS if ATTACKS[n].__module__.endswith(("universal", "generative"))]


def model(gap: float) -> Any:
    """A linear model whose boundary lies `gap` logits from the clean image."""
    return grey(Slope(tuple(W.tolist()), float(W.sum() * 0.5 + gap)))


def masked(name: str, gap: float, **options: Any) -> np.ndarray:
    """The change that an attack confined to the mask makes, [256]."""
    bank = Others(torch.cat([CLEAN * 0.9, CLEAN + 0.4 * W.sign().view(1, 1, SIDE, SIDE)]), torch.tensor([0, 1]))
    result = attack(name, model(gap), CLEAN, [0], resources=Resources(mask=MASK, others=bank), **options)
    change = (result.adversarial - result.clean).ravel().astype(np.float64)
    assert not change[~FREE].any()
    return change


# UAP's pattern is learned from other images, whose masks nobody knows.
BOUNDED_L2 = [n for n in ATTACKS if ATTACKS[n].info.bounded and "l2" in ATTACKS[n].info.norms and n not in LEARNED]
# A model that is never fooled, so that no attack stops before its budget is used up.
SETTINGS: dict[str, dict[str, Any]] = {"apgd": {"steps": 10}, "square": {"queries": 300},
                                       "autoattack": {"steps": 10, "queries": 300}}


@pytest.mark.parametrize("name", BOUNDED_L2)
def test_an_l2_attack_moves_by_the_whole_radius_whatever_the_mask(name: str) -> None:
    change = masked(name, gap=3.0, eps=0.5, norm="l2", **SETTINGS.get(name, {}))
    assert np.linalg.norm(change) == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize("name", [n for n in BOUNDED_L2
                                  if has_gradients(ATTACKS[n].info.knowledge) and n != "autoattack"])
def test_and_goes_straight_up_the_slope_of_the_open_pixels(name: str) -> None:
    slope = W.numpy()[FREE]
    change = masked(name, gap=3.0, eps=0.5, norm="l2", **SETTINGS.get(name, {}))[FREE]
    assert change @ slope / np.linalg.norm(slope) == pytest.approx(0.5, rel=0.02)


UNBOUNDED_L2 = [n for n in ATTACKS if not ATTACKS[n].info.bounded and "l2" in ATTACKS[n].info.norms]
# The distance found, in units of the nearest there is; what feels its way with random probes gets less near.
NEAR = {"deepfool": 1.05, "fab": 1.02, "cw": 1.05, "lbfgs": 1.05, "simba": 2.0, "boundary": 1.3, "geoda": 1.3}
PATIENT: dict[str, dict[str, Any]] = {"cw": {"steps": 100, "rate": 0.01, "rounds": 9}, "lbfgs": {"rounds": 15},
                                      "simba": {"step_size": 0.02}}


@pytest.mark.parametrize("name", UNBOUNDED_L2)
def test_the_smallest_change_is_as_small_as_that_of_the_open_pixels_alone(name: str) -> None:
    nearest = 0.3
    gap = nearest * float(np.linalg.norm(W.numpy()[FREE]))
    change = masked(name, gap, eps=None, norm="l2", **PATIENT.get(name, {}))
    assert change @ W.numpy() >= gap * 0.999, "the model is not fooled"
    assert np.linalg.norm(change) <= nearest * NEAR.get(name, 1.1)


@pytest.mark.parametrize("name", ["fgnm", "binm", "pgdnm"])
def test_the_non_sign_step_is_as_long_as_the_sign_of_the_open_pixels(name: str) -> None:
    """Of a slope that is alike everywhere within the mask, the scaled gradient is its sign."""
    even = torch.where(MASK.flatten(), W.sign() * 0.1, W * 100)
    steps = {} if name == "fgnm" else {"steps": 1, "step_size": 0.02}
    if name == "pgdnm":
        steps["random_start"] = False
    net = grey(Slope(tuple(even.tolist()), float(even.sum() * 0.5 + 20)))
    result = attack(name, net, CLEAN, [0], eps=0.02, resources=Resources(mask=MASK), **steps)
    change = (result.adversarial - result.clean).ravel()[FREE]
    np.testing.assert_allclose(change, 0.02 * W.sign().numpy()[FREE], rtol=1e-3)


class Bend(torch.nn.Module):
    """Its slope in the open pixels turns with `x`; in the frozen ones it grows a hundredfold from step to step."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        free = torch.from_numpy(FREE)
        inside, outside = x[:, free], x[:, ~free]
        moved = (inside - 0.5).abs().sum(dim=1, keepdim=True)
        z = -(inside - 0.512).square().sum(dim=1) + ((outside - 0.5) * 10 ** (moved * 50).detach()).sum(dim=1)
        return torch.stack([torch.zeros_like(z), z - 10], dim=1)


class Inside(torch.nn.Module):
    """The same without the frozen pixels."""

    def forward(self, x: Tensor) -> Tensor:
        z = -(x.flatten(1)[:, torch.from_numpy(FREE)] - 0.512).square().sum(dim=1)
        return torch.stack([torch.zeros_like(z), z - 10], dim=1)


@pytest.mark.parametrize("name", ["mifgsm", "nifgsm", "pgn", "vmifgsm"])
def test_momentum_weighs_steps_by_the_open_pixels_alone(name: str) -> None:
    options = {"eps": 0.02, "steps": 6, "resources": Resources(mask=MASK), "momentum": 0.7}
    if name in ("pgn", "vmifgsm"):
        options["neighbours"] = 2
    found, expected = (attack(name, grey(net), CLEAN, [0], **options).adversarial for net in (Bend(), Inside()))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_what_is_sent_to_a_model_stays_within_the_mask() -> None:
    """Black-box attacks probe what they may change, and nothing else."""
    seen: list[Tensor] = []
    clean = torch.full_like(CLEAN, 128 / 255)  # which saving with 8 bits does not change

    class Watched(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.clone())
            z = x.flatten(1) @ W.to(x.device) - float(W.sum() * 0.5 + 0.2)
            return torch.stack([torch.zeros_like(z), z], dim=1)

    for name in ("nes", "square", "simba", "hopskipjump", "geoda", "signopt", "boundary"):
        seen.clear()
        info = ATTACKS[name].info
        bank = Others(torch.cat([clean * 0.9, clean + 0.4 * W.sign().view(1, 1, SIDE, SIDE)]), torch.tensor([0, 1]))
        attack(name, grey(Watched()), clean, [0], eps=0.05 if info.bounded else None, norm=info.norms[0],
               queries=200, resources=Resources(mask=MASK, others=bank))
        changed = (torch.cat(seen) != clean).any(dim=0)
        assert not changed[~MASK[0]].any(), f"{name} looked at pixels it cannot change"
        assert changed.any()


def test_squares_are_put_where_something_may_change() -> None:
    """Of 60 squares each meets an open pixel: otherwise nearly all queries would be spent on the same image."""
    asked: list[Tensor] = []

    class Watched(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            asked.extend(x.clone())
            z = x.flatten(1) @ W.to(x.device) - float(W.sum() * 0.5 + 20)
            return torch.stack([torch.zeros_like(z), z], dim=1)

    attack("square", grey(Watched()), CLEAN, [0], eps=0.05, norm="l2", queries=60, share=0.01,
           resources=Resources(mask=MASK))
    changes = torch.stack(asked)[2:60]
    assert sum(not torch.equal(a, b) for a, b in pairwise(changes)) > 50

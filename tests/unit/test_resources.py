"""What an attacker has besides the target model: surrogate, ensemble, mask, further images, and what it learned."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

import engine
from engine.attacks.base import ATTACKS, Attack, AttackInfo, Cost, Knowledge, Others, Paper
from engine.attacks.result import FRAMES
from engine.attacks.runner import Resources
from engine.data import load
from engine.errors import EngineError
from engine.experiments.further import chosen_others
from engine.params import param
from engine.zoo.ensemble import ensemble
from tests.tiny import Slope, attack, grey, lessons, small_net, some_images

LABELS = [0, 1, 2]


def test_a_surrogates_gradients_are_used_and_the_targets_verdict_counts() -> None:
    target, surrogate = grey(Slope((1.0, 1.0, 1.0, 1.0), 2.2)), grey(Slope((1.0, -1.0, 1.0, -1.0)))
    clean = torch.full((1, 1, 2, 2), 0.5)
    result = attack("fgsm", target, clean, [0], eps=0.1, resources=Resources(surrogate=surrogate))
    np.testing.assert_allclose(result.adversarial.ravel(), [0.6, 0.4, 0.6, 0.4], atol=1e-6)
    np.testing.assert_allclose(result.logits_adversarial[0], [0, -0.2], atol=1e-6)
    assert not result.success[0]
    assert result.provenance.surrogate_digest == surrogate.digest and result.provenance.model_digest == target.digest


def test_an_ensemble_is_the_mean_of_logits_and_leaves_its_members_alone() -> None:
    members, images = [small_net(0), small_net(1)], some_images(3)
    both = ensemble(members)
    torch.testing.assert_close(both(images), (members[0](images) + members[1](images)) / 2)
    assert members[0].module is not both.module
    with pytest.raises(EngineError, match="different classes"):
        ensemble([small_net(classes=3), small_net(classes=4)])


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_nothing_changes_outside_the_mask(norm: str) -> None:
    clean, mask = some_images(3), torch.zeros(3, 1, 8, 8, dtype=torch.bool)
    mask[:, :, 2:5, 1:4] = True
    result = attack("pgd", small_net(), clean, LABELS, eps=0.3, norm=norm, resources=Resources(mask=mask))
    changed = (result.adversarial != clean.numpy()).any(axis=1)
    assert changed.any() and not changed[~mask[:, 0].numpy()].any()
    assert result.provenance.mask_digest


@pytest.mark.parametrize(("resources", "says"), [
    (Resources(mask=torch.zeros(3, 1, 8, 8, dtype=torch.bool)), "mask is empty"),
    (Resources(mask=torch.ones(3, 1, 4, 4, dtype=torch.bool)), "mask must be"),
    (Resources(surrogate=small_net(classes=4)), "other classes"),
    (Resources(others=Others(torch.zeros(1, 3, 4, 4), torch.zeros(1).long())), "other images must be"),
])
def test_what_does_not_fit_is_explained_in_one_line(resources: Resources, says: str) -> None:
    with pytest.raises(EngineError, match=says) as error:
        attack("fgsm", small_net(), some_images(3), LABELS, eps=0.1, resources=resources)
    assert "\n" not in str(error.value)


def test_further_images_come_from_the_training_split_and_from_every_class() -> None:
    pool, chosen = chosen_others(load("phantom-cxr", "test"), [0, 1], 2)
    assert pool.split == "train" and sorted(pool.labels[list(chosen)].tolist()) == [0, 0, 1, 1, 2, 2]


@dataclass(frozen=True, kw_only=True)
class Shift(Attack):
    """Learns the mean of the further images, and adds it."""

    info: ClassVar[AttackInfo] = AttackInfo("shift", "Shift", "Adds a mean.", "x + m", Paper("", "", 2020, "https://x"),
                                            Knowledge.DECISION, ("l2",), "", bounded=False, others=3)
    scale: float = param(1.0, title="Scale", low=0, high=2, step=1, help="How much.")
    fits: ClassVar[list[int]] = []

    def cost(self) -> Cost:
        return Cost(0, 400)

    def run(self, target: Any, clean: Tensor, goal: Any, ball: Any, run: Any) -> Tensor:
        def fit() -> dict[str, Tensor]:
            self.fits.append(len(run.others.images))
            run.learning(1, 2, loss=0.5)
            return {"mean": run.others.images.mean(dim=0) * self.scale}

        mean = run.learned(fit)["mean"]
        for step in range(4):
            for _ in range(50):
                target.decide(clean)
            run.walk(clean + (4 - step) * mean / 4, target.queries, step / 4)
        return clean + mean


@pytest.fixture
def shift(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path))
    monkeypatch.setitem(ATTACKS._items, "shift", Shift)
    Shift.fits.clear()


def test_a_new_version_of_an_attack_learns_anew(shift: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in (1, 1, 2):
        monkeypatch.setattr(Shift, "info", replace(Shift.info, version=version))
        attack("shift", small_net(), some_images(4) / 4, [0] * 4, eps=None, norm="l2", memory=lessons())
    assert len(Shift.fits) == 2


def test_what_was_learned_is_learned_once(shift: None) -> None:
    clean = some_images(4) / 4
    bank = Resources(others=Others(torch.full((2, 3, 8, 8), 0.25), torch.tensor([0, 1])))
    options: dict[str, Any] = {"eps": None, "norm": "l2", "resources": bank, "batch": 2, "memory": lessons()}
    first = attack("shift", small_net(), clean, [0] * 4, **options)
    again = attack("shift", small_net(), clean[:1], [0], **options)
    assert Shift.fits == [2]
    np.testing.assert_allclose(first.adversarial, clean + 0.25, atol=1e-6)
    np.testing.assert_array_equal(first.adversarial[:1], again.adversarial)
    assert first.trace.curves == again.trace.curves == {"loss": (0.5,)}
    attack("shift", small_net(), clean[:1], [0], **options, scale=0.5)
    assert Shift.fits == [2, 2]


def test_a_library_call_writes_nothing_unless_asked_to(shift: None, tmp_path) -> None:
    clean, labels = some_images(4) / 4, torch.zeros(4, dtype=torch.int64)
    for keep, fits, files in ((False, 1, 0), (False, 2, 0), (True, 3, 1), (True, 3, 1)):
        engine.attack("shift", small_net(), clean, labels, device="cpu", keep_learned=keep)
        assert len(Shift.fits) == fits and len(list(tmp_path.rglob("*.npz"))) == files


def test_what_cannot_be_kept_is_said(shift: None, tmp_path) -> None:
    (tmp_path / "runs").write_text("a file where the folder should be")
    result = attack("shift", small_net(), some_images(2), [0, 1], eps=None, norm="l2", memory=lessons())
    assert any("what was learned is not kept" in line for line in result.warnings)


def test_a_walk_is_kept_with_its_milestones(shift: None) -> None:
    clean = some_images(3) / 4
    bank = Resources(others=Others(torch.full((1, 3, 8, 8), 0.25), torch.tensor([0])))
    walk = attack("shift", small_net(), clean, LABELS, eps=None, norm="l2", resources=bank, batch=2).trace.walk
    assert walk is not None and walk.film is not None
    assert walk.queries[:, 2].tolist() == [50, 100, 150, 200]
    full = 0.25 * np.sqrt(3 * 64)
    np.testing.assert_allclose(walk.distances[:, 0], full * np.array([4, 3, 2, 1]) / 4, rtol=1e-5)
    np.testing.assert_allclose(walk.film[FRAMES.index(100), 1], clean[1] + 0.25 * 3 / 4, atol=1e-6)  # at 100 queries
    np.testing.assert_allclose(walk.film[FRAMES.index(250), 1], clean[1] + 0.25 / 4, atol=1e-6)  # the last known


def test_a_black_box_attack_gets_no_more_queries_than_it_declares(shift: None) -> None:
    from engine.serving.threat import QueryBudgetSpent

    with pytest.raises(QueryBudgetSpent):
        attack("shift", small_net(), some_images(2), [0, 1], eps=None, norm="l2", max_queries=199)

"""The adversarial patch against ART's: real X-rays, learned from the same further ones, in as many steps.

Where a patch lands decides more than which patch it is, so each is judged in many places. ART's is a bitmap of the
whole image's size that is shrunk without being smoothed, ours is smoothed where it lies between pixels: each does best
as it was learned. So both are put by ART into the same places, and each by its own library into places of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy import stats

from tests.xrays import XRays, art_classifier

pytestmark = pytest.mark.peers

STEPS, BATCH, TURN, SMALLEST = 100, 16, 22.5, 0.8
SEEDS = range(4)  # patches learned by each
PLACES = 10  # of each image
SURE = 0.98  # of the interval around the difference: each side is left out once in a hundred times


@contextmanager
def art_draws(seed: int) -> Iterator[None]:
    """ART draws from the generators of NumPy and torch that everybody shares."""
    state = np.random.get_state()
    try:
        np.random.seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        np.random.set_state(state)


@dataclass(frozen=True)
class Learned:
    """Our patches [C, S, S] and ART's attacks, one for each seed, and the share that ours fool in places of their own.
    """

    xrays: XRays
    size: float
    ours: list[np.ndarray]
    fooled: list[float]
    arts: list

    def put_by_art(self, seed: int, art: object, patch: np.ndarray | None = None) -> float:
        """The share that the patch of `art`, or another in its stead, fools in PLACES of each image."""
        with art_draws(seed):
            placed = [art.apply_patch(self.xrays.images.numpy(), scale=share * self.size, patch_external=patch)
                      for share in np.linspace(SMALLEST, 1, PLACES)]
        return float(np.mean([self.xrays.fooled(torch.tensor(np.asarray(images))).float().mean() for images in placed]))


def learn(xrays: XRays, size: float, seed: int) -> object:
    evasion = pytest.importorskip("art.attacks.evasion")
    others = xrays.others
    with art_draws(seed):
        attack = evasion.AdversarialPatchPyTorch(
            art_classifier(xrays.model), rotation_max=TURN, scale_min=SMALLEST * size, scale_max=size,
            learning_rate=0.05, max_iter=STEPS * BATCH // len(others.images), batch_size=BATCH,
            patch_shape=(1, 28, 28), targeted=False, verbose=False)
        attack.generate(others.images.numpy(), np.eye(2, dtype=np.float32)[others.labels])
    return attack


@pytest.fixture(scope="module", params=[0.3, pytest.param(0.4, marks=pytest.mark.slow)])
def learned(xrays: XRays, request: pytest.FixtureRequest) -> Learned:
    size, everywhere = request.param, xrays.often(PLACES)
    names = [f"X-ray {number}" for number in range(len(everywhere))]  # an image's name decides where its patch lies
    results = [everywhere.ours("patch", "l0", size=size, steps=STEPS, sample=BATCH, smallest=SMALLEST, turn=TURN,
                               seed=seed, identities=names) for seed in SEEDS]
    return Learned(xrays, size, [result.trace.learned["patch"].copy() for result in results],
                   [result.success.mean() for result in results], [learn(xrays, size, seed) for seed in SEEDS])


def as_often(ours: list[float], theirs: list[float], telling: float) -> None:
    """Ours fool no fewer: the interval around the mean difference (Welch) reaches 0. It has to be so narrow that what
    fooled fewer by the share `telling` would be noticed."""
    interval = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(SURE)
    print(f"{np.mean(ours):.1%} against {np.mean(theirs):.1%}, difference {interval.low:.1%} to {interval.high:.1%}")
    assert interval.high - interval.low < 2 * telling * np.mean(theirs), "too few patches or places to tell"
    assert interval.high >= 0


def test_a_patch_fools_as_often_as_arts_in_the_same_places(learned: Learned) -> None:
    as_often([learned.put_by_art(0, learned.arts[0], patch) for patch in learned.ours],
             [learned.put_by_art(0, art) for art in learned.arts], telling=0.25)


def test_a_patch_fools_as_often_as_arts_where_each_puts_its_own(learned: Learned) -> None:
    as_often(learned.fooled, [learned.put_by_art(seed, art) for seed, art in zip(SEEDS, learned.arts, strict=True)],
             telling=0.5)

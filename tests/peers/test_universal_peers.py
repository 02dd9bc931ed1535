"""UAP against ART's: real X-rays, learned from the same further ones in as many passes."""

import random

import numpy as np
import pytest
import torch

from tests.xrays import XRays, art_classifier, as_many

pytestmark = pytest.mark.peers

EPOCHS = 5


@pytest.mark.parametrize(("norm", "order", "eps", "method"), [
    ("linf", np.inf, 0.03, "gradient ascent"),
    ("l2", 2, 1.0, "DeepFool"),
    pytest.param("linf", np.inf, 0.03, "DeepFool", marks=pytest.mark.slow),
    pytest.param("l2", 2, 1.0, "gradient ascent", marks=pytest.mark.slow),
])
def test_a_pattern_fools_as_often_as_arts(xrays: XRays, norm: str, order: float, eps: float, method: str) -> None:
    evasion = pytest.importorskip("art.attacks.evasion")
    others = xrays.others
    with torch.no_grad():
        said = xrays.model(others.images).argmax(1)
    state = random.getstate()
    try:
        random.seed(0)
        attack = evasion.UniversalPerturbation(
            art_classifier(xrays.model), attacker="deepfool", delta=0.0, max_iter=EPOCHS, eps=eps, norm=order,
            attacker_params={"max_iter": 10, "epsilon": 0.02, "nb_grads": 2, "verbose": False}, verbose=False)
        attack.generate(others.images.numpy(), np.eye(2, dtype=np.float32)[said])
    finally:
        random.setstate(state)
    theirs = (xrays.images + torch.from_numpy(attack.noise)).clamp(0, 1)
    ours = xrays.ours("uap", norm, eps, method=method, epochs=EPOCHS)
    as_many(ours.success, xrays.fooled(theirs), grain=2)

"""Our defenses against those of ART that are the same: equal images, pixel by pixel."""

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.defenses.base import defenses_from
from engine.serving.defense import Client
from engine.serving.draws import Draws, Stream, key_of
from engine.serving.served import Served
from tests.tiny import small_net

pytestmark = pytest.mark.peers


def images(channels: int) -> Tensor:
    """Smooth ones with noise, of whole grey levels; a quarter of one above, as ART cuts off where we round."""
    wave = torch.linspace(0, 6, 64).sin()
    noise = torch.rand(4, channels, 64, 64, generator=torch.Generator().manual_seed(0))
    return ((0.5 + 0.3 * wave[:, None] * wave + 0.15 * (noise - 0.5)) * 255).floor().add(0.25) / 255


def ours(text: str, given: Tensor) -> np.ndarray:
    served = Served(small_net(), defenses_from(text))
    clients = [Client(str(number)) for number in range(len(given))]
    return served.behind(given, served.queries(clients, range(len(given)))).numpy()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("text", "peer", "settings"), [
    *((f"jpeg:quality={quality}", "JpegCompression", {"quality": quality, "channels_first": True})
      for quality in (20, 75, 95)),
    *((f"bits:bits={bits}", "FeatureSqueezing", {"bit_depth": bits}) for bits in (1, 4, 8)),
    *((f"median:size={size}", "SpatialSmoothing", {"window_size": size, "channels_first": True}) for size in (2, 3, 5)),
])
def test_what_reaches_the_classifier_is_arts(text: str, peer: str, settings: dict, channels: int) -> None:
    from art.defences import preprocessor

    given = images(channels)
    theirs, _ = getattr(preprocessor, peer)(clip_values=(0.0, 1.0), **settings)(given.numpy())
    np.testing.assert_allclose(ours(text, given), theirs, atol=1e-6)
    assert np.abs(theirs - given.numpy()).max() > 1e-4, "nothing was done to the images"


def test_noise_is_arts_with_the_same_random_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    from art.defences.preprocessor import GaussianAugmentation

    given = images(3)
    own = Draws([Stream(key_of(0, "attack", str(number)), 0) for number in range(len(given))], 0).normal(given).numpy()
    monkeypatch.setattr(np.random, "normal", lambda loc, scale, size: loc + scale * own)
    theirs, _ = GaussianAugmentation(sigma=0.5, augmentation=False, clip_values=(0.0, 1.0))(given.numpy())
    np.testing.assert_allclose(ours("rnd:sigma=0.5", given), theirs, atol=1e-6)

"""The votes on noisy copies of images, from which engine.metrics.certificate proves how far they may be moved."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from engine.progress import Progress
from engine.serving.draws import Draws, Stream, key_of
from engine.zoo.classifier import Classifier

CHOOSING, COUNTING = "choosing", "counting"  # draws that choose a class, and others that count its votes


@torch.no_grad()
def votes(classifier: Classifier, images: Tensor, identities: Sequence[str], draws: int, *, sigma: float, purpose: str,
          seed: int = 0, batch: int = 16, progress: Progress | None = None) -> np.ndarray:
    """How many of `draws` noisy copies of each image [N, C, H, W] are given each class, int64 [N, K]. The noise depends
    on the seed, the image's identity, the `purpose` and the number of the draw alone. Raises Cancelled."""
    progress = progress or Progress()
    counts = np.zeros((len(images), len(classifier.classes)), np.int64)
    for place, (image, identity) in enumerate(zip(images.split(1), identities, strict=True)):
        key = key_of(seed, purpose, identity)
        image = image.to(classifier.device)
        for first in range(0, draws, batch):
            progress.report((place + first / draws) / len(images), f"image {place + 1} of {len(images)}, {purpose}")
            copies = image.expand(min(batch, draws - first), -1, -1, -1)
            own = Draws([Stream(key, number) for number in range(first, first + len(copies))], 0)
            said = classifier(copies + sigma * own.normal(copies)).argmax(dim=1)
            counts[place] += np.bincount(said.cpu().numpy(), minlength=counts.shape[1])
    return counts

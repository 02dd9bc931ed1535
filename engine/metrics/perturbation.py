"""How large a perturbation is."""

from dataclasses import dataclass

import numpy as np
from skimage.metrics import structural_similarity

from engine.metrics.pairs import check_pair

# Wang et al. 2004: an 11 x 11 Gaussian window.
SIGMA = 1.5
RADIUS = 5


@dataclass(frozen=True)
class PerturbationSize:
    """Sizes of one image's perturbation, intensities in [0,1].

    `l0`: pixels changed, and `l0_share` of all, a colour pixel counting once; `l2`, `linf` and `psnr` (dB, infinite for
    equal images) over every value of every channel; `ssim`, -1 to 1, the mean over the channels.
    """

    l0: int
    l0_share: float
    l2: float
    linf: float
    psnr: float
    ssim: float


def measure(clean: np.ndarray, adversarial: np.ndarray) -> PerturbationSize:
    """The sizes of the perturbation between two images [C,H,W] in [0,1]; raises EngineError where shapes differ."""
    check_pair(clean, adversarial)
    difference = adversarial.astype(np.float64) - clean.astype(np.float64)
    changed = (difference != 0).any(axis=0)
    mean_square = float((difference ** 2).mean())
    return PerturbationSize(
        l0=int(changed.sum()),
        l0_share=float(changed.mean()),
        l2=float(np.sqrt((difference ** 2).sum())),
        linf=float(np.abs(difference).max()),
        psnr=float(-10 * np.log10(mean_square)) if mean_square > 0 else float("inf"),
        ssim=ssim(clean, adversarial),
    )


def ssim(first: np.ndarray, second: np.ndarray) -> float:
    """Mean structural similarity of two images [C,H,W] in [0,1] (Wang et al. 2004, doi:10.1109/TIP.2003.819861).

    As in the paper, only positions whose window lies inside the picture count; in a picture too small for one (under 11
    pixels) all count, with mirrored borders. Colour: the mean of the channels' values.
    """
    check_pair(first, second)
    beyond = 0 if min(first.shape[1:]) > 2 * RADIUS else RADIUS
    pair = (np.pad(image.astype(np.float64), ((0, 0), (beyond, beyond), (beyond, beyond)), mode="symmetric")
            for image in (first, second))
    return float(structural_similarity(*pair, data_range=1.0, channel_axis=0, gaussian_weights=True, sigma=SIGMA,
                                       use_sample_covariance=False))

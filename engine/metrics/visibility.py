"""Would a person see the perturbation?"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.ndimage import correlate, gaussian_filter

from engine.metrics.pairs import check_pair

Level = Literal["invisible", "hardly visible", "visible", "obvious"]

# From this multiple of the just-noticeable difference on, each level applies.
LEVELS: tuple[tuple[float, Level], ...] = (
    (4.0, "obvious"), (2.0, "visible"), (0.5, "hardly visible"), (0.0, "invisible"),
)

# How the eye pools a change over its neighbourhood, in pixels.
POOLING = 3.0

# Chou and Li 1995, in grey levels from 0 to 255.
AVERAGE = np.array([[1, 1, 1, 1, 1], [1, 2, 2, 2, 1], [1, 2, 0, 2, 1], [1, 2, 2, 2, 1], [1, 1, 1, 1, 1]]) / 32
_HORIZONTAL = np.array([[0, 0, 0, 0, 0], [1, 3, 8, 3, 1], [0, 0, 0, 0, 0], [-1, -3, -8, -3, -1], [0, 0, 0, 0, 0]]) / 16
_DIAGONAL = np.array([[0, 0, 1, 0, 0], [0, 8, 3, 0, 0], [1, 3, 0, -3, -1], [0, 0, -3, -8, 0], [0, 0, -1, 0, 0]]) / 16
GRADIENTS = (_HORIZONTAL, _HORIZONTAL.T, _DIAGONAL, _DIAGONAL[:, ::-1])


@dataclass(frozen=True)
class Visibility:
    """`score`: the change, where it is easiest to see, in just-noticeable differences; `share` of the picture, 0 to 1,
    over which it exceeds one of them; `reason` in plain words."""

    level: Level
    reason: str
    score: float
    share: float


def visibility(clean: np.ndarray, adversarial: np.ndarray) -> Visibility:
    """Whether a person would see the perturbation between two images [C,H,W] in [0,1] on a screen.

    A guide, not a reader study. The model is the just-noticeable difference of Chou and Li 1995
    (doi:10.1109/76.475889): the eye misses more in dark and bright surroundings than in middle grey, and more in
    texture and at edges than in smooth areas. The change is divided by that threshold and pooled as root mean square
    over a Gaussian neighbourhood (standard deviation 3 pixels); the place where it is largest decides. The levels (0.5,
    2 and 4 such differences) were set by looking at chest X-rays with sign noise: 1/255 invisible, 2 and 4/255 hardly
    visible, 8/255 visible, 16/255 obvious. Colour: the root mean square over the channels, which counts a change of hue
    like one of brightness and so errs towards "visible". Not modelled: size on the screen, window setting, how smooth a
    change is (a picture a little brighter as a whole counts as if it were noise), knowing where to look.
    """
    check_pair(clean, adversarial)
    change = 255 * np.sqrt(((adversarial.astype(np.float64) - clean.astype(np.float64)) ** 2).mean(axis=0))
    relative = change / noticeable_difference(clean.mean(axis=0))
    pooled = np.sqrt(np.maximum(gaussian_filter(relative ** 2, POOLING), 0))
    score = float(pooled.max())
    share = float((pooled > 1).mean())
    level = next(level for start, level in LEVELS if score >= start)
    return Visibility(level=level, reason=_reason(level, float(change.max()), share), score=score, share=share)


def noticeable_difference(luminance: np.ndarray) -> np.ndarray:
    """The change, in grey levels of 255, that the eye just notices at each pixel of an image [H,W] in [0,1]."""
    grey = 255 * luminance.astype(np.float64)
    background = correlate(grey, AVERAGE, mode="nearest")
    texture = np.max([np.abs(correlate(grey, kernel, mode="nearest")) for kernel in GRADIENTS], axis=0)
    by_texture = texture * (background * 0.0001 + 0.115) + 0.5 - background * 0.01
    by_luminance = np.where(background <= 127, 17 * (1 - np.sqrt(np.maximum(background, 0) / 127)) + 3,
                            3 / 128 * (background - 127) + 3)
    return np.maximum(by_texture, by_luminance)


def _reason(level: Level, largest: float, share: float) -> str:
    if largest == 0:
        return "The two pictures are the same."
    change = f"No pixel changes by more than {_number(largest)} of 255 grey levels"
    place = "nearly everywhere" if share > 0.9 else f"on {_number(100 * share)} % of the picture"
    return {
        "invisible": f"{change}, well below what the eye notices against this picture's brightness and texture.",
        "hardly visible": f"{change}, about the least the eye can notice, and first in smooth areas of middle grey.",
        "visible": f"A careful look finds fine noise or spots: the change exceeds what the eye just notices {place}.",
        "obvious": f"The change stands out at first sight: it exceeds what the eye just notices {place}.",
    }[level]


def _number(value: float) -> str:
    """With two significant digits, whole from ten on."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"

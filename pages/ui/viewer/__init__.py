"""The image viewer: original, perturbed and amplified difference, pixel-exact, with one zoom and pan for all.

The browser receives both images as float32 and rounds, subtracts and colours them itself, so that nothing on the way
(JPEG, resampling, 8 bits) can hide a perturbation below 1/255.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np

from engine.data.base import StoredUnits
from pages.ui.component import component

# Okabe-Ito sky blue and orange have the same luminance and stay apart under every common colour blindness.
_NEGATIVE = (86, 180, 233)
_POSITIVE = (230, 159, 0)
_LEVELS = 255

GAIN_MIN, GAIN_MAX = 1.0, 1000.0
# A change that is black even at the highest gain is none: networks leave rounding errors in pixels they do not touch.
_FAINTEST = 0.5 / (_LEVELS * GAIN_MAX)
# Changes so many times larger than three quarters of all do not set the scale: a patch is repainted, the rest nudged.
_FENCE = 8
_PERCENTILE = 99
# How far a change must exceed the scale to be called beyond it: a gain has three digits, colours have steps.
_BEYOND = 1.01


@dataclass(frozen=True)
class Panel:
    """What is written above one picture: its title and a small line under it, such as "Pneumonia 98.7 %"."""

    title: str
    caption: str = ""


_component = component(Path(__file__).parent)


def viewer(
    clean: np.ndarray,
    adversarial: np.ndarray | None,
    *,
    original_caption: str,
    perturbed_caption: str,
    waiting: str = "",
    badge: str | None = None,
    stored_units: StoredUnits | None = None,
    key: str,
) -> None:
    """Show a clean and an adversarial image, float32 [C,H,W] in [0,1] with C 1 or 3, and their amplified difference.

    Without an adversarial image two empty frames say `waiting` and keep the places: nothing moves when it comes.
    `badge` is a word painted over every picture (not into its pixels), such as "SYNTHETIC". Zoom, mode and gain are
    kept under `key`. Raises ValueError where the arrays are not such images.
    """
    empty = adversarial is None
    clean, adversarial = _checked(clean, clean if adversarial is None else adversarial)
    change = strongest_channel(adversarial - clean)
    panels = (
        Panel("Original", original_caption),
        Panel("Perturbed", perturbed_caption),
        Panel("Difference", "what was added, made visible" if empty else describe(change, channels=clean.shape[0])),
    )
    header = {
        "key": key,
        "shape": clean.shape,
        "panels": [asdict(panel) for panel in panels],
        "waiting": waiting if empty else None,
        "badge": badge,
        "units": asdict(stored_units) if stored_units else None,
        "autoGain": auto_gain(change),
        "beyond": _BEYOND,
    }
    _component(key=key, data=_packed(header, (clean, adversarial, colour_table())))


def strongest_channel(difference: np.ndarray) -> np.ndarray:
    """The signed difference [C,H,W] of the channel that changed most, [H,W]: a mean would let channels cancel out."""
    strongest = np.abs(difference).argmax(axis=0, keepdims=True)
    return np.take_along_axis(difference, strongest, axis=0)[0]


def auto_gain(change: np.ndarray) -> float:
    """The gain that gives full colour to the 99th percentile of |change|, three digits, in [GAIN_MIN, GAIN_MAX].

    Only pixels that changed count, however few they are, and among them none that changed more than eight times as
    much as three quarters of them do: beside a patch, what was added to the rest of the picture stays visible.
    """
    size = np.abs(change).astype(np.float64)
    size = size[size >= _FAINTEST]
    if not size.size:
        return GAIN_MAX if change.any() else GAIN_MIN
    usual = size[size <= _FENCE * np.percentile(size, 75)]
    gain = 1 / float(np.percentile(usual, _PERCENTILE))
    return float(f"{min(max(gain, GAIN_MIN), GAIN_MAX):.3g}")


def amplified(change: np.ndarray, gain: float) -> str:
    """How a change [H,W] is shown at a gain: the gain, and how many pixels the scale does not reach."""
    beyond = np.count_nonzero(np.abs(change) * gain > _BEYOND)
    if not beyond:
        return f"amplified ×{gain:g}"
    share = 100 * beyond / change.size
    few = "1 pixel is" if beyond == 1 else f"{beyond} pixels are"
    shown = f"{share:.1f} % of the pixels are" if share >= 0.05 else few
    return f"amplified ×{gain:g}, {shown} beyond the scale"


def describe(change: np.ndarray, channels: int = 1) -> str:
    """One line on a change [H,W]: its largest value in n/255 and how many pixels it touches."""
    if not change.any():
        return "identical images"
    largest, touched = float(np.abs(change).max()) * 255, np.count_nonzero(change)
    percent = round(100 * touched / change.size)
    share = f"{percent} % of pixels" if percent else f"{touched} pixel{'s' if touched > 1 else ''}"
    return f"largest {largest:.2f}/255, {share} changed{', strongest channel' if channels > 1 else ''}"


@cache
def colour_table() -> np.ndarray:
    """The diverging colours, uint8 [511,3]: blue for -1, black for 0, orange for +1. Read-only."""
    strength = np.linspace(-1, 1, 2 * _LEVELS + 1)[:, None]
    ends = np.where(strength < 0, _NEGATIVE, _POSITIVE)
    table = np.rint(np.abs(strength) * ends).astype(np.uint8)
    table.setflags(write=False)
    return table


def difference_colours(change: np.ndarray, gain: float) -> np.ndarray:
    """The picture of a change [H,W] at a gain, uint8 [H,W,3]: full colour where |change| is 1/gain or more."""
    strength = np.clip(change.astype(np.float64) * gain, -1, 1)
    return colour_table()[_LEVELS + np.floor(strength * _LEVELS + 0.5).astype(int)]


def _checked(*images: np.ndarray) -> tuple[np.ndarray, ...]:
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        raise ValueError(f"viewer: clean and adversarial differ in shape: {sorted(shapes)}")
    for image in images:
        if image.ndim != 3 or image.shape[0] not in (1, 3) or not image.size:
            raise ValueError(f"viewer: expected images [C,H,W] with C 1 or 3, got shape {image.shape}")
        if not (image.min() >= 0 and image.max() <= 1):
            raise ValueError(f"viewer: expected intensities in [0,1], got {image.min():.3g} to {image.max():.3g}")
    return tuple(np.ascontiguousarray(image, dtype="<f4") for image in images)


def _packed(header: dict[str, object], arrays: Sequence[np.ndarray]) -> bytes:
    """One message: header length (uint32), header (JSON, padded so that floats stay aligned), the arrays' bytes."""
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    return b"".join([len(text).to_bytes(4, "little"), text, *(array.tobytes() for array in arrays)])

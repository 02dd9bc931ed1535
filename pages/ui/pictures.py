"""Pictures as PNG: exact images, heatmaps laid over them, differences; and rows of them on the page."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st
from PIL import Image
from plotly.colors import hex_to_rgb, sequential

from engine.data.base import eight_bit
from pages.ui.viewer import difference_colours, strongest_channel

# Evenly spaced; colours between them are mixed.
_INFERNO = np.array([hex_to_rgb(colour) for colour in sequential.Inferno], dtype=np.float64)
# Okabe-Ito blue and vermilion around nothing: a heat that went and a heat that came.
_WENT, _CAME = np.array((86, 180, 233.0)), np.array((230, 120, 20.0))
_OUTLINE = np.array((255, 255, 255.0))
INFERNO_CSS = f"linear-gradient(to right, {', '.join(sequential.Inferno)})"
CHANGE_CSS = "linear-gradient(to right, rgb(86 180 233), rgb(40 44 48), rgb(230 120 20))"
_ENLARGED = 2


@dataclass(frozen=True)
class Figure:
    """One picture of a row: title, a small line under it, the PNG, a word painted over it; `exact` shows square pixels.

    `scale` is the CSS colour scale below it, with the words at its ends.
    """

    title: str
    caption: str
    png: bytes
    badge: str = ""
    exact: bool = False
    scale: tuple[str, str, str] | None = None


def row(figures: Sequence[Figure], columns: int | None = None) -> None:
    """Show pictures side by side."""
    cells = "".join(_cell(figure) for figure in figures)
    st.html(f'<div class="ps-row" style="--ps-columns:{columns or len(figures)}">{cells}</div>')


def _cell(figure: Figure) -> str:
    title, caption = html.escape(figure.title), html.escape(figure.caption)
    badge = f'<span class="ps-badge">{html.escape(figure.badge)}</span>' if figure.badge else ""
    scale = ""
    if figure.scale:
        colours, low, high = figure.scale
        scale = (f'<div class="ps-scale" style="background:{colours}"></div>'
                 f'<div class="ps-ends"><span>{html.escape(low)}</span><span>{html.escape(high)}</span></div>')
    data = base64.b64encode(figure.png).decode()
    frame = (f'<div class="ps-frame{" exact" if figure.exact else ""}">'
             f'<img alt="{title}: {caption}" src="data:image/png;base64,{data}">{badge}</div>')
    return (f'<figure><figcaption><b>{title}</b><small title="{caption}">{caption}</small></figcaption>'
            f"{frame}{scale}</figure>")


def encode(pixels: np.ndarray) -> bytes:
    """uint8 [H, W] or [H, W, 3] as PNG."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", compress_level=1)
    return file.getvalue()


# Every function below takes the exact digest of what it draws: Streamlit would only sample large arrays.
@st.cache_data(max_entries=256, show_spinner=False)
def image_png(_image: np.ndarray, digest: str) -> bytes:
    """An image [C, H, W] in [0,1], pixel by pixel."""
    return encode(eight_bit(_image))


@st.cache_data(max_entries=128, show_spinner=False)
def difference_png(_change: np.ndarray, gain: float, digest: str) -> bytes:
    """A signed difference [C, H, W] at a gain, in the viewer's colours."""
    return encode(difference_colours(strongest_channel(_change), gain))


@st.cache_data(max_entries=64, show_spinner=False)
def outlined_png(_image: np.ndarray, _mask: np.ndarray, digest: str) -> bytes:
    """An image [C, H, W] with a line around the marked part [H, W]."""
    opacity = np.where(_outline(_mask), 1.0, 0.0)
    return _over(_image, np.broadcast_to(_CAME, (*opacity.shape, 3)), opacity, None)


@st.cache_data(max_entries=128, show_spinner=False)
def heat_png(_image: np.ndarray, _heat: np.ndarray, _lesion: np.ndarray | None, outlined: bool, digest: str) -> bytes:
    """A heatmap [H, W] in [0,1] over its image [C, H, W]: the hotter, the less of the image is left."""
    heat = _larger(_heat)
    colours = np.stack([np.interp(heat, np.linspace(0, 1, len(_INFERNO)), channel) for channel in _INFERNO.T], axis=-1)
    return _over(_image, colours, 0.75 * heat ** 0.7, _lesion if outlined else None)


@st.cache_data(max_entries=128, show_spinner=False)
def heat_change_png(_image: np.ndarray, _change: np.ndarray, _lesion: np.ndarray | None, outlined: bool,
                    digest: str) -> bytes:
    """The change [H, W] in [-1, 1] of a heatmap over the image: blue where heat went, orange where it came."""
    change = _larger(_change)
    colours = np.where(change[..., None] < 0, _WENT, _CAME)
    return _over(_image * 0.45, colours, 0.9 * np.abs(change) ** 0.7, _lesion if outlined else None)


def _larger(plane: np.ndarray) -> np.ndarray:
    """A smooth map [H, W] at twice its size, so that it looks as smooth as it is."""
    picture = Image.fromarray(plane.astype(np.float32))
    size = (picture.width * _ENLARGED, picture.height * _ENLARGED)
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR), dtype=np.float64)


def _over(image: np.ndarray, colours: np.ndarray, opacity: np.ndarray, lesion: np.ndarray | None) -> bytes:
    below = np.broadcast_to(image.transpose(1, 2, 0), (*image.shape[1:], 3)) * 255
    below = below.repeat(_ENLARGED, axis=0).repeat(_ENLARGED, axis=1)
    mixed = below * (1 - opacity[..., None]) + colours * opacity[..., None]
    if lesion is not None:
        mixed = np.where(_outline(lesion)[..., None], _OUTLINE, mixed)
    return encode(np.rint(np.clip(mixed, 0, 255)).astype(np.uint8))


def _outline(mask: np.ndarray) -> np.ndarray:
    """The rim of a mask [H, W], at twice its size, one pixel wide."""
    mask = np.pad(mask.repeat(_ENLARGED, axis=0).repeat(_ENLARGED, axis=1), 1)
    inside = mask[1:-1, 1:-1] & mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    return mask[1:-1, 1:-1] & ~inside


def numbers(rows: Sequence[tuple[str, str, str, str]]) -> None:
    """Numbers with name, value, unit and an explanation that appears under the pointer."""
    cells = "".join(f'<div title="{html.escape(help)}"><small>{html.escape(name)}</small>'
                    f"<b>{html.escape(value)} <i>{html.escape(unit)}</i></b></div>" for name, value, unit, help in rows)
    st.html(f'<div class="ps-numbers">{cells}</div>')

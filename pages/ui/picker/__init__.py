"""The picture chooser: a page of thumbnails with their true classes, sent as one sprite."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from pages.ui.component import TILES, component, jpeg_url, trigger

_component = component(Path(__file__).parent, TILES)


def sprite(thumbnails: np.ndarray) -> str:
    """Thumbnails uint8 [N, S, S] or [N, S, S, 3] side by side in one picture, as a data URL."""
    return jpeg_url(np.concatenate(list(thumbnails), axis=1), 88)


def picker(picture: str, captions: Sequence[str], *, first: int, total: int, chosen: int | None, badge: str = "",
           on_pick: Callable[[int], None], on_page: Callable[[int], None], key: str) -> None:
    """Show thumbnails number `first` and following of `total`. `picture` is their sprite.

    `on_pick` gets the number of the picture that was clicked, or -1 for a random one; `on_page` a step of -1 or 1.
    """
    data = {"sprite": picture, "captions": list(captions), "first": first, "total": total, "chosen": chosen,
            "badge": badge}
    _component(key=key, data=data, on_picked_change=trigger(key, "picked", on_pick),
               on_paged_change=trigger(key, "paged", on_page))

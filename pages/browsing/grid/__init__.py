"""A page of many small pictures, sent as one sprite, with what each shows and what a model says of it."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pages.ui.component import TILES, component, jpeg_url, trigger

ACROSS = 12  # tiles in a row of the sprite: a strip of all would be wider than decoders take
_component = component(Path(__file__).parent, TILES)


@dataclass(frozen=True)
class Tile:
    """A picture's number in its split, its class, what a model says of it ("": nothing), and whether that is wrong."""

    number: int
    caption: str
    said: str = ""
    wrong: bool = False


@dataclass(frozen=True)
class Sprite:
    """Thumbnails in rows, as a data URL."""

    url: str
    across: int
    down: int


def sprite(thumbnails: np.ndarray) -> Sprite:
    """Thumbnails uint8 [N, S, S] or [N, S, S, 3] in rows in one picture."""
    count, side = len(thumbnails), thumbnails.shape[1]
    across = min(count, ACROSS)
    down = -(-count // across)
    whole = np.zeros((down * side, across * side, *thumbnails.shape[3:]), np.uint8)
    for place, picture in enumerate(thumbnails):
        row, column = divmod(place, across)
        whole[row * side:(row + 1) * side, column * side:(column + 1) * side] = picture
    return Sprite(jpeg_url(whole, 85), across, down)


def grid(picture: Sprite, tiles: Sequence[Tile], *, chosen: int | None, badge: str, page: int, pages: int, range: str,
         on_pick: Callable[[int], None], on_page: Callable[[int], None], key: str) -> None:
    """Show the tiles; `on_pick` gets the number of the picture that was clicked, `on_page` the number of a page."""
    data = {"sprite": picture.url, "across": picture.across, "down": picture.down, "tiles": list(map(asdict, tiles)),
            "chosen": chosen, "badge": badge, "page": page, "pages": pages, "range": range}
    _component(key=key, data=data, on_picked_change=trigger(key, "picked", on_pick),
               on_paged_change=trigger(key, "paged", on_page))

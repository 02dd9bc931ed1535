"""A mask drawn by hand as a line of text, short enough for a spec, an address and a command line."""

import base64
import binascii
import zlib

import numpy as np
from PIL import Image

from engine.data.base import SIZE
from engine.data.raster import enough_memory, open_raster, to_levels
from engine.data.upload import MAX_BYTES
from engine.errors import EngineError

DRAWN = "drawn"
GRIDS = (56, SIZE)  # cells a side: as it is drawn on the page, and as fine as pictures are
NOTHING = "nothing is marked on the mask: mark where the picture may change, or choose another mask"
_PREFIX = f"{DRAWN}:"
_MOST = SIZE * SIZE // 8


def is_drawn(name: str) -> bool:
    """Whether a mask's name is a drawing: the drawing itself as text, after "drawn"."""
    return name == DRAWN or name.startswith(_PREFIX)


def drawn(mask: np.ndarray) -> str:
    """The name of a mask, bool [S, S] with S among GRIDS: on the coarsest grid that holds it, the same for the same."""
    for cells in GRIDS:
        coarse = enlarged(mask, cells)
        if np.array_equal(enlarged(coarse, len(mask)), mask):
            return _PREFIX + _text(np.packbits(coarse).tobytes())
    raise ValueError(f"a mask must have {' or '.join(map(str, GRIDS))} cells a side, not {mask.shape}")


def cells_of(name: str) -> np.ndarray:
    """The mask behind a name made by `drawn`, bool [S, S]; raises EngineError where it is no such text, or empty."""
    bits = _bits(name.removeprefix(_PREFIX)) if name != DRAWN else b""
    cells = {side * side // 8: side for side in GRIDS}.get(len(bits))
    if bits and cells is None:
        raise EngineError("this is no drawn mask: the text after 'drawn:' is damaged; draw it again")
    if cells is None or not any(bits):
        raise EngineError(NOTHING)
    return np.unpackbits(np.frombuffer(bits, np.uint8)).astype(bool).reshape(cells, cells)


@enough_memory("this mask")
def read_mask(data: bytes) -> np.ndarray:
    """As `marked_in`; raises EngineError where nothing is marked, too."""
    mask = marked_in(data)
    if not mask.any():
        raise EngineError("the mask is black everywhere: nothing may change; paint white what may")
    return mask


@enough_memory("this mask")
def marked_in(data: bytes) -> np.ndarray:
    """The mask in a PNG's bytes, bool [224, 224]: True where it is not black. It is stretched to the square as pictures
    are, without mixing pixels. Raises EngineError."""
    if len(data) > MAX_BYTES:
        raise EngineError(f"this mask has {len(data) / 2**20:.0f} MiB, and at most {MAX_BYTES // 2**20} are read")
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):  # JPEG would turn black into nearly black
        raise EngineError("a mask must be a PNG, black where nothing may change")
    marked = to_levels(open_raster(data)).any(axis=0)
    return np.asarray(Image.fromarray(marked).resize((SIZE, SIZE), Image.Resampling.NEAREST), bool)


def enlarged(mask: np.ndarray, side: int) -> np.ndarray:
    """A square mask with another number of cells a side, each that of the nearest old one."""
    nearest = (np.arange(side) * 2 + 1) * len(mask) // (2 * side)
    return mask[nearest][:, nearest]


def fitted(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """The mask for pictures of that size, bool [height, width]; raises EngineError where they are not square."""
    if height != width:
        raise EngineError(f"a drawn mask is square, and these pictures are {width} x {height}")
    return enlarged(mask, height)


def _text(bits: bytes) -> str:
    return base64.urlsafe_b64encode(zlib.compress(bits, 9)).decode().rstrip("=")


def _bits(text: str) -> bytes:
    """Undo `_text`; empty text has no bits. However little text it is, no more than a mask comes out."""
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        return zlib.decompressobj().decompress(packed, _MOST + 1) if packed else b""
    except (binascii.Error, zlib.error, ValueError):
        raise EngineError("this is no drawn mask: the text after 'drawn:' is damaged; draw it again") from None

"""PNG, JPEG, BMP and TIFF, opened with suspicion: size first, few formats, nothing half-decoded."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from engine.errors import EngineError

FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
MAX_PIXELS = 40_000_000  # the largest mammograms have 25 million
MAX_DECODED = 256 * 2**20  # bytes unpacked, with the copy that a conversion makes
STRIP = 256  # rows that are converted together, so that no second copy of a large picture is needed
MOST_DEFLATED = 1032  # by so much at most is anything smaller when it is deflated
_PNG_BITS = {"RGB": 24, "RGBA": 32, "LA": 16, "I;16": 16}  # of a pixel; others may have one
EIGHT_BIT, SIXTEEN_BIT = ("L", "RGB"), "I;16"


def open_raster(source: Path | bytes, at_least: int = 0) -> Image.Image:
    """A decoded picture of mode "L", "RGB" or "I;16" (16-bit grey), upright and opaque (alpha over black).

    `source` is a path or a file's bytes; of several pages the first is taken. 12-bit grey in a 16-bit file (no value
    over 4095) is scaled up; grey of more than 16 bits or of floats is stretched to 16 bits. With `at_least`, a JPEG may
    come back smaller, but no smaller than so many pixels a side, and sooner. Raises EngineError where the file is no
    picture, is cut off, or has more than 40 million pixels or, unpacked, MAX_DECODED bytes.
    """
    name = source.name if isinstance(source, Path) else "this file"
    try:
        with Image.open(source if isinstance(source, Path) else io.BytesIO(source), formats=FORMATS) as picture:
            check_size(*picture.size, _bytes_each(picture.mode))
            _check_there(picture, source.stat().st_size if isinstance(source, Path) else len(source))
            if at_least:
                picture.draft(None, (at_least, at_least))
            picture.load()
            ImageOps.exif_transpose(picture, in_place=True)
            return _plain(picture)
    except EngineError as error:
        raise EngineError(f"{name} cannot be read: {error}") from None
    except Image.DecompressionBombError:
        raise EngineError(f"{name} cannot be read: {_TOO_LARGE}") from None
    except FileNotFoundError:
        raise EngineError(f"{name} is not there any more; put it back or choose another picture") from None
    except PermissionError:
        raise EngineError(f"{name} may not be read; change its permissions or choose another picture") from None
    except MemoryError:
        raise _no_memory(name) from None
    except Exception:  # a hostile file can make a decoder raise nearly anything
        raise EngineError(f"{name} is not a whole PNG, JPEG, BMP or TIFF picture; "
                          "open and save it again elsewhere, or choose another") from None


_TOO_LARGE = f"it has more than {MAX_PIXELS // 1_000_000} million pixels; make it smaller first"


@contextmanager
def enough_memory(name: str) -> Iterator[None]:
    """Turns a MemoryError while `name` is read into an EngineError; a decorator, too."""
    try:
        yield
    except MemoryError:
        raise _no_memory(name) from None


def _no_memory(name: str) -> EngineError:
    return EngineError(f"{name} takes more memory than is free here; close other programs, or make the picture "
                       "smaller first")


def check_size(width: int, height: int, bytes_each: int) -> None:
    """Raises EngineError where a picture of this size, with so many bytes a pixel, would be too much to decode."""
    if width * height > MAX_PIXELS:
        raise EngineError(f"it has {width:,} x {height:,} pixels, and at most {MAX_PIXELS // 1_000_000} million are "
                          "read; make it smaller first")
    if width < 1 or height < 1:
        raise EngineError("it has no pixels")
    if (needed := width * height * bytes_each) > MAX_DECODED:
        raise EngineError(f"its {width:,} x {height:,} pixels take {needed / 2**20:.0f} MiB unpacked, and at most "
                          f"{MAX_DECODED // 2**20} are read; make it smaller, or grey with 8 bits, first")


def _check_there(picture: Image.Image, size: int) -> None:
    """Raises ValueError where a PNG's pixels cannot be in so many bytes: Pillow makes what is missing black."""
    bits = picture.width * picture.height * _PNG_BITS.get(picture.mode, 1)
    if picture.format == "PNG" and bits > 8 * MOST_DEFLATED * size:
        raise ValueError("it has fewer rows than it says")


def _bytes_each(mode: str) -> int:
    """What a pixel takes in Pillow's memory, and once more as it is returned where that is another mode."""
    if mode in EIGHT_BIT:
        return 1 if mode == "L" else 4
    held = 1 if mode in ("1", "P") else 2 if mode.startswith("I;16") else 4
    return held + (1 if mode == "1" else 2 if mode.startswith(("I", "F")) else 4)


def _plain(picture: Image.Image) -> Image.Image:
    if picture.mode in EIGHT_BIT:
        return picture
    if picture.mode.startswith("I;16"):
        return _sixteen(picture, 0.0, 1.0)
    if picture.mode in ("I", "F"):
        return _stretched(picture)
    whole = Image.new("L" if picture.mode in ("1", "LA", "La") else "RGB", picture.size)
    for rows, strip in strips(picture):
        whole.paste(_opaque(strip, whole.mode), (0, rows.start))
    return whole


def strips(picture: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """The picture in pieces of STRIP rows, each with its place."""
    for top in range(0, picture.height, STRIP):
        rows = slice(top, min(top + STRIP, picture.height))
        yield rows, picture.crop((0, rows.start, picture.width, rows.stop))


def _opaque(strip: Image.Image, mode: str) -> Image.Image:
    if strip.has_transparency_data or strip.mode in ("LA", "La", "RGBa"):
        opaque = strip.convert("RGBA")
        strip = Image.alpha_composite(Image.new("RGBA", opaque.size, "black"), opaque)
    return strip.convert(mode)


def _stretched(picture: Image.Image) -> Image.Image:
    edges = [(values.min(), values.max()) for values in (_values(strip) for _, strip in strips(picture))]
    low, high = float(min(edges)[0]), float(max(high for _, high in edges))
    if low < 0 or high > 65535 or high <= 1:  # not a 16-bit picture in a wider container
        return _sixteen(picture, low, 65535 / (high - low) if high > low else 0.0)
    return _sixteen(picture, 0.0, 1.0)


def _values(strip: Image.Image) -> np.ndarray:
    return np.nan_to_num(np.asarray(strip, dtype=np.float64), posinf=0.0, neginf=0.0)


def _sixteen(picture: Image.Image, low: float, scale: float) -> Image.Image:
    """(value - low) * scale as 16 bits, scaled up where 12 bits are used."""
    levels = np.empty((picture.height, picture.width), np.uint16)
    for rows, strip in strips(picture):
        levels[rows] = np.rint((_values(strip) - low) * scale)
    if levels.max() < 4096:
        levels <<= 4
    return Image.fromarray(levels)


def grey(picture: Image.Image) -> Image.Image:
    """The picture without colour; its number of bits stays."""
    return picture.convert("L") if picture.mode == "RGB" else picture


def resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture stretched to (width, height); 16-bit grey comes back as mode "F", still 0 to 65535."""
    if picture.mode == SIXTEEN_BIT:
        picture = Image.fromarray(np.asarray(picture, dtype=np.float32))
    return picture if picture.size == size else picture.resize(size, Image.Resampling.BILINEAR)


def to_array(picture: Image.Image) -> np.ndarray:
    """float32 [C, H, W] in [0,1], C 1 (grey) or 3: steps of n/255, or of n/65535 for 16-bit grey."""
    steps = np.float32(255 if picture.mode in EIGHT_BIT else 65535)
    pixels = np.asarray(picture, dtype=np.float32) / steps
    if picture.mode == "F":
        pixels = np.clip(pixels, 0.0, 1.0)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def to_levels(picture: Image.Image) -> np.ndarray:
    """The picture's stored values, uint8 or uint16 [C, H, W]."""
    levels = np.empty((1 if picture.mode in ("L", SIXTEEN_BIT) else 3, picture.height, picture.width),
                      np.uint8 if picture.mode in EIGHT_BIT else np.uint16)
    for rows, strip in strips(picture):
        levels[:, rows] = np.atleast_3d(np.asarray(strip)).transpose(2, 0, 1)
    return levels


def printable(image: np.ndarray) -> bytes:
    """A small image [C, S, S] in [0,1] as a PNG to be printed: each pixel a square of 2 mm, 8 dots at 100 dpi."""
    levels = np.rint(np.moveaxis(image, 0, -1) * 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels.repeat(8, axis=0).repeat(8, axis=1).squeeze()).save(file, "PNG", dpi=(100, 100))
    return file.getvalue()

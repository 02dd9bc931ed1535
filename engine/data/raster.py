"""PNG, JPEG, BMP and TIFF, opened with suspicion: size first, few formats, nothing half-decoded."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from engine.errors import EngineError

FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
MAX_PIXELS = 40_000_000  # the largest mammograms have 25 million
EIGHT_BIT, SIXTEEN_BIT = ("L", "RGB"), "I;16"


def open_raster(source: Path | bytes) -> Image.Image:
    """A decoded picture of mode "L", "RGB" or "I;16" (16-bit grey), upright and opaque (alpha over black).

    `source` is a path or a file's bytes; of several pages the first is taken. 12-bit grey in a 16-bit file (no value
    over 4095) is scaled up; grey of more than 16 bits or of floats is stretched to 16 bits. Raises EngineError where
    the file is no picture, is cut off, or has more than 40 million pixels.
    """
    name = source.name if isinstance(source, Path) else "this file"
    try:
        with Image.open(source if isinstance(source, Path) else io.BytesIO(source), formats=FORMATS) as picture:
            check_size(*picture.size)
            picture.load()
            return _plain(ImageOps.exif_transpose(picture))
    except EngineError as error:
        raise EngineError(f"{name} cannot be read: {error}") from None
    except Image.DecompressionBombError:
        raise EngineError(f"{name} cannot be read: {_TOO_LARGE}") from None
    except FileNotFoundError:
        raise EngineError(f"{name} is not there any more; put it back or choose another picture") from None
    except PermissionError:
        raise EngineError(f"{name} may not be read; change its permissions or choose another picture") from None
    except Exception:  # a hostile file can make a decoder raise nearly anything
        raise EngineError(f"{name} is not a whole PNG, JPEG, BMP or TIFF picture; "
                          "open and save it again elsewhere, or choose another") from None


_TOO_LARGE = f"it has more than {MAX_PIXELS // 1_000_000} million pixels; make it smaller first"


def check_size(width: int, height: int) -> None:
    """Raises EngineError where a picture of this size would be too much to decode."""
    if width * height > MAX_PIXELS:
        raise EngineError(f"it has {width:,} x {height:,} pixels, and at most {MAX_PIXELS // 1_000_000} million are "
                          "read; make it smaller first")
    if width < 1 or height < 1:
        raise EngineError("it has no pixels")


def _plain(picture: Image.Image) -> Image.Image:
    if picture.mode in EIGHT_BIT:
        return picture.copy()
    if picture.mode.startswith("I;16"):
        return _sixteen(np.asarray(picture).astype(np.uint16))
    if picture.mode in ("I", "F"):
        return _stretched(np.asarray(picture, dtype=np.float64))
    if picture.has_transparency_data or picture.mode in ("LA", "La", "RGBa"):
        grey = picture.mode in ("L", "LA", "La", "1")
        opaque = picture.convert("RGBA")
        black = Image.new("RGBA", opaque.size, "black")
        return Image.alpha_composite(black, opaque).convert("L" if grey else "RGB")
    return picture.convert("L" if picture.mode == "1" else "RGB")


def _stretched(values: np.ndarray) -> Image.Image:
    values = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 65535 or high <= 1:  # not a 16-bit picture in a wider container
        values = (values - low) * (65535 / (high - low) if high > low else 0.0)
    return _sixteen(np.rint(values).astype(np.uint16))


def _sixteen(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values << 4 if values.max() < 4096 else values)


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


def printable(image: np.ndarray) -> bytes:
    """A small image [C, S, S] in [0,1] as a PNG to be printed: each pixel a square of 2 mm, 8 dots at 100 dpi."""
    levels = np.rint(np.moveaxis(image, 0, -1) * 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels.repeat(8, axis=0).repeat(8, axis=1).squeeze()).save(file, "PNG", dpi=(100, 100))
    return file.getvalue()

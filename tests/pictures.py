"""Picture files made up for tests."""

import io
import struct
import zlib

from PIL import Image


def saved(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    written = io.BytesIO()
    picture.save(written, kind, **options)
    return written.getvalue()


def huge_png(width: int, height: int) -> bytes:
    """A PNG that claims a size and has next to nothing in it."""
    return _png(width, height, 8, 2, zlib.compress(b"\0" * 1000))


def black_png(width: int, height: int, depth: int, colour: int, *, text: bytes = b"") -> bytes:
    """A whole PNG of zeros: small as a file, large as a picture. `colour` is the format's number of the kind: 0 grey,
    2 RGB, 6 RGBA; `text` is the body of a zTXt chunk."""
    row = b"\0" * (1 + width * {0: 1, 2: 3, 6: 4}[colour] * depth // 8)
    packer = zlib.compressobj()
    packed = b"".join([*(packer.compress(row) for _ in range(height)), packer.flush()])
    return _png(width, height, depth, colour, packed, _chunk(b"zTXt", text) if text else b"")


def _png(width: int, height: int, depth: int, colour: int, packed: bytes, extra: bytes = b"") -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

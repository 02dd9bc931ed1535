"""The pixels of DICOM files, decompressed where no file can do harm: with limits, and in another process where the
decoder may crash."""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import get_decoder
from pydicom.pixels.decoders.base import Decoder

from engine.errors import EngineError

NATIVE = {uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian}
CHILD = Path(__file__).with_name("dicom_child.py")
CHILD_SECONDS = 30  # for one frame
MOST_SECONDS = 120  # for all frames of a file or of a series
DAMAGED = "this DICOM file is damaged or cut off before its end; export it again from where it came"


class Decoders:
    """The process in which frames are decompressed, started for the first one that needs it and anew after a crash."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._until = time.monotonic() + MOST_SECONDS

    def decode(self, options: dict[str, object], frame: bytes) -> np.ndarray | None:
        """A frame by the first of its plugins that can decode it; None where none can, or it crashes or hangs."""
        if (left := self._until - time.monotonic()) <= 0:
            raise EngineError("its compressed frames take too long to unpack; export them uncompressed")
        child = self._child()
        watch = threading.Timer(min(CHILD_SECONDS, left), child.kill)
        watch.start()
        try:
            return _asked(child, json.dumps(options).encode(), frame)
        except (OSError, EOFError, ValueError):
            self.close()
            return None
        finally:
            watch.cancel()

    def _child(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = subprocess.Popen([sys.executable, "-P", str(CHILD)], stdin=subprocess.PIPE,
                                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                             env=os.environ | {"OPENBLAS_NUM_THREADS": "1"})
        return self._process

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@contextmanager
def decoding() -> Iterator[Decoders]:
    """Decoders that are gone afterwards."""
    decoders = Decoders()
    try:
        yield decoders
    finally:
        decoders.close()


def _asked(child: subprocess.Popen[bytes], options: bytes, frame: bytes) -> np.ndarray | None:
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write(b"".join(len(part).to_bytes(8, "little") for part in (options, frame)) + options + frame)
    child.stdin.flush()
    length = int.from_bytes(_exactly(child.stdout, 8), "little")
    return np.load(io.BytesIO(_exactly(child.stdout, length)), allow_pickle=False) if length else None


def _exactly(stream: IO[bytes], length: int) -> bytes:
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return data


def bytes_each(source: Dataset) -> int:
    """What a pixel takes, unpacked."""
    return int(source.SamplesPerPixel) * math.ceil(int(source.BitsAllocated) / 8)


def frames_in(source: Dataset) -> int:
    """How many frames the file says it has."""
    return max(1, int(source.get("NumberOfFrames") or 1))


def syntax_of(source: Dataset) -> uid.UID:
    """How the file is encoded, whether it says so or not."""
    if named := source.file_meta.get("TransferSyntaxUID"):
        return uid.UID(named)
    implicit, little = source.original_encoding
    return (uid.ImplicitVRLittleEndian if implicit else
            uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian)


def decoded(source: Dataset, index: int, decoders: Decoders) -> np.ndarray:
    """Frame `index`, from 0, as stored integers [H, W], or [H, W, 3] in RGB; raises EngineError."""
    syntax = syntax_of(source)
    if syntax in NATIVE:
        return get_decoder(syntax).as_array(source, index=index)[0]
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        kind = syntax.name if syntax.is_transfer_syntax and not syntax.is_private else "an unknown way"
        raise EngineError(f"this DICOM picture is compressed in a way that is not read here ({kind}); "
                          "export it uncompressed") from None
    # GDCM last: it crashes on damaged data.
    plugins = sorted(decoder.available_plugins, key=lambda name: (name == "gdcm", name != "pillow"))
    encoded = get_frame(source.PixelData, index, number_of_frames=frames_in(source))
    plain = int(source.Rows) * int(source.Columns) * bytes_each(source)
    if syntax == uid.RLELossless and len(encoded) > plain + plain // 64 + 4096:  # more than RLE can need: a bomb
        raise EngineError(DAMAGED)
    if _size_inside(encoded) > int(source.Rows) * int(source.Columns):  # another bomb
        raise EngineError(DAMAGED)
    if (here := _decode_here(decoder, plugins, source, encoded, index)) is not None:
        return here
    # In a process of its own, with limits to its time and memory: RLE, too, unpacks to more than the picture.
    others = [name for name in plugins if name != "pillow"]
    if others and (apart := decoders.decode(_options(decoder, others, source), encapsulate([encoded]))) is not None:
        return apart
    raise EngineError(_undecoded(decoder, plugins))


def _size_inside(encoded: bytes) -> int:
    """How many pixels a JPEG or JPEG-LS frame says by itself that it has; 0 where it says nothing."""
    at = 2
    while encoded[:2] == b"\xff\xd8" and encoded[at : at + 1] == b"\xff" and at + 9 <= len(encoded):
        marker = encoded[at + 1]
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return int.from_bytes(encoded[at + 5 : at + 7]) * int.from_bytes(encoded[at + 7 : at + 9])
        at += 2 + int.from_bytes(encoded[at + 2 : at + 4])
    return 0


def _undecoded(decoder: Decoder, tried: list[str]) -> str:
    more = [needed.partition(" requires ")[2].replace("gdcm", "python-gdcm") for needed in decoder.missing_dependencies]
    install = f" or install {' or '.join(filter(None, more))}" if any(more) else ""
    reason = f"damaged, or of a kind that {' and '.join(tried)} cannot decode" if tried else "nothing here decodes it"
    return f"this DICOM picture is compressed ({decoder.UID.name}) and {reason}; export it uncompressed{install}"


def _decode_here(decoder: Decoder, plugins: list[str], source: Dataset, encoded: bytes, index: int
                 ) -> np.ndarray | None:
    """By Pillow, which is quick; None where it cannot."""
    if "pillow" not in plugins:
        return None
    try:
        # The codestream has a size of its own, which nothing has limited yet.
        with Image.open(io.BytesIO(encoded), formats=("JPEG", "JPEG2000")) as header:
            if header.size != (source.Columns, source.Rows):
                return None
        return decoder.as_array(source, index=index, decoding_plugin="pillow")[0]
    except MemoryError:
        raise
    except Exception:  # as a hostile frame may bring about: another decoder may do
        return None


def _options(decoder: Decoder, plugins: list[str], source: Dataset) -> dict[str, object]:
    """What another process must know of a frame to decode it."""
    return {
        "plugins": plugins, "transfer_syntax": str(decoder.UID), "rows": int(source.Rows),
        "columns": int(source.Columns), "number_of_frames": 1, "samples_per_pixel": int(source.SamplesPerPixel),
        "bits_allocated": int(source.BitsAllocated), "bits_stored": int(source.BitsStored),
        "pixel_representation": int(source.PixelRepresentation),
        "photometric_interpretation": str(source.PhotometricInterpretation), "pixel_keyword": "PixelData",
        "planar_configuration": int(source.get("PlanarConfiguration") or 0),
    }

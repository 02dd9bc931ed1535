"""A process of its own that decodes compressed frames, each by the first decoder that can; `dicom_pixels` starts it.

Standard input, frame after frame: the length of a line of JSON (pydicom's decoding options and the decoders) and of the
encapsulated frame, 8 bytes each, and both. Standard output: the length of a .npy, 8 bytes, and it; 0 where no decoder
can. Nothing that identifies a patient comes here.
"""

import io
import json
import sys
from typing import Any

MEMORY = 2 * 2**30


def main() -> None:
    """Decode standard input to standard output until it ends; a crash of a decoder is one of this process."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, OSError, ValueError):  # Windows and macOS: the time limit remains
        pass
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while lengths := source.read(16):
        options, frame = (source.read(int.from_bytes(lengths[at : at + 8], "little")) for at in (0, 8))
        decoded = _decoded(json.loads(options), frame)
        sink.write(len(decoded).to_bytes(8, "little") + decoded)
        sink.flush()


def _decoded(options: dict[str, Any], frame: bytes) -> bytes:
    """The frame as a .npy, or nothing."""
    import numpy as np
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    decoder = get_decoder(UID(options.pop("transfer_syntax")))
    for plugin in options.pop("plugins"):
        try:
            pixels, _ = decoder.as_array(frame, decoding_plugin=plugin, **options)
        except Exception:  # a hostile frame can make a decoder raise anything: the next may do
            continue
        written = io.BytesIO()
        np.save(written, pixels, allow_pickle=False)
        return written.getvalue()
    return b""


if __name__ == "__main__":
    main()

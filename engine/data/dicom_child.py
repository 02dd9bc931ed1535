"""A process of its own that decodes one JPEG Lossless or JPEG-LS frame with GDCM; `dicom` starts it.

Standard input: one line of JSON (pydicom's decoding options), then the encapsulated frame. Standard output: a .npy.
Nothing that identifies a patient comes here.
"""

import io
import json
import sys

MEMORY = 3 * 2**30


def main() -> None:
    """Decode standard input to standard output; any failure, a crash included, is an exit status other than 0."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, OSError, ValueError):  # Windows and macOS: the time limit remains
        pass
    import gdcm  # noqa: F401  (pydicom finds it by itself; without it this fails here)
    import numpy as np
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    options = json.loads(sys.stdin.buffer.readline())
    decoder = get_decoder(UID(options.pop("transfer_syntax")))
    pixels, _ = decoder.as_array(sys.stdin.buffer.read(), decoding_plugin="gdcm", **options)
    written = io.BytesIO()
    np.save(written, pixels, allow_pickle=False)
    sys.stdout.buffer.write(written.getbuffer())


if __name__ == "__main__":
    main()

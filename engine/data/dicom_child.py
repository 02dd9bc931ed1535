"""A process of its own that decodes one compressed frame, by the first decoder that can; `dicom` starts it.

Standard input: one line of JSON (pydicom's decoding options and the decoders), then the encapsulated frame. Standard
output: a .npy.
Nothing that identifies a patient comes here.
"""

import io
import json
import sys

MEMORY = 2 * 2**30


def main() -> None:
    """Decode standard input to standard output; any failure, a crash included, is an exit status other than 0."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, OSError, ValueError):  # Windows and macOS: the time limit remains
        pass
    import numpy as np
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    options = json.loads(sys.stdin.buffer.readline())
    decoder = get_decoder(UID(options.pop("transfer_syntax")))
    encoded = sys.stdin.buffer.read()
    for plugin in options.pop("plugins"):
        try:
            pixels, _ = decoder.as_array(encoded, decoding_plugin=plugin, **options)
        except Exception:  # a hostile frame can make a decoder raise anything: the next may do
            continue
        written = io.BytesIO()
        np.save(written, pixels, allow_pickle=False)
        sys.stdout.buffer.write(written.getbuffer())
        return
    sys.exit(1)


if __name__ == "__main__":
    main()

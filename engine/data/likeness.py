"""Pictures that are nearly the same: saved again, resized, exposed otherwise, or cut a hair apart."""

from collections.abc import Iterator

import numpy as np
from PIL import Image
from scipy import fft

SIDE, LOW = 64, 16  # pixels a side that are looked at, and how many of the slow waves each way
BITS = LOW * LOW
# Of 256 bits. X-rays of different children differ in 44 or more (over a million pairs of Kermany), an X-ray and its
# copy as JPEG of quality 40, at half the size or with another gamma in 14 or fewer; neighbouring CT slices in 16 and
# more.
NEAR = 36
_CHUNK = 2**22


def seen(image: np.ndarray) -> np.ndarray:
    """A perceptual hash of a picture [C, H, W] in [0,1], uint64 [4]: whether each slow wave is above their median."""
    grey = Image.fromarray(np.asarray(image.mean(axis=0), np.float32))
    small = np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX))
    waves = fft.dctn(small, norm="ortho")[:LOW, :LOW].ravel()
    return np.packbits(waves > np.median(waves)).view(np.uint64)


def pairs(some: np.ndarray, others: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Which pictures of one part are nearly the same as which of another, and in how many bits they differ, by their
    hashes, uint64 [N, 4]."""
    rows = max(1, _CHUNK // max(1, len(others)))
    for start in range(0, len(some), rows):
        piece = some[start:start + rows]
        apart = np.zeros((len(piece), len(others)), np.uint16)
        for word in range(some.shape[1]):
            apart += np.bitwise_count(piece[:, word, None] ^ others[None, :, word])
        for i, j in zip(*np.nonzero(apart <= NEAR), strict=True):
            yield int(start + i), int(j), int(apart[i, j])

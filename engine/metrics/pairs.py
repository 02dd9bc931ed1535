"""What is asked of two images that are compared."""

import numpy as np

from engine.errors import EngineError


def check_pair(clean: np.ndarray, adversarial: np.ndarray) -> None:
    """Raises EngineError unless both are one image [C,H,W] of the same shape."""
    if clean.ndim != 3 or clean.shape != adversarial.shape:
        raise EngineError(f"two images [C,H,W] of one size are compared, not {clean.shape} with {adversarial.shape}")

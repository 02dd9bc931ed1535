"""Does an attack survive being saved? The images as they come back from a file."""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from engine.errors import EngineError


def as_8bit(images: Tensor) -> Tensor:
    """Images in [0,1] of any shape as an 8-bit PNG would give them back: rounded to n/255, not cut off."""
    return images.mul(255).round_().clamp_(0, 255).div_(255)


FULL_COLOUR, HALF_COLOUR = 0, 2  # chroma subsampling as Pillow numbers it: 4:4:4, and 4:2:0, what is usual in files


def as_jpeg(images: Tensor, quality: int = 90, subsampling: int = FULL_COLOUR) -> Tensor:
    """Images [N, 1 or 3, H, W] in [0,1] as a JPEG file of `quality` (1 to 95) would give them back.

    One channel is saved as grey, three as colour, by default without chroma subsampling (4:4:4), which spares a
    perturbation most.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise EngineError(f"JPEG saves images [N, 1 or 3, H, W], not {tuple(images.shape)}")
    pixels = images.detach().mul(255).round().clamp(0, 255).to("cpu", torch.uint8).permute(0, 2, 3, 1).numpy()
    saved = [_through_jpeg(image, quality, subsampling) for image in pixels]
    return torch.from_numpy(np.stack(saved)).permute(0, 3, 1, 2).to(images.device, images.dtype).div_(255).contiguous()


def _through_jpeg(image: np.ndarray, quality: int, subsampling: int) -> np.ndarray:
    """One uint8 image [H,W,C] written as JPEG and read again."""
    file = io.BytesIO()
    grey = image[:, :, 0] if image.shape[2] == 1 else image
    Image.fromarray(grey).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return np.asarray(Image.open(file)).reshape(image.shape)

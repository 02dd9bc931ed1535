"""A small network that gives a picture another style: exposure, contrast, sharpness, grain; its content stays."""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as as_bytes
from torch import Tensor, nn
from torch.nn import functional as F

from engine.disk import advice, read_json, replacing_all
from engine.errors import EngineError
from engine.zoo.cards import card_path
from engine.zoo.checkpoints import packed, unpacked
from engine.zoo.registry import style_digest, style_path

FOLD = 4  # every FOLD x FOLD pixels become the channels of one place, so that little is computed and nothing is lost


class StyleNet(nn.Module):
    """Conditional instance normalisation (Dumoulin et al. 2017; Ghiasi et al. 2017) for grey pictures.

    Every normalisation takes its scale and shift from a style code; `describe` reads the code of a picture. Random
    codes have the mean and covariance of the codes of the training styles (Jackson et al. 2019). Colours go through
    one by one.
    """

    code_mean: Tensor
    code_spread: Tensor

    def __init__(self, width: int = 32, codes: int = 16, blocks: int = 1) -> None:
        super().__init__()
        self.size = {"width": width, "codes": codes, "blocks": blocks}
        self.codes = codes
        self.entry = _Styled(FOLD**2, width, codes)
        self.blocks = nn.ModuleList(_Styled(width, width, codes) for _ in range(2 * blocks))
        self.exit = nn.Conv2d(width, FOLD**2, 3, padding=1)
        self.tone = nn.Linear(codes, 2)
        self.reader = nn.Sequential(nn.Conv2d(FOLD**2, width, 3, padding=1), nn.ReLU(),
                                    nn.Conv2d(width, width, 3, padding=1), nn.ReLU())
        self.summary = nn.Linear(2 * width + 2, codes)
        self.register_buffer("code_mean", torch.zeros(codes))
        self.register_buffer("code_spread", torch.eye(codes))

    def forward(self, grey: Tensor, code: Tensor) -> Tensor:
        """Pictures [N, 1, H, W] in [0,1] in the styles of codes [N, codes]; any height and width."""
        height, width = grey.shape[2:]
        evened = F.instance_norm(F.pad(grey, (0, -width % FOLD, 0, -height % FOLD), mode="replicate"), eps=1e-4)
        hidden = F.relu(self.entry(F.pixel_unshuffle(evened, FOLD), code))
        for first, second in zip(self.blocks[::2], self.blocks[1::2], strict=True):
            hidden = hidden + second(F.relu(first(hidden, code)), code)
        gain, shift = self.tone(code)[:, :, None, None, None].unbind(dim=1)
        tone = F.pixel_shuffle(self.exit(hidden), FOLD) + gain * evened + shift
        return tone.sigmoid()[:, :, :height, :width]

    def describe(self, grey: Tensor) -> Tensor:
        """The style codes [N, codes] of pictures [N, 1, H, W] whose sides are multiples of FOLD."""
        hidden = self.reader(F.pixel_unshuffle(grey, FOLD))
        return self.summary(torch.cat([*moments(hidden), *moments(grey)], dim=1))

    @torch.no_grad()
    def restyled(self, images: Tensor, normal: Tensor) -> Tensor:
        """Images [N, C, H, W], each in a style of its own that standard normal numbers [N, codes] choose."""
        code = self.code_mean + normal @ self.code_spread.mT
        grey = images.flatten(0, 1)[:, None]
        return self(grey, code.repeat_interleave(images.shape[1], dim=0)).view_as(images)


class _Styled(nn.Module):
    """A convolution whose result is normalised per picture and then scaled and shifted as the style code says."""

    def __init__(self, before: int, after: int, codes: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.style = nn.Linear(codes, 2 * after)

    def forward(self, hidden: Tensor, code: Tensor) -> Tensor:
        hidden = self.convolution(hidden)
        mean, spread = moments(hidden)
        scale, shift = self.style(code).chunk(2, dim=1)
        scale = (1 + scale) / spread
        return torch.addcmul((shift - mean * scale)[:, :, None, None], hidden, scale[:, :, None, None])


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every channel over the picture, [N, C] each; what a style is made of."""
    # Several times as fast as torch.var_mean over the same dimensions on a CPU.
    mean = features.mean(dim=(2, 3))
    variance = (features - mean[:, :, None, None]).square().mean(dim=(2, 3))
    return mean, (variance + 1e-5).sqrt()


def load_style(name: str, device: torch.device | str = "cpu") -> StyleNet:
    """The style network of that name, frozen, loaded once for each device; raises EngineError."""
    return _loaded(style_path(name), style_digest(name), str(device))


@lru_cache(maxsize=4)
def _loaded(path: Path, digest: str, device: str) -> StyleNet:
    try:
        facts = read_json(card_path(path).read_bytes())
        network = StyleNet(**facts["network"])
        network.load_state_dict(unpacked(load_file(path)))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError):
        raise EngineError(f"{path.name} is no style network with its card beside it; make one with "
                          "'python -m engine train-style'") from None
    return network.eval().requires_grad_(False).to(device)


def save_style(path: Path, network: StyleNet, card: Mapping[str, Any]) -> None:
    """Write the network as float16 to `path` and its card beside it; raises EngineError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing_all([card_path(path), path]) as (new_card, new_weights):
            new_weights.write_bytes(as_bytes(packed(network.state_dict(), "float16")))
            new_card.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise EngineError(f"{path} cannot be written {advice(error)}") from None

"""Defenses that show the classifier every image at another size and place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from engine.defenses.base import register
from engine.papers import Paper
from engine.params import param
from engine.serving.defense import Defense, DefenseInfo

if TYPE_CHECKING:
    from torch import Tensor

    from engine.serving.draws import Draws


@register
@dataclass(frozen=True, kw_only=True)
class ResizePad(Defense):
    info: ClassVar[DefenseInfo] = DefenseInfo(
        name="resize-pad",
        title="Random resize and pad",
        sentence="Shows the model every image a little smaller, at a random place on black: a perturbation made for "
                 "one size and place fits no more.",
        paper=Paper("Xie, Wang, Zhang, Ren, Yuille", "Mitigating Adversarial Effects Through Randomization", 2018,
                    "https://arxiv.org/abs/1711.01991"),
        random=True,
        formula=r"f\left(\mathrm{pad}(\mathrm{resize}_r(x))\right), "
                r"\quad r \sim \mathcal{U}\{a - \lfloor s\,a \rfloor, \ldots, a\}",
        cost="resizing the image",
        ours="The paper enlarges 299 pixels to between 299 and 330 on a field of 331; here the field is the picture's "
             "own size, so that networks of a fixed size see theirs, and the ratio is the paper's.",
    )

    shrink: float = param(0.1, title="Shrink", low=0.0, high=0.9, step=0.01,
                          help="By what share of its side an image is made smaller at most.")

    def incoming(self, images: Tensor, draws: Draws) -> Tensor:
        import torch
        from torch.nn.functional import interpolate, pad

        height, width = images.shape[-2:]
        chosen = draws.uniform(images.new_empty(len(images), 3)).double().cpu().tolist()
        placed = []
        for image, (size, top, left) in zip(images.split(1), chosen, strict=True):
            rows, columns = (side - int(size * (int(self.shrink * side) + 1)) for side in (height, width))
            above, before = int(top * (height - rows + 1)), int(left * (width - columns + 1))
            small = interpolate(image, (rows, columns), mode="nearest")
            placed.append(pad(small, (before, width - columns - before, above, height - rows - above)))
        return torch.cat(placed) if placed else images

"""The one form in which every model is attacked: images in [0,1] go in, logits come out."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from engine import digest
from engine.errors import EngineError


class Classifier(nn.Module):
    """A frozen model in eval mode that takes [N, 1 or 3, H, W] in [0,1] and returns logits [N, K].

    Normalisation, grey-to-RGB and the single-logit head (logit z becomes [0, z], whose softmax is the sigmoid of z)
    happen inside, so attacks and pages never see them. `name` and `arch` are for people; `digest` identifies the
    weights and everything else that decides an output.
    """

    def __init__(self, module: nn.Module, classes: Sequence[str], *, mean: Sequence[float] = (0.0,),
                 std: Sequence[float] = (1.0,), channels: int = 3, name: str = "custom", arch: str = "") -> None:
        super().__init__()
        if len(classes) < 2:
            raise EngineError(f"a classifier needs at least two classes, got {len(classes)}")
        if channels not in (1, 3):
            raise EngineError(f"a model takes 1 or 3 channels, not {channels}")
        self.module = module.eval().requires_grad_(False)
        self.classes = tuple(classes)
        self.channels = channels
        self.name = name
        self.arch = arch
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).reshape(1, -1, 1, 1))
        self.eval()
        self.digest = self._digest()

    mean: Tensor
    std: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, K] of images [N, 1 or 3, H, W] in [0,1]."""
        logits = self.module(self.normalised(images))
        if logits.ndim == 1:
            logits = logits[:, None]
        if logits.shape[1] == 1:
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        return logits

    def normalised(self, images: Tensor) -> Tensor:
        """What the network itself sees."""
        if images.shape[1] == 1 and self.channels == 3:
            images = images.expand(-1, 3, -1, -1)
        elif images.shape[1] == 3 and self.channels == 1:
            images = images.mean(dim=1, keepdim=True)
        return (images - self.mean) / self.std

    @property
    def device(self) -> torch.device:
        return self.mean.device

    def train(self, mode: bool = True) -> "Classifier":
        """Stays in eval mode: an attack on a model whose batch-norm moves attacks another model at each step."""
        return super().train(False)

    def _digest(self) -> str:
        arrays = []
        facts = f"{self.classes}{self.channels}{self.arch}{type(self.module).__name__}"
        for name, value in self.state_dict().items():
            facts += name
            arrays.append(value.detach().cpu().contiguous().view(torch.uint8).numpy() if value.ndim else
                          value.detach().cpu().reshape(1).view(torch.uint8).numpy())
        return digest.of_spec({"facts": facts, "weights": digest.of_arrays(*arrays)})

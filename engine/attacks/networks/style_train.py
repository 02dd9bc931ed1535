"""Training a style network on phantoms: their content, in the looks of other phantoms that code has restyled."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from engine.attacks.networks.style import StyleNet, moments, save_style
from engine.attacks.networks.style_spec import StyleSpec
from engine.data import load as load_dataset
from engine.progress import Progress
from engine.zoo.checkpoints import packed, unpacked
from engine.zoo.classifier import Classifier
from engine.zoo.registry import load_model

CRITIC = "phantom-cxr/resnet18"  # what judges content and style; any trained ResNet would do
SIDE = 112
_LIMITS = ("Trained on synthetic radiographs only, in styles made by code: exposure, contrast, inversion, blur, "
           "sharpening, grain, shading, banding. Meant for variety in transfer attacks, not for looks; colours are "
           "styled one by one, so hues shift.")


@dataclass(frozen=True)
class Measured:
    """How far restyling keeps content and takes on style, on pictures that were not trained on.

    `content`: correlation of the fine structure of a picture with that of its restyled self; `content_of_others`: with
    that of another picture in the same style. `style`: distance of mean, contrast and grain to the style picture after
    restyling, as a share of the distance before. `same_diagnosis`: how often the critic still says the same, of the
    mean of picture and restyled picture, which is what an attack shows a model.
    """

    pictures: int
    content: float
    content_of_others: float
    style: float
    same_diagnosis: float


def train_style(spec: StyleSpec, path: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Train a style network on the CPU, write it to `path` and return its card; raises EngineError and Cancelled."""
    progress = progress or Progress()
    started = time.monotonic()
    critic = load_model(CRITIC)
    generator, random = torch.Generator().manual_seed(spec.seed), np.random.default_rng(spec.seed)
    pictures = _pictures("train", spec.pictures, progress)
    styles = torch.stack([torch.from_numpy(restyled_by_code(p[0].numpy(), random))[None] for p in pictures])
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(spec.seed)
        network = StyleNet()
    history = _fit(network, spec, pictures, styles, critic, generator, progress)
    with torch.no_grad():
        codes = torch.cat([network.describe(some) for some in styles.split(32)])
    network.code_mean.copy_(codes.mean(dim=0))
    network.code_spread.copy_(torch.linalg.cholesky(codes.T.cov() + 1e-4 * torch.eye(network.codes)))
    network.load_state_dict(unpacked(packed(network.state_dict(), "float16")))  # what is on disk is what is measured
    test = _pictures("test", 48, progress)
    card = {"name": path.stem, "network": network.size, "seed": spec.seed,
            "command": spec.command, "storage": "float16", "critic": {"name": CRITIC, "digest": critic.digest},
            "data": f"phantom-cxr/train, the first {spec.pictures} phantoms; measured on phantom-cxr/test",
            "settings": {"steps": spec.steps, "batch": spec.batch, "lr": spec.lr, "style_weight": spec.style_weight},
            "evaluation": asdict(measured(network.eval().requires_grad_(False), test, critic)), "limits": _LIMITS,
            "history": history, "seconds": round(time.monotonic() - started),
            "versions": {"torch": torch.__version__, "numpy": np.__version__}}
    save_style(path, network, card)
    return card


def _pictures(split: str, count: int, progress: Progress) -> Tensor:
    """Phantoms spread over the split, [count, 1, 224, 224] in [0,1]."""
    dataset = load_dataset("phantom-cxr", split)
    found = []
    for i in range(min(count, len(dataset))):
        if i % 50 == 0:
            progress.report(0.0, f"rendering phantom {i} of {count}")
        found.append(torch.from_numpy(dataset.image(i)))
    return torch.stack(found)


def _fit(network: StyleNet, spec: StyleSpec, pictures: Tensor, styles: Tensor, critic: Classifier,
         generator: torch.Generator, progress: Progress) -> list[dict[str, float]]:
    optimiser = torch.optim.AdamW(network.parameters(), lr=spec.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, spec.lr, total_steps=max(spec.steps, 20), pct_start=0.1)
    history: list[dict[str, float]] = []
    sums = np.zeros(2)
    for step in range(spec.steps):
        chosen, others = (torch.randint(len(pictures), (spec.batch,), generator=generator) for _ in range(2))
        shown, style = _crops(pictures[chosen], generator), _crops(styles[others], generator)
        made = network(shown, network.describe(style))
        content, look = _losses(critic, shown, style, made)
        optimiser.zero_grad(set_to_none=True)
        (content + spec.style_weight * look).backward()
        optimiser.step()
        schedule.step()
        sums += [content.item(), look.item()]
        if (step + 1) % 50 == 0 or step + 1 == spec.steps:
            since = step % 50 + 1
            history.append({"step": step + 1, "content": round(float(sums[0]) / since, 4),
                            "style": round(float(sums[1]) / since, 4)})
            sums[:] = 0
        progress.report((step + 1) / spec.steps, f"step {step + 1} of {spec.steps}, content {content.item():.3f}, "
                                                 f"style {look.item():.3f}")
    return history


def _crops(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """A quarter of each picture at full size, or all of it at half size: structures of both sizes are learned."""
    if float(torch.rand(1, generator=generator)) < 0.3:
        return F.avg_pool2d(pictures, 2)
    top, left = torch.randint(pictures.shape[-1] - SIDE + 1, (2,), generator=generator).tolist()
    return pictures[:, :, top:top + SIDE, left:left + SIDE]


def _losses(critic: Classifier, shown: Tensor, style: Tensor, made: Tensor) -> tuple[Tensor, Tensor]:
    """How far the made pictures are from the content shown and from the style, both as the critic's features see them.

    Content is where features are strong within a picture, style how strong they are over all of it (Huang and Belongie
    2017); the pictures themselves and their fine structure count as features.
    """
    before, after = _features(critic, shown), _features(critic, made)
    with torch.no_grad():
        wanted = [_features_moments(f) for f in _features(critic, style)]
    content = torch.stack([F.mse_loss(_evened(a), _evened(b).detach())
                           for a, b in zip(after[1:], before[1:], strict=True)]).mean()
    look = torch.stack([F.smooth_l1_loss(_features_moments(a), w) for a, w in zip(after, wanted, strict=True)]).mean()
    return content, look


def _features(critic: Classifier, pictures: Tensor) -> list[Tensor]:
    """The pictures, their fine structure, and what the critic's first two stages make of them."""
    network: Any = critic.module
    stem = network.relu(network.bn1(network.conv1(critic.normalised(pictures))))
    first = network.layer1(network.maxpool(stem))
    return [pictures, fine(pictures), stem, first]


def fine(pictures: Tensor) -> Tensor:
    """What is smaller than about seven pixels."""
    return pictures - F.avg_pool2d(F.pad(pictures, (3, 3, 3, 3), mode="replicate"), 7, stride=1)


def _features_moments(features: Tensor) -> Tensor:
    """Mean and logarithm of the spread of every channel, [N, 2C]: contrasts are compared as ratios."""
    mean, spread = moments(features)
    return torch.cat([mean, spread.log()], dim=1)


def _evened(features: Tensor) -> Tensor:
    mean, spread = (m[:, :, None, None] for m in moments(features))
    return (features - mean) / spread


@torch.no_grad()
def measured(network: StyleNet, pictures: Tensor, critic: Classifier, seed: int = 0) -> Measured:
    """What restyling does to pictures [N, 1, H, W] that the network has not seen."""
    random = np.random.default_rng(seed)
    styles = torch.stack([torch.from_numpy(restyled_by_code(p[0].numpy(), random))[None] for p in pictures.roll(1, 0)])
    made = network(pictures, network.describe(styles))
    drawn = network.restyled(pictures, torch.randn(len(pictures), network.codes,
                                                   generator=torch.Generator().manual_seed(seed)))
    said, says = (critic(x).argmax(dim=1) for x in (pictures, (pictures + drawn) / 2))
    return Measured(
        pictures=len(pictures),
        content=float(likeness(pictures, made).mean()),
        content_of_others=float(likeness(pictures.roll(1, 0), made).mean()),
        style=float(distance(made, styles).median() / distance(pictures, styles).median()),
        same_diagnosis=float((said == says).float().mean()),
    )


def likeness(pictures: Tensor, others: Tensor) -> Tensor:
    """The absolute correlation [N] of the fine structure of two pictures: an inverted one has the same content."""
    one, other = (_evened(fine(x)) for x in (pictures, others))
    return (one * other).mean(dim=(1, 2, 3)).abs()


def distance(pictures: Tensor, others: Tensor) -> Tensor:
    """How differently two pictures are exposed, [N]: mean, contrast and strength of the fine structure."""
    looks = [torch.cat([moments(x)[0], moments(x)[1].log() / 4, moments(fine(x))[1].log() / 4], dim=1)
             for x in (pictures, others)]
    return (looks[0] - looks[1]).norm(dim=1)


# ---- styles by code ------------------------------------------------------------------------------------------------


Rng = np.random.Generator
Restyle = Callable[[np.ndarray, Rng], np.ndarray]


def _exposure(image: np.ndarray, rng: Rng) -> np.ndarray:
    return image.clip(1e-3, 1) ** rng.uniform(0.4, 2.5)


def _window(image: np.ndarray, rng: Rng) -> np.ndarray:
    centre, width = rng.uniform(0.3, 0.7), rng.uniform(0.5, 1.6)
    return (image - centre) / width + rng.uniform(0.35, 0.65)


def _inverted(image: np.ndarray, rng: Rng) -> np.ndarray:
    return 1 - image


def _blur(image: np.ndarray, rng: Rng) -> np.ndarray:
    return ndimage.gaussian_filter(image, rng.uniform(0.6, 2.0))


def _sharpened(image: np.ndarray, rng: Rng) -> np.ndarray:
    soft = ndimage.gaussian_filter(image, rng.uniform(1.0, 6.0))
    return image + rng.uniform(0.5, 2.5) * (image - soft)


def _grain(image: np.ndarray, rng: Rng) -> np.ndarray:
    noise = ndimage.gaussian_filter(rng.standard_normal(image.shape), rng.uniform(0.3, 2.0))
    return image + rng.uniform(0.02, 0.1) * noise / noise.std()


def _shading(image: np.ndarray, rng: Rng) -> np.ndarray:
    down, right = np.meshgrid(*(np.linspace(-1, 1, side) for side in image.shape), indexing="ij")
    angle = rng.uniform(0, 2 * np.pi)
    return image + rng.uniform(0.05, 0.3) * (np.cos(angle) * down + np.sin(angle) * right)


def _banded(image: np.ndarray, rng: Rng) -> np.ndarray:
    levels = rng.integers(4, 12)
    return np.round(image * levels) / levels


def _evenly(image: np.ndarray, rng: Rng) -> np.ndarray:
    """Local contrast evened out, as some viewers do."""
    mean = ndimage.gaussian_filter(image, 16)
    spread = np.sqrt(ndimage.gaussian_filter((image - mean) ** 2, 16)) + 0.03
    return 0.5 + rng.uniform(0.1, 0.25) * (image - mean) / spread


# Each way to restyle, with how often it is used.
_WAYS: tuple[tuple[float, Restyle], ...] = (
    (0.2, _evenly), (0.7, _exposure), (0.5, _window), (0.3, _blur), (0.3, _sharpened), (0.15, _banded), (0.4, _shading),
    (0.2, _inverted), (0.5, _grain),
)


def restyled_by_code(image: np.ndarray, rng: Rng) -> np.ndarray:
    """A picture [H, W] in [0,1] as another machine, film or viewer might show it; float32."""
    for likely, way in _WAYS:
        if rng.random() < likely:
            image = way(image, rng)
    return image.clip(0, 1).astype(np.float32)

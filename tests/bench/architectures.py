"""What an answer and a gradient cost in every architecture: as the network comes, and prepared."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.serving.prepare import prepare
from engine.zoo.architectures import ARCHITECTURES
from engine.zoo.classifier import Classifier
from tests.bench.attacks import CLASSES, MEAN, STD, Normalise
from tests.bench.timing import Candidates, interleaved, where

_ANSWER, _GRADIENT = "forward", "forward and backward"


def on_cpu(quick: bool) -> str:
    """One table; `quick` only shows that it runs."""
    names, rounds = (["mobilenet_v3_small"], 1) if quick else (list(ARCHITECTURES), 3)
    lines = ["## All architectures, CPU", "",
             "Seconds for one colour picture of the side that each network is made for, random weights, fastest "
             f"of {rounds} rounds: the answer, and the gradient of the loss with respect to the pictures. The bare "
             "loop is a step of torchattacks' PGD: the network as it comes, normalisation in front, and autograd.", "",
             where("cpu"), "",
             "| | side | answer, bare | answer, prepared | ratio | gradient, bare | gradient, prepared | ratio | as |",
             "|---|--:|--:|--:|--:|--:|--:|--:|---|"]
    for name in names:
        side = 64 if quick else ARCHITECTURES[name].size
        numerics, seconds = _measured(name, side, rounds)
        cells = [f"{seconds['bare', what]:.3f} | {seconds['prepared', what]:.3f} | "
                 f"{seconds['prepared', what] / seconds['bare', what]:.2f}" for what in (_ANSWER, _GRADIENT)]
        lines.append(f"| {ARCHITECTURES[name].title} | {side} | {' | '.join(cells)} | {numerics} |")
    return "\n".join(lines)


def _measured(name: str, side: int, rounds: int) -> tuple[str, dict[tuple[str, str], float]]:
    torch.manual_seed(0)
    module = ARCHITECTURES[name].build(len(CLASSES))
    model = Classifier(module, CLASSES, mean=MEAN, std=STD, arch=name)
    images = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(1, dtype=torch.int64)
    twin = prepare(model)
    # torchattacks leaves the weights as they come, ready to learn.
    bare = nn.Sequential(Normalise(), copy.deepcopy(module).requires_grad_(True)).eval()
    networks: dict[str, nn.Module] = {"bare": bare, "prepared": twin}
    candidates: Candidates = {}
    for kind, network in networks.items():
        candidates[f"{name}, {kind}, {_ANSWER}"] = _answer(network, images)
        candidates[f"{name}, {kind}, {_GRADIENT}"] = _gradient(network, images, labels)
    seconds = interleaved(candidates, rounds)
    return twin.numerics, {(kind, what): seconds[f"{name}, {kind}, {what}"] for kind in networks
                           for what in (_ANSWER, _GRADIENT)}


def _answer(network: nn.Module, images: Tensor) -> Callable[[], None]:
    def work() -> None:
        with torch.no_grad():
            network(images)

    return work


def _gradient(network: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], None]:
    def work() -> None:
        x = images.detach().requires_grad_(True)
        torch.autograd.grad(F.cross_entropy(network(x), labels), x)

    return work

"""What curves cost: one gradient for every eps of FGSM, and halving instead of independent runs of PGD.

Counted are gradients and all that passes through networks, verdicts included; measured is the time of both.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

import engine
from engine.attacks.rows import Rows, within
from engine.attacks.runner import Arena, run_attack
from engine.attacks.spec import make_spec
from engine.experiments.epsilon.climbing import halved
from engine.progress import Progress
from engine.zoo.classifier import Classifier
from tests.bench.timing import interleaved, machine

MODEL, DATA = "phantom-cxr/resnet18", "phantom-cxr"
SIZE = 16
TWELVE = tuple(level / 255 for level in (0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 4, 8, 16))
EIGHT = tuple(level / 255 for level in (0.5, 1, 2, 3, 4, 6, 8, 16))
WANTED = 0.3
BACKWARD = 1.5  # a backward pass in forward passes (engine.experiments.onepicture.pace: a forward pass is 0.4 of both)


class Passes:
    """Counts the images that pass a network, forwards and backwards."""

    def __init__(self) -> None:
        self.forwards = self.backwards = 0

    def watch(self, model: Classifier) -> Callable[[], None]:
        """From now on; returns what ends it."""
        def note(module: object, inputs: object, logits: Tensor) -> None:
            self.forwards += len(logits)
            if logits.requires_grad:
                logits.register_hook(self._back)

        return model.register_forward_hook(note).remove

    def _back(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)

    @property
    def weight(self) -> float:
        return self.forwards + BACKWARD * self.backwards


def _counted(model: Classifier, work: Callable[[str], list[Rows]]) -> tuple[list[Rows], Passes]:
    """What `work` gives, and what it lets pass through `model`, which is asked as it is."""
    passes = Passes()
    stop = passes.watch(model)
    try:
        return work("reference"), passes
    finally:
        stop()


def on_cpu(quick: bool) -> str:
    """One table for both curves; `quick` only shows that it runs."""
    size, rounds = (2, 1) if quick else (SIZE, 1)
    model, data = engine.load_model(MODEL), engine.load_dataset(DATA, "test")
    numbers = [round(place * (len(data) - 1) / (size - 1)) for place in range(size)]
    images, labels = torch.from_numpy(data.images(numbers)), torch.from_numpy(data.labels[numbers])

    def arena(attack: str, numerics: str) -> Arena:
        spec = make_spec(attack, eps=EIGHT[-1], batch=size, numerics=numerics)
        return Arena.of(spec, model, images, labels, device="cpu")

    def apart(attack: str, rungs: Sequence[float], numerics: str) -> list[Rows]:
        return [run_attack(make_spec(attack, eps=eps, batch=size, numerics=numerics), model, images, labels,
                           device="cpu").rows for eps in rungs]

    def ladder(numerics: str) -> list[Rows]:
        shared = arena("fgsm", numerics).shared()
        return [shared.at(eps).run().rows for eps in TWELVE]

    def halving(numerics: str) -> list[Rows]:
        return halved(arena("pgd", numerics).shared(), EIGHT, Progress()).runs

    works: dict[str, tuple[Callable[[str], list[Rows]], Callable[[str], list[Rows]]]] = {
        f"FGSM, {len(TWELVE)} epsilons: one gradient": (lambda how: apart("fgsm", TWELVE, how), ladder),
        f"PGD-10, {len(EIGHT)} epsilons: worst case by halving": (lambda how: apart("pgd", EIGHT, how), halving),
    }
    lines = ["## Curves against epsilon, resnet18, CPU", "",
             f"{size} phantoms of 224 x 224 in one batch, against as many separate runs. Passes are images through "
             f"networks, a backward pass counting {BACKWARD:g} forward ones, with the verdicts before and after "
             "rounding to 8 bits.", "", f"Machine: {machine()}.", "",
             "| | of the gradients | of all passes | of the time | wanted |", "| --- | --: | --: | --: | --: |"]
    for name, (naive, ours) in works.items():
        (runs, naively), (found, passes) = (_counted(model, work) for work in (naive, ours))
        _check(runs, found, arena("fgsm", "reference"))
        spent = [sum(int(rows.gradients.sum()) for rows in some) for some in (found, runs)]
        took = interleaved({"separate": lambda naive=naive: naive("fast"), "ours": lambda ours=ours: ours("fast")},
                           rounds, warm_up=0)
        lines.append(f"| {name} | {spent[0] / spent[1]:.2f} | {passes.weight / naively.weight:.2f} "
                     f"| {took['ours'] / took['separate']:.2f} | at most {WANTED} |")
    return "\n".join(lines)


def _check(runs: Sequence[Rows], found: Sequence[Rows], arena: Arena) -> None:
    """Nothing is gained by giving another curve."""
    worst = within(runs, arena.untouched().rows)
    for separate, mine in zip(worst if len(runs) == len(EIGHT) else runs, found, strict=True):
        told = (separate.predicted_adversarial == separate.labels).mean()
        assert abs(told - (mine.predicted_adversarial == mine.labels).mean()) < 0.1, (separate.spec.eps, told)

"""What each page shows before anybody has chosen anything: small sweeps on a phantom.

Declared once: pages begin their controls with it, and their results come with the program as examples, which
`python -m engine examples` renews. Does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from engine.attacks import ATTACKS
from engine.attacks.norms import NORMS
from engine.attacks.spec import ATTACKERS, AttackSpec, has_gradients, make_spec
from engine.data import find
from engine.defenses.base import defenses_from, written
from engine.experiments.defended import fronts
from engine.experiments.defending.judging import defend_task, with_checks
from engine.experiments.epsilon.eyes import eyes_task
from engine.experiments.epsilon.ladder import INDEPENDENT, WORST, curves_of, curves_task
from engine.experiments.onepicture.explore import explore_task
from engine.experiments.onepicture.explored import Explored
from engine.experiments.queries.walks import payload_of_walks, query_curve_task, walking, walks_of
from engine.experiments.selection import Selection
from engine.experiments.sources import Source, opened
from engine.experiments.sweeps import Sweep, evaluation_task, sweep_of
from engine.experiments.transfers.alignment import alignment_task
from engine.experiments.transfers.transfer import transfer_of, transfer_task
from engine.work.kinds import Task
from engine.work.store import Payload

DATASET = "phantom-cxr"
MODELS = ("phantom-cxr/resnet18", "phantom-cxr/densenet121")
DEVICE = "cpu"  # that every machine has; where there is a better one, pages compute on that


@dataclass(frozen=True)
class Opening:
    """What the controls of a page about whole data sets say at first: so many `images` of the split and `models`, the
    attacks, and their `budgets` as people read them (n/255); the model bare and behind each of `defenses`, before who
    knows of them and who does not."""

    images: int = 48
    attacks: tuple[str, ...] = ("fgsm", "pgd")
    budgets: tuple[float, ...] = (1, 2)
    models: int = 1
    defenses: tuple[str, ...] = ()

    def specs(self) -> tuple[AttackSpec, ...]:
        budgets = [shown / NORMS["linf"].factor for shown in self.budgets]
        stacks = ("", *(written(defenses_from(name)) for name in self.defenses))
        return tuple(make_spec(name, eps=eps, norm="linf", **asdict(front)) for name in self.attacks
                     for eps in (budgets if ATTACKS[name].info.bounded else (None,))
                     for front in fronts(name, stacks, ATTACKERS))

    def sweep(self) -> Sweep:
        data = opened(DATASET, find(DATASET).info.default_split)
        return sweep_of(DATASET, data.split, Selection(self.images).of(data), MODELS[:self.models], self.specs())


EVALUATE = Opening(images=12)
EPSILON = Opening(images=12, budgets=(0, 0.5, 1, 2, 4, 8))
READINGS = (INDEPENDENT, WORST)
TRANSFER = Opening(images=12, attacks=("fgsm",), budgets=(4,), models=2)
# One attacker that sees probabilities and one that sees the diagnosis alone.
BLACKBOX = Opening(images=4, attacks=("square", "hopskipjump"), budgets=(8,))
QUERIES = (20, 40, 80)
# Two filters, before the smallest change that a picture of 8 bits can show.
DEFEND = Opening(images=12, attacks=("pgd",), defenses=("jpeg", "median"))
DEFENDED_QUERIES = 100
# Explore's sample of the split: at the budget that its slider begins with, and at others for the curve.
EXPLORE = Opening(attacks=("pgd",), budgets=(2,))
CURVE = (0.25, 0.5, 1, 2, 4, 8, 16)
# By data set the picture that Explore opens with, where that is not the first one: a pneumonia whose diagnosis flips to
# normal.
FIRST_PICTURE = {DATASET: 8}


def _explore() -> tuple[Task, ...]:
    sample, curve = EXPLORE.sweep(), Opening(EXPLORE.images, EXPLORE.attacks, CURVE).sweep()
    attack, = sample.attacks
    picture = Source(DATASET, sample.split, FIRST_PICTURE[DATASET])
    return (explore_task(picture, sample.models[0], attack, DEVICE), evaluation_task(sample, DEVICE),
            curves_task(curves_of(curve, (WORST,)), DEVICE))


def _evaluate() -> tuple[Task, ...]:
    return (evaluation_task(EVALUATE.sweep(), DEVICE),)


def _epsilon() -> tuple[Task, ...]:
    sweep = EPSILON.sweep()
    return (curves_task(curves_of(sweep, READINGS, pictures=True), DEVICE),
            eyes_task(sweep.dataset, sweep.split, sweep.indices))


def _transfer() -> tuple[Task, ...]:
    sweep = TRANSFER.sweep()
    asked = transfer_of(sweep.dataset, sweep.split, sweep.indices, sweep.models, sweep.models, sweep.attacks)
    return (transfer_task(asked, DEVICE),
            alignment_task(asked.dataset, asked.split, asked.indices, asked.models, asked.names, DEVICE))


def _blackbox() -> tuple[Task, ...]:
    sweep = BLACKBOX.sweep()
    walks = [walking(spec, QUERIES[-1]) for spec in sweep.attacks]
    return (query_curve_task(sweep_of(sweep.dataset, sweep.split, sweep.indices, sweep.models, walks), DEVICE),)


def _defend() -> tuple[Task, ...]:
    sweep = DEFEND.sweep()
    specs = [spec if has_gradients(ATTACKS[spec.attack].info.knowledge) else walking(spec, DEFENDED_QUERIES)
             for spec in sweep.attacks]
    return (defend_task(sweep_of(sweep.dataset, sweep.split, sweep.indices, sweep.models, with_checks(specs)), DEVICE),)


def lightened(task: Task, payload: Payload) -> Payload:
    """What is given away of a result: all but pictures on the way, which weigh a hundred times what all else does."""
    lighter = LIGHTER.get(task.kind)
    return payload if lighter is None else lighter(payload)


def _one_film(payload: Payload) -> Payload:
    """Walks with each run's first film."""
    return payload_of_walks([replace(walks, films=walks.films[:1]) for walks in walks_of(payload)])


# By kind of work, where less than all is given away.
LIGHTER: dict[str, Callable[[Payload], Payload]] = {
    "explore": lambda payload: Explored.of(payload).light(), "query-curve": _one_film}


# By page: what is computed for its opening, that which it is about first.
OPENINGS: dict[str, Callable[[], tuple[Task, ...]]] = {
    "explore": _explore, "evaluate": _evaluate, "epsilon": _epsilon, "transfer": _transfer, "blackbox": _blackbox,
    "defend": _defend}

"""Runs of every kind, made by hand and kept, for tests of what is read from them."""

from dataclasses import replace

import numpy as np

from engine.attacks.spec import AttackSpec, make_spec
from engine.experiments.defending.facing import Face
from engine.experiments.defending.judging import Checked, Defended, defend_task, payload_of
from engine.experiments.epsilon.ladder import INDEPENDENT, WORST, Curves, curves_task
from engine.experiments.gathered import payload_of_runs
from engine.experiments.queries.walks import Film, Walks, payload_of_walks, query_curve_task
from engine.experiments.sweeps import Sweep
from engine.experiments.transfers.transfer import Transfer, transfer_task
from engine.work.kinds import Task
from engine.work.specs import to_json
from engine.work.store import Payload, Store
from tests.made import keep, ladder, made
from tests.walked import HSJ, made_up

KINDS = ("evaluation", "curves", "transfer", "query-curve", "defend")


def kept_of(store: Store, kind: str) -> str:
    """Keep a run of that kind; its key."""
    return keep(store) if kind == "evaluation" else _OTHERS[kind](store)


def _keep(store: Store, task: Task, payload: Payload) -> str:
    store.put(task.key, task.kind, task.title, to_json(task.spec), payload)
    return task.key


def _sweep(models: tuple[str, ...], attacks: tuple[AttackSpec, ...], images: int = 4) -> Sweep:
    return Sweep("phantom-cxr", "test", tuple(range(images)), models, attacks, contents="c" * 64)


def _curves(store: Store) -> str:
    runs = ladder()
    sweep = _sweep((runs[0].provenance.model,), tuple(rows.spec for rows in runs))
    task = curves_task(Curves(sweep, (INDEPENDENT, WORST), True), "cpu")
    return _keep(store, task, payload_of_runs([*runs, *ladder()]))


def _transfer(store: Store) -> str:
    models, labels, spec = ("phantom-cxr/resnet18", "phantom-cxr/densenet121"), [0, 1, 2, 1], make_spec("fgsm", eps=0.1)
    asked = Transfer("phantom-cxr", "test", tuple(range(4)), models, models, (spec,), contents="e" * 64)
    runs = [made(labels, labels, [1, 1, 2, 0], model=target,
                 spec=spec if source == target else replace(spec, surrogate=source))
            for source in models for target in models]
    return _keep(store, transfer_task(asked, "cpu"), payload_of_runs(runs))


def _walks(store: Store) -> str:
    walks = made_up([(10, 4.0, 0.4)], [(50, 6.0, 0.6)], [(5, 1.0, 0.1)], [(60, 3.0, 0.3)], model="phantom-cxr/resnet18")
    film = Film(0, (5, 9), (4.0, 2.0), np.full((2, 1, 8, 8), 0.5, np.float16))
    walks = Walks.of(walks, walks.finds, (film,))
    task = query_curve_task(_sweep(("phantom-cxr/resnet18",), (HSJ,)), "cpu")
    return _keep(store, task, payload_of_walks([walks]))


def _defended(store: Store) -> str:
    """What the model says bare, and behind a median filter to who does not know of it and to who does."""
    pgd, model = make_spec("pgd", eps=4 / 255), "phantom-cxr/resnet18"
    behind = [make_spec("pgd", eps=4 / 255, defenses="median", attacker=who) for who in ("oblivious", "adaptive")]
    runs = [Checked.of_rows(made([0, 1, 2, 1], [0, 1, 2, 1], after, model=model, spec=spec))
            for spec, after in zip((pgd, *behind), ([1, 0, 0, 0], [0, 1, 2, 1], [1, 0, 0, 1]), strict=True)]
    nothing = np.zeros((0, 0), np.int64)
    faces = tuple(Face(model, spec.defenses, 0.01, 0.02, (), (), nothing) for spec in (pgd, behind[0]))
    task = defend_task(_sweep((model,), (pgd, *behind)), "cpu")
    return _keep(store, task, payload_of(Defended(tuple(runs), faces)))


_OTHERS = {"curves": _curves, "transfer": _transfer, "query-curve": _walks, "defend": _defended}

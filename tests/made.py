"""Rows and kept runs made by hand, for tests of what is read from them: nothing is computed."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.attacks.rows import Provenance, Rows, Tally
from engine.attacks.spec import AttackSpec, make_spec
from engine.experiments.gathered import payload_of_runs
from engine.experiments.sweeps import Sweep, evaluation_task
from engine.work.specs import to_json
from engine.work.store import Store

CLASSES = ("Normal", "Pneumonia", "COVID-19")


def logits(predicted: Sequence[int], classes: int) -> np.ndarray:
    """Logits of which those named are the largest; NaN where the model refused (-1)."""
    values = np.zeros((len(predicted), classes), np.float32)
    for row, number in enumerate(predicted):
        values[row] = np.nan if number < 0 else values[row]
        if number >= 0:
            values[row, number] = 2.5
    return values


def made(labels: Sequence[int], before: Sequence[int], after: Sequence[int], *, spec: AttackSpec | None = None,
         model: str = "phantom-cxr/resnet18", classes: tuple[str, ...] = CLASSES, names: str = "image",
         **changes: Any) -> Rows:
    """Rows of images of these labels, of which the model says that before and after an attack."""
    total = len(labels)
    before_, after_ = np.array(before), np.array(after)
    spec = spec or make_spec("pgd", eps=2 / 255)
    facts: dict[str, Any] = {
        "spec": spec, "classes": classes, "labels": np.array(labels),
        "provenance": Provenance(model, "d" * 64, "CPU", {"numpy": np.__version__}, (total,)),
        "identities": tuple(f"{names} {number}" for number in range(total)),
        "digests": tuple(f"{number:064x}" for number in range(total)),
        "logits_clean": logits(before, len(classes)), "logits_adversarial": logits(after, len(classes)),
        "logits_8bit": logits(after, len(classes)),
        "refused_clean": before_ < 0, "refused_adversarial": after_ < 0, "refused_8bit": after_ < 0,
        "linf": np.full(total, spec.eps or 0.1, np.float32), "l2": np.linspace(0.5, 1.5, total),
        "l0": np.full(total, 9), "queries": np.full(total, 11), "gradients": np.full(total, 10),
        "refusals": np.zeros(total, int), "tally": Tally(), "seconds": 1.5}
    return Rows(**facts | changes)


def ladder(*, model: str = "phantom-cxr/resnet18", attack: str = "pgd", seed: int = 0) -> list[Rows]:
    """One attack at three eps on four images, of which it fools one more each time."""
    labels = [0, 1, 2, 1]
    said = [[0, 1, 2, 0], [0, 1, 0, 0], [1, 0, 0, 0]]
    return [made(labels, [0, 1, 2, 1], after, spec=make_spec(attack, eps=eps / 255, seed=seed), model=model)
            for eps, after in zip((1, 2, 4), said, strict=True)]


def keep(store: Store, runs: Sequence[Rows] | None = None, *, contents: str = "a" * 64) -> str:
    """Keep runs as an evaluation; its key."""
    runs = ladder() if runs is None else runs
    sweep = Sweep("phantom-cxr", "test", tuple(range(len(runs[0].labels))),
                  tuple(dict.fromkeys(rows.provenance.model for rows in runs)),
                  tuple(_specs(runs)), contents=contents)
    task = evaluation_task(sweep, "cpu")
    store.put(task.key, task.kind, task.title, to_json(sweep), payload_of_runs(runs))
    return task.key


def _specs(runs: Sequence[Rows]) -> list[AttackSpec]:
    each = [rows.spec for rows in runs]
    return [spec for number, spec in enumerate(each) if spec not in each[:number]]

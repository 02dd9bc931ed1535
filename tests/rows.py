"""Rows as an attack would leave them, made by hand: labels and answers, -1 where the model refused."""

from collections.abc import Sequence

import numpy as np

from engine.attacks.rows import Provenance, Rows, Tally
from engine.attacks.spec import AttackSpec, make_spec

CLASSES = ("Normal", "Pneumonia", "COVID-19")


def rows(labels: Sequence[int], clean: Sequence[int], adversarial: Sequence[int], *, classes: Sequence[str] = CLASSES,
         spec: AttackSpec | None = None, model: str = "some/model", margin: float = 2.0,
         logits: tuple[np.ndarray, np.ndarray] | None = None, images: Sequence[str] | None = None) -> Rows:
    """Rows with these predictions: every logit 0 but that of the prediction, which is `margin`, unless `logits` are
    given (refused answers lose theirs)."""
    total, count = len(labels), len(classes)
    columns = {}
    for name, answers, given in (("clean", clean, 0), ("adversarial", adversarial, 1), ("8bit", adversarial, 1)):
        refused = np.array(answers) < 0
        values = np.eye(count)[np.where(refused, 0, answers)] * margin if logits is None else logits[given].copy()
        values[refused] = np.nan
        columns |= {f"logits_{name}": values.astype(np.float32), f"refused_{name}": refused}
    zeros, whole = np.zeros(total, np.float32), np.ones(total, np.int64)
    names = tuple(images or (f"image {i}" for i in range(total)))
    return Rows(spec=spec or make_spec("fgsm", eps=2 / 255),
                provenance=Provenance(model, "0", "cpu", {}, (total,)), classes=tuple(classes), identities=names,
                digests=names, labels=np.array(labels, np.int64), linf=zeros + np.float32(2 / 255), l2=zeros + 1,
                l0=whole * 100, queries=whole, gradients=whole, refusals=whole * 0, tally=Tally(), seconds=1.0,
                **columns)


def random_rows(seed: int, total: int, count: int, refused: float = 0.1) -> Rows:
    """Rows of a model that is right more often than not before, and refuses some images."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, count, total)
    before = random.normal(size=(total, count)) + 2 * np.eye(count)[labels]
    after = random.normal(size=(total, count)) - np.eye(count)[labels]
    answers = [np.where(random.random(total) < refused, -1, given.argmax(axis=1)) for given in (before, after)]
    return rows(labels.tolist(), answers[0].tolist(), answers[1].tolist(),
                classes=[f"class {k}" for k in range(count)], logits=(before, after))

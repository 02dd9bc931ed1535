"""Walks that nobody walked, for tests of what is read from them."""

import numpy as np

from engine.attacks.result import Finds
from engine.attacks.rows import Provenance, Rows, Tally
from engine.attacks.spec import AttackSpec, make_spec
from engine.experiments.queries.walks import Walks

HSJ = make_spec("hopskipjump", params={"queries": 1000})


def made_up(*ways: list[tuple[int, float, float]], success: list[bool] | None = None, wrong: tuple[int, ...] = (),
            spec: AttackSpec = HSJ, model: str = "a model") -> Walks:
    """Walks of images that went like this: after so many queries so far in L2 and Linf. Images numbered in `wrong` are
    misclassified as they are."""
    count = len(ways)
    fooled = [bool(way) for way in ways] if success is None else success
    clean = np.array([[0.0, 1.0] if image in wrong else [1.0, 0.0] for image in range(count)])
    after = np.array([[0.0, 1.0] if yes else [1.0, 0.0] for yes in fooled])
    never, zeros = np.zeros(count, bool), np.zeros(count, np.int64)
    provenance = Provenance(model=model, model_digest="digest", device="CPU", versions={}, batches=(count,))
    rows = Rows(spec=spec, provenance=provenance, classes=("no", "yes"),
                identities=tuple(map(str, range(count))), digests=tuple(map(str, range(count))), labels=zeros,
                logits_clean=clean, logits_adversarial=after, logits_8bit=after, refused_clean=never,
                refused_adversarial=never, refused_8bit=never, linf=np.zeros(count), l2=np.zeros(count), l0=zeros,
                queries=np.full(count, 1000), gradients=zeros, refusals=zeros, tally=Tally(),
                seconds=1.0)
    steps = [(image, *step) for image, way in enumerate(ways) for step in way]
    image, queries, l2, linf = (np.array([step[column] for step in steps]) for column in range(4))
    return Walks.of(rows, Finds(image.astype(int), queries.astype(int), linf, l2, np.zeros(len(steps))))

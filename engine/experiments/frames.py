"""Runs as one table, an image and run a row, and as files that other programs read. Does not import torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from scipy.special import softmax

from engine.attacks.rows import Rows

if TYPE_CHECKING:
    import pandas


def frame(runs: Sequence[Rows], images: Sequence[str]) -> pandas.DataFrame:
    """A row an image and run, run by run; all runs are of the same images, which are called `images`.

    Classes are given by name, None where the model refused; eps ([0,1]) is NaN for an attack without a budget;
    `p_clean_CLASS` and `p_adversarial_CLASS` are the model's probabilities.

    `queries` and `gradients` are what was spent for that row, so that their sums are what all of it cost.
    """
    import pandas

    return pandas.concat([_frame(rows, images) for rows in runs], ignore_index=True)


def _frame(rows: Rows, images: Sequence[str]) -> pandas.DataFrame:
    import pandas

    spec, total = rows.spec, len(rows.labels)
    same = {"model": rows.provenance.model, "defense": spec.defenses,
            "attacker": spec.attacker if spec.defenses else "", "attack": spec.attack, "norm": spec.norm,
            "surrogate": spec.surrogate}
    columns = {
        "image": list(images),
        "label": _named(rows.labels, rows.classes),
        **{name: pandas.Categorical.from_codes(np.zeros(total, np.int8), [text]) for name, text in same.items()},
        "eps": np.full(total, np.nan if spec.eps is None else spec.eps),
        "seed": np.full(total, spec.seed),
        "predicted_clean": _named(rows.predicted_clean, rows.classes),
        "predicted_adversarial": _named(rows.predicted_adversarial, rows.classes),
        "predicted_8bit": _named(rows.predicted_8bit, rows.classes),
        "attacked": rows.attacked, "success": rows.success, "success_8bit": rows.success_8bit,
        "linf": rows.linf, "l2": rows.l2, "l0": rows.l0,
        "queries": rows.queries, "gradients": rows.gradients, "refusals": rows.refusals,
        **_probabilities("p_clean_", rows.logits_clean, rows.classes),
        **_probabilities("p_adversarial_", rows.logits_adversarial, rows.classes),
    }
    return pandas.DataFrame(columns)


def _named(numbers: np.ndarray, classes: Sequence[str]) -> pandas.Categorical:
    import pandas

    return pandas.Categorical.from_codes(numbers, list(classes))  # -1 is None


def _probabilities(prefix: str, logits: np.ndarray, classes: Sequence[str]) -> dict[str, np.ndarray]:
    said = softmax(logits, axis=1)
    return {prefix + name: said[:, number] for number, name in enumerate(classes)}


def write_parquet(runs: Sequence[Rows], images: Sequence[str], file: Path | IO[bytes]) -> None:
    """The table as Parquet."""
    frame(runs, images).to_parquet(file, index=False)


"""What attacks do to the models that come with it: sweeps that are declared, and their tables for a document.

Does not import torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from engine.attacks import ATTACKS
from engine.attacks.norms import NORMS
from engine.attacks.rows import Rows
from engine.attacks.spec import make_spec
from engine.data import load
from engine.experiments.selection import Selection
from engine.experiments.sweeps import Sweep, sweep_of
from engine.metrics.rates import Share
from engine.registry import Registry

BIT = 1 / 255  # a step of an 8-bit picture


@dataclass(frozen=True, kw_only=True)
class Table:
    """Every attack at every one of `budgets` (in n/255) on a bundled model and `limit` images of its data set's test
    split, spread evenly (None: all). `images` is what they are, for people."""

    name: str
    dataset: str
    model: str
    images: str
    attacks: tuple[str, ...]
    budgets: tuple[float, ...]
    limit: int | None = None

    def sweep(self) -> Sweep:
        """The declaration as work; raises EngineError where the data are not here."""
        data = load(self.dataset)
        specs = [make_spec(attack, eps=level / 255) for attack in self.attacks for level in self.budgets]
        return sweep_of(self.dataset, data.split, Selection(self.limit).of(data), (self.model,), specs)

    @property
    def command(self) -> str:
        """What repeats it, with every other number besides."""
        budgets = ",".join(NORMS["linf"].text(level / 255) for level in self.budgets)
        words = ["python -m engine evaluate", f"--dataset {self.dataset}", f"--model {self.model}",
                 f"--attack {','.join(self.attacks)}", f"--eps {budgets}"]
        return " ".join([*words, *([] if self.limit is None else [f"--limit {self.limit}"])])


TABLES: Registry[Table] = Registry("table")
for _table in (
    Table(name="xrays-attacked", dataset="kermany", model="kermany/densenet121", attacks=("pgd",), limit=200,
          budgets=(0.5, 1, 2, 4), images="real X-rays of its patient-level test split"),
    Table(name="slices-attacked", dataset="covid-ct", model="covid-ct/densenet121", attacks=("fgsm", "pgd"),
          budgets=(0.5, 1, 2), images="real CT slices of its test split"),
):
    TABLES.add(_table.name, _table)


def section(table: Table, runs: Sequence[Rows]) -> str:
    """What came of it, as Markdown; `runs` are those of the table's sweep."""
    first = runs[0]
    seed, device = first.spec.seed, first.provenance.device
    lines = [f"`{table.model}` on {len(first.labels)} {table.images} (seed {seed}, {device}; in brackets the 95 % "
             f"interval), before the attack {_percent(_right(first.predicted_clean, first))} right:", "",
             "| attack | eps | accuracy attacked | the same, saved with 8 bits |", "|---|---|---|---|"]
    lines += [f"| {_attack(rows)} | {_eps(rows)} | {_percent(_right(rows.predicted_adversarial, rows))} | "
              f"{_percent(_right(rows.predicted_8bit, rows))} |"
              for rows in runs]
    return "\n".join([*lines, *_remarks(runs), "", "```sh", table.command, "```"])


def _remarks(runs: Sequence[Rows]) -> Iterator[str]:
    """What an attentive reader would ask."""
    helped = [rows for rows in runs if (rows.spec.eps or 0) < BIT
              and _right(rows.predicted_8bit, rows).counted < _right(rows.predicted_adversarial, rows).counted]
    if helped:
        budgets = ", ".join(dict.fromkeys(map(_eps, helped)))
        yield ""
        yield f"At {budgets} saving helps the attacker: rounding moves many pixels by a whole step."


def _right(said: np.ndarray, rows: Rows) -> Share:
    return Share(int((said == rows.labels).sum()), len(rows.labels))


def _attack(rows: Rows) -> str:
    """With its steps, where it has several."""
    title, steps = ATTACKS[rows.spec.attack].info.title, rows.spec.params.get("steps")
    return f"{title}-{steps}" if steps else title


def _eps(rows: Rows) -> str:
    return NORMS[rows.spec.norm].text(rows.spec.eps or 0.0)


def _percent(found: Share) -> str:
    low, high = found.interval
    return f"{100 * found.counted / found.of:.1f} % ({100 * low:.1f} to {100 * high:.1f})"

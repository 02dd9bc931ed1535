"""A run as a report: everything a reader needs who has nothing else, as one list of blocks.

It is a function of what is given (the run's rows, what was asked for, and what is kept besides) and of sample images;
`html` and `pdf` write it. Does not import torch.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from engine.attacks import ATTACKS
from engine.attacks.norms import NORMS
from engine.attacks.rows import Rows
from engine.data import DATASETS
from engine.errors import EngineError
from engine.experiments.defended import front_title
from engine.experiments.reports import images
from engine.experiments.reports.blocks import (
    DISCLAIMER,
    Block,
    Code,
    Drawing,
    Gallery,
    Heading,
    Photo,
    Points,
    Report,
    Table,
    Words,
)
from engine.experiments.reports.given import Given
from engine.experiments.reports.kinds import BESIDE, name_of, parts_of
from engine.experiments.runs.comparison import accuracy, readings, settings, success
from engine.experiments.runs.kept import Kept, device_of
from engine.experiments.runs.pictures import spec_of
from engine.experiments.runs.repeating import asked_of, command
from engine.experiments.runs.samples import Sample
from engine.metrics.rates import Share
from engine.zoo.registry import models

MOST_MATRICES, MOST_LINES, MOST_WORDS = 12, 200, 24


def report_of(given: Given, samples: Iterable[Sample] = ()) -> Report:
    """The report of a run."""
    entry = given.kept.entry
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.created)) if 0 <= entry.created < 4e9 else "unknown"
    return Report(entry.called, f"{entry.kind}, kept {made}, key {entry.key[:16]}", tuple(_blocks(given, samples)))


def _blocks(given: Given, samples: Iterable[Sample]) -> Iterator[Block]:
    kept, parts = given.kept, parts_of(given)
    yield Words(DISCLAIMER, loud=True)
    if kept.imported:
        yield Words("This run was imported from a file: it was computed elsewhere, and nothing here has checked its "
                    "numbers.", loud=True)
    if kept.entry.label.name:
        yield Words(kept.entry.title)
    if kept.entry.label.note:
        yield Words(kept.entry.label.note)
    yield Heading("In plain words")
    said = list(parts.words(given))
    yield Points((*said[:MOST_WORDS], *_left_out(len(said), MOST_WORDS)))
    if remarks := [*_warnings(kept.runs), *dict.fromkeys(parts.remarks(given))]:
        yield Heading("What a reader must know besides")
        yield Points((*remarks[:MOST_LINES], *_left_out(len(remarks), MOST_LINES)))
    yield Heading("What was found")
    yield _results(kept.runs, kept.readings)
    if len(kept.runs) > MOST_LINES:
        yield Words(f"The first {MOST_LINES} of {len(kept.runs)}; the exported rows have all.")
    yield from figures(given)
    yield from _gallery(samples)
    yield Heading("What was asked for")
    yield Table(("setting", "value"), tuple(line for line in settings(kept.entry.spec) if line[1]))
    yield from _repeated(kept)
    yield from _cards(kept)
    yield Heading("With what it was computed")
    yield _versions(kept.runs)


def figures(given: Given) -> Iterator[Block]:
    """All that is drawn of a run, and the tables between."""
    from engine.experiments.evaluation import plots

    yield from parts_of(given).found(given)
    runs = given.runs
    yield Heading("Confusion matrices")
    for number, rows in enumerate(runs[:MOST_MATRICES], 1):
        yield Drawing(f"confusion-{number:02}", f"Confusion matrices: {name_of(rows)}",
                      partial(plots.confusion, rows))
    if len(runs) > MOST_MATRICES:
        yield Words(f"The matrices of the first {MOST_MATRICES} of {len(runs)} attacks are shown.")


# ---- words


def _left_out(count: int, most: int) -> tuple[str, ...]:
    return (f"and {count - most} more; all numbers are in the table below",) if count > most else ()


def _warnings(runs: Sequence[Rows]) -> Iterator[str]:
    """What the runs warn of; a warning that several share is told once."""
    told: dict[str, list[str]] = {}
    for rows in runs:
        for line in rows.warnings:
            told.setdefault(line, []).append(name_of(rows))
    for line, names in told.items():
        yield f"{line} ({names[0] if len(names) == 1 else f'{len(names)} of {len(runs)} attacks'})"


# ---- numbers


_HEAD = ("model", "attack", "eps", "seed", "images", "right before", "right after", "after 8 bits", "success",
         "L2, mean", "queries, mean")


def _results(runs: Sequence[Rows], names: Sequence[str]) -> Table:
    lines = zip(runs[:MOST_LINES], readings(runs, names), strict=False)
    return Table(_HEAD, tuple(_line(rows, reading) for rows, reading in lines), frozenset(range(3, len(_HEAD))))


def _line(rows: Rows, reading: str) -> tuple[str, ...]:
    spec = rows.spec
    source = f" (made on {spec.surrogate})" if spec.surrogate else ""
    front = f" ({front_title(spec)})" if spec.defenses else ""
    read = f" ({reading})" if reading else ""
    return (rows.provenance.model, f"{ATTACKS[spec.attack].info.title}{source}{front}{read}",
            "" if spec.eps is None else NORMS[spec.norm].text(spec.eps), str(spec.seed), f"{len(rows.labels):,}",
            _share(accuracy(rows, rows.predicted_clean)), _share(accuracy(rows, rows.predicted_adversarial)),
            _share(accuracy(rows, rows.predicted_8bit)), _share(success(rows)), f"{rows.l2.mean():.3g}",
            f"{rows.queries.mean():,.0f}")


def _share(share: Share) -> str:
    """With its 95 % interval."""
    if share.rate is None:
        return "none of 0"
    low, high = share.interval
    return f"{share.rate:.1%} ({100 * low:.1f} to {100 * high:.1f})"


# ---- pictures


def _gallery(samples: Iterable[Sample]) -> Iterator[Block]:
    found = list(samples)
    if not found:
        return
    yield Heading("Sample images")
    yield Gallery(tuple(_in_rows([tuple(_photos(sample)) for sample in found])))
    yield Words("The difference is amplified, about a grey that means no change. What is not shown is not kept with "
                "the run, or its data set is not here.")


def _in_rows(photos: Sequence[tuple[Photo, ...]]) -> Iterator[tuple[Photo, ...]]:
    """A row an image; those of which there is no original stand side by side."""
    yield from (own for own in photos if len(own) > 1)
    alone = [photo for own in photos if len(own) == 1 for photo in own]
    yield from (tuple(alone[start:start + BESIDE]) for start in range(0, len(alone), BESIDE))


def _photos(sample: Sample) -> Iterator[Photo]:
    truth = f"{sample.name}, true class {sample.truth}"
    if sample.clean is not None:
        yield Photo(images.image_png(sample.clean), f"Original: {truth}; the model says {sample.before}")
    yield Photo(images.image_png(sample.perturbed),
                f"Perturbed by {sample.attack}: the model says {sample.after}"
                + ("" if sample.clean is not None else f"; {truth}, taken for {sample.before} before"))
    if sample.clean is not None:
        change = sample.perturbed - sample.clean
        gain = images.gain(change)
        yield Photo(images.difference_png(change, gain), f"Difference, amplified {gain:,.0f} times")


# ---- where it comes from


def _repeated(kept: Kept) -> Iterator[Block]:
    first = kept.runs[0]
    try:
        line = command(kept.entry.kind, spec_of(kept), first.classes, device_of(first))
    except EngineError:
        return
    if line:
        yield Words("The command that repeats it:")
        yield Code(line)


def _cards(kept: Kept) -> Iterator[Block]:
    what = asked_of(kept)
    if what is not None and what.dataset in DATASETS:
        info = DATASETS[what.dataset].info
        counts = [f"{int((kept.runs[0].labels == label).sum())} {name}"
                  for label, name in enumerate(kept.runs[0].classes)]
        yield Heading("The images")
        yield Points((f"{info.title}: {info.sentence}", f"split {what.split}: {info.splits.get(what.split, '')}",
                      f"in this run: {', '.join(counts)}", f"source: {info.source}", f"terms: {info.terms}",
                      *(("synthetic images, no patient's",) if info.synthetic else ())))
    cards = {entry.name: entry.card for entry in models()}
    for name in dict.fromkeys(rows.provenance.model for rows in kept.runs):
        yield Heading(f"The model {name}")
        if (card := cards.get(name)) is None:
            yield Words("There is no card of it here.")
            continue
        yield Points(tuple(filter(None, (
            f"{card.arch}, trained on {card.dataset}, split {card.split}, seed {card.seed}; weights kept as "
            f"{card.storage}", *(_evaluation(split, scores) for split, scores in card.evaluations.items()),
            f"limits: {card.limits}" if card.limits else "", f"command: {card.command}" if card.command else ""))))


def _evaluation(split: str, scores: dict[str, Any]) -> str:
    recall = ", ".join(f"{name} {value:.1%}" for name, value in scores.get("recall", {}).items())
    auc = f", AUC {scores['auc']:.3f}" if scores.get("auc") is not None else ""
    return f"{split}, {scores.get('n', 0):,} images: accuracy {scores['accuracy']:.1%}{auc}; recall {recall}"


def _versions(runs: Sequence[Rows]) -> Table:
    found = {(rows.provenance.model, rows.provenance.device, rows.provenance.model_digest[:12],
              ", ".join(f"{name} {version}" for name, version in sorted(rows.provenance.versions.items())))
             for rows in runs}
    return Table(("model", "device", "digest of its weights", "versions"), tuple(sorted(found)))

"""A run as a report: everything a reader needs who has nothing else, as one list of blocks.

It is a function of the run's rows, of what was asked for, and of sample images; `report_html` and `report_pdf` write
it. Does not import torch.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from engine.attacks import ATTACKS
from engine.attacks.norms import NORMS
from engine.attacks.rows import Rows
from engine.data import DATASETS
from engine.errors import EngineError
from engine.experiments.reports import figures
from engine.experiments.runs.comparison import accuracy, curves, matrix, readings, settings, success
from engine.experiments.runs.kept import Kept, device_of
from engine.experiments.runs.pictures import spec_of
from engine.experiments.runs.repeating import Asked, asked, command
from engine.experiments.runs.samples import Sample
from engine.metrics.rates import Share
from engine.zoo.registry import models

DISCLAIMER = ("For research and teaching, not for diagnosis. No number here says anything about a patient. That an "
              "attack works on these models does not mean that it works on a product, and that it fails does not mean "
              "that a model is safe.")
MOST_MATRICES, MOST_LINES, MOST_WORDS = 12, 200, 24
_BESIDE = 3  # images in a row


@dataclass(frozen=True)
class Heading:
    text: str


@dataclass(frozen=True)
class Words:
    """A paragraph; one that is `loud` must not be overlooked."""

    text: str
    loud: bool = False


@dataclass(frozen=True)
class Points:
    """A list of lines."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Texts below their heads; columns of numbers, by their place, stand right."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Code:
    text: str


@dataclass(frozen=True)
class Drawing:
    """A figure: as SVG, and as PNG for where that cannot be shown. `width` is the share of the page that it needs."""

    title: str
    svg: bytes
    png: bytes
    width: float = 1.0


@dataclass(frozen=True)
class Photo:
    """An image as PNG, and what is said below it."""

    png: bytes
    caption: str


@dataclass(frozen=True)
class Gallery:
    """Rows of images."""

    rows: tuple[tuple[Photo, ...], ...]


Block = Heading | Words | Points | Table | Code | Drawing | Gallery


@dataclass(frozen=True)
class Report:
    """What stands in it, in order, below its title."""

    title: str
    subtitle: str
    blocks: tuple[Block, ...]


def report_of(kept: Kept, samples: Iterable[Sample] = (), further: Sequence[Drawing] = ()) -> Report:
    """The report of a run; `further` are figures of what it has besides rows."""
    entry = kept.entry
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.created)) if 0 <= entry.created < 4e9 else "unknown"
    blocks = tuple(_blocks(kept, samples, further))
    return Report(entry.called, f"{entry.kind}, kept {made}, key {entry.key[:16]}", blocks)


def _blocks(kept: Kept, samples: Iterable[Sample], further: Sequence[Drawing]) -> Iterator[Block]:
    yield Words(DISCLAIMER, loud=True)
    if kept.imported:
        yield Words("This run was imported from a file: it was computed elsewhere, and nothing here has checked its "
                    "numbers.", loud=True)
    if kept.entry.label.name:
        yield Words(kept.entry.title)
    if kept.entry.label.note:
        yield Words(kept.entry.label.note)
    runs, what = kept.runs, _asked(kept)
    yield Heading("In plain words")
    yield Points(tuple(sentence(rows) for rows in runs[:MOST_WORDS]) + _left_out(len(runs), MOST_WORDS, "attacks"))
    yield from _warnings(runs)
    yield Heading("What was found")
    yield _results(runs, kept.readings)
    if len(runs) > MOST_LINES:
        yield Words(f"The first {MOST_LINES} of {len(runs)}; the exported rows have all.")
    yield from further
    yield from _figures(runs, kept.readings)
    yield from _gallery(samples)
    yield Heading("What was asked for")
    yield Table(("setting", "value"), tuple(line for line in settings(kept.entry.spec) if line[1]))
    yield from _repeated(kept)
    yield from _cards(kept, what)
    yield Heading("With what it was computed")
    yield _versions(runs)


def _asked(kept: Kept) -> Asked | None:
    try:
        return asked(spec_of(kept))
    except EngineError:  # asked for by another version
        return None


# ---- words


def name_of(rows: Rows) -> str:
    """What tells a run from the others, for people."""
    spec = rows.spec
    eps = "" if spec.eps is None else f" at {NORMS[spec.norm].text(spec.eps)}"
    source = f", made on {spec.surrogate}" if spec.surrogate else ""
    behind = f", behind {spec.defenses}" if spec.defenses else ""
    return f"{ATTACKS[spec.attack].info.title}{eps} on {rows.provenance.model}{source}{behind}, seed {spec.seed}"


def sentence(rows: Rows) -> str:
    """What an attack did, for somebody who has never seen a matrix."""
    before, after = accuracy(rows, rows.predicted_clean), accuracy(rows, rows.predicted_adversarial)
    lost = [f"of {found} {name} found before, {missed} are now missed"
            for label, name in enumerate(rows.classes)
            if (found := int(((rows.predicted_clean == label) & (rows.labels == label)).sum()))
            and (missed := int(((rows.predicted_clean == label) & (rows.labels == label)
                                & (rows.predicted_adversarial != label)).sum()))]
    said = "; ".join(lost[:8]) or "nothing that was found before is missed now"
    return f"{name_of(rows)}: {before.counted} of {before.of} images are right before, {after.counted} after; {said}."


def _left_out(count: int, most: int, what: str) -> tuple[str, ...]:
    return (f"and {count - most} further {what}, in the table below",) if count > most else ()


def _warnings(runs: Sequence[Rows]) -> Iterator[Block]:
    """What a reader must know besides; a warning that several runs share is told once."""
    told: dict[str, list[str]] = {}
    for rows in runs:
        for line in rows.warnings:
            told.setdefault(line, []).append(name_of(rows))
    if told:
        yield Heading("What a reader must know besides")
        yield Points(tuple(f"{line} ({names[0] if len(names) == 1 else f'{len(names)} of {len(runs)} attacks'})"
                           for line, names in told.items()))


# ---- numbers


_HEAD = ("model", "attack", "eps", "seed", "images", "right before", "right after", "after 8 bits", "success",
         "L2, mean", "queries, mean")


def _results(runs: Sequence[Rows], names: Sequence[str]) -> Table:
    lines = zip(runs[:MOST_LINES], readings(runs, names), strict=False)
    return Table(_HEAD, tuple(_line(rows, reading) for rows, reading in lines), frozenset(range(3, len(_HEAD))))


def _line(rows: Rows, reading: str) -> tuple[str, ...]:
    spec = rows.spec
    source = f" (made on {spec.surrogate})" if spec.surrogate else ""
    behind = f" (behind {spec.defenses})" if spec.defenses else ""
    read = f" ({reading})" if reading else ""
    return (rows.provenance.model, f"{ATTACKS[spec.attack].info.title}{source}{behind}{read}",
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


def _figures(runs: Sequence[Rows], names: Sequence[str]) -> Iterator[Block]:
    if lines := curves(runs, names):
        yield Drawing("Accuracy against epsilon, with 95 % intervals", *figures.both(figures.curves(lines)))
    if (found := figures.transfers(runs)) is not None:
        yield Drawing("Success, by the model an attack was made on and the one it was shown to", *figures.both(found))
    for rows in runs[:MOST_MATRICES]:
        before, after = matrix(rows, rows.predicted_clean), matrix(rows, rows.predicted_adversarial)
        yield Drawing(f"Confusion matrices: {name_of(rows)}", *figures.both(figures.matrices(before, after)))
    if len(runs) > MOST_MATRICES:
        yield Words(f"The matrices of the first {MOST_MATRICES} of {len(runs)} attacks are shown.")


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
    yield from (tuple(alone[start:start + _BESIDE]) for start in range(0, len(alone), _BESIDE))


def _photos(sample: Sample) -> Iterator[Photo]:
    truth = f"{sample.name}, true class {sample.truth}"
    if sample.clean is not None:
        yield Photo(figures.image_png(sample.clean), f"Original: {truth}; the model says {sample.before}")
    yield Photo(figures.image_png(sample.perturbed),
                f"Perturbed by {sample.attack}: the model says {sample.after}"
                + ("" if sample.clean is not None else f"; {truth}, taken for {sample.before} before"))
    if sample.clean is not None:
        change = sample.perturbed - sample.clean
        gain = figures.gain(change)
        yield Photo(figures.difference_png(change, gain), f"Difference, amplified {gain:,.0f} times")


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


def _cards(kept: Kept, what: Asked | None) -> Iterator[Block]:
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

"""What each kind of run has to show: its sentences, what must be known besides, and its figures and tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from engine.attacks.rows import Rows
from engine.data import Dataset
from engine.experiments.defending import watched
from engine.experiments.defending import words as defending
from engine.experiments.epsilon import lines
from engine.experiments.epsilon.curve import eps_of
from engine.experiments.epsilon.eyes import Zone, zone_of
from engine.experiments.epsilon.ladder import INDEPENDENT, READINGS, WORST
from engine.experiments.epsilon.lines import ACCURACY, Line
from engine.experiments.evaluation.aloud import by_budget, misleading, sentences, title, uncertain
from engine.experiments.evaluation.evaluate import AFTER, BEFORE, SIDES, TITLES, groups, scores, subgroups
from engine.experiments.queries.curves import QueryCurve, drawn, query_curve
from engine.experiments.queries.walks import Film
from engine.experiments.queries.words import names_of, readable
from engine.experiments.queries.words import sentences as query_sentences
from engine.experiments.reports import images
from engine.experiments.reports.blocks import (
    Block,
    Drawing,
    Gallery,
    Heading,
    Photo,
    Points,
    Table,
    Words,
    table_of,
)
from engine.experiments.reports.given import Given
from engine.experiments.runs.comparison import curves as compared
from engine.experiments.runs.pictures import image_names
from engine.experiments.transfers import words as transfer_words
from engine.experiments.transfers.transferred import Matrix, long, matrices
from engine.metrics.rates import Estimate

CLOSELY, ENDS = 4, 10  # runs looked at closely, and the most and the least robust images that are named
BESIDE = 3  # images in a row


@dataclass(frozen=True)
class Parts:
    """Of one kind: what is said in plain words, what must be known besides, and what is shown."""

    words: Callable[[Given], Iterator[str]]
    remarks: Callable[[Given], Iterator[str]]
    found: Callable[[Given], Iterator[Block]]


def parts_of(given: Given) -> Parts:
    """Those of the run's kind; where what was asked for is not known, those that need rows alone."""
    return _PARTS["evaluation" if given.spec is None else given.kept.entry.kind]


def name_of(rows: Rows) -> str:
    """What tells a run from the others, for people."""
    spec = rows.spec
    source = f", made on {spec.surrogate}" if spec.surrogate else ""
    return f"{title(rows)} on {rows.provenance.model}{source}, seed {spec.seed}"


# ---- evaluations


def _evaluation_words(given: Given) -> Iterator[str]:
    for same in by_budget(given.runs):
        strongest = max(same, key=lambda rows: rows.spec.eps or 0.0)
        said = sentences(same) or ["the model recognises none of these images even before the attack"]
        yield f"{name_of(strongest)}: {' '.join(said)}"


def _evaluation_remarks(given: Given) -> Iterator[str]:
    yield from (f"{line}." for line in (*misleading(given.runs), *uncertain(given.runs)))


def _evaluation(given: Given) -> Iterator[Block]:
    from engine.experiments.epsilon.plots import compared as compared_figure
    from engine.experiments.evaluation import plots

    runs = given.runs
    if len(runs) > 1:
        yield Drawing("accuracies", "Accuracy before and after, and success, with 95 % intervals",
                      partial(plots.accuracies, runs[:40]))
    if found := compared(runs, given.kept.readings):
        yield Drawing("accuracy-against-epsilon", "Accuracy against epsilon, with 95 % intervals",
                      partial(compared_figure, found))
    for number, rows in enumerate(_closely(runs), 1):
        yield Heading(f"Closely: {name_of(rows)}")
        yield Drawing(f"recall-{number:02}", "Recall of each class", partial(plots.recalls, rows), 0.6)
        yield _scores(rows)
        yield Drawing(f"confidence-{number:02}", "How sure, and how often right: reliability, and how many answers of "
                      "each confidence are right and wrong", partial(plots.confidences, rows))
        yield Drawing(f"flow-{number:02}", "Where predictions go", partial(plots.flow, rows), 0.7)
    yield from _ends(given)
    yield from _subgroups(given)


def _closely(runs: Sequence[Rows]) -> list[Rows]:
    """The strongest run of each attack on each model, the most successful first."""
    strongest = [max(same, key=lambda rows: int(rows.success.sum())) for same in by_budget(runs)]
    return sorted(strongest, key=lambda rows: -int(rows.success.sum()))[:CLOSELY]


def _scores(rows: Rows) -> Table:
    """Every score before and after, as the page has them."""
    sides = {side: scores(rows, side) for side in (BEFORE, AFTER)}
    found = [("Accuracy", "(all)", *(_number(one.accuracy) for one in sides.values()))]
    found += [(heading, name, *(_number(one.scores[score].all[k]) for one in sides.values()))
              for score, heading in TITLES.items() for k, name in enumerate((*rows.classes, "(macro)", "(weighted)"))]
    return Table(("score", "class", *(SIDES[side].title for side in sides)), tuple(found), frozenset({2, 3}))


def _number(one: Estimate) -> str:
    """With its 95 % interval."""
    if one.value is None or one.low is None or one.high is None:
        return "-"
    return f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})"


def _ends(given: Given) -> Iterator[Block]:
    from engine.experiments.evaluation.evaluate import standings
    from engine.experiments.evaluation.tables import standings_table

    if len({rows.identities for rows in given.runs}) > 1:
        return
    first = given.runs[0]
    names = dict(zip(first.identities, image_names(given.kept, first), strict=True))
    table = standings_table(standings(given.runs), names)
    if len(table):
        yield Heading("Most and least robust images")
        ends = table if len(table) <= 2 * ENDS else table.iloc[[*range(ENDS), *range(-ENDS, 0)]]
        yield from table_of(ends)
        if len(table) > 2 * ENDS:
            yield Words(f"The {ENDS} most and the {ENDS} least robust of {len(table):,}; the exported rows have all.")


def _subgroups(given: Given) -> Iterator[Block]:
    if given.data is None or given.spec is None:
        return
    names = subgroups(given.data, given.spec.indices)
    if names:
        yield Heading("By subgroup")
        yield Table(("run", "by", "group", "images", "accuracy before", "accuracy after", "success"), tuple(
            (name_of(rows), by, one.name, f"{one.n:,}", *map(_number, (one.before, one.after, one.success)))
            for rows in _closely(given.runs) for by, each in names.items() for one in groups(rows, each)),
            frozenset(range(3, 7)))


# ---- curves


def _lines(given: Given) -> dict[str, list[Line]]:
    """By reading, the worst case first."""
    sweep, readings = given.spec.sweep, given.spec.readings
    count = len(sweep.models) * len(sweep.attacks)
    found = {reading: lines.lines(given.runs[place * count:(place + 1) * count])
             for place, reading in enumerate(readings)}
    return dict(sorted(found.items(), key=lambda one: one[0] != WORST))


def _zones(given: Given) -> list[tuple[Line, Zone | None]]:
    return [(line, None if given.eyes is None or line.norm.name != "linf" else zone_of(line.runs, given.eyes))
            for line in _lines(given).get(WORST, ())]


def _curve_words(given: Given) -> Iterator[str]:
    shown = _zones(given) or [(line, None) for line in _lines(given)[INDEPENDENT]]
    yield from (lines.sentence(line, zone) for line, zone in shown)


def _curve_remarks(given: Given) -> Iterator[str]:
    by_reading = _lines(given)
    yield from dict.fromkeys(text for shown in by_reading.values() for line in shown for text in lines.explained(line))
    if assumed := lines.assumption(by_reading):
        yield assumed
    yield from filter(None, map(lines.saved, by_reading.get(INDEPENDENT) or by_reading[WORST]))


def _curves(given: Given) -> Iterator[Block]:
    from engine.experiments.epsilon import plots

    for reading, shown in _lines(given).items():
        heading, _, explained = READINGS[reading].partition(": ")
        yield Heading(heading.capitalize())
        yield Words(f"{explained.capitalize()}.")
        for number, measure in enumerate(lines.measures(given.runs[0].classes), 1):
            name = f"{reading}-{number:02}-{'accuracy' if measure == ACCURACY else 'measure'}"
            yield Drawing(name, f"{measure} against epsilon, {reading}",
                          partial(plots.curves, shown, measure), 0.8)
    for number, (line, zone) in enumerate(_zones(given), 1):
        if zone is None or not zone.of:
            continue
        yield Heading(f"The danger zone: {line.name}")
        yield Drawing(f"zone-{number:02}", "Flipped within each epsilon, and seen",
                      partial(plots.zone, line, zone), 0.8)
        counts = lines.histogram(zone, line.runs[0].labels[line.runs[0].attacked], list(map(eps_of, line.runs)))
        yield Drawing(f"smallest-{number:02}", "The smallest epsilon that flips each image",
                      partial(plots.smallest, line, counts, line.runs[0].classes), 0.8)
        for table in (lines.zone_table(line, zone), lines.smallest_table(line, counts, line.runs[0].classes)):
            eps = ["holds" if np.isinf(one) else line.norm.text(one, ".4g") for one in table["eps"]]
            yield from table_of(table.assign(eps=eps))


# ---- transfers


def _matrices(given: Given) -> list[Matrix]:
    return matrices(given.spec, given.runs)


def _transfer_words(given: Given) -> Iterator[str]:
    found = _matrices(given)
    attacks = [matrix.attack for matrix in found]
    for matrix in found:
        if said := " ".join(transfer_words.sentences(matrix)):
            yield f"{transfer_words.attack_title(matrix.attack, attacks)}: {said}"
    if given.alignment is not None and (said := transfer_words.explained(given.alignment, found[0])):
        yield said


def _no_remarks(given: Given) -> Iterator[str]:
    """What the runs themselves warn of is said of every kind."""
    return iter(())


def _transfer(given: Given) -> Iterator[Block]:
    from engine.experiments.transfers import plots

    found = _matrices(given)
    attacks = [matrix.attack for matrix in found]
    for number, matrix in enumerate(found, 1):
        yield Drawing(f"matrix-{number:02}", f"Who fools whom, {transfer_words.attack_title(matrix.attack, attacks)}: "
                      "success by the model it was made on and the one it was shown to; a frame marks the model "
                      "itself, a dotted one a member of the ensemble", partial(plots.heat, [matrix]),
                      min(1.0, 0.3 + 0.12 * len(matrix.targets)))
    if len(found) > 1:
        yield Drawing("means", "On models that the attacker never saw", partial(plots.means, found), 0.7)
    if (alignment := given.alignment) is not None and len(alignment.models) > 1:
        yield Drawing("alignment", "How alike the models' gradients are", partial(plots.alignment, alignment),
                      min(1.0, 0.3 + 0.12 * len(alignment.models)))
    yield Heading("Every pair")
    yield from table_of(long(found))
    yield Heading("Images that fool all models")
    yield Points(tuple(f"{transfer_words.attack_title(matrix.attack, attacks)}, made on {one.source}: {len(one.rows)} "
                       f"of {one.of} that all models read correctly" for matrix in found for one in matrix.everyone))


# ---- query curves


def _query_curves(given: Given) -> list[QueryCurve]:
    """At four numbers of queries, as far as all walked."""
    limit = min(one.limit for one in given.walks)
    counts = sorted({max(1, limit // part) for part in (64, 16, 4, 1)})
    return [query_curve(one, counts, norm=given.walks[0].spec.norm) for one in given.walks]


def _query_words(given: Given) -> Iterator[str]:
    curves = _query_curves(given)
    if given.data is not None:
        yield from query_sentences(curves, given.data.image(given.spec.indices[0]).size)
        return
    for curve, name in zip(curves, names_of(curves), strict=True):
        yield f"{name}: of {curve.attacked} images read correctly, {curve.points[-1].found.count} were fooled."


def _query_remarks(given: Given) -> Iterator[str]:
    curves = _query_curves(given)
    for walks, curve, name in zip(given.walks, curves, names_of(curves), strict=True):
        yield from (f"{name}: {warning}" for warning in curve.warnings if warning not in walks.warnings)


def _queries(given: Given) -> Iterator[Block]:
    from engine.experiments.queries import plots

    curves = _query_curves(given)
    drawn_ = [drawn(one, curve) for one, curve in zip(given.walks, curves, strict=True)]
    yield Drawing("query-curves", "How near, and how often, with how many queries", partial(plots.curves, drawn_))
    yield from table_of(readable(curves))
    for walks, name in zip(given.walks, names_of(curves), strict=True):
        for film in walks.films[:1]:
            yield Heading(f"On the way: {name}")
            yield Gallery(in_rows([_strip(film, given.data, walks)]))


def _strip(film: Film, data: Dataset | None, walks: Rows) -> tuple[Photo, ...]:
    """The original, where its data set is here, and every frame."""
    from engine.attacks.norms import NORMS

    norm = NORMS[walks.spec.norm]
    original = () if data is None else (
        Photo(images.image_png(data.image(film.index)), f"Original: {data.item_name(film.index)}, true class "
                                                        f"{data.classes[int(data.labels[film.index])]}"),)
    return (*original, *(Photo(images.image_png(np.asarray(frame, np.float32)),
                               f"after {queries:,} queries: {norm.noun.partition(',')[0]} {norm.text(size, '.3g')}")
                         for queries, size, frame in zip(film.queries, film.sizes, film.frames, strict=True)))


def in_rows(strips: Sequence[tuple[Photo, ...]]) -> tuple[tuple[Photo, ...], ...]:
    """Each strip from a row of its own on, in rows of so many."""
    return tuple(strip[start:start + BESIDE] for strip in strips for start in range(0, len(strip), BESIDE))


# ---- defenses


def _defense_words(given: Given) -> Iterator[str]:
    if (found := given.defenses) is not None:
        yield from defending.verdict(found, found.budgets[-1])
        yield from watched.sentences(watched.watches(found, found.budgets[-1]))
        yield from watched.crowd_sentences(found)


def _defense_remarks(given: Given) -> Iterator[str]:
    if (found := given.defenses) is None:
        return
    yield from defending.doubts(found, found.budgets[-1])
    for name, sign in defending.warnings(found, found.budgets[-1]):
        yield f"{name} may only hide its gradients; {sign.name}: {sign.sentence}"


def _defenses(given: Given) -> Iterator[Block]:
    from engine.experiments.defending import plots

    if (found := given.defenses) is None:
        return
    for number, eps in enumerate(found.budgets, 1):
        yield Drawing(f"trade-off-{number:02}", "What defenses cost, and what they are worth",
                      partial(plots.trade_off, found.at(eps)), 0.8)
        yield from table_of(defending.readable(found.at(eps)))
        if seen := watched.watches(found, eps):
            yield Drawing(f"detectors-roc-{number:02}", "Attacked pictures that detectors refuse, against false alarms",
                          partial(plots.roc, seen), 0.8)
            yield from table_of(watched.readable(seen))


_PARTS = {
    "evaluation": Parts(_evaluation_words, _evaluation_remarks, _evaluation),
    "curves": Parts(_curve_words, _curve_remarks, _curves),
    "transfer": Parts(_transfer_words, _no_remarks, _transfer),
    "query-curve": Parts(_query_words, _query_remarks, _queries),
    "defend": Parts(_defense_words, _defense_remarks, _defenses),
}

"""A measured claim as a section of a Markdown file, and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from engine.experiments.claims.contests import CHANCE, CONTRARY, EQUAL, HOLDS, LEVEL, Contest, contests, verdicts
from engine.experiments.claims.declared import Claim, Network
from engine.experiments.claims.trials import Trial
from engine.papers import Paper
from engine.zoo.architectures import ARCHITECTURES
from engine.zoo.registry import model_card

_ENDINGS = {HOLDS: "it holds", CONTRARY: "the contrary holds", CHANCE: "chance explains the difference",
            EQUAL: "there is no difference"}
_CONTEST = ("claimed", "at", "pictures for it", "against it", "chance", "holds with, alone", "verdict")


def section(claim: Claim, trials: Sequence[Trial]) -> str:
    """What was claimed, what was measured, and what may be said."""
    found = contests(claim, trials)
    return "\n\n".join(filter(None, [
        f"## {claim.title}",
        f"Claim: {claim.sentence} ({'; '.join(map(_cited, claim.papers))}).",
        _made(claim, trials),
        _table(("attack", *claim.budgets), _measured(claim, trials)),
        _method(claim, found),
        _table(_CONTEST, map(_line, found)),
        _ending(found),
        f"Why not everywhere: {claim.because}" if claim.because and set(verdicts(found)) != {HOLDS} else "",
    ]))


def facts(claim: Claim, trials: Sequence[Trial]) -> dict[str, Any]:
    """The same for scripts."""
    found = contests(claim, trials)
    return {
        "name": claim.name, "title": claim.title, "sentence": claim.sentence, "dataset": claim.dataset,
        "split": claim.split, "budgets": list(claim.budgets), "verdicts": verdicts(found),
        "networks": [{"models": list(trial.models), "indices": list(trial.indices),
                      "entries": {label: [rows.summary() for rows in several]
                                  for label, several in trial.rows.items()}} for trial in trials],
        "contests": [{"better": one.better, "other": one.other, "budget": one.budget, "for": one.score.better,
                      "against": one.score.worse, "chance": one.score.chance, "level": one.level,
                      "holds_alone": one.holds_alone, "verdict": one.verdict} for one in found],
    }


def _made(claim: Claim, trials: Sequence[Trial]) -> str:
    """How it was measured."""
    counts = [len(trial.indices) for trial in trials]
    origin = trials[0].rows[claim.entries[0].label][0].provenance
    lines = [
        f"{_networks(claim, trials)} Attacked are {_listed(counts)} pictures of {claim.dataset}/{claim.split}, "
        f"{'read correctly before or not' if claim.misread else 'all of them read correctly before'}.",
        f"The table says {claim.measure.table}{_several(trials)}.", claim.notes,
        f"Measured by `{_command(claim, trials)}` on {origin.device}, torch {origin.versions['torch']}.",
    ]
    return " ".join(filter(None, lines))


def _command(claim: Claim, trials: Sequence[Trial]) -> str:
    seeds = "" if len(trials) == claim.seeds else f" --seeds {len(trials)}"
    return f"python -m engine claims {claim.name}{seeds}"


def _networks(claim: Claim, trials: Sequence[Trial]) -> str:
    if not isinstance(claim.target, Network):
        several = len(claim.targets) > 1
        return f"The {'models are' if several else 'model is'} {_listed(trials[0].models)}."
    text = (f"{len(trials)} network{'s' * (len(trials) > 1)} ({ARCHITECTURES[claim.target.arch].title}, trained on "
            f"{claim.dataset}, {claim.target.epochs} epochs; accuracy {_accuracies(claim, trials, 0)})")
    if claim.surrogate is not None:
        text += f", attacked by way of as many others ({ARCHITECTURES[claim.surrogate.arch].title}, trained alike)"
    return f"{text}{''.join(_going_on(claim, trials))}."


def _going_on(claim: Claim, trials: Sequence[Trial]) -> Iterable[str]:
    """The claim's further networks."""
    for place, network in enumerate(claim.targets[1:], start=1):
        if isinstance(network, Network):
            yield (f"; trained {'on ' * (network.start is not None)}with `{network.defense}`, {network.epochs} epochs: "
                   f"accuracy {_accuracies(claim, trials, place)}")


def _accuracies(claim: Claim, trials: Sequence[Trial], place: int) -> str:
    """Of the networks at that place of every trial."""
    return _listed([f"{_accuracy(trial.models[place], claim.split):.1%}" for trial in trials])


def _accuracy(model: str, split: str) -> float:
    return float(model_card(model).evaluations[split]["accuracy"])


def _several(trials: Sequence[Trial]) -> str:
    return ": of all networks together, and then of each" if len(trials) > 1 else ""


def _measured(claim: Claim, trials: Sequence[Trial]) -> Iterable[tuple[str, ...]]:
    for entry in claim.entries:
        yield entry.label, *(claim.measure.cell([trial.rows[entry.label][place] for trial in trials])
                            for place in range(len(claim.budgets)))


def _method(claim: Claim, found: Sequence[Contest]) -> str:
    lines = [
        f"Compared picture by picture, which attack {claim.measure.better}.",
        "A picture counts once, for the attack that is better with more networks." if len(found[0].alone) > 1 else "",
        "Chance is how often coins would fall at least so unevenly (exact sign test, for shares McNemar's).",
        f"A comparison counts where chance is at most {found[0].level:.2g}: {LEVEL:.0%} shared out among {len(found)}.",
    ]
    return " ".join(filter(None, lines))


def _line(one: Contest) -> tuple[str, ...]:
    return (f"{one.better} over {one.other}", one.budget, str(one.score.better), str(one.score.worse),
            f"{one.score.chance:.2g}", f"{one.holds_alone} of {len(one.alone)}", one.verdict)


def _ending(found: Sequence[Contest]) -> str:
    counts = verdicts(found)
    return f"Of {len(found)}: " + ", ".join(f"in {counts[verdict]} {words}" for verdict, words in _ENDINGS.items()
                                            if verdict in counts) + "."


def _cited(paper: Paper) -> str:
    return ", ".join(filter(None, [paper.authors, paper.title, paper.where, str(paper.year or ""), paper.url]))


def _listed(values: Sequence[object]) -> str:
    """'1', '1 and 2', '1, 2 and 3'; the same value once."""
    *front, last = map(str, values if len(set(values)) > 1 else values[:1])
    return f"{', '.join(front)} and {last}" if front else last


def _table(head: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table whose first column is text and whose others are numbers."""
    rows = [head, ("---", *["--:"] * (len(head) - 1)), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)

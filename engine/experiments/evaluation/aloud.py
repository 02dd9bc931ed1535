"""What attacked images mean, in words: for people who read no matrix, and what an accuracy hides. From rows alone."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations

import numpy as np

from engine.attacks import ATTACKS
from engine.attacks.norms import NORMS
from engine.attacks.rows import Rows
from engine.experiments.defended import behind, stands
from engine.experiments.evaluation.evaluate import AFTER, BEFORE, SIDES, alike, said
from engine.metrics.rates import chance, interval
from engine.wording import counted, percent

# The largest change of every pixel that the visibility metric finds invisible (engine.metrics.visibility).
UNSEEN = 1 / 255
ALWAYS = 0.95  # of the answers being one class, from which a model has collapsed
MOST = 0.65  # of the images showing one class, from which an accuracy misleads
FEW = 10  # images of a class
# What is said of an image that is right, and of one and of several that no longer are.
_HEALTHY_WORDS, _FINDING_WORDS = ("recognised", "a false alarm", "false alarms"), ("found", "missed", "missed")
_HEALTHY = re.compile(r"(normal|healthy|no|non|not|negative|benign|control)(?![a-z])|non", re.IGNORECASE)


def title(rows: Rows) -> str:
    """A run for people: attack and budget, and what the model stands behind."""
    spec = rows.spec
    budget = "" if spec.eps is None else f" at {NORMS[spec.norm].text(spec.eps, '.3g')}"
    aim = "" if spec.target is None else f", aimed at {rows.classes[spec.target]}"
    return f"{ATTACKS[spec.attack].info.title}{budget}{aim}{behind(spec)}"


# ---- for clinicians


def sentences(runs: Sequence[Rows]) -> list[str]:
    """What the strongest of `runs`, which differ in eps alone, does to every class, findings first, and what the
    largest eps did already that nobody sees."""
    largest = max(runs, key=lambda rows: rows.spec.eps or 0.0)
    smaller = [rows for rows in runs if rows is not largest]
    order = sorted(range(len(largest.classes)), key=lambda k: healthy(largest.classes[k]))
    return [sentence for k in order if (sentence := _of_class(largest, smaller, k))]


def healthy(name: str) -> bool:
    """Whether a class is called as those are that show no finding."""
    return _HEALTHY.match(name.strip()) is not None


def _of_class(rows: Rows, smaller: Sequence[Rows], k: int) -> str:
    found = (rows.labels == k) & (rows.predicted_clean == k)
    total, lost = int(found.sum()), _lost(rows, k)
    if not total:
        return ""
    name = rows.classes[k]
    known, one, many = _HEALTHY_WORDS if healthy(name) else _FINDING_WORDS
    low, high = interval(lost, total)
    where = ", ".join(f"{count:,} called {rows.classes[other]}" for other, count in _called(rows, found, k))
    spread = f"{lost / total:.0%}, 95 % interval {low:.0%} to {high:.0%}".replace("%", " %").replace("  %", " %")
    count = f"none is now {one}" if not lost else f"1 is now {one}" if lost == 1 else f"{lost:,} are now {many}"
    return (f"Of {counted(total, 'image')} of {name} {known} before, {count} ({spread}{f'; {where}' if where else ''})"
            f"{_earlier(rows, smaller, k)}.")


def _lost(rows: Rows, k: int) -> int:
    """How many images of the class were found before and are called something else now."""
    after = rows.predicted_adversarial
    return int(((rows.labels == k) & (rows.predicted_clean == k) & (after != k) & (after >= 0)).sum())


def _called(rows: Rows, found: np.ndarray, k: int) -> list[tuple[int, int]]:
    """What the lost images are called now, the most frequent first."""
    after = rows.predicted_adversarial[found]
    counts = np.bincount(after[after >= 0], minlength=len(rows.classes))
    return [(int(other), int(counts[other])) for other in np.argsort(-counts, kind="stable")
            if other != k and counts[other]]


def _earlier(rows: Rows, smaller: Sequence[Rows], k: int) -> str:
    """What a smaller change does to the same images already."""
    if unseen(rows):
        return ", by a change that nobody sees"
    invisible = [less for less in smaller if unseen(less) and less.identities == rows.identities]
    if not invisible:
        return ""
    least = max(invisible, key=lambda less: less.spec.eps or 0.0)
    count = _lost(least, k)
    return f"; at {NORMS[least.spec.norm].text(least.spec.eps or 0.0, '.3g')}, which nobody sees, {already(count)}"


def already(count: int) -> str:
    return f"already {count:,}" if count else "none"


def unseen(rows: Rows) -> bool:
    """Whether the budget keeps every pixel within what the eye does not notice."""
    return rows.spec.norm == "linf" and rows.spec.eps is not None and rows.spec.eps <= UNSEEN * (1 + 1e-9)


# ---- what an accuracy hides


def remarks(runs: Sequence[Rows]) -> list[str]:
    """What a reader of these runs on the same images (as far as they are known) must know, one line each, what weighs
    most first."""
    return [*misleading(runs), *uncertain(runs)]


def misleading(runs: Sequence[Rows]) -> list[str]:
    """Where an accuracy says something else than it seems to: models that have collapsed into one class, unbalanced
    classes, refusals."""
    lines = [*unbalanced(_longest(runs))]
    for rows in runs:
        lines += [f"{_who(rows, runs, side)}{line}" for side in (BEFORE, AFTER) if (line := collapsed(rows, side))]
        lines += [f"{_who(rows, runs)}{line}" for line in refusals(rows)]
    return _each_once(lines)


def uncertain(runs: Sequence[Rows]) -> list[str]:
    """Where the images are too few for what one would like to say."""
    lines = [*rare(_longest(runs))]
    for rows in runs:
        lines += [f"{_who(rows, runs)}{line}" for line in too_few(rows)]
    return _each_once([*lines, *indistinguishable(runs)])


def _longest(runs: Sequence[Rows]) -> Rows:
    return max(runs, key=lambda rows: len(rows.labels))


def _each_once(lines: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(line[0].upper() + line[1:] for line in lines))


def _who(rows: Rows, runs: Sequence[Rows], side: str = AFTER) -> str:
    """Which run a line is about, as far as there are others."""
    model = f" on {rows.provenance.model}" if len({one.provenance.model for one in runs}) > 1 else ""
    seed = f", seed {rows.spec.seed}" if len({one.spec.seed for one in runs}) > 1 else ""
    front = f" {stands(rows.spec)}" if len({one.spec.defenses for one in runs}) > 1 else ""
    if len(runs) == 1 or (side == BEFORE and not model and not front):
        return ""
    return f"{f'{model}{front}'.strip()}: " if side == BEFORE else f"{title(rows)}{model}{seed}: "


def collapsed(rows: Rows, side: str) -> str:
    """That the model says one class whatever it is shown; "" where it does not."""
    answers = said(rows, side)
    answered = answers >= 0
    if not answered.any():
        return ""
    counts = np.bincount(answers[answered], minlength=len(rows.classes))
    top = int(counts.argmax())
    share, really = counts[top] / answered.sum(), float((rows.labels[answered] == top).mean())
    if share < ALWAYS or really == 1 or (share < 1 and share - really < 1 - ALWAYS):
        return ""
    name, accuracy = rows.classes[top], float((answers == rows.labels).mean())
    when = f"{SIDES[side].title} the attack"
    if share < 1:
        return (f"{when} the model says {name} for {percent(share)} of the images, of which {percent(really)} show it; "
                f"its accuracy of {percent(accuracy)} says little else")
    exactly = "exactly the share of images that show it" if answered.all() else "the share of those that show it"
    return f"{when} the model always says {name}: its accuracy of {percent(accuracy)} is {exactly}, and nothing more"


def unbalanced(rows: Rows) -> Iterator[str]:
    """That nearly all images show one class."""
    counts = np.bincount(rows.labels, minlength=len(rows.classes))
    top, total = int(counts.argmax()), len(rows.labels)
    if MOST <= counts[top] / total < 1:
        yield (f"{percent(counts[top] / total)} of the images show {rows.classes[top]}: a model that always says so is "
               "right as often; read the recall of each class and the macro means")


def rare(rows: Rows) -> Iterator[str]:
    """Which classes few images show, or none."""
    counts = np.bincount(rows.labels, minlength=len(rows.classes))
    few = {name: int(count) for name, count in zip(rows.classes, counts, strict=True) if 0 < count < FEW}
    if few:
        most = percent(1 / min(few.values()))
        named = ", ".join(f"{name} ({count})" for name, count in few.items())
        yield f"few images show {named}: one image more or less moves a recall by up to {most}"
    if absent := [name for name, count in zip(rows.classes, counts, strict=True) if not count]:
        yield f"no image here shows {' or '.join(absent)}; the means leave out what the model never says either"


def refusals(rows: Rows) -> Iterator[str]:
    """What became of refused images."""
    for side in (BEFORE, AFTER):
        if refused := int((said(rows, side) < 0).sum()):
            yield (f"{refused} of {counted(len(rows.labels), 'image')} got no answer {SIDES[side].title} the attack; a "
                   "refusal is neither right nor a success of the attack")


def too_few(rows: Rows) -> Iterator[str]:
    """Where the images are too few for the difference that the attack makes."""
    right = [said(rows, side) == rows.labels for side in (BEFORE, AFTER)]
    if line := _unsure(*right):
        yield f"the accuracies before ({percent(right[0].mean())}) and after ({percent(right[1].mean())}) {line}"


def indistinguishable(runs: Sequence[Rows], most: int = 3) -> Iterator[str]:
    """Runs at the same budget whose accuracies differ by no more than chance explains."""
    found = [line for a, b in combinations(runs, 2)
             if a.spec.eps == b.spec.eps and a.spec.norm == b.spec.norm and (line := _pair(a, b, runs))]
    yield from found[:most]
    if len(found) > most:
        yield f"{len(found) - most} further pairs of runs cannot be told apart with so few images either"


def _pair(one: Rows, other: Rows, runs: Sequence[Rows]) -> str:
    right = [(rows.predicted_adversarial == rows.labels)[places]
             for rows, places in zip((one, other), alike(one, other), strict=True)]
    line = _unsure(*right)
    names = [_who(rows, runs).removesuffix(": ") for rows in (one, other)]
    return line and (f"the accuracies under {names[0]} ({percent(right[0].mean())}) and {names[1]} "
                     f"({percent(right[1].mean())}) {line}")


def _unsure(one: np.ndarray, other: np.ndarray) -> str:
    """That chance explains a difference between two times right or wrong on the same images; "" where it does not, or
    there is none."""
    lost, won = int((one & ~other).sum()), int((~one & other).sum())
    if lost == won or chance(lost, won) < 0.05:
        return ""
    return (f"differ by what chance explains with {counted(len(one), 'image')}; some "
            f"{_rounded(needed(lost, won, len(one)))} would tell")


def needed(lost: int, won: int, of: int) -> int:
    """How many images McNemar's test needs to find, 4 times in 5, a difference as large as that of `lost` against `won`
    among `of` (Connor 1987)."""
    difference, discordant = abs(lost - won) / of, (lost + won) / of
    spread = 1.959964 * math.sqrt(discordant) + 0.841621 * math.sqrt(discordant - difference**2)
    return math.ceil((spread / difference) ** 2)


def _rounded(count: int) -> str:
    """With two digits, upwards."""
    step = 10 ** max(0, len(str(count)) - 2)
    return f"{math.ceil(count / step) * step:,}"


def by_budget(runs: Iterable[Rows]) -> list[list[Rows]]:
    """Runs that differ in eps alone, together, in the order in which they come."""
    found: dict[object, list[Rows]] = {}
    for rows in runs:
        spec = rows.spec
        key = (rows.provenance.model, spec.attack, tuple(sorted(spec.params.items())), spec.norm, spec.target,
               spec.seed, spec.defenses, spec.attacker, spec.draws, spec.surrogate, spec.mask)
        found.setdefault(key, []).append(rows)
    return list(found.values())

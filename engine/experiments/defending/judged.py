"""What is read from attacked models behind defenses: what each defense costs, and what it is worth. Pure functions of
runs; no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from engine.attacks import ATTACKS
from engine.attacks.base import Knowledge
from engine.attacks.norms import NORMS
from engine.attacks.spec import ADAPTIVE, OBLIVIOUS, AttackSpec, adapts, attack_of, has_gradients
from engine.defenses.base import defenses_from
from engine.defenses.words import short, titled
from engine.experiments.defending.facing import Face
from engine.experiments.defending.judging import Checked, Defended
from engine.experiments.queries.curves import ROUNDING, quantile
from engine.metrics import masking
from engine.metrics.masking import HUGE, Sign, Trial
from engine.metrics.rates import Share

BARE = "no defense"


@dataclass(frozen=True, eq=False)
class Faced:
    """What attackers of one kind achieve within a budget: on which of the images the model holds, `held` bool [N], is
    right and is never made to say anything else (who gets no answer is not fooled), and which, fooled by none, some
    attack makes it refuse, `refused` bool [N]; `worst` is the attack that took most. Of `asking` attackers, who have no
    model: the median number of queries until half of the images are fooled within the budget, and the median `distance`
    of the nearest that fools, after `limit` queries (behind a defense, of the nearest that fools most times when it is
    asked about again); None: not half of them are."""

    held: np.ndarray
    refused: np.ndarray
    worst: str
    asking: bool
    queries: float | None
    distance: float | None
    limit: int

    @property
    def robust(self) -> Share:
        return Share(int(self.held.sum()), len(self.held))

    @property
    def read(self) -> int:
        """How many are answered, and rightly, whatever the attack."""
        return int((self.held & ~self.refused).sum())

    @property
    def silent(self) -> Share:
        """Attacked images that get no answer."""
        return Share(int(self.refused.sum()), len(self.refused))


@dataclass(frozen=True, eq=False)
class Standing:
    """A model behind one stack of defenses ("": none) at one budget (None: whatever the size of the change): which
    images it reads correctly unattacked (`right`, bool [N]) and which it `refused`; what becomes of them before an
    attacker who does not know of the defenses (`oblivious`) and at the hands of one who does, and does whatever works
    best (`adaptive`; None: nobody tried). `face` is what it is like without attacks. `most` of the images are of one
    class."""

    model: str
    defenses: str
    norm: str
    eps: float | None
    right: np.ndarray
    refused: np.ndarray
    most: int
    oblivious: Faced | None
    adaptive: Faced | None
    face: Face | None

    @property
    def clean(self) -> Share:
        return Share(int(self.right.sum()), len(self.right))

    @property
    def alarms(self) -> Share:
        """Clean images that got no answer."""
        return Share(int(self.refused.sum()), len(self.refused))

    @property
    def defense(self) -> str:
        """For people."""
        return titled(self.defenses) if self.defenses else BARE

    @property
    def short(self) -> str:
        """The same without what is set of it."""
        return short(self.defenses) if self.defenses else BARE

    @property
    def worth(self) -> Faced | None:
        """What it is worth: against who knows of it."""
        return self.adaptive or self.oblivious

    @property
    def points(self) -> list[tuple[Faced, bool]]:
        """What a plot shows of it, and whether the attacker knows of the defenses, who does first; one point where all
        attackers are alike."""
        found = [] if self.adaptive is None else [(self.adaptive, True)]
        if self.oblivious is not None and self.oblivious is not self.adaptive:
            found.append((self.oblivious, False))
        return found


@dataclass(frozen=True, eq=False)
class Judged:
    """All standings, budget by budget and model by model, of the images that all runs know so far."""

    defended: Defended
    standings: tuple[Standing, ...]

    @cached_property
    def budgets(self) -> list[float | None]:
        return list(dict.fromkeys(one.eps for one in self.standings))

    @property
    def norm(self) -> str:
        return self.standings[0].norm

    def at(self, eps: float | None) -> list[Standing]:
        """Those at that budget; the first is what the others are compared with."""
        return [one for one in self.standings if one.eps == eps]

    def runs_of(self, one: Standing) -> list[Checked]:
        """The runs behind a standing."""
        return [run for run in self.defended.known if _who(run) == (one.model, one.defenses)]

    def runs_at(self, one: Standing, aware: bool) -> list[Checked]:
        """Those within its budget that say what becomes of it before attackers who are not `aware` of its defenses, or
        before those who are, who may do all that others do; the one that fooled most first."""
        runs = [run for run in _within(self.runs_of(one), one.eps) if aware or run.spec.attacker == OBLIVIOUS]
        return sorted(runs, key=lambda run: (-int(fooled_within(run, self.norm, one.eps).sum()),
                                             run.spec.attacker == OBLIVIOUS))


def judged(defended: Defended) -> Judged:
    """The standings, as far as all runs have rows for the same images."""
    runs = defended.known
    images = _common(runs)
    norm = next((run.spec.norm for run in runs if run.spec.eps is not None), runs[0].spec.norm)
    budgets = sorted({run.spec.eps for run in runs if run.spec.norm == norm and run.spec.eps is not None})
    usual: list[float | None] = [eps for eps in budgets if eps < HUGE or norm != "linf"] or [*budgets] or [None]
    whose = _grouped(runs, _who)
    return Judged(defended, tuple(
        _standing(model, defenses, norm, eps, own, images, _face(defended.faces, model, defenses))
        for eps in usual for (model, defenses), own in whose.items()))


def _who(run: Checked) -> tuple[str, str]:
    return run.provenance.model, run.spec.defenses


def _face(faces: Sequence[Face], model: str, defenses: str) -> Face | None:
    return next((face for face in faces if (face.model, face.defenses) == (model, defenses)), None)


def _common(runs: Sequence[Checked]) -> list[str]:
    """The images that all runs have, in the order of the first."""
    known = [set(run.identities) for run in runs]
    return [name for name in runs[0].identities if all(name in names for names in known)]


def _places(run: Checked, images: Sequence[str]) -> np.ndarray:
    where = {name: place for place, name in enumerate(run.identities)}
    return np.array([where[name] for name in images], int)


def _standing(model: str, defenses: str, norm: str, eps: float | None, runs: Sequence[Checked],
              images: Sequence[str], face: Face | None) -> Standing:
    first = runs[0]
    places = _places(first, images)
    right = (first.predicted_clean == first.labels)[places]
    facing = _within(runs, eps)
    blind = [run for run in facing if run.spec.attacker == OBLIVIOUS]
    aware = any(run.spec.attacker == ADAPTIVE for run in facing)
    # Where no attacker can do better for knowing, there is but one kind.
    same = not any(adapts(ATTACKS[run.spec.attack].info, defenses_from(defenses)) for run in facing)
    oblivious = _faced(blind, norm, eps, right, images) if blind else None
    adaptive = _faced(facing, norm, eps, right, images) if aware and facing else oblivious if same else None
    most = int(np.bincount(first.labels[places]).max(initial=0))
    return Standing(model, defenses, norm, eps, right, first.refused_clean[places], most, oblivious, adaptive, face)


def _within(runs: Sequence[Checked], eps: float | None) -> list[Checked]:
    """The runs of attacks that were given no more than that budget, or none."""
    return [run for run in runs if run.spec.eps is None or eps is None or run.spec.eps <= eps * (1 + 1e-9)]


def _faced(runs: Sequence[Checked], norm: str, eps: float | None, right: np.ndarray, images: Sequence[str]) -> Faced:
    """The minimum over the attacks, image by image."""
    fooled = [fooled_within(run, norm, eps)[_places(run, images)] for run in runs]
    held = right & ~np.any(fooled, axis=0)
    refused = ~np.any(fooled, axis=0) & np.any([_refused_within(run, norm, eps)[_places(run, images)] for run in runs],
                                               axis=0)
    most = max(range(len(runs)), key=lambda number: int(fooled[number].sum()))
    asking = [run for run in runs if not has_gradients(ATTACKS[run.spec.attack].info.knowledge)]
    if not asking:
        return Faced(held, refused, title(runs[most].spec), False, None, None, 0)
    limit = max(run.limit for run in asking)
    far = [_distances(run, norm)[_places(run, images)] for run in asking]
    needed = [_needed(run, norm, eps)[_places(run, images)] for run in asking]
    queries, distance = (_middle(np.min(values, axis=0)[right]) for values in (needed, far))
    return Faced(held, refused, title(runs[most].spec), True, queries, distance, limit)


def fooled_within(run: Checked, norm: str, eps: float | None) -> np.ndarray:
    """Which images the attack fooled by a change within the budget, bool [N]: who has no budget may go further."""
    sizes = getattr(run, norm)
    return run.success if eps is None else run.success & (sizes <= eps + ROUNDING)


def _refused_within(run: Checked, norm: str, eps: float | None) -> np.ndarray:
    """Which images got no answer after a change within the budget, bool [N]."""
    return run.refused_adversarial if eps is None else run.refused_adversarial & (getattr(run, norm) <= eps + ROUNDING)


def _distances(run: Checked, norm: str) -> np.ndarray:
    """How far the nearest image lies that fools, and holds where it was asked about again; infinite where none does."""
    if run.verified is not None and norm in ("linf", "l2"):
        return run.verified.distances(norm)[-1]
    return run.distances(norm, [run.limit])[0]


def _needed(run: Checked, norm: str, eps: float | None) -> np.ndarray:
    """The queries spent on each image until one that fools lay within the budget; infinite where none did."""
    found = np.full(len(run.labels), np.inf)
    near = np.ones(len(run.finds.image), bool) if eps is None else getattr(run.finds, norm) <= eps + ROUNDING
    np.minimum.at(found, run.finds.image[near], run.finds.queries[near].astype(float))
    return np.where(fooled_within(run, norm, eps), found, np.inf)


def _middle(values: np.ndarray) -> float | None:
    middle = quantile(values, 0.5)
    return middle if math.isfinite(middle) else None


def title(spec: AttackSpec) -> str:
    """An attack, and how its attacker faces random defenses."""
    averaging = f", averaging {spec.draws} draws" if spec.draws > 1 else ""
    return f"{ATTACKS[spec.attack].info.title}{averaging}"


# ---- what hides gradients


def signs(found: Judged, one: Standing) -> list[Sign]:
    """What the attacks on that model behind those defenses show of hidden gradients: those of who knows of them."""
    return masking.signs(list(_trials(found, one)))


def _trials(found: Judged, one: Standing) -> Iterator[Trial]:
    runs = found.runs_of(one)
    images = _common(runs)
    eyes = [run for run in runs if run.spec.attacker == ADAPTIVE or not adapts(
        ATTACKS[run.spec.attack].info, defenses_from(one.defenses)) or _only_way(run, runs)]
    usual = [eps for eps in found.budgets if eps is not None]
    for run in eyes:
        for eps in ([run.spec.eps] if run.spec.eps is not None else usual):
            yield _trial(run, found.norm, eps, images)
    if one.face is not None and runs:
        yield from _noises(one, runs[0], images, one.face)


def _only_way(run: Checked, runs: Sequence[Checked]) -> bool:
    """Whether nobody attacked so knowing of the defense. Who looks past a defense shows nothing of its gradients."""
    asks = not has_gradients(ATTACKS[run.spec.attack].info.knowledge)
    return asks and not any(other.spec.attack == run.spec.attack and other.spec.attacker == ADAPTIVE for other in runs)


def _trial(run: Checked, norm: str, eps: float, images: Sequence[str]) -> Trial:
    spec, places = run.spec, _places(run, images)
    knowledge = ATTACKS[spec.attack].info.knowledge
    white = knowledge is Knowledge.WHITE_BOX and not spec.surrogate
    steps = max(1, attack_of(spec).cost().gradients) if white else None
    return Trial(title(spec), masking.WHITE if white else masking.BLACK, steps, spec.seed, eps, NORMS[norm].text(eps),
                 fooled_within(run, norm, eps)[places], run.attacked[places], norm == "linf" and eps >= HUGE,
                 int(run.gradients.sum()) if white else 0, run.tally.zero_gradients if white else 0)


def _noises(one: Standing, run: Checked, images: Sequence[str], face: Face) -> Iterator[Trial]:
    where = {name: place for place, name in enumerate(face.identities)}
    if one.norm != "linf" or run.spec.target is not None or not all(name in where for name in images):
        return
    places, own = _places(run, images), [where[name] for name in images]
    for eps, said in zip(face.budgets, face.noisy, strict=True):
        wrong = (said[own] >= 0) & (said[own] != run.labels[places])
        counts = run.attacked[places]
        yield Trial("random noise", masking.NOISE, None, 0, eps, NORMS[one.norm].text(eps), wrong & counts, counts)


def _grouped(runs: Sequence[Checked], by: Callable[[Checked], tuple[str, str]]) -> dict[tuple[str, str],
                                                                                       list[Checked]]:
    found: dict[tuple[str, str], list[Checked]] = {}
    for run in runs:
        found.setdefault(by(run), []).append(run)
    return found

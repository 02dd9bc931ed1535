"""One image, one attack, everything the Explore page shows. Building a task does not import torch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import softmax

from engine import digest
from engine.attacks import ATTACKS
from engine.attacks.base import Cost
from engine.attacks.result import MILESTONES
from engine.attacks.spec import AttackSpec, make_spec
from engine.data.base import SIZE
from engine.data.classmap import class_map_of
from engine.device import load_libraries
from engine.errors import EngineError
from engine.experiments import pace
from engine.experiments.explored import Explained, Explored, Probabilities, Ran, Searched, Size, Steps, Tried, Way
from engine.experiments.further import further_digest
from engine.experiments.sources import Picture, Source, own_number, picture, seen_by, unmarked
from engine.params import build
from engine.work.kinds import Bench, Task, kind
from engine.work.specs import canonical, from_json
from engine.work.store import Payload
from engine.zoo.registry import model_digest

if TYPE_CHECKING:
    from torch import Tensor

    from engine.attacks.result import AttackResult
    from engine.zoo.classifier import Classifier

JPEG_QUALITY = 90
MOST_SNAPSHOTS = 20


@dataclass(frozen=True)
class Exploring:
    """An attack on one picture: by name what it needs, and digests by which it is seen to be the same later.

    `names`: what the model calls the data set's classes, where it calls them otherwise.
    """

    source: Source
    model: str
    attack: AttackSpec
    image: str
    label: int | None
    weights: str
    surrogates: tuple[str, ...] = ()
    others: str = ""
    mask: str = ""
    files: tuple[tuple[str, str], ...] = ()
    names: tuple[tuple[str, str], ...] = ()

    def canonical(self) -> dict[str, Any]:
        """The digests decide, not the names: a picture is the same in whatever folder it lies."""
        return {"attack": canonical(self.attack), "image": self.image, "label": self.label, "model": self.model,
                "weights": self.weights, "surrogates": list(self.surrogates), "others": self.others,
                "mask": self.mask, "files": dict(self.files), "names": dict(self.names)}


def exploring(source: Source, model: str, attack: AttackSpec) -> Exploring:
    """The attack of that name on that picture, as they are now; raises EngineError for what can be seen without
    computing."""
    chosen, dataset = seen_by(model, source)
    if (reason := unmarked(attack.mask, chosen)) is not None:
        raise EngineError(f"{reason}; choose another picture, or another part that may change")
    mask = chosen.marks.get(attack.mask)
    each = ATTACKS[attack.attack].info.others
    return Exploring(
        source, model, attack, digest.of_arrays(chosen.image), chosen.label, model_digest(model),
        surrogates=tuple(model_digest(name.strip()) for name in attack.surrogate.split(",") if name),
        others=further_digest(dataset, own_number(source), each) if each else "",
        mask="" if mask is None else digest.of_arrays(mask),
        files=tuple(build(ATTACKS[attack.attack], attack.params).files().items()),
        names=() if (class_map := class_map_of(dataset)).trivial else tuple(class_map.names.items()),
    )


def explore_task(source: Source, model: str, attack: AttackSpec, device: str = "auto") -> Task:
    """The job that attacks one picture; raises EngineError for what can be seen without computing."""
    return Task("explore", exploring(source, model, attack), _title(source, model, attack), device)


def _title(source: Source, model: str, attack: AttackSpec) -> str:
    return f"{ATTACKS[attack.attack].info.title} on {picture(source).name} with {model}"


def unchanged(spec: Exploring) -> Exploring:
    """`spec`, if what it names is still what it was when it was asked for; raises EngineError."""
    if exploring(spec.source, spec.model, spec.attack) != spec:
        raise EngineError("the picture or the model has changed since this was asked for; ask for it again")
    return spec


@kind("explore", Exploring, result=Explored)
def _explore(spec: Exploring, bench: Bench) -> Payload:
    source, model, attack, device, progress = spec.source, spec.model, spec.attack, bench.device, bench.progress
    chosen, dataset = seen_by(model, unchanged(spec).source)
    progress.report(0.0, "loading PyTorch and the model")
    load_libraries()
    import torch

    from engine.attacks.runner import run_attack
    from engine.experiments.resources import resources_for
    from engine.explain.cam import layers_for
    from engine.metrics.perturbation import measure
    from engine.metrics.survival import as_jpeg
    from engine.metrics.visibility import visibility
    from engine.work.lessons import StoredLessons
    from engine.zoo.registry import load_model

    classifier = load_model(model)
    clean = torch.from_numpy(chosen.image)[None]
    label = _label(chosen, classifier, clean)
    resources = resources_for(attack, dataset, own_number(source), clean, classifier)
    result = run_attack(attack, classifier, clean, torch.tensor([label]), resources=resources, device=device,
                        progress=progress.part(0.05, 0.9), keep_steps=True,
                        memory=StoredLessons(bench.store))
    if not result.trace.curves:  # otherwise learning may have taken most of the time
        pace.learn(model, device, Cost(int(result.gradients[0]), int(result.queries[0])), result.seconds)
    progress.report(0.95, "measuring")
    with torch.no_grad():
        jpeg = classifier(as_jpeg(torch.tensor(result.adversarial), JPEG_QUALITY).to(classifier.device))
    logits = (result.logits_clean, result.logits_adversarial, result.logits_8bit, jpeg.cpu().numpy())
    adversarial = result.adversarial[0]
    size = measure(chosen.image, adversarial)
    return Explored(
        run=from_json(Ran, result.facts()),
        map=class_map_of(dataset).names,
        label=label,
        label_known=chosen.label is not None,
        probabilities=Probabilities(*(tuple(softmax(each, axis=1)[0].tolist()) for each in logits)),
        attacked=bool(result.attacked[0]),
        success=bool(result.success[0]),
        queries=int(result.queries[0]),
        gradients=int(result.gradients[0]),
        size=Size(**{**asdict(size), "psnr": _finite(size.psnr)}),
        visibility=visibility(chosen.image, adversarial),
        steps=_steps(result),
        walk=_way(result),
        learned=result.trace.learned,
        curves={name: tuple(values) for name, values in result.trace.curves.items()},
        layers=layers_for(classifier),
        clean=chosen.image,
        adversarial=adversarial,
        adversarial_8bit=result.adversarial_8bit[0],
        snapshots=_snapshots(result),
        film=_film(result),
    ).payload()


def _label(chosen: Picture, classifier: Classifier, clean: Tensor) -> int:
    """The true class. Nobody told us what an upload shows: there an attack leads away from what the model says now."""
    import torch

    if chosen.label is not None:
        return chosen.label
    with torch.no_grad():
        return int(classifier(clean.to(classifier.device)).argmax())


def _finite(value: float) -> float | None:
    """JSON knows no infinity: the PSNR of equal images is None."""
    return value if math.isfinite(value) else None


def _shown(result: AttackResult) -> list[int]:
    """Which of the kept iterates are shown as pictures: all, or MOST_SNAPSHOTS spread evenly."""
    total = len(result.trace.kept)
    return sorted({round(i) for i in np.linspace(0, total - 1, min(total, MOST_SNAPSHOTS))}) if total else []


def _steps(result: AttackResult) -> Steps:
    probabilities = [*(softmax(step, axis=1)[0].tolist() for step in result.trace.logits),
                     softmax(result.logits_adversarial, axis=1)[0].tolist()]
    chosen = result.spec.target if result.spec.target is not None else int(result.labels[0])
    loss = [-math.log(max(p[chosen], 1e-30)) for p in probabilities]
    shown = [result.trace.kept[i] for i in _shown(result)]
    return Steps(tuple(map(tuple, probabilities)), tuple(loss), (*shown, len(probabilities) - 1))


def _way(result: AttackResult) -> Way | None:
    walk = result.trace.walk
    if walk is None:
        return None
    spent = int(walk.queries[-1, 0])
    return Way(tuple(walk.queries[:, 0].tolist()), tuple(_finite(float(d)) for d in walk.distances[:, 0]),
               tuple(m for m in MILESTONES if m <= spent))


def _film(result: AttackResult) -> np.ndarray:
    """The images at the milestones that were reached, float32 [M, C, H, W]."""
    walk, way = result.trace.walk, _way(result)
    if walk is None or walk.film is None or way is None:
        return np.empty((0, *result.clean.shape[1:]), np.float32)
    return walk.film[:len(way.milestones), 0]


def _snapshots(result: AttackResult) -> np.ndarray:
    """The kept iterates and the final image, float32 [S, C, H, W]."""
    kept = [] if result.trace.images is None else [result.trace.images[i, 0] for i in _shown(result)]
    return np.stack([*kept, result.adversarial[0]])


# The largest budget that a search for the smallest one tries, and how exactly it finds it, for each norm.
SEARCH = {"linf": (16 / 255, 0.05 / 255), "l2": (8.0, 0.02)}


@dataclass(frozen=True)
class Searching:
    """The search for the smallest eps of an attack on one picture: from `high` ([0,1]) down, known to `tolerance`."""

    exploring: Exploring
    high: float
    tolerance: float


def minimal_task(source: Source, model: str, attack: AttackSpec, device: str = "auto") -> Task:
    """The job that finds the smallest eps at which `attack` fools the model on one picture; its own eps is ignored."""
    high, tolerance = SEARCH[attack.norm]
    spec = Searching(exploring(source, model, replace(attack, eps=high)), high, tolerance)
    return Task("minimal", spec, f"smallest epsilon of {_title(source, model, attack)}", device)


@kind("minimal", Searching, result=Searched)
def _minimal(search: Searching, bench: Bench) -> Payload:
    bench.progress.report(0.0, "loading PyTorch and the model")
    load_libraries()
    import torch

    from engine.experiments.minimal import smallest_eps
    from engine.experiments.resources import resources_for
    from engine.work.lessons import StoredLessons
    from engine.zoo.registry import load_model

    spec = unchanged(search.exploring)
    source, attack = spec.source, spec.attack
    (chosen, dataset), classifier = seen_by(spec.model, source), load_model(spec.model)
    clean = torch.from_numpy(chosen.image)[None]
    label = _label(chosen, classifier, clean)
    resources = resources_for(attack, dataset, own_number(source), clean, classifier)
    found = smallest_eps(attack, classifier, clean, torch.tensor([label]), high=search.high,
                         tolerance=search.tolerance, resources=resources, device=bench.device,
                         progress=bench.progress.part(0.05, 1.0), memory=StoredLessons(bench.store))
    one = found.found[0]
    return Searched(one.label, one.eps, tuple(Tried(each.eps, each.success) for each in one.tries), search.high,
                    search.tolerance, found.seconds, found.adversarial[0]).payload()


@dataclass(frozen=True)
class Explaining:
    """Where the model looked before and after an attack; `layer` None is the architecture's default."""

    exploring: Exploring
    method: str
    layer: str | None = None


def heatmap_task(explored: Task, method: str, layer: str | None) -> Task:
    """The job that says where the model looked before and after the attack `explored`. The class explained is what
    the model says of each image."""
    return Task("heatmaps", Explaining(explored.spec, method, layer), f"{method} of {explored.title}", explored.device)


@kind("heatmaps", Explaining, result=Explained)
def _heatmaps(spec: Explaining, bench: Bench) -> Payload:
    explored = Explored.of(bench.result(Task("explore", spec.exploring, "", bench.device)))
    bench.progress.report(0.0, "computing heatmaps")
    import torch

    from engine.explain.cam import cam
    from engine.explain.shift import cam_shift, heat_on
    from engine.zoo.registry import load_model

    lesion, classifier = picture(spec.exploring.source).lesion, load_model(spec.exploring.model)
    both = torch.from_numpy(np.stack([explored.clean, explored.adversarial])).to(classifier.device)
    said = explored.probabilities
    before, after = (int(np.argmax(values)) for values in (said.clean, said.adversarial))
    heat = cam(classifier, both, [before, after], method=spec.method, layer=spec.layer)
    return Explained(
        layer=heat.layer,
        method=spec.method,
        classes=(before, after),
        peak=(float(heat.peak[0]), float(heat.peak[1])),
        shift=cam_shift(heat.maps[0], heat.maps[1]),
        before=heat.maps[0],
        after=heat.maps[1],
        on_lesion=None if lesion is None else (heat_on(lesion, heat.maps[0]), heat_on(lesion, heat.maps[1])),
        lesion_share=None if lesion is None else float(lesion.mean()),
    ).payload()


@dataclass(frozen=True)
class Warming:
    """Getting a model ready."""

    model: str


def warm_task(model: str, device: str = "auto") -> Task:
    """The job that loads PyTorch and a model, so that the first attack need not wait for them."""
    return Task("warm", Warming(model), f"loading {model}", device)


@kind("warm", Warming, keep=False)
def _warm(spec: Warming, bench: Bench) -> Payload:
    bench.progress.report(0.0, "loading PyTorch and the model")
    load_libraries()
    import torch

    import engine.metrics.perturbation  # noqa: F401
    from engine.attacks.runner import run_attack
    from engine.explain.cam import cam
    from engine.zoo.registry import load_model

    # An attack that changes nothing, and a heatmap of it: afterwards everything is there.
    classifier, nothing = load_model(spec.model), torch.zeros(1, 1, SIZE, SIZE)
    run_attack(make_spec("fgsm", eps=0.0), classifier, nothing, torch.zeros(1), device=bench.device,
               progress=bench.progress.part(0.5, 0.9))
    cam(classifier, nothing.to(classifier.device), [0])
    return Payload({}, {})

"""One image, one attack, everything the Explore page shows. Building a task does not import torch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import softmax

from engine.attacks.base import Cost
from engine.attacks.result import MILESTONES
from engine.attacks.spec import AttackSpec, make_spec
from engine.data.base import SIZE
from engine.data.classmap import class_map_of
from engine.device import load_libraries
from engine.experiments import pace
from engine.experiments.sources import Source, picture
from engine.experiments.units import (
    Unit,
    attacked,
    images_payload,
    images_task,
    learned_arrays,
    payload_of,
    rows_task,
    unit_of,
)
from engine.work.kinds import Bench, Task, kind
from engine.work.store import Payload

if TYPE_CHECKING:
    from engine.attacks.result import AttackResult

JPEG_QUALITY = 90
MOST_SNAPSHOTS = 20


def explore_task(source: Source, model: str, attack: AttackSpec, device: str = "auto") -> Task:
    """The job that attacks one picture; raises EngineError for what can be seen without computing."""
    return explored_task(unit_of(source, model, attack), device)


def explored_task(unit: Unit, device: str = "auto") -> Task:
    """The same, for a unit of one picture."""
    return Task("explore", unit, unit.title, device)


@kind("explore", Unit)
def _explore(unit: Unit, bench: Bench) -> Payload:
    progress, chosen = bench.progress, picture(unit.source)
    result = attacked(unit, bench.part(0.0, 0.95), keep_steps=True)
    bench.keep(rows_task(unit, bench.device), payload_of(result.rows))
    bench.keep(images_task(unit, bench.device), images_payload(result))
    import torch

    from engine.explain.cam import layers_for
    from engine.metrics.perturbation import measure
    from engine.metrics.survival import as_jpeg
    from engine.metrics.visibility import visibility
    from engine.zoo.registry import load_model

    classifier = load_model(unit.model)
    if not result.trace.curves:  # otherwise learning may have taken most of the time
        pace.learn(unit.model, bench.device, Cost(int(result.gradients[0]), int(result.queries[0])), result.seconds)
    progress.report(0.95, "measuring")
    with torch.no_grad():
        jpeg = classifier(as_jpeg(torch.tensor(result.adversarial), JPEG_QUALITY).to(classifier.device))
    logits = {"clean": result.logits_clean, "adversarial": result.logits_adversarial, "png8": result.logits_8bit,
              "jpeg90": jpeg.cpu().numpy()}
    adversarial = result.adversarial[0]
    facts = {
        "run": result.facts(),
        "map": class_map_of(unit.seen).names,
        "label": int(result.labels[0]),
        "label_known": chosen.label is not None,
        "probabilities": {name: softmax(values, axis=1)[0].tolist() for name, values in logits.items()},
        "attacked": bool(result.attacked[0]),
        "success": bool(result.success[0]),
        "queries": int(result.queries[0]),
        "gradients": int(result.gradients[0]),
        "size": {name: _finite(value) for name, value in asdict(measure(chosen.image, adversarial)).items()},
        "visibility": asdict(visibility(chosen.image, adversarial)),
        "steps": _step_facts(result),
        "walk": _walk_facts(result),
        "learned": list(result.trace.learned),
        "curves": {name: list(values) for name, values in result.trace.curves.items()},
        "layers": list(layers_for(classifier)),
    }
    arrays = {"clean": chosen.image, "adversarial": adversarial, "adversarial_8bit": result.adversarial_8bit[0],
              "snapshots": _snapshots(result), "film": _film(result),
              **learned_arrays(result.trace.learned)}
    return Payload(facts, arrays)


def _finite(value: float) -> float | None:
    """JSON knows no infinity: the PSNR of equal images is None."""
    return value if math.isfinite(value) else None


def _shown(result: AttackResult) -> list[int]:
    """Which of the kept iterates are shown as pictures: all, or MOST_SNAPSHOTS spread evenly."""
    total = len(result.trace.kept)
    return sorted({round(i) for i in np.linspace(0, total - 1, min(total, MOST_SNAPSHOTS))}) if total else []


def _step_facts(result: AttackResult) -> dict[str, Any]:
    """Loss and probabilities at every iterate; the last one is the final image. `shown` numbers the kept pictures."""
    probabilities = [*(softmax(step, axis=1)[0].tolist() for step in result.trace.logits),
                     softmax(result.logits_adversarial, axis=1)[0].tolist()]
    chosen = result.spec.target if result.spec.target is not None else int(result.labels[0])
    loss = [-math.log(max(p[chosen], 1e-30)) for p in probabilities]
    shown = [result.trace.kept[i] for i in _shown(result)]
    return {"probabilities": probabilities, "loss": loss, "shown": [*shown, len(probabilities) - 1]}


def _walk_facts(result: AttackResult) -> dict[str, Any] | None:
    """A black-box attack's way: distance after so many queries, and at which numbers of queries there are pictures."""
    walk = result.trace.walk
    if walk is None:
        return None
    spent = int(walk.queries[-1, 0])
    return {"queries": walk.queries[:, 0].tolist(), "distances": [_finite(float(d)) for d in walk.distances[:, 0]],
            "milestones": [m for m in MILESTONES if m <= spent]}


def _film(result: AttackResult) -> np.ndarray:
    """The images at the milestones that were reached, float32 [M, C, H, W]."""
    walk, facts = result.trace.walk, _walk_facts(result)
    if walk is None or walk.film is None or facts is None:
        return np.empty((0, *result.clean.shape[1:]), np.float32)
    return walk.film[:len(facts["milestones"]), 0]


def _snapshots(result: AttackResult) -> np.ndarray:
    """The kept iterates and the final image, float32 [S, C, H, W]."""
    kept = [] if result.trace.images is None else [result.trace.images[i, 0] for i in _shown(result)]
    return np.stack([*kept, result.adversarial[0]])


@dataclass(frozen=True)
class Explaining:
    """Where the model looked before and after an attack; `layer` None is the architecture's default."""

    unit: Unit
    method: str
    layer: str | None = None


def heatmap_task(explored: Task, method: str, layer: str | None) -> Task:
    """The job that says where the model looked before and after the attack `explored`. The class explained is what
    the model says of each image."""
    return Task("heatmaps", Explaining(explored.spec, method, layer), f"{method} of {explored.title}", explored.device)


@kind("heatmaps", Explaining)
def _heatmaps(spec: Explaining, bench: Bench) -> Payload:
    outcome = bench.result(explored_task(spec.unit, bench.device))
    bench.progress.report(0.0, "computing heatmaps")
    import torch

    from engine.explain.cam import cam
    from engine.explain.shift import cam_shift, heat_on
    from engine.zoo.registry import load_model

    lesion, classifier = picture(spec.unit.source).lesion, load_model(spec.unit.model)
    both = torch.from_numpy(np.stack([outcome.arrays["clean"], outcome.arrays["adversarial"]])).to(classifier.device)
    before, after = (int(np.argmax(outcome.facts["probabilities"][k])) for k in ("clean", "adversarial"))
    heat = cam(classifier, both, [before, after], method=spec.method, layer=spec.layer)
    facts: dict[str, Any] = {"layer": heat.layer, "method": spec.method, "classes": [before, after],
                             "peak": heat.peak.tolist(), "shift": asdict(cam_shift(heat.maps[0], heat.maps[1]))}
    if lesion is not None:
        facts["on_lesion"] = [heat_on(lesion, heat.maps[0]), heat_on(lesion, heat.maps[1])]
        facts["lesion_share"] = float(lesion.mean())
    return Payload(facts, {"before": heat.maps[0], "after": heat.maps[1]})


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

    import engine.metrics.visibility  # noqa: F401
    from engine.attacks.runner import run_attack
    from engine.explain.cam import cam
    from engine.zoo.registry import load_model

    # An attack that changes nothing, and a heatmap of it: afterwards everything is there.
    classifier, nothing = load_model(spec.model), torch.zeros(1, 1, SIZE, SIZE)
    run_attack(make_spec("fgsm", eps=0.0), classifier, nothing, torch.zeros(1), device=bench.device,
               progress=bench.progress.part(0.5, 0.9))
    cam(classifier, nothing.to(classifier.device), [0])
    return Payload({}, {})

"""One image, one attack, everything the Explore page shows. Building a task does not import torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import digest
from engine.attacks.spec import AttackSpec
from engine.data import load as load_dataset
from engine.data.upload import load_upload
from engine.jobs import Task
from engine.models.registry import model_digest
from engine.progress import Progress
from engine.store import Payload

if TYPE_CHECKING:
    from engine.attacks.result import AttackResult

JPEG_QUALITY = 90
MOST_SNAPSHOTS = 40


@dataclass(frozen=True)
class Source:
    """Where an image comes from: number `index` of a data set's split, or an upload known by its digest."""

    dataset: str = ""
    split: str = ""
    index: int = 0
    upload: str = ""


@dataclass(frozen=True)
class Picture:
    """An image to explore: float32 [C, H, W] in [0,1]; `label` is None where the true class is unknown."""

    image: np.ndarray
    label: int | None
    name: str
    synthetic: bool
    lesion: np.ndarray | None


@lru_cache(maxsize=64)
def picture(source: Source) -> Picture:
    """The image a source names; raises EngineError."""
    if source.upload:
        return Picture(load_upload(source.upload).image, None, "upload", False, None)
    dataset = load_dataset(source.dataset, source.split)
    index = dataset.checked(source.index)
    return Picture(dataset.image(index), int(dataset.labels[index]), dataset.item_name(index), dataset.info.synthetic,
                   dataset.lesion(index))


def explore_task(source: Source, model: str, attack: AttackSpec, device: str = "auto") -> Task:
    """The job that attacks one picture; raises EngineError for what can be seen without computing."""
    chosen = picture(source)
    spec = {"image": digest.of_arrays(chosen.image), "label": chosen.label, "model": model,
            "weights": model_digest(model), "attack": asdict(attack), "device": device}
    title = f"{attack.attack} on {chosen.name} with {model}"
    return Task("explore", title, spec, lambda progress: _explore(chosen, model, attack, device, progress), device)


def _explore(chosen: Picture, model: str, attack: AttackSpec, device: str, progress: Progress) -> Payload:
    import torch

    from engine.attacks.runner import run_attack
    from engine.metrics.perturbation import measure
    from engine.metrics.survival import as_jpeg
    from engine.metrics.visibility import visibility
    from engine.models.registry import load_model

    progress.report(0.0, "loading the model")
    classifier = load_model(model)
    clean = torch.from_numpy(chosen.image)[None]
    label = chosen.label
    if label is None:
        # Nobody told us what the upload shows: the attack leads away from what the model says now.
        with torch.no_grad():
            label = int(classifier(clean.to(classifier.device)).argmax())
    result = run_attack(attack, classifier, clean, torch.tensor([label]), device=device,
                        progress=progress.part(0.05, 0.9), keep_steps=True)
    jpeg = as_jpeg(torch.from_numpy(result.adversarial), JPEG_QUALITY)
    with torch.no_grad():
        logits_jpeg = classifier(jpeg.to(classifier.device)).cpu().numpy()
    progress.report(0.95, "measuring")
    adversarial = result.adversarial[0]
    facts = {
        "run": result.facts(),
        "label": label,
        "label_known": chosen.label is not None,
        "probabilities": {
            "clean": _probabilities(result.logits_clean)[0].tolist(),
            "adversarial": _probabilities(result.logits_adversarial)[0].tolist(),
            "png8": _probabilities(result.logits_8bit)[0].tolist(),
            "jpeg90": _probabilities(logits_jpeg)[0].tolist(),
        },
        "success": bool(result.success[0]),
        "queries": int(result.queries[0]),
        "gradients": int(result.gradients[0]),
        "size": asdict(measure(chosen.image, adversarial)),
        "visibility": asdict(visibility(chosen.image, adversarial)),
        "steps": _step_facts(result),
    }
    arrays = {"clean": chosen.image, "adversarial": adversarial, "adversarial_8bit": result.adversarial_8bit[0],
              "snapshots": _snapshots(result)}
    return Payload(facts, arrays)


def _probabilities(logits: np.ndarray) -> np.ndarray:
    from engine.metrics.classification import softmax

    return softmax(logits)


def _shown_steps(result: AttackResult) -> list[int]:
    """Which iterates are kept as pictures: all, or MOST_SNAPSHOTS spread evenly."""
    total = len(result.trace.logits)
    return sorted({round(i) for i in np.linspace(0, total - 1, min(total, MOST_SNAPSHOTS))}) if total else []


def _step_facts(result: AttackResult) -> dict[str, Any]:
    """Loss and probabilities at every iterate; the last one is the final image. `shown` numbers the kept pictures."""
    probabilities = [*(_probabilities(step)[0].tolist() for step in result.trace.logits),
                     _probabilities(result.logits_adversarial)[0].tolist()]
    chosen = result.spec.target if result.spec.target is not None else int(result.labels[0])
    loss = [-float(np.log(max(p[chosen], 1e-30))) for p in probabilities]
    return {"probabilities": probabilities, "loss": loss, "shown": [*_shown_steps(result), len(probabilities) - 1]}


def _snapshots(result: AttackResult) -> np.ndarray:
    """The kept iterates and the final image, float32 [S, C, H, W]."""
    kept = [] if result.trace.images is None else [result.trace.images[i, 0] for i in _shown_steps(result)]
    return np.stack([*kept, result.adversarial[0]])


def heatmap_task(outcome: Payload, explored: Task, model: str, method: str, layer: str | None,
                 lesion: np.ndarray | None) -> Task:
    """The job that says where the model looked, before and after. `layer` None is the architecture's default."""
    spec = {"explored": explored.key, "method": method, "layer": layer}
    return Task("heatmaps", f"{method} of {explored.title}", spec,
                lambda progress: _heatmaps(outcome, model, method, layer, lesion, progress), explored.device)


def _heatmaps(outcome: Payload, model: str, method: str, layer: str | None, lesion: np.ndarray | None,
              progress: Progress) -> Payload:
    import torch

    from engine.explain.cam import cam
    from engine.explain.shift import cam_shift, heat_on
    from engine.models.registry import load_model

    progress.report(0.0, "heatmaps")
    classifier = load_model(model)
    both = torch.from_numpy(np.stack([outcome.arrays["clean"], outcome.arrays["adversarial"]])).to(classifier.device)
    before, after = (int(np.argmax(outcome.facts["probabilities"][k])) for k in ("clean", "adversarial"))
    heat = cam(classifier, both, [before, after], method=method, layer=layer)
    facts: dict[str, Any] = {"layer": heat.layer, "method": method, "classes": [before, after],
                             "shift": asdict(cam_shift(heat.maps[0], heat.maps[1]))}
    if lesion is not None:
        facts["on_lesion"] = [heat_on(lesion, heat.maps[0]), heat_on(lesion, heat.maps[1])]
    return Payload(facts, {"before": heat.maps[0], "after": heat.maps[1]})

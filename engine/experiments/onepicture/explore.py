"""One image, one attack, everything the Explore page shows. Building a task does not import torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from engine.attacks.base import Cost
from engine.attacks.result import FRAMES, MILESTONES
from engine.attacks.spec import AttackSpec, make_spec
from engine.data.base import SIZE
from engine.data.classmap import class_map_of
from engine.data.stored import Stored
from engine.device import load_libraries
from engine.experiments.onepicture import pace
from engine.experiments.onepicture.asking import answers, refused, said, served
from engine.experiments.onepicture.explored import (
    Explained,
    Explored,
    InFile,
    Probabilities,
    Ran,
    Size,
    Steps,
    Way,
)
from engine.experiments.sources import Source, picture
from engine.experiments.units import Unit, attacked, images_payload, images_task, payload_of, rows_task, unit_of
from engine.work.kinds import Bench, Task, kind
from engine.work.specs import from_json
from engine.work.store import Payload

if TYPE_CHECKING:
    from torch import Tensor

    from engine.attacks.result import AttackResult
    from engine.serving.served import Served
    from engine.zoo.classifier import Classifier

JPEG_QUALITY = 90
MOST_SNAPSHOTS = 20


def explore_task(source: Source, model: str, attack: AttackSpec, device: str = "auto", company: Sequence[int] = (),
                 further: Sequence[int] = ()) -> Task:
    """The job that attacks one picture, alone or as in a table (`unit_of`); raises EngineError for what can be seen
    without computing."""
    return explored_task(unit_of(source, model, attack, company, further), device)


def explored_task(unit: Unit, device: str = "auto") -> Task:
    """The same, for a unit of which one picture is shown."""
    return Task("explore", unit, unit.title, device)


@kind("explore", Unit, reads=Explored.of)
def _explore(unit: Unit, bench: Bench) -> Payload:
    progress, chosen = bench.progress, picture(unit.source)
    result = attacked(unit, bench.part(0.0, 0.95), keep_steps=True)
    bench.keep(rows_task(unit.whole, bench.device), payload_of(result.rows))
    bench.keep(images_task(unit.whole, bench.device), images_payload(result))
    if unit.shown is not None:
        result = result.of(unit.shown)
    import torch

    from engine.explain.cam import layers_for
    from engine.explain.methods import methods_for
    from engine.metrics.perturbation import measure
    from engine.metrics.survival import as_jpeg
    from engine.metrics.visibility import visibility
    from engine.zoo.registry import load_model

    classifier = load_model(unit.model)
    if not result.trace.curves and unit.shown is None:  # otherwise learning, or others, may have taken most of the time
        _learn_pace(unit.attack.surrogate or unit.model, bench.device, result)
    progress.report(0.95, "measuring")
    model = served(unit, classifier)
    jpeg = answers(model, as_jpeg(torch.tensor(result.adversarial), JPEG_QUALITY), ["jpeg"])
    logits = (result.logits_clean, result.logits_adversarial, result.logits_8bit)
    adversarial = result.adversarial[0]
    size = measure(chosen.image, adversarial)
    return Explored(
        run=from_json(Ran, result.facts()),
        map=class_map_of(unit.seen).names,
        label=int(result.labels[0]),
        label_known=chosen.label is not None,
        probabilities=Probabilities(*(tuple(each[0].tolist()) for each in (*map(said, logits), jpeg))),
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
        layers=layers_for(classifier) if methods_for(classifier.arch) else (),
        clean=chosen.image,
        adversarial=adversarial,
        adversarial_8bit=result.adversarial_8bit[0],
        snapshots=_snapshots(result),
        film=_film(result),
        in_file=None if chosen.stored is None else _in_file(model, chosen.stored, adversarial),
    ).payload()


def _in_file(model: Served, stored: Stored, adversarial: np.ndarray) -> InFile:
    """What the model says of the adversarial picture in the values of the file that the clean one comes from."""
    import torch

    pixels = stored.written(adversarial)
    both = torch.from_numpy(np.stack([stored.rounded(adversarial), stored.seen(pixels)]))
    rounded, written = (tuple(each.tolist()) for each in answers(model, both, ["rounded", "written"]))
    grid, moved = stored.grid, np.abs(pixels.astype(np.int64) - stored.pixels).max()
    rows, columns = pixels.shape[:2]
    return InFile(rounded, written, grid.unit, grid.step, grid.finer, float(moved * grid.step), rows, columns)


def _learn_pace(model: str, device: str, result: AttackResult) -> None:
    """The network behind the gradients of a run on one picture took its time."""
    pace.learn(model, device, Cost(int(result.gradients[0]), int(result.queries[0])), result.seconds)


def _finite(value: float) -> float | None:
    """JSON knows no infinity: the PSNR of equal images is None."""
    return value if math.isfinite(value) else None


def _shown(result: AttackResult) -> list[int]:
    """Which of the kept iterates are shown as pictures: all, or MOST_SNAPSHOTS spread evenly."""
    total = len(result.trace.kept)
    return sorted({round(i) for i in np.linspace(0, total - 1, min(total, MOST_SNAPSHOTS))}) if total else []


def _steps(result: AttackResult) -> Steps:
    probabilities = [said(logits)[0].tolist() for logits in (*result.trace.logits, result.logits_adversarial)]
    chosen = result.spec.target if result.spec.target is not None else int(result.labels[0])
    loss: list[float] = []
    for step in probabilities:  # a refused one tells no loss
        loss.append((loss or [0.0])[-1] if refused(step) else -math.log(max(step[chosen], 1e-30)))
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
    return walk.film[[FRAMES.index(milestone) for milestone in way.milestones], 0]


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


@kind("heatmaps", Explaining, reads=Explained.of)
def _heatmaps(spec: Explaining, bench: Bench) -> Payload:
    explored = Explored.of(bench.result(explored_task(spec.unit, bench.device)))
    bench.progress.report(0.0, "computing heatmaps")
    import torch

    from engine.explain.cam import cam
    from engine.explain.shift import cam_shift, heat_on
    from engine.zoo.registry import load_model

    lesion, classifier = picture(spec.unit.source).lesion, load_model(spec.unit.model)
    both = torch.from_numpy(np.stack([explored.clean, explored.adversarial])).to(classifier.device)
    before, after = (_named(classifier, image, values) for image, values in
                     zip(both, (explored.probabilities.clean, explored.probabilities.adversarial), strict=True))
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


def _named(classifier: Classifier, image: Tensor, answer: Sequence[float]) -> int:
    """The class that a picture was called, by the model alone where the answer was refused."""
    import torch

    if not refused(answer):
        return int(np.argmax(answer))
    with torch.no_grad():
        return int(classifier(image[None]).argmax())


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
    for _ in range(2):  # the second shows how fast it is
        result = run_attack(make_spec("fgsm", eps=0.0), classifier, nothing, torch.zeros(1), device=bench.device,
                            progress=bench.progress.part(0.5, 0.9))
    _learn_pace(spec.model, bench.device, result)
    cam(classifier, nothing.to(classifier.device), [0])
    return Payload({}, {})

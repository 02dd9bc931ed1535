"""A finished run, top to bottom: verdict, viewer, probabilities, heatmaps, steps, numbers and files, explanation."""

import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from scipy import ndimage

from engine.attacks import ATTACKS
from engine.attacks.base import Cost
from engine.attacks.norms import NORMS
from engine.attacks.spec import MASKS
from engine.data.raster import printable
from engine.experiments import pace
from engine.experiments.explore import SEARCH, heatmap_task, minimal_task
from engine.experiments.fooling import MOST, fooling_task
from engine.experiments.sources import Picture, opened
from engine.explain.methods import CAMS
from engine.work.jobs import Job, State, jobs
from engine.work.store import Payload
from pages.ui import charts, controls, pictures, progress, runs, verdict
from pages.ui.address import Address
from pages.ui.charts import counted, duration, percent
from pages.ui.pictures import Figure
from pages.ui.shell import owner
from pages.ui.text import plain
from pages.ui.viewer import amplified, auto_gain, strongest_channel, viewer

MOST_OUTLINED = 0.5  # the share of changed pixels up to which an outline says more than the difference
MOST_LONE = 50  # the number of changed pixels up to which each is circled
MUCH = 32 / 255  # a change that is worth an outline of its own where everything else changed, too


@dataclass(frozen=True, eq=False)
class Run:
    """A job, the settings it was started with, and the picture it attacks."""

    settings: runs.Settings
    picture: Picture
    job: Job

    @property
    def payload(self) -> Payload:
        assert self.job.payload is not None
        return self.job.payload

    @property
    def facts(self) -> dict[str, Any]:
        return self.payload.facts

    @property
    def classes(self) -> list[str]:
        return list(self.facts["run"]["classes"])

    @property
    def badge(self) -> str:
        return "SYNTHETIC" if self.picture.synthetic else ""

    @property
    def key(self) -> str:
        return self.job.key


def show(run: Run, address: Address) -> None:
    """Everything about a finished run."""
    with st.container():
        _headline(run)
    _details(run, address)


def _headline(run: Run) -> None:
    """Verdict, remarks, viewer: each in the place where it stood while the attack ran (pages/ui/live.py)."""
    verdict.show(run.facts, run.classes, run.picture.stored_units)
    with st.container():
        for line in _remarks(run):
            st.caption(plain(line))
    before, after = (verdict.says(run.facts, run.classes, image) for image in ("clean", "adversarial"))
    viewer(run.payload.arrays["clean"], run.payload.arrays["adversarial"], original_caption=str(before),
           perturbed_caption=str(after), badge=run.badge or None, stored_units=run.picture.stored_units,
           key="explore viewer")


def _details(run: Run, address: Address) -> None:
    st.markdown("##### What the model says")
    charts.show(charts.probabilities(run.classes, *(run.facts["probabilities"][k] for k in ("clean", "adversarial"))),
                key="explore probabilities")
    # In a container, so that what follows stays in place while the maps are computed.
    with st.container():
        st.markdown("##### Where the model looks")
        heatmaps = _heatmaps(run, address)
    steps, smallest, numbers, explanation = st.tabs(["Step by step", "Smallest epsilon", "Numbers and files",
                                                     "How this attack works"])
    with steps:
        _parts(run)
        if run.facts["walk"] is not None:
            _walk(run, run.facts["walk"])
        else:
            _steps(run)
    with smallest:
        _smallest(run)
    with numbers:
        _numbers(run)
        _files(run, heatmaps)
    with explanation:
        _explanation(run)


def _remarks(run: Run) -> list[str]:
    """What a reader must know besides: about the picture, from the attack, about keeping the result."""
    # What the verdict has told already.
    known = ("so there was nothing to succeed on", "vanish when the image is saved with 8 bits")
    lines = [*(w for w in run.facts["run"]["warnings"] if not w.endswith(known)), run.job.note]
    return [*foreseen(run.settings, run.picture), *_sentences(lines)]


def foreseen(settings: runs.Settings, picture: Picture) -> list[str]:
    """What a reader must know besides, as far as it is known before the attack has run."""
    lines = [*picture.notes, *_confined(settings)]
    if settings.source.upload and settings.source.dataset.startswith("phantom"):
        lines.append("this model was trained on phantoms only; choose a data set of real pictures on the left")
    return _sentences(lines)


def _sentences(lines: Iterable[str]) -> list[str]:
    lines = [line.removeprefix("1 of 1 images: ") for line in lines]
    return [line[0].upper() + line[1:].rstrip(".") + "." for line in lines if line]


def _confined(settings: runs.Settings) -> Iterator[str]:
    """What was different for the attacker: another model's gradients, only a part of the picture."""
    if settings.attack.surrogate:
        yield f"the attack was made on {settings.attack.surrogate}, without a look into {settings.model}"
    if settings.attack.mask:
        yield f"only a part of the picture could change: {MASKS[settings.attack.mask.partition(':')[0]]}"


# ---- heatmaps


def _heatmaps(run: Run, address: Address) -> Payload | None:
    layers = run.facts["layers"]
    left, middle, right = st.columns([1, 1, 1], vertical_alignment="bottom")
    with left:
        method = controls.choice(address, "cam", "Method", list(CAMS), next(iter(CAMS)),
                                 format_func=lambda name: CAMS[name].title,
                                 help="  \n".join(f"**{m.title}**: {m.sentence}" for m in CAMS.values()))
    with middle:
        layer = controls.choice(address, "layer", "Layer", layers, layers[0],
                                help="Late layers see meaning and coarse places, early ones edges and fine places.")
    lesion = run.picture.lesion
    outlined = False
    if lesion is not None:
        outlined = right.toggle("Outline the true lesion", key="explore.outline",
                                help="Phantoms are computed, so where the disease lies is known.")
    job = jobs().submit(heatmap_task(run.job.task, method, layer),
                        owner())
    if not progress.finished(job):
        return None
    if job.state is not State.DONE or job.payload is None:
        st.error(plain(job.error or "The heatmaps were cancelled; choose another method to compute them again."))
        return None
    _heat_row(run, job.payload, job.key, lesion, outlined)
    return job.payload


def _heat_row(run: Run, heat: Payload, key: str, lesion: np.ndarray | None, outlined: bool) -> None:
    clean, adversarial = run.payload.arrays["clean"], run.payload.arrays["adversarial"]
    before, after = heat.arrays["before"], heat.arrays["after"]
    names = [run.classes[index] for index in heat.facts["classes"]]
    on_lesion = heat.facts.get("on_lesion") or [None, None]
    pictures.row([
        Figure("Before", _heat_caption(names[0], on_lesion[0]),
               pictures.heat_png(clean, before, lesion, outlined, f"{key} before"), run.badge,
               scale=(pictures.INFERNO_CSS, "ignored", "what counts most")),
        Figure("After the attack", _heat_caption(names[1], on_lesion[1]),
               pictures.heat_png(adversarial, after, lesion, outlined, f"{key} after"), run.badge,
               scale=(pictures.INFERNO_CSS, "ignored", "what counts most")),
        Figure("Change", _shift_caption(heat.facts["shift"]),
               pictures.heat_change_png(clean, after - before, lesion, outlined, f"{key} change"), run.badge,
               scale=(pictures.CHANGE_CSS, "attention went", "attention came")),
    ])


def _heat_caption(name: str, on_lesion: float | None) -> str:
    share = "" if on_lesion is None else f" · {on_lesion:.0%} of the heat on the lesion".replace("%", " %")
    return f"for {name}{share}"


def _shift_caption(shift: dict[str, float | None]) -> str:
    if shift["correlation"] is None:
        return "one of the maps is empty: nothing to compare"
    return f"correlation {shift['correlation']:.2f} · hottest fifth overlaps {shift['overlap']:.0%}".replace("%", " %")


# ---- step by step


@st.fragment
def _steps(run: Run) -> None:
    facts = run.facts["steps"]
    last = len(facts["loss"]) - 1
    step = last
    if last > 0:
        step = st.slider("Step", 0, last, last, key=f"explore step {run.key[:12]}",
                         help="0 is the start; with a random start that is not the original picture.")
    shown = facts["shown"]
    nearest = min(range(len(shown)), key=lambda place: abs(shown[place] - step))
    image = run.payload.arrays["snapshots"][nearest]
    clean = run.payload.arrays["clean"]
    gain = auto_gain(strongest_channel(run.payload.arrays["adversarial"] - clean))
    says = facts["probabilities"][step]
    best = int(np.argmax(says))
    left, right = st.columns([1.2, 1], gap="medium")
    with left:
        pictures.row([
            Figure(f"After step {shown[nearest]} of {last}", f"{run.classes[best]} {percent(says[best])}",
                   pictures.image_png(image, f"{run.key} {nearest}"), run.badge, exact=True),
            Figure("Perturbation so far",
                   f"{verdict.levels(float(np.abs(image - clean).max()))}, "
                   f"{amplified(strongest_channel(image - clean), gain)}",
                   pictures.difference_png(image - clean, gain, f"{run.key} {nearest}"), run.badge, exact=True),
        ])
    with right:
        target = run.facts["run"]["spec"]["target"]
        title = "loss" if target is None else "loss to goal"
        charts.show(charts.steps(run.classes, facts["probabilities"], facts["loss"], step, title), key="explore steps")
        if run.settings.attack.surrogate:
            st.caption(plain(f"On the way these are the answers of {run.settings.attack.surrogate}; the last is that "
                             f"of {run.settings.model}."))


def _parts(run: Run) -> None:
    """What the attack learned from other pictures, how it learned it, and where this picture changed."""
    if run.facts["curves"]:
        charts.show(charts.learning(run.facts["curves"]), key="explore learning")
    figures = [*(_learned(run, name) for name in run.facts["learned"]), *filter(None, [_where(run)])]
    if figures:
        pictures.row(figures, columns=3)
    for name in run.facts["learned"]:
        values = run.payload.arrays[f"learned_{name}"]
        png, help = _learned(run, name).png, "What was learned, as a picture."
        if values.min() >= 0:
            png, help = printable(values), "To be printed: at 100 dots an inch its pixels are squares of 2 mm."
        _download(f"The {name} (.png)", f"{settings_stem(run)}-{name}.png", png, help)
    if run.facts["learned"]:
        _fooling(run)


def _learned(run: Run, name: str) -> Figure:
    """Something learned alone: a pattern to be added, as a difference, or a patch as it is."""
    values, key = run.payload.arrays[f"learned_{name}"], f"{run.key} {name}"
    if values.min() >= 0:
        return Figure(f"The {name} alone", "as it is printed", pictures.image_png(values, key), exact=True)
    change = strongest_channel(values)
    gain = auto_gain(change)
    return Figure(f"The {name} alone", amplified(change, gain), pictures.difference_png(values, gain, key), exact=True)


def _fooling(run: Run) -> None:
    """How often what was learned fools the model on the split, measured when a button is pressed."""
    settings, what = run.settings, run.facts["learned"][0]
    total = min(MOST, len(opened(settings.source.dataset, settings.source.split)))
    at = pace.known(settings.model, settings.device)
    time = "" if at is None else f" Takes about {duration(total * at.estimate(Cost(0, 1)))} here."
    found = progress.on_request(fooling_task(run.job.task, MOST),
                                f"One {what} for every picture: how often does it fool the model? It is tried on "
                                f"up to {total} pictures of the split '{settings.source.split}' that it was not "
                                f"learned from.{time}", "Measure the fooling rate", key="explore fooling")
    if found is None:
        return
    facts, split = found.facts, settings.source.split
    low, high = facts["fooling_interval"]
    target = settings.attack.target
    of = f"{facts['fooling_of']} pictures of the split '{split}'"
    does = f"changes the prediction on **{percent(facts['fooling_rate'] or 0)}** of {of}"
    if target is not None:
        name = plain(run.classes[target])
        does = f"makes the model say {name} on **{percent(facts['fooling_rate'] or 0)}** of the {of} that it did not " \
               f"take for {name} before"
    st.markdown(f"The {what} {does} (95 % interval {percent(low)} to {percent(high)}). Accuracy: "
                f"{percent(facts['accuracy_clean'])} before, {percent(facts['accuracy_adversarial'])} with the {what}, "
                f"{percent(facts['accuracy_adversarial_8bit'])} saved with 8 bits.")
    with st.container(horizontal=True):
        _download("Fooling rate (.csv)", f"{settings_stem(run)}-fooling.csv", lambda: _fooling_csv(run, found),
                  "Every picture's number, class, and what the model said before and after.")
        _download("Fooling rate (.json)", f"{settings_stem(run)}-fooling.json",
                  lambda: json.dumps({**facts, "model": settings.model, "dataset": settings.source.dataset,
                                      "split": split, "spec": asdict(settings.attack)}, indent=2) + "\n",
                  "The rates, and all settings.")
    if not settings.source.upload:
        st.caption(f"The same from the command line: the command under *Numbers and files* with --limit {MOST} instead "
                   "of --index.")


def _fooling_csv(run: Run, found: Payload) -> str:
    says = {title: np.take(run.classes, found.arrays[key])
            for title, key in (("class", "labels"), ("predicted before", "predicted_clean"),
                               ("predicted after", "predicted_adversarial"))}
    return _as_csv(pd.DataFrame({"picture": found.arrays["indices"], **says}))


def _where(run: Run) -> Figure | None:
    """An outline around what changed, or at least around what changed much, where that is only a part."""
    clean, adversarial = run.payload.arrays["clean"], run.payload.arrays["adversarial"]
    change = np.abs(adversarial - clean).max(axis=0)
    for least, how in ((0.0, ""), (MUCH, f" by more than {verdict.levels(MUCH)}")):
        changed = change > least
        region = _region(changed)
        if changed.any() and changed.mean() <= MOST_OUTLINED and (not least or _compact(region)):
            return Figure("Where it changed", f"{percent(float(changed.mean()))} of the picture{how}",
                          pictures.outlined_png(adversarial, region, f"{run.key} where"), run.badge)
    return None


def _region(changed: np.ndarray) -> np.ndarray:
    """What to outline: a pixel here and there that happened to stay as it was is no border; a few lone pixels need a
    wide one."""
    if changed.sum() <= MOST_LONE:
        return ndimage.binary_dilation(changed, iterations=5)
    return changed | ndimage.binary_closing(changed, iterations=2)


def _compact(region: np.ndarray) -> bool:
    """Whether it is of a piece, or a few; the larger pixels of noise all over the picture are not."""
    return bool(ndimage.binary_opening(region, iterations=2).sum() > region.sum() / 2)


def _walk(run: Run, walk: dict[str, Any]) -> None:
    """A black-box attack as a film strip, and how near it came with how many queries."""
    norm = NORMS[run.facts["run"]["spec"]["norm"]]
    frames = [*zip(walk["milestones"], run.payload.arrays["film"], strict=True)]
    if not frames or frames[-1][0] < walk["queries"][-1]:
        frames.append((walk["queries"][-1], run.payload.arrays["adversarial"]))
    clean = run.payload.arrays["clean"]
    figures = []
    for spent, image in frames:
        change = (image - clean).astype(np.float64)
        size = {"linf": f"{np.abs(change).max() * 255:.3g}/255", "l2": f"L2 {np.linalg.norm(change):.3g}",
                "l0": counted(int((change != 0).any(axis=0).sum()), "pixel")}[norm.name]
        figures.append(Figure(f"{spent:,} queries", size,
                              pictures.image_png(image, f"{run.key} film {spent}"), run.badge))
    pictures.row(figures, columns=max(4, len(figures)))
    distances = [None if d is None else d * norm.factor for d in walk["distances"]]
    charts.show(charts.walk(walk["queries"], distances, norm.noun), key="explore walk")


# ---- the smallest epsilon


def _smallest(run: Run) -> None:
    """The search for the smallest budget that flips this picture, started by a button."""
    settings, info = run.settings, ATTACKS[run.settings.attack.attack].info
    if not info.bounded:
        st.caption(f"{info.title} has no epsilon: what it finds is already limited by its own settings.")
        return
    task = minimal_task(settings.source, settings.model, settings.attack, settings.device)
    scale = controls.SCALES[settings.attack.norm]
    high, tolerance = (scale.text(value * scale.factor) for value in SEARCH[settings.attack.norm])
    found = progress.on_request(task, "The same attack again and again, halving the interval in which the diagnosis "
                                f"flips: from {high} down to {tolerance}.", "Search the smallest epsilon",
                                key="explore smallest")
    if found is not None:
        _bisection(run, found, scale)


def _bisection(run: Run, found: Payload, scale: controls.Scale) -> None:
    eps, tries = found.facts["eps"], found.facts["tries"]
    if eps is None:
        st.markdown(f"The model held at every budget up to **{scale.text(found.facts['high'] * scale.factor)}**.")
    elif eps == 0:
        st.markdown("There was nothing to break: the model is wrong about this picture as it is.")
    else:
        st.markdown(f"The diagnosis flips from **{eps * scale.factor:.4g}{scale.unit}**, known to "
                    f"{scale.text(found.facts['tolerance'] * scale.factor)}, after {len(tries)} attacks. It is assumed "
                    "that no larger budget fails where a smaller one works.")
    if tries:
        charts.show(charts.bisection([t["eps"] * scale.factor for t in tries], [t["success"] for t in tries],
                                     scale.label), key="explore bisection")


# ---- numbers and files


def _numbers(run: Run) -> None:
    facts, size = run.facts, run.facts["size"]
    provenance, spec = facts["run"]["provenance"], facts["run"]["spec"]
    seen = facts["visibility"]
    pictures.numbers([
        ("L∞", verdict.levels(size["linf"]), "",
         "The largest change of any pixel; 1/255 is one step of an 8-bit picture."),
        ("L2", f"{size['l2']:.3g}", "", "The root of the summed squares of all pixel changes, pixels in [0, 1]."),
        ("L0", f"{size['l0']:,}", "pixels",
         f"How many pixels changed at all: {percent(size['l0_share'])} of the picture."),
        ("PSNR", "∞" if size["psnr"] is None else f"{size['psnr']:.1f}", "" if size["psnr"] is None else "dB",
         "Peak signal-to-noise ratio: above 40 dB two pictures look the same to nearly everyone."),
        ("SSIM", f"{size['ssim']:.4f}", "", "Structural similarity from -1 to 1; 1 is the same picture."),
        ("Visibility", f"{seen['score']:.2f}", "JND", "The change where it is easiest to see, in just-noticeable "
         "differences of the eye. An estimate, not a reader study."),
        ("Queries", f"{facts['queries']:,}", "", "How often the attack asked the model about this picture."),
        ("Gradients", f"{facts['gradients']:,}", "", "How often the attack computed which way to go."),
        ("Time", f"{facts['run']['seconds']:.2f}", "s", "The attack with its final checks, without loading the model."),
        ("Device", provenance["device"], "", "Which processor computed."),
        ("Seed", str(spec["seed"]), "", "The same seed and settings give the same picture again on the same device."),
    ])
    rows = [("before the attack", "clean"), ("after the attack", "adversarial"), ("saved as 8-bit PNG", "png8"),
            ("saved as JPEG, quality 90", "jpeg90")]
    header = f"| The model says | {' | '.join(map(plain, run.classes))} |\n|:--|{'--:|' * len(run.classes)}\n"
    st.markdown(header + "\n".join(f"| {title} | {' | '.join(percent(p) for p in facts['probabilities'][key])} |"
                                   for title, key in rows))


def _files(run: Run, heatmaps: Payload | None) -> None:
    arrays, settings = run.payload.arrays, run.settings
    stem = settings_stem(run)
    change = strongest_channel(arrays["adversarial"] - arrays["clean"])
    gain = auto_gain(change)
    st.markdown("**Take it away**")
    with st.container(horizontal=True):
        _download("Original", f"{stem}-original.png", lambda: pictures.encode(pictures.eight_bit(arrays["clean"])),
                  "The picture as the model saw it, 8-bit PNG.")
        _download("Perturbed", f"{stem}-perturbed.png",
                  lambda: pictures.encode(pictures.eight_bit(arrays["adversarial_8bit"])),
                  "The attacked picture rounded to 8 bits.")
        _download("Difference", f"{stem}-difference-x{gain:g}.png",
                  lambda: pictures.encode(pictures.difference_colours(change, gain)),
                  f"What was added, {amplified(change, gain)}: blue darker, orange brighter.")
        _download("All arrays (.npz)", f"{stem}.npz", lambda: _npz(run, heatmaps),
                  "Original, perturbed, every kept step and the heatmaps in full precision, for NumPy.")
        _download("Numbers (.csv)", f"{stem}.csv", lambda: _csv(run),
                  "Loss and class probabilities at every step; of black-box attacks, the distance after queries.")
        _download("Run (.json)", f"{stem}.json", lambda: runs.to_json(settings, run.facts),
                  "Settings, numbers, versions and digests. Give it to 'Use your own picture' to open the run again.")
    if settings.source.upload:
        st.caption("An upload lies on this machine only: open the run's file to repeat it.")
    else:
        st.caption("The same run from the command line:")
        st.code(runs.command(settings, run.classes), language="bash", wrap_lines=True)


def settings_stem(run: Run) -> str:
    """How the names of a run's files begin."""
    return f"{run.settings.attack.attack}-{run.key[:8]}"


def _download(label: str, name: str, data: Any, help: str) -> None:
    st.download_button(label, data, file_name=name, help=help, on_click="ignore", key=f"explore file {label}")


def _npz(run: Run, heatmaps: Payload | None) -> bytes:
    file = io.BytesIO()
    heat = {} if heatmaps is None else {f"heat_{name}": values for name, values in heatmaps.arrays.items()}
    np.savez(file, **run.payload.arrays, **heat, probabilities=np.array(run.facts["steps"]["probabilities"]),
             loss=np.array(run.facts["steps"]["loss"]))
    return file.getvalue()


def _csv(run: Run) -> str:
    if (walk := run.facts["walk"]) is not None:
        return _as_csv(pd.DataFrame({"queries": walk["queries"], "distance": walk["distances"]}))
    facts = run.facts["steps"]
    steps = pd.DataFrame({"step": range(len(facts["loss"])), "loss": facts["loss"]})
    return _as_csv(pd.concat([steps, pd.DataFrame(facts["probabilities"], columns=run.classes)], axis=1))


def _as_csv(table: pd.DataFrame) -> str:
    """With eight significant digits."""
    return str(table.to_csv(index=False, float_format="%.8g"))


# ---- explanation


def _explanation(run: Run) -> None:
    info = ATTACKS[run.settings.attack.attack].info
    paper = info.paper
    known_as, knows = controls.KNOWN_AS[info.knowledge], lower_first(info.knowledge.value)
    st.markdown(f"**{info.title}**, {known_as}: {knows}. {info.sentence}")
    st.latex(info.formula)
    st.caption(r"$x$ the picture, $x'$ the attacked one, $y$ its class, $L$ the loss, $\varepsilon$ the budget")
    left, right = st.columns(2, gap="large")
    left.markdown(f"**What to look for.** {info.look_for}")
    right.markdown(f"**Paper.** {paper.authors}: [{paper.title}]({paper.url}), {paper.year}.")


def lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]

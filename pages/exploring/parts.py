"""What an attack learned from other pictures, how well it does on the split, and where this picture changed."""

import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import streamlit as st
from scipy import ndimage

from engine.attacks.base import Cost
from engine.data.raster import printable
from engine.experiments.fooling import MOST, fooling_task
from engine.experiments.onepicture import pace
from engine.experiments.onepicture.explored import Measured
from engine.experiments.sources import opened
from engine.work.specs import to_json
from pages.exploring import files, verdict
from pages.exploring.run import Run
from pages.exploring.scope import SCOPE
from pages.ui import charts, figures, pictures, progress
from pages.ui.charts import duration, percent
from pages.ui.pictures import Figure
from pages.ui.text import plain
from pages.ui.viewer import amplified, auto_gain, strongest_channel

MOST_OUTLINED = 0.5  # the share of changed pixels up to which an outline says more than the difference
MOST_LONE = 50  # the number of changed pixels up to which each is circled
MUCH = 32 / 255  # a change that is worth an outline of its own where everything else changed, too


def show(run: Run) -> None:
    """What the attack learned from other pictures, how it learned it, and where this picture changed."""
    explored = run.explored
    if explored.curves:
        charts.show(charts.learning(explored.curves), key=SCOPE.key("learning"))
    figures = [*(_learned(run, name) for name in explored.learned), *filter(None, [_where(run)])]
    if figures:
        pictures.row(figures, columns=3)
    for name, values in explored.learned.items():
        png, help = _learned(run, name).png, "What was learned, as a picture."
        if values.min() >= 0:
            png, help = printable(values), "To be printed: at 100 dots an inch its pixels are squares of 2 mm."
        files.download(f"The {name} (.png)", f"{run.stem}-{name}.png", png, help)
    if explored.learned:
        _fooling(run, next(iter(explored.learned)))


def _learned(run: Run, name: str) -> Figure:
    """Something learned alone: a pattern to be added, as a difference, or a patch as it is."""
    values, key = run.explored.learned[name], f"{run.key} {name}"
    if values.min() >= 0:
        return Figure(f"The {name} alone", "as it is printed", pictures.image_png(values, key), exact=True)
    change = strongest_channel(values)
    gain = auto_gain(change)
    return Figure(f"The {name} alone", amplified(change, gain), pictures.difference_png(values, gain, key), exact=True)


def _fooling(run: Run, what: str) -> None:
    """How often what was learned fools the model on the split, measured when a button is pressed."""
    settings = run.settings
    total = min(MOST, len(opened(settings.source.dataset, settings.source.split)))
    at = pace.known(settings.model, settings.device)
    time = "" if at is None else f" Takes about {duration(total * at.estimate(Cost(0, 1)))} here."
    payload = progress.on_request(
        SCOPE, fooling_task(run.job.task, MOST),
        f"One {what} for every picture: how often does it fool the model? It is tried on up to {total} pictures of the "
        f"split '{settings.source.split}' that it was not learned from.{time}", "Measure the fooling rate",
        name="fooling")
    if payload is None:
        return
    found, split = Measured.of(payload), settings.source.split
    low, high = found.fooling_interval
    target = settings.attack.target
    of = f"{found.fooling_of} pictures of the split '{split}'"
    does = f"changes the prediction on **{percent(found.fooling_rate or 0)}** of {of}"
    if target is not None:
        name = plain(run.classes[target])
        does = f"makes the model say {name} on **{percent(found.fooling_rate or 0)}** of the {of} that it did not " \
               f"take for {name} before"
    st.markdown(f"The {what} {does} (95 % interval {percent(low)} to {percent(high)}). Accuracy: "
                f"{percent(found.accuracy_clean)} before, {percent(found.accuracy_adversarial)} with the {what}, "
                f"{percent(found.accuracy_adversarial_8bit)} saved with 8 bits.")
    with st.container(horizontal=True):
        files.download("Fooling rate (.csv)", f"{run.stem}-fooling.csv", lambda: _fooling_csv(run, found),
                  "Every picture's number, class, and what the model said before and after.")
        files.download("Fooling rate (.json)", f"{run.stem}-fooling.json",
                  lambda: json.dumps({**to_json(found), "model": settings.model, "dataset": settings.source.dataset,
                                      "split": split, "spec": asdict(settings.attack)}, indent=2) + "\n",
                  "The rates, and all settings.")
    if not settings.source.upload:
        st.caption(f"The same from the command line: the command under *Numbers and files* with --limit {MOST} instead "
                   "of --index.")


def _fooling_csv(run: Run, found: Measured) -> str:
    says = {title: np.take(run.classes, numbers)
            for title, numbers in (("class", found.labels), ("predicted before", found.predicted_clean),
                                   ("predicted after", found.predicted_adversarial))}
    return figures.as_csv(pd.DataFrame({"picture": found.indices, **says}))


def _where(run: Run) -> Figure | None:
    """An outline around what changed, or at least around what changed much, where that is only a part."""
    clean, adversarial = run.explored.clean, run.explored.adversarial
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

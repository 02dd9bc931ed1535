"""What the Evaluate page shows of runs, from the clinician's sentence down to the rows."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from engine.attacks.rows import Rows
from engine.attacks.spec import cost_of
from engine.experiments.config import config_text
from engine.experiments.defended import told
from engine.experiments.evaluation.aloud import by_budget, misleading, sentences, uncertain
from engine.experiments.evaluation.evaluate import (
    AFTER,
    BEFORE,
    SIDES,
    TITLES,
    Standing,
    Success,
    cell,
    confidence,
    groups,
    matrix,
    probabilities,
    scores,
    standings,
    success,
)
from engine.experiments.evaluation.evaluate import subgroups as subgroups_of
from engine.experiments.sources import opened
from engine.experiments.sweeps import Sweep
from engine.metrics.rates import Estimate
from pages.evaluating import figures
from pages.evaluating.details import Details
from pages.evaluating.scope import SCOPE
from pages.ui import figures as shared
from pages.ui import thumbs
from pages.ui.address import force
from pages.ui.charts import counted, percent
from pages.ui.matrices import FORMS, matrices
from pages.ui.options import settings_of_sweep
from pages.ui.remembered import remembered
from pages.ui.sweeping import Known
from pages.ui.text import plain

REFUSED = "refused"
MADE_AGAIN = 200  # passes through the model up to which pictures are made again without being asked for
_WHEN = {BEFORE: "before the attack", AFTER: "after the attack"}


def show(known: Known, details: Details) -> None:
    """Everything that is known of the evaluation."""
    runs = known.runs
    if not runs:
        st.caption("The first numbers come with the first images.")
        return
    sweep: Sweep = known.task.spec
    rows = _chosen(known.found, details)
    _how_many(rows, len(sweep.indices), known.complete)
    _words(runs, rows)
    _matrices(known, rows, details)
    _scores(rows)
    _all_runs(runs)
    _confidence(rows)
    _flows(rows)
    if known.complete:
        _standings(known, rows, details)
        _subgroups(known, rows)
        _take_away(known)


def _chosen(found: Sequence[Rows | None], details: Details) -> Rows:
    """The run that is looked at closely: the strongest one, unless another was chosen."""
    runs = {str(place + 1): rows for place, rows in enumerate(found) if rows is not None}
    names = dict(zip(runs, figures.run_names(list(runs.values())), strict=True))
    strongest = max(runs, key=lambda number: success(runs[number]).of_attacked.value or 0.0)
    if len(found) == 1:
        return runs[strongest]
    with _narrow():
        chosen = details.choice("run", "Attack looked at closely", ["", *runs], "",
                                lambda number: names[number] if number else f"the strongest: {names[strongest]}",
                                "The sentences, matrices and numbers below are of this one.")
    return runs[chosen or strongest]


def _narrow() -> DeltaGenerator:
    """A place for a control that needs no whole line."""
    return st.columns([1.4, 1])[0]


def _how_many(rows: Rows, total: int, complete: bool) -> None:
    count = len(rows.labels)
    if not complete and count < total:
        st.caption(f"So far {count:,} of {counted(total, 'image')}, spread over all of them: true of these, and "
                   "sharpened as more come.")


# ---- words


def _words(runs: Sequence[Rows], rows: Rows) -> None:
    """For the clinician, and what an accuracy hides."""
    same = next(group for group in by_budget(runs) if any(one is rows for one in group))
    upto = [one for one in same if (one.spec.eps or 0.0) <= (rows.spec.eps or 0.0)]
    lines = sentences(upto) or ["The model recognises none of these images even before the attack."]
    with st.container(key="evaluate-words"):
        st.markdown("  \n".join(f"**{plain(line)}**" if place == 0 else plain(line)
                                for place, line in enumerate(lines)))
    if rows.spec.defenses:
        st.caption(plain(f"The model stands {told(rows.spec)}."))
    hidden, doubts = _remarks(runs)
    if lines := [*hidden, *rows.warnings]:
        st.warning(_listed(lines))
    if lines := doubts:
        with st.expander(f"How far these numbers can be trusted ({len(lines)})"):
            st.markdown(_listed(lines))


@remembered
def _remarks(runs: Sequence[Rows]) -> tuple[list[str], list[str]]:
    """What accuracies hide, and what is uncertain of them."""
    return misleading(runs), uncertain(runs)


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {plain(line)}" for line in lines)


# ---- matrices and the images behind them


def _matrices(known: Known, rows: Rows, details: Details) -> None:
    st.subheader("What it says of what", divider="gray", help="A row is what the images show, a column what the model "
                 "says. Click a cell for the images behind it.")
    with _narrow():
        form = details.choice("form", "Numbers", list(FORMS), "counts", FORMS.__getitem__)
    name = f"confusion {_label(rows)} {form}"
    shared.figure(SCOPE, matrices(rows, form), name, lambda: _confusion(rows), on_select=lambda: _clicked(name),
                  selection_mode="points")
    _behind(known, rows, details)


def _label(rows: Rows) -> str:
    """For names of figures and their files."""
    return figures.title(rows).replace("/", "-").replace(" ", "-") + f"-{rows.provenance.model.replace('/', '-')}" \
        f"-seed-{rows.spec.seed}"


def _confusion(rows: Rows) -> pd.DataFrame:
    from engine.experiments.evaluation.tables import confusion_table

    return confusion_table([rows])


def _clicked(name: str) -> None:
    """In a callback: the controls below the matrices say what was clicked."""
    if points := st.session_state[SCOPE.key(f"figure {name}")].selection.points:
        side, shows, says, _ = points[-1]["customdata"]
        for control, value in (("when", side), ("shows", str(shows)), ("says", str(says))):
            force(SCOPE.control(control), value)


def _behind(known: Known, rows: Rows, details: Details) -> None:
    """The images of a cell, chosen by a click on it or here."""
    classes = {str(k): name for k, name in enumerate(rows.classes)}
    most = dict(zip(("shows", "says"), _fullest(rows), strict=True))
    answers = {**classes, "-1": REFUSED}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        when = details.choice("when", "The images behind a cell", list(_WHEN), AFTER, _WHEN.__getitem__)
        true = details.choice("shows", "that show", ["", *classes], "",
                              lambda k: classes[k] if k else f"{classes[most['shows']]} (the most)")
        said = details.choice("says", "and are said to show", ["", *answers], "",
                              lambda k: answers[k] if k else f"{classes[most['says']]} (the most)")
    true, said = true or most["shows"], said or most["says"]
    chosen = cell(rows, when, int(true), int(said))
    st.caption(plain(_counted(len(chosen), classes[true], answers[said], _WHEN[when])))
    if not known.complete:
        st.caption("The pictures can be opened once all are computed.")
    elif len(chosen):
        _pictures(known, rows, chosen.tolist(), "cell")


def _pictures(known: Known, rows: Rows, chosen: Sequence[int], name: str) -> None:
    """The pictures of these rows; by themselves where those that were not kept are made again in no time."""
    cells = thumbs.cells_of(known.task.spec, rows, chosen)
    batches = {cell.unit.indices for cell in cells[:thumbs.PAGE]}
    again = cost_of(rows.spec).passes * sum(map(len, batches))
    if st.toggle("Show the pictures", again <= MADE_AGAIN, key=SCOPE.control(f"pictures {name} {_label(rows)}"),
                 help=f"Pictures that were not kept are made again, in the same batches: at most {again:,} passes of "
                      "an image through the model."):
        thumbs.show(SCOPE, cells, name, known.task.device)


def _counted(count: int, shows: str, says: str, when: str) -> str:
    if says == REFUSED:
        return f"{counted(count, 'image')} of {shows} got no answer {when}."
    return (f"{counted(count, 'image')} {'shows' if count == 1 else 'show'} {shows} and "
            f"{'is' if count == 1 else 'are'} said to show {says} {when}.")


def _fullest(rows: Rows) -> tuple[str, str]:
    """The wrong cell with the most images after the attack: what is shown, and what is said."""
    counts = matrix(rows, AFTER).counts.copy()
    np.fill_diagonal(counts, -1)
    shows, says = np.unravel_index(int(counts.argmax()), counts.shape)
    return str(shows), str(says)


# ---- numbers


def _scores(rows: Rows) -> None:
    st.subheader("Scores", divider="gray", help="Each before and after, with its 95 % interval: Wilson's for shares "
                 "and what follows from it for F1 and means, resamples for the AUC.")
    left, right = st.columns([1, 1.9], gap="medium")
    with left:
        shared.figure(SCOPE, figures.recalls(rows), f"recall {_label(rows)}")
    with right:
        sides = {side: scores(rows, side) for side in (BEFORE, AFTER)}
        lines = [{"Score": "Accuracy", "Class": "(all)", **{SIDES[side].title.capitalize(): _text(one.accuracy)
                                                            for side, one in sides.items()}}]
        for name, heading in TITLES.items():
            for k, label in enumerate((*rows.classes, "(macro)", "(weighted)")):
                found = {side: one.scores[name].all[k] for side, one in sides.items()}
                lines.append({"Score": heading, "Class": label,
                              **{SIDES[side].title.capitalize(): _text(it) for side, it in found.items()}})
        shared.table(SCOPE, pd.DataFrame(lines), f"scores {_label(rows)}", height=322)


def _text(one: Estimate) -> str:
    """A number with its interval, three digits."""
    if one.value is None or one.low is None or one.high is None:
        return "–"
    return f"{one.value:.3f} ({one.low:.3f} – {one.high:.3f})"


def _all_runs(runs: Sequence[Rows]) -> None:
    if len(runs) < 2:
        return
    st.subheader("All attacks and models", divider="gray", help="Accuracy over all images before and after, and "
                 "success over those classified correctly before, with 95 % intervals.")
    from engine.experiments.evaluation.tables import overview

    shared.figure(SCOPE, figures.runs(runs, figures.run_names(runs)), "runs",
                  lambda: overview(runs, means=False))
    rows = [(name, success(one)) for name, one in zip(figures.run_names(runs), runs, strict=True)]
    with st.expander("Success in words"):
        st.markdown("\n".join(f"- {plain(_success(name, found))}" for name, found in rows))


def _success(name: str, found: Success) -> str:
    return (f"{name}: {found.fooled} of {found.attacked} classified correctly before are fooled; of all {found.n}, "
            f"{found.there} end where the attacker wants them")


def _confidence(rows: Rows) -> None:
    st.subheader("How sure, and how often right", divider="gray", help="A model that is as often right as it is sure "
                 "lies on the dotted line; the expected calibration error (ECE) is how far it is from there on "
                 "average, over ten bins.")
    left, right = st.columns(2, gap="medium")
    with left:
        shared.figure(SCOPE, figures.reliability(rows), f"reliability {_label(rows)}")
    with right:
        shared.figure(SCOPE, figures.histograms(rows), f"confidence {_label(rows)}")
    before, after = (confidence(rows, side).mean for side in (BEFORE, AFTER))
    if before is not None and after is not None:
        wrong = _when_wrong(rows)
        more = "" if wrong is None else f" Of its wrong answers after the attack it is sure to {percent(wrong)}."
        st.caption(f"It is sure to {percent(before)} on average before, and to {percent(after)} after.{more}")


def _when_wrong(rows: Rows) -> float | None:
    """How sure the model is of its wrong answers after the attack, on average; None where there are none."""
    wrong = (rows.predicted_adversarial != rows.labels) & (rows.predicted_adversarial >= 0)
    return float(probabilities(rows, AFTER)[wrong].max(axis=1).mean()) if wrong.any() else None


def _flows(rows: Rows) -> None:
    st.subheader("Where predictions go", divider="gray", help="Left what the model says before the attack, right what "
                 "it says after; right or not.")
    ink = "#182028" if st.context.theme.type == "light" else "#e4e9ee"
    shared.figure(SCOPE, figures.flow(rows, ink), f"flows {_label(rows)}")


# ---- images


def _standings(known: Known, rows: Rows, details: Details) -> None:
    sweep, runs = cast(Sweep, known.task.spec), known.runs
    found = _ranked(runs)
    if not found:
        return
    over = f"over {counted(len(runs), 'run')}" if len(runs) > 1 else "in this run"
    st.subheader("Most and least robust images", divider="gray", help="By the share of runs that fooled them, and then "
                 "by how far the true class stayed ahead of the others.")
    with _narrow():
        which = details.choice("ends", f"Images {over}", ["least", "most"], "least",
                               {"least": "least robust", "most": "most robust"}.__getitem__)
    ends = found[::-1][:thumbs.PAGE] if which == "least" else found[:thumbs.PAGE]
    places = {image: place for place, image in enumerate(rows.identities)}
    data = opened(sweep.dataset, sweep.split)
    st.caption(plain("; ".join(f"{data.item_name(sweep.indices[places[one.image]])}: fooled in {one.fooled} of "
                               f"{one.attacked}" for one in ends)))
    _pictures(known, rows, [places[one.image] for one in ends], f"ends {which}")
    with st.expander("All images"):
        shared.table(SCOPE, _all_images(runs, sweep), "images")


@remembered
def _ranked(runs: Sequence[Rows]) -> list[Standing]:
    return standings(runs)


@remembered
def _all_images(runs: Sequence[Rows], sweep: Sweep) -> pd.DataFrame:
    from engine.experiments.evaluation.tables import standings_table

    return standings_table(_ranked(runs), dict(zip(runs[0].identities, sweep.images, strict=True)))


@remembered
def _grouped(sweep: Sweep) -> dict[str, tuple[str, ...]]:
    return subgroups_of(opened(sweep.dataset, sweep.split), sweep.indices)


def _subgroups(known: Known, rows: Rows) -> None:
    names = _grouped(known.task.spec)
    if not names:
        return
    st.subheader("By subgroup", divider="gray", help="Whether the attack strikes some of the images more than others, "
                 "as far as the data tell them apart.")
    lines = [{title: one.name, "Images": one.n, "Accuracy before": _text(one.before),
              "Accuracy after": _text(one.after), "Success": _text(one.success)}
             for title, each in names.items() for one in groups(rows, each)]
    shared.table(SCOPE, pd.DataFrame(lines), f"subgroups {_label(rows)}")


# ---- to take away


def _take_away(known: Known) -> None:
    st.subheader("To take away", divider="gray")
    from engine.experiments.evaluation.tables import scores_table

    sweep: Sweep = known.task.spec
    shared.rows_downloads(SCOPE, known.runs, lambda: sweep.images, "evaluation")
    st.caption("Every score of every attack and model:")
    shared.downloads(SCOPE, lambda: scores_table(known.runs), "scores-of-all-runs")
    st.caption("What repeats it on the command line:")
    text = config_text("evaluate", settings_of_sweep(sweep))
    st.download_button("sweep.toml", text, file_name="sweep.toml", on_click="ignore", type="tertiary",
                       key=SCOPE.key("sweep file"), help="Repeats this from the command line.")
    st.code("python -m engine evaluate --config sweep.toml --out evaluation", language="bash")

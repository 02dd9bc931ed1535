"""The figures of an evaluation say what its rows say."""

import io
import re

import numpy as np
import plotly.graph_objects as go
import pytest

from engine.attacks.rows import Rows
from engine.experiments.config import config_text
from engine.experiments.epsilon import plots as curve_plots
from engine.experiments.evaluation import evaluate
from engine.experiments.evaluation.evaluate import AFTER, BEFORE
from engine.experiments.evaluation.plots import accuracies, confusion
from engine.experiments.plots import save
from pages.evaluating import figures
from pages.ui.matrices import FORMS, matrices
from tests.rows import random_rows, rows


@pytest.fixture(scope="module")
def some() -> Rows:
    return rows([0, 0, 0, 0, 1, 1, 1, 1, 2, 2], [0, 0, 0, 0, 1, 1, 1, 0, 2, -1], [0, 0, 1, -1, 0, 0, 2, 0, 2, 2])


def points(figure: go.Figure) -> list[tuple]:
    return [(*data, text) for trace in figure.data if trace.type == "scatter"
            for data, text in zip(trace.customdata, trace.text, strict=True)]


def test_every_cell_can_be_clicked_and_leads_to_as_many_images_as_it_says(some: Rows) -> None:
    found = points(matrices(some, "counts"))
    assert len(found) == 3 * 12, "three matrices of three classes, with a column for the refused"
    for side, shows, says, count, text in found[:24]:
        assert len(evaluate.cell(some, side, shows, says)) == count == int(text)
    assert [text for *_, text in found[24:]] == ["-2", "+1", "0", "+1", "+2", "-3", "+1", "0", "0", "0", "+1", "-1"]
    assert {side for side, *_ in found[:12]} == {BEFORE} and {side for side, *_ in found[12:]} == {AFTER}


def test_both_matrices_have_one_scale_and_the_change_is_centred(some: Rows) -> None:
    for form in FORMS:
        before, after, moved = (trace for trace in matrices(some, form).data if trace.type == "heatmap")
        assert (before.zmin, before.zmax) == (after.zmin, after.zmax) and before.zmin == 0
        assert moved.zmin == -moved.zmax


def test_percents_are_of_the_row_or_column(some: Rows) -> None:
    by_row = [text for *_, text in points(matrices(some, "rows"))]
    assert by_row[12:16] == ["50.0", "25.0", "0", "25.0"]
    assert by_row[24:28] == ["-50.0", "+25.0", "0", "+25.0"]
    none = points(matrices(rows([0, 0], [0, 0], [0, 0]), "columns"))
    assert [text for *_, text in none[:3]] == ["100.0", "–", "–"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(4))
def test_any_rows_can_be_drawn(form: str, seed: int) -> None:
    for refused in (0.0, 0.4, 1.0):
        found = random_rows(seed, 9, 3, refused)
        drawn = (matrices(found, form), figures.recalls(found), figures.reliability(found),
                 figures.histograms(found), figures.flow(found, "#000000"), figures.runs([found], ["one"]))
        assert all(figure.data for figure in drawn)
        assert confusion(found).axes and accuracies([found, found]).axes


def test_flows_add_up(some: Rows) -> None:
    link = figures.flow(some, "#000000").data[0].link
    assert sum(link.value) == 10
    moved = {tuple(ends): count for ends, count in zip(link.customdata, link.value, strict=True)}
    assert moved["Pneumonia", "Normal"] == 2 and moved["Normal", "refused"] == 1


def test_names_from_outside_are_no_markup() -> None:
    found = rows([0, 1], [0, 1], [1, 0], classes=("<b>x</b>", "y%{z}"))
    text = str([matrices(found, "counts"), figures.flow(found, "#000000"), figures.recalls(found)])
    assert not re.search(r"<b>x|y%\{z\}", text)
    odd = rows([0, 1], [0, 1], [1, 0], classes=("$x^2$", "$"), model="$\\nosuch{$")
    dollars = confusion(odd)
    assert dollars.axes[0].get_xticklabels()[0].get_text() == "$x^2$"
    save(lambda: confusion(odd), "svg", file := io.BytesIO())
    assert b"$x^2$" in file.getvalue()
    others = [odd, rows([0, 1], [0, 1], [1, 0], model="another")]  # so that lines are told apart by their models
    save(lambda: curve_plots.accuracies(others, "a curve"), "svg", file := io.BytesIO())
    assert b"$\\nosuch{$" in file.getvalue()


def test_runs_are_told_apart_by_what_differs(some: Rows) -> None:
    from dataclasses import replace

    other = replace(some, spec=replace(some.spec, seed=3))
    assert figures.run_names([some]) == ["FGSM at 2/255"]
    assert figures.run_names([some, other]) == ["FGSM at 2/255 · seed 0", "FGSM at 2/255 · seed 3"]


def test_a_sweep_of_the_page_is_the_same_on_the_command_line() -> None:
    import tomllib

    from engine.attacks.spec import make_spec
    from engine.experiments.sweeps import Sweep
    from pages.ui.options import settings_of_sweep

    specs = tuple(make_spec(name, eps=eps, seed=seed, params=params) for name, params in
                  (("pgd", {"steps": 3}), ("fgsm", {})) for eps in (0.3 / 255, 2 / 255) for seed in (0, 4))
    found = tomllib.loads(config_text("evaluate", settings_of_sweep(
        Sweep("phantom-cxr", "test", (3, 8), ("a", "b"), specs))))
    assert found == {"dataset": "phantom-cxr", "split": "test", "index": [3, 8], "model": ["a", "b"],
                     "attack": ["pgd", "fgsm"], "eps": ["0.3/255", "2/255"], "norm": "linf", "seed": [0, 4],
                     "batch": 16, "numerics": "fast", "set": ["pgd.steps=3"]}
    assert np.isclose(specs[0].eps or 0, 0.3 / 255)

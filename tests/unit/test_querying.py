"""The Black box page's figures, words and readers of text, as pure functions."""

import io
import tomllib

import numpy as np
import pytest

from engine.attacks.spec import make_spec
from engine.errors import EngineError
from engine.experiments.plots import FORMATS, drawn, save
from engine.experiments.queries import plots as static
from engine.experiments.queries.curves import QueryCurve, query_curve
from engine.experiments.queries.walks import Estimate, Film
from engine.experiments.queries.words import names_of, readable, sentences
from engine.experiments.sweeps import Sweep
from engine.work.kinds import Task
from pages.querying import films, words
from pages.querying.asking import counts_in, sizes_in
from pages.querying.outcome import Shown, repeats
from pages.ui import walking as plots
from pages.ui.sweeping import Known
from tests.walked import made_up

WAYS = [(10, 4.0, 0.4), (100, 2.0, 0.2)], [(50, 6.0, 0.6)], [(5, 1.0, 0.1)], [(60, 3.0, 0.3)]
SQUARE = make_spec("square", eps=2 / 255, params={"queries": 1000})


def curve(counts: tuple[int, ...] = (10, 50, 100), norm: str = "l2", **options: object) -> QueryCurve:
    return query_curve(made_up(*WAYS, **options), counts, [2.0, 4.0], norm)  # type: ignore[arg-type]


def traces(figure: object, name: str) -> list[object]:
    return [trace for trace in figure.data if trace.name == name]  # type: ignore[attr-defined]


def test_the_plot_has_the_numbers_of_the_curve() -> None:
    one = curve()
    figure = plots.norm_against_queries([one], [50])
    median, = traces(figure, "HopSkipJump")
    assert list(median.x) == [10, 50, 100] and list(median.y) == [p.median for p in one.points]  # type: ignore
    assert figure.layout.xaxis.type == figure.layout.yaxis.type == "log"
    marks = [trace for trace in figure.data if trace.mode == "markers"]
    assert [list(trace.x) for trace in marks] == [[50]]


def test_what_is_infinite_is_left_out_and_linf_is_shown_in_grey_levels() -> None:
    one = curve(norm="linf")
    median, = traces(plots.norm_against_queries([one], []), "HopSkipJump")
    assert median.y[0] is None, "two of four are not fooled after 10"  # type: ignore[attr-defined]
    assert median.y[2] == pytest.approx(255 * one.points[2].median)  # type: ignore[attr-defined,operator]


def test_success_is_drawn_for_every_size_with_bars_where_it_was_asked_for() -> None:
    one = curve()
    figure = plots.success_against_queries([one], [100])
    near, = traces(figure, "HopSkipJump, at most 2")
    assert list(near.y) == [0.25, 0.25, 0.5]  # type: ignore[attr-defined]
    bars = [trace for trace in figure.data if trace.mode == "markers"]
    assert [list(trace.x) for trace in bars] == [[100], [100]]
    at_end = one.points[2].success[0]
    assert bars[0].error_y.array[0] == pytest.approx(at_end.high - at_end.share)


def test_names_say_what_differs_and_no_more() -> None:
    both = [curve(), curve(model="another")]
    assert names_of(both) == ["HopSkipJump on a model", "HopSkipJump on another"]
    assert names_of(both[:1]) == ["HopSkipJump"]
    seeds = [curve(), curve(spec=make_spec("hopskipjump", seed=3, params={"queries": 1000}))]
    assert names_of(seeds) == ["HopSkipJump seed 0", "HopSkipJump seed 3"]


def test_a_clinician_reads_how_many_and_how_much() -> None:
    said, = sentences([curve()], 100)
    assert said == ("After at most 100 questions an image, HopSkipJump had changed the model's mind on 4 of the 4 "
                    "images it read correctly (100.0 %), half of them by an L2 of at most 2.5: 64 of 255 grey "
                    "levels a pixel, on average. It saw the diagnosis and nothing else.")
    said, = sentences([curve((10,))], 100)
    assert "2 of the 4" in said and "too few to say what change half of the images needed" in said
    said, = sentences([query_curve(made_up([], []), [10])], 100)
    assert "none of the 2 images" in said
    said, = sentences([query_curve(made_up([], wrong=(0,)), [10])], 100)
    assert "nothing to do" in said
    said, = sentences([query_curve(made_up([(7, 1.0, 2 / 255)], spec=SQUARE), [10])], 100)
    assert "without moving any pixel by more than 2/255" in said and "probabilities" in said


def test_a_figure_that_grows_says_how_much_it_is_about() -> None:
    assert words.so_far([curve()], 12, 0.4) == "So far 4 of 12 images: what you see is true of these."
    assert words.so_far([curve()], 4, 1.0) == ""


def test_the_table_is_readable() -> None:
    lines = readable([curve((10, 100))])
    assert lines["queries"].tolist() == [10, 100]
    assert lines["median"].tolist() == ["-", "2.5"] and lines["fooled"].tolist() == ["2 of 4", "4 of 4"]
    assert lines["at most 2"].iloc[1].startswith("50% (")


@pytest.mark.parametrize("differences", [False, True])
def test_a_strip_has_the_original_and_a_frame_a_milestone(differences: bool) -> None:
    clean = np.full((1, 8, 8), 0.5, np.float32)
    frames = np.stack([clean + 0.2, clean + 0.1]).astype(np.float16)
    frames[1, 0, 0, 0] = 0.5
    shown = films.strip(Film(3, (100, 130), (1.6, 0.8), frames), clean, made_up([(1, 1.0, 0.1)]), differences, "")
    assert [one.title for one in shown] == ["Original", "100 queries", "130 queries"]
    assert shown[1].caption.startswith("L2 1.6") and shown[2].caption.startswith("L2 0.8")
    assert len({one.png for one in shown}) == 3


def test_texts_are_read_or_told_what_is_wrong() -> None:
    assert counts_in("1000, 250,250") == (250, 1000)
    assert sizes_in("linf", "2/255, 1/255") == pytest.approx((1 / 255, 2 / 255))
    for text in ("", "x", "0", "1000000", "1.5", ",".join(map(str, range(1, 20)))):
        with pytest.raises(EngineError, match="it must be"):
            counts_in(text)
    for text in ("", "x", "-1", "inf", "nan", "1/0"):
        with pytest.raises(EngineError, match="it must be"):
            sizes_in("l2", text)


def test_the_file_repeats_the_sweep_and_how_it_was_read() -> None:
    walks = made_up(*WAYS, spec=make_spec("hopskipjump", seed=4, params={"queries": 1000, "probes": 50}))
    planned = Sweep("phantom-cxr", "test", (3, 8, 9, 11), ("a model",), (walks.spec,))
    shown = Shown(Known(Task("query-curve", planned, ""), [walks]), [walks], [query_curve(walks, [10, 1000], [2.0])])
    found = tomllib.loads(repeats(shown))
    assert found["queries"] == [10, 1000] and found["norms"] == ["2"] and found["measure"] == "l2"
    assert found["set"] == ["hopskipjump.probes=50"] and found["seed"] == [4] and found["index"] == [3, 8, 9, 11]


def test_the_price_warns_where_it_takes_long() -> None:
    assert words.price(Estimate(400, 3.0)) == "Costs at most 400 queries, about 3 s here."
    for long in (Estimate(40_000, 600.0), Estimate(40_000, None)):
        assert "takes minutes" in words.price(long)
    assert "takes minutes" not in words.price(Estimate(400, None))


def test_the_same_curves_give_the_same_file() -> None:
    curves = [curve((10, 50, 100, 1000)), curve(norm="linf")]
    files = {form: drawn(lambda: static.curves(curves), form) for form in FORMATS}
    assert files == {form: drawn(lambda: static.curves(curves), form) for form in FORMATS}
    assert b"<svg" in files["svg"] and files["png"].startswith(b"\x89PNG")
    save(lambda: static.curves(curves), "svg", letters := io.BytesIO())
    assert b">1,000<" in letters.getvalue() and b"$" not in letters.getvalue(), "ticks are written out"


def test_walks_that_fooled_nobody_are_drawn_too() -> None:
    never = query_curve(made_up([], []), [10, 1000])
    for curves in ([never], [curve(), query_curve(made_up([], [], spec=SQUARE), [10, 1000])]):
        assert drawn(lambda curves=curves: static.curves(curves), "svg").startswith(b"<svg")  # type: ignore[misc]
    assert query_curve(made_up([], wrong=(0,)), [10]).attacked == 0

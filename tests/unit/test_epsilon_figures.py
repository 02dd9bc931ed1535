"""What the Epsilon page draws and says, as functions of rows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.attacks.runner import Arena
from engine.attacks.spec import make_spec
from engine.data import phantom
from engine.experiments.epsilon import lines
from engine.experiments.epsilon.eyes import Zone, zone_of
from engine.experiments.epsilon.ladder import INDEPENDENT, WORST, curve_steps, curves_of
from engine.experiments.sweeps import performed, sweep_of
from engine.experiments.units import images_of, images_task
from engine.progress import Progress, to_the_end
from engine.work.kinds import Bench
from engine.work.store import Store
from pages.epsilons import figures, parts, samples
from pages.exploring import against_eps
from pages.ui.controls import LINF
from tests import nets
from tests.made import made
from tests.tiny import Slope, grey, small_net, some_images
from tests.unit.test_curve import rows, worst

RUNGS = (0.0, 1 / 255, 2 / 255, 4 / 255)


def line(fooled_at: list[float | None], rungs: tuple[float, ...] = RUNGS) -> lines.Line:
    return lines.lines(worst(fooled_at, rungs))[0]


# ---- lines and words


def test_lines_are_named_by_what_tells_them_apart() -> None:
    runs = [rows([0], [0], attack=attack, model=model, eps=eps) for model in "ab" for attack in ("fgsm", "pgd")
            for eps in (0.0, 1 / 255)]
    assert [one.name for one in lines.lines(runs)] == ["FGSM, a", "PGD, a", "FGSM, b", "PGD, b"]
    assert [one.name for one in lines.lines(runs[:4])] == ["FGSM", "PGD"]
    assert lines.lines(runs)[0].shown == [0, 1]


def test_the_sentence_counts_what_the_model_read_correctly() -> None:
    zone = Zone(np.array([1 / 255, 2 / 255, np.inf]), np.array([6 / 255] * 3))
    said = lines.sentence(line([1 / 255, 2 / 255, None]), zone)
    assert said.startswith("FGSM: of the 3 images that the model read correctly, 2 are flipped within 4/255, half "
                           "of them at 2/255 already.")
    assert "2 of 3 flip before the eye would see anything (66.7 %, 95 % interval" in said
    assert said.endswith("from about 6/255 on, 3 times what half of the images need.")
    held = lines.sentence(line([None, None]), None)
    assert "0 are flipped within 4/255; half of them hold." in held
    wrong = lines.lines([replace_clean(one) for one in worst([None], RUNGS)])[0]
    assert "read none of these 1 images correctly" in lines.sentence(wrong, None)


def replace_clean(one: object) -> object:
    return replace(one, logits_clean=one.logits_clean[:, ::-1].copy())  # type: ignore[type-var, attr-defined]


def test_what_was_saved_is_a_share_of_separate_runs() -> None:
    runs = [rows([0, 0], [0, 0], eps=eps, gradients=int(eps == 0)) for eps in RUNGS]
    # One gradient, the clean image and two verdicts at each of four eps, a forward pass being 0.4: 4.6 of 4 x 2.2.
    assert lines.saved(lines.lines(runs)[0]) == (
        "FGSM: spent 2 gradients instead of the 8 of separate runs (25.0 %); of all passes through the network, the "
        "verdicts among them, 52.3 %.")
    assert lines.saved(lines.lines([rows([0], [0], eps=eps) for eps in RUNGS])[0]) == "", "nothing"


def test_a_rise_is_marked_and_explained() -> None:
    runs = [rows([0, 0, 0], [0] * 3, eps=0.0), rows([1, 1, 1], [0] * 3, eps=1 / 255),
            rows([0, 0, 0], [0] * 3, eps=2 / 255)]
    rising = lines.lines(runs)[0]
    assert rising.rising == [2] and "overshoot" in lines.explained(rising)[0]
    drawn = figures.curves([rising], lines.ACCURACY, figures.AXES["linear"])
    mark, = (trace for trace in drawn.data if trace.marker.symbol == "triangle-up")
    assert list(mark.x) == [2] and list(mark.y) == [1.0]


# ---- figures


@pytest.mark.parametrize("name", figures.AXES)
def test_every_point_is_drawn_at_its_eps_with_its_interval(name: str) -> None:
    one, axis = line([1 / 255, 2 / 255, None, None]), figures.AXES[name]
    drawn = figures.curves([one], lines.ACCURACY, axis)
    curve = next(trace for trace in drawn.data if trace.mode == "lines+markers")
    known = [value for value in one.shown if value > 0 or axis.takes_zero]
    assert list(curve.x) == pytest.approx([axis.place(value) for value in known])
    assert list(curve.y) == [1.0, 0.75, 0.5, 0.5][-len(known):]
    band = next(trace for trace in drawn.data if trace.fill == "toself")
    assert len(band.x) == 2 * len(known) and max(band.y) <= 1
    assert list(drawn.layout.xaxis.tickvals) == sorted(drawn.layout.xaxis.tickvals)


def test_the_fine_axis_is_linear_below_two_and_smooth() -> None:
    place = figures.AXES["symlog"].place
    assert place(0) == 0 and place(1) == 0.5 and place(2) == 1
    assert place(2.002) - place(2) == pytest.approx(place(2) - place(1.998), rel=1e-2)


def test_the_table_of_a_curve_is_what_is_drawn() -> None:
    table = lines.curves_table([line([1 / 255, None])], lines.RECALL + "no")
    assert table["eps"].tolist() == list(RUNGS) and table["recall of no"].tolist() == [1.0, 0.5, 0.5, 0.5]


def test_the_zone_is_shaded_between_the_two_middles() -> None:
    one = line([1 / 255, 1 / 255, 4 / 255])
    zone = zone_of(one.runs, np.array([6 / 255] * 3))
    drawn = figures.zone(one, zone, figures.AXES["linear"])
    shade, = drawn.layout.shapes
    assert (shade.x0, shade.x1) == pytest.approx((1, 6))
    flipped = next(trace for trace in drawn.data if trace.name == "model flipped")
    assert list(flipped.y) == pytest.approx([0, 2 / 3, 2 / 3, 1])
    unknown = figures.zone(one, Zone(np.full(3, np.inf), np.full(3, 6 / 255)), figures.AXES["linear"])
    assert not unknown.layout.shapes


def test_the_histogram_counts_every_image_once_by_class() -> None:
    one = line([1 / 255, None, 4 / 255])
    zone = zone_of(one.runs, np.ones(3))
    counts = lines.histogram(zone, np.array([0, 0, 2]), RUNGS)
    assert counts == [[0, 1, 0, 0, 1], [0, 0, 0, 0, 0], [0, 0, 0, 1, 0]]
    assert lines.smallest_table(one, counts, ("a", "b", "c"))["c"].tolist() == [0, 0, 0, 1, 0]


def test_readings_are_told_apart() -> None:
    runs = [rows([0], [0], eps=eps) for eps in RUNGS]
    sweep = sweep_of("phantom-cxr", "test", (0,), ["phantom-cxr/resnet18"],
                     [make_spec("fgsm", eps=eps) for eps in RUNGS])
    found = parts.split(curves_of(sweep, (INDEPENDENT, WORST)), [*runs, None, *runs[1:]])
    assert found[INDEPENDENT] == runs and found[WORST] == runs[1:]


# ---- pictures along the curve


def test_a_picture_of_fgsm_is_exact_at_every_smaller_eps() -> None:
    model, images, labels = small_net(), some_images(3), torch.tensor([0, 1, 2])
    images[0, :, :2], images[1, :, :2] = 0.0, 1.0  # black and white, where a pixel can only go one way
    arena = Arena.of(make_spec("fgsm", eps=0.2, numerics="reference"), model, images, labels, device="cpu")
    largest = arena.run().adversarial
    for eps in (0.0, 1 / 255, 0.03, 0.2):
        exact = arena.at(eps).run().adversarial
        found = np.stack([samples.scaled(clean, far, eps) for clean, far in zip(images.numpy(), largest, strict=True)])
        assert found.dtype == np.float32 and found.tobytes() == exact.tobytes()


def test_in_the_worst_case_a_picture_is_that_of_the_smallest_eps() -> None:
    one = line([2 / 255, None])
    clean, first = np.zeros((1, 2, 2)), np.ones((1, 2, 2))
    before, at, after = (samples.within(clean, first, one.runs, 0, place) for place in (1, 2, 3))
    assert before.image is clean and "as it is" in before.words
    assert at.image is first and at.words == "as computed at 2/255"
    assert after.image is first and after.words == "the nearest computed: it flips already at 2/255"
    assert samples.within(clean, first, one.runs, 1, 3).image is clean


# ---- the one picture of Explore


def points(yes: list[float]) -> against_eps.Points:
    return against_eps.Points((0.0, 0.5, 1.0, 2.0), tuple((1 - p, p) for p in yes))


def test_the_flip_lies_between_two_tried_values() -> None:
    assert points([0.1, 0.2, 0.7, 0.4]).flip == (0.5, 1.0), "the first one, whatever follows"
    assert points([0.1, 0.2, 0.3, 0.4]).flip is None
    assert points([0.9, 0.2, 0.3, 0.4]).flip == (0.0, 0.5), "whatever it said first"


def test_the_picture_is_explained_in_words() -> None:
    said = against_eps.sentence(points([0.1, 0.2, 0.7, 0.9]), 6.0, LINF)
    assert "between **0.5/255** and **1/255**" in said and "from about **6/255** on" in said
    assert "the eye needs 6 times as much" in said
    assert "holds at everything that was tried, up to **2/255**" in against_eps.sentence(points([0.1] * 4), None, LINF)


def test_the_figure_marks_flip_chosen_eps_and_eye() -> None:
    drawn = against_eps.figure(("no", "yes"), points([0.1, 0.2, 0.7, 0.9]), 6.0, 1.5, LINF)
    assert [list(trace.y) for trace in drawn.data] == [[0.9, 0.8, pytest.approx(0.3), pytest.approx(0.1)],
                                                       [0.1, 0.2, 0.7, 0.9]]
    assert [note.text for note in drawn.layout.annotations] == ["flips", "chosen", "eye"]


def test_points_are_those_of_the_rows() -> None:
    spec = make_spec("fgsm", eps=0.5, numerics="reference")
    image = torch.tensor([0.5, 0.4]).view(1, 1, 1, 2)
    arena = Arena.of(spec, grey(Slope((3.0, -4.0))), image, torch.tensor([0]), device="cpu").shared()
    runs = [arena.at(eps).run().rows for eps in (0.01, 0.02)]
    found = against_eps.points_of((0.6, 0.4), runs, LINF)
    assert found.shown == pytest.approx((0, 2.55, 5.1)) and found.flip == pytest.approx((2.55, 5.1))


@pytest.mark.parametrize("readings", [(WORST,), (INDEPENDENT, WORST)])
def test_the_pictures_behind_a_point_are_those_that_were_counted(readings: tuple[str, ...], tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    """In the worst case an image was tried at its smallest eps in some company: the same gives the same picture."""
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    nets.register(monkeypatch)
    nets.kept(tmp_path / "m.safetensors", classes=phantom.CLASSES, mean=(0.4,) * 3, std=(0.2,) * 3)
    model, store = str(tmp_path / "m.safetensors"), Store(tmp_path / "home" / "runs")
    at = Bench("cpu", store, Progress(), lambda task: task.kept(store))
    specs = [make_spec("pgd", eps=level / 255, batch=4, params={"steps": 3}) for level in (1, 2, 4, 8, 16, 32)]
    curves = curves_of(sweep_of("phantom-cxr", "test", (0, 1, 2, 5, 8, 150, 151), [model], specs), readings)
    found = parts.split(curves, to_the_end(performed(curve_steps(curves, "cpu"), at)))
    one, = lines.lines(found[WORST])
    cells = parts.behind(curves, one, len(specs) - 1, WORST)
    assert len(cells) == int(one.runs[-1].success.sum()) > 0
    for cell in cells:
        images, _ = images_of(at.result(images_task(cell.unit, "cpu")))
        change = images[cell.place] - cell.unit.seen.image(cell.source.index)
        assert np.abs(change).max() == one.runs[-1].linf[cell.row], "another picture than was counted"
        assert cell.unit.seen.item_name(cell.source.index) == curves.sweep.images[cell.row]


def test_pictures_are_made_again_with_the_further_images_of_the_whole_sweep() -> None:
    """Where there is no training split, they are those of the split that nobody attacks: not even in another batch."""
    spec = make_spec("usmm", eps=2 / 255, batch=2)
    sweep = sweep_of("phantom-cxr", "train", (0, 1, 2, 5), ["phantom-cxr/resnet18"], [spec])
    run = made([0, 1, 2, 2], [0, 1, 2, 2], [1, 2, 0, 0], spec=spec)
    for row in range(4):
        cell = parts._cell(sweep, sweep.models[0], run, row, halved=False)
        assert cell.unit == sweep.plan()[0][row // 2] and not {0, 1, 2, 5} & set(cell.unit.further)

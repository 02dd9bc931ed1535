"""The Transfer page's plots and sentences, each from rows that were made by hand."""

import numpy as np
import pytest

from engine.attacks.spec import make_spec
from engine.experiments.transfers.alignment import Alignment
from engine.experiments.transfers.transferred import Matrix, long, matrices, wide
from engine.experiments.transfers.words import attack_title, explained, sentences, short
from pages.transferring import figures
from tests.unit.test_transferred import A_A, A_B, B_A, B_B, PGD, asked, rows

NAMES = {"a": "net <a>", "b": "net b", "a,b": "both"}


@pytest.fixture
def matrix() -> Matrix:
    return matrices(asked("ab", "ab"), [A_A, A_B, B_A, B_B])[0]


def test_the_heat_map_says_what_was_counted(matrix: Matrix) -> None:
    heat, marks = figures.heat(matrix, NAMES).data
    assert [list(row) for row in heat.z] == [[1.0, 2 / 3], [0.25, 1.0]]
    assert "2 of 3" in heat.text[0][1] and "66.7 %" in heat.text[0][1]
    assert "white-box" in heat.text[0][0] and "white-box" not in heat.text[0][1]
    assert "95 % interval 21 % to 94 %" in marks.customdata[1] and "of the 3 that net b" in marks.customdata[1]
    assert (heat.zmin, heat.zmax) == (0, 1)


def test_names_from_outside_are_no_html(matrix: Matrix) -> None:
    drawn = figures.heat(matrix, NAMES)
    assert "<a>" not in drawn.to_json().replace("\\u003c", "<")


def test_the_diagonal_is_framed_and_members_are_dotted() -> None:
    found, = matrices(asked(["a", "a,b"], "ab"), [A_A, A_B, A_A, A_B])
    shapes = figures.heat(found, NAMES).layout.shapes
    assert [(round(s.x0), round(s.y0), s.line.dash) for s in shapes] == [(0, 0, "solid"), (0, 1, "dot"), (1, 1, "dot")]


def test_a_click_on_a_mark_is_a_click_on_its_cell(matrix: Matrix) -> None:
    marks = figures.heat(matrix, NAMES).data[1]
    for number, cell in enumerate(matrix.pairs):
        assert (matrix.sources[marks.y[number]], matrix.targets[marks.x[number]]) == (cell.source, cell.target)
        assert figures.clicked(matrix, [{"point_index": number}]) is cell
    assert figures.clicked(matrix, []) is None
    assert figures.clicked(matrix, [{"point_index": 4}]) is None, "a click on a larger matrix that was there before"


def test_what_is_not_known_yet_has_no_colour_and_no_number() -> None:
    found, = matrices(asked("ab", "ab"), [A_A, A_B, None, None])
    heat = figures.heat(found, NAMES).data[0]
    assert list(heat.z[1]) == [None, None] and list(heat.text[1]) == ["", ""]


def test_the_bars_are_the_means_with_their_intervals() -> None:
    other = make_spec("fgsm", eps=2 / 255)
    found = matrices(asked("ab", "ab", [PGD, other]), [A_A, A_B, B_A, B_B, A_A, A_A, A_A, A_A])
    bars = figures.means(found).data[0]
    assert list(bars.x) == pytest.approx([(2 / 3 + 1 / 4) / 2, 1.0])
    for value, up, down, mean in zip(bars.x, bars.error_x.array, bars.error_x.arrayminus,
                                     (one.elsewhere for one in found), strict=True):
        assert (value + up, value - down) == pytest.approx((mean.high, mean.low))


def test_the_cosines_are_symmetric_around_nothing() -> None:
    found = Alignment(("a", "b"), np.array([[0.1, 0.3]]))
    heat = figures.alignment(found, NAMES).data[0]
    assert [list(row) for row in heat.z] == [[1.0, pytest.approx(0.2)], [pytest.approx(0.2), 1.0]]
    assert (heat.zmin, heat.zmax) == (-1, 1) and "0.20" in heat.text[0][1]


# ---- sentences


def test_the_words_say_who_was_fooled_by_whom(matrix: Matrix) -> None:
    first, second, third = sentences(matrix)
    assert first == ("An attacker who has a and never saw b changes the diagnosis in 2 of the 3 images that b read "
                     "correctly (67 %, 95 % interval 21 % to 94 %); who has b itself, in 3 of 3.")
    assert second.startswith("Over the 2 pairs") and "46 % on average" in second
    assert third == "Of the 3 images that all models read correctly, 2 made on a fool all of them at once."


def test_without_rows_there_is_nothing_to_say() -> None:
    assert list(sentences(matrices(asked("ab", "ab"), [None] * 4)[0])) == []
    assert list(sentences(matrices(asked("a", "a"), [A_A])[0])) == []


def test_two_models_alignment_is_explained_by_itself() -> None:
    said = explained(Alignment(("x/a", "x/b"), np.array([[0.1, 0.3]])), None)
    assert "Between a and b the cosine is 0.20 on average" in said
    assert explained(Alignment(("a", "b"), np.array([[np.nan]])), None) == ""


def test_of_several_the_most_and_the_least_alike_are_named_with_what_they_do() -> None:
    all_fooled, none = rows("rrrr", "wwww"), rows("rrrr", "rrrr")
    found, = matrices(asked("abc", "abc"), [A_A, all_fooled, none, all_fooled, A_A, none, none, none, A_A])
    said = explained(Alignment(("a", "b", "c"), np.array([[0.5, 0.6], [0.0, 0.1], [0.2, 0.3]])), found)
    assert "Most alike are a and b" in said and "which fool each other in 100 %" in said
    assert "least a and c" in said and said.endswith("which fool each other in 0 %.")


@pytest.mark.parametrize(("models", "wanted"), [
    (("p/resnet18", "p/densenet121"), ["resnet18", "densenet121"]),
    (("p/net", "q/net"), ["p/net", "q/net"]),
    (("p/net", "/tmp/x.safetensors"), ["p/net", "x"]),
    (("/a/x.safetensors", "/b/x.safetensors"), ["/a/x.safetensors", "/b/x.safetensors"]),
    (("p/a", "p/b", "p/a,p/b"), ["a", "b", "a + b"]),
])
def test_names_are_as_short_as_they_can_be(models: tuple[str, ...], wanted: list[str]) -> None:
    assert list(short(models).values()) == wanted


def test_an_attack_is_called_by_its_budget_and_where_needed_its_seed() -> None:
    some = [make_spec("pgd", eps=2 / 255, seed=seed) for seed in (0, 3)]
    assert attack_title(some[1]) == "PGD, eps 2/255"
    assert attack_title(some[1], some) == "PGD, eps 2/255, seed 3"
    assert attack_title(make_spec("deepfool")) == "DeepFool"


# ---- tables


def test_the_tables_are_the_matrix(matrix: Matrix) -> None:
    table = wide([matrix])
    assert list(table.columns) == ["attack", "eps", "norm", "seed", "source", "a", "b"]
    assert table[["a", "b"]].to_numpy().tolist() == [[1.0, 2 / 3], [0.25, 1.0]]
    pairs = long([matrix])
    assert pairs["fooled"].tolist() == [4, 2, 1, 3] and pairs["counted"].tolist() == [4, 3, 4, 3]
    assert pairs["relation"].tolist() == ["white-box", "transfer", "transfer", "white-box"]

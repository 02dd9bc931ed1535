"""Windows: the standard's formulas, every way to name one, and back from what is shown to what is stored."""

import numpy as np
import pytest

from engine.data.windows import PRESETS, Grid, Look, Meaning, Table, Window, grid_of, looked_at, units_of
from engine.errors import EngineError

CT = Meaning(12, slope=1.0, intercept=-1024.0, unit="HU", windows=(Window(-600, 1500), Window(40, 400)))
STORED = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def grid(meaning: Meaning, name: str = "", stored: np.ndarray = STORED) -> Grid:
    made = grid_of(meaning, looked_at(meaning, stored, name), stored.dtype)
    assert made is not None
    return made


@pytest.mark.parametrize(("name", "window"), [
    ("", Window(-600, 1500)), ("file-2", Window(40, 400)), *PRESETS.items(), ("40/80", Window(40, 80)),
    ("-40.5/80.25/linear-exact", Window(-40.5, 80.25, "linear-exact")), ("40/80/sigmoid", Window(40, 80, "sigmoid")),
    ("full", Window(1023.5, 4095, "linear-exact"))])
def test_a_window_is_found_by_its_name_or_its_numbers(name: str, window: Window) -> None:
    assert looked_at(CT, STORED, name).by == window
    if "/" in name:
        assert str(window) == name


@pytest.mark.parametrize(("name", "words"), [
    ("40", "centre and width, such as 40/400"), ("40/0", "more than 1"), ("40/1", "more than 1"),
    ("file-3", "file-1, file"), ("999999999/1.00000001", "centre and width"),
    ("40/400/cubic", "unknown window function 'cubic'"), ("1e9/5", "centre and width"), ("nan/5", "centre and width"),
    ("0/0/sigmoid", "more than 0"), ("../etc", "centre and width")])
def test_what_is_no_window_is_one_line(name: str, words: str) -> None:
    with pytest.raises(EngineError, match=words) as caught:
        looked_at(CT, STORED, name)
    assert "\n" not in str(caught.value)


def test_presets_are_for_hounsfield_units() -> None:
    assert set(PRESETS) <= set(CT.names) and not set(PRESETS) & set(Meaning(12).names)
    with pytest.raises(EngineError, match="Hounsfield"):
        looked_at(Meaning(12), STORED, "lung")


@pytest.mark.parametrize("meaning", [
    CT, Meaning(12, inverted=True), Meaning(8), Meaning(16, signed=True, slope=-0.5, intercept=7.0),
    Meaning(12, windows=(Window(2000, 900, "sigmoid"),)), Meaning(10, tables=(Table(0, tuple(range(0, 65536, 64))),)),
    Meaning(12, table=Table(0, tuple(range(4096)), 12))], ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_what_is_shown_leads_back_to_what_is_stored(meaning: Meaning, dtype: type) -> None:
    low, high = max(meaning.range[0], np.iinfo(dtype).min), min(meaning.range[1], np.iinfo(dtype).max)
    stored = np.linspace(low, high, 900).astype(dtype).reshape(30, 30)
    made = grid(meaning, "", stored)
    shown = made.of(stored)
    assert shown.dtype == np.float32 and 0 <= shown.min() < shown.max() <= 1 and made.reversible
    assert np.array_equal(made.stored(shown.astype(float), stored), stored)  # also beyond the ends of the window
    moved = np.clip(shown + 0.01, made.storable.min(), made.storable.max())
    there = made.stored(moved.astype(float), stored)
    assert there.dtype == stored.dtype and there.min() >= low and there.max() <= high
    assert np.abs(made.of(there) - moved).max() <= np.diff(np.unique(made.storable)).max() / 2 + 1e-6
    assert np.allclose(made.rounded(moved), made.of(there), atol=1e-6)


def test_a_pixel_beyond_the_window_moves_no_further_than_it_must() -> None:
    made = grid(CT, "40/401")  # -160.5 to 239.5 HU
    before = np.array([[0, 0, 4000]], np.uint16)
    after = made.stored(np.array([[0.0, 0.5, 1.0]]), before)
    assert after.tolist() == [[0, 1024 + 40, 4000]] or after.tolist() == [[0, 1024 + 39, 4000]]
    assert made.movable(np.array([[0, 1024, 4000]], np.uint16)).tolist() == [[False, True, False]]


def test_padding_is_no_part_of_the_picture() -> None:
    padded = Meaning(12, padding=(0, 10))
    stored = np.maximum(STORED, 1000)
    stored[:9] = 5
    assert looked_at(padded, stored, "full").by == Window((1000 + 4095) / 2, 3095, "linear-exact")
    made = grid(padded, "full", stored)
    assert (made.stored(np.full(stored.shape, 0.5), stored)[:9] == 5).all() and not made.movable(stored)[:9].any()


def test_units_are_told_where_they_are_a_straight_line() -> None:
    for meaning in (CT, Meaning(12, inverted=True, slope=2.0, intercept=5.0, windows=(Window(900, 600),))):
        look = looked_at(meaning, STORED)
        units, shown = units_of(meaning, look), grid(meaning).of(STORED)
        assert units is not None
        inside = (shown > 0) & (shown < 1)
        worth = meaning.values(STORED) if units.name == "HU" else STORED
        assert np.allclose((units.offset + units.scale * shown)[inside], worth[inside], atol=0.01)
    assert units_of(CT, Look(Window(0, 9, "sigmoid"))) is None and units_of(CT, Look(Table(0, (0, 9)))) is None


def test_twelve_bits_are_sixteen_times_finer_than_eight() -> None:
    assert grid(Meaning(12), "full").finer == pytest.approx(4095 / 255)
    assert grid(Meaning(8), "", np.arange(256, dtype=np.uint8)[None]).finer == pytest.approx(1)
    assert grid(CT, "lung").finer == pytest.approx(1499 / 255)


def test_a_table_that_goes_up_and_down_leads_nowhere_back() -> None:
    folded = Meaning(12, tables=(Table(0, (*range(2048), *range(2048, 0, -1)), 12),))
    assert not grid(folded).reversible

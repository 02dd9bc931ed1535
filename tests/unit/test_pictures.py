"""Heatmaps as pictures: the colours that a heat has."""

import io

import numpy as np
import pytest
from PIL import Image

from pages.ui import pictures


# Matplotlib's inferno at ninths, laid over black at three quarters of its strength times heat to the power of 0.7.
@pytest.mark.parametrize(("heat", "inferno"), [
    (3 / 9, (120, 28, 109)), (4 / 9, (165, 44, 96)), (6 / 9, (237, 105, 37)), (7.5 / 9, (249, 182, 33.5)),
    (1, (252, 255, 164)),
])
def test_heat_has_the_colours_of_inferno(heat: float, inferno: tuple[float, float, float]) -> None:
    png = pictures.heat_png(np.zeros((1, 4, 4), np.float32), np.full((4, 4), heat, np.float32), None, False,
                            f"test heat {heat}")
    drawn = np.asarray(Image.open(io.BytesIO(png)))
    assert drawn.shape == (8, 8, 3)
    expected = np.broadcast_to(np.array(inferno) * 0.75 * heat ** 0.7, drawn.shape)
    np.testing.assert_allclose(drawn, expected, atol=0.51)


def test_the_scale_below_it_has_the_same_colours() -> None:
    colours = pictures.INFERNO_CSS.removeprefix("linear-gradient(to right, ").removesuffix(")").split(", ")
    assert len(colours) == 10 and (colours[0], colours[4], colours[-1]) == ("#000004", "#a52c60", "#fcffa4")

"""What is marked on an image means the same to the page, to the command line, and to what is measured on a split."""

import numpy as np
import pytest
import torch

from engine.attacks.spec import MASKS
from engine.data.marks import MARKS, marked
from engine.errors import EngineError
from engine.experiments import sources
from engine.experiments.resources import MASK_MAKERS
from engine.experiments.sources import Source, opened, picture, unmarked
from tests.tiny import small_net

HEALTHY, ILL = 0, 8


def test_every_mark_is_a_mask_that_can_be_chosen_and_made() -> None:
    assert MARKS.keys() <= MASKS.keys() and MARKS.keys() <= MASK_MAKERS.keys()


@pytest.mark.parametrize("name", MARKS)
def test_the_page_and_the_command_line_find_the_same_mark(name: str) -> None:
    kind = "phantom-histology" if name == "nuclei" else "phantom-cxr"
    data, shown = opened(kind, "test"), picture(Source(kind, "test", ILL))
    assert unmarked(name, shown) is None
    made = MASK_MAKERS[name](data, [ILL], torch.from_numpy(data.images([ILL])), small_net())
    assert 0 < shown.marks[name].mean() < 0.5 and np.array_equal(made[0, 0].numpy(), shown.marks[name])


def test_nothing_marked_is_told_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mask without a pixel counts as none."""
    data = opened("phantom-cxr", "test")
    monkeypatch.setattr(type(data), "lungs", lambda self, index: np.zeros((224, 224), bool))
    sources._picture.cache_clear()
    shown = picture(Source("phantom-cxr", "test", HEALTHY))
    sources._picture.cache_clear()
    images = torch.from_numpy(data.images([HEALTHY]))
    assert shown.marks == {} and shown.lesion is None
    for name, words in (("lesion", "a lesion"), ("lung", "the lungs")):
        assert marked(name, data, HEALTHY) is None
        assert unmarked(name, shown) == f"nobody marked {words} on this picture"
        with pytest.raises(EngineError, match=f"nobody marked {words}"):
            MASK_MAKERS[name](data, [HEALTHY], images, small_net())

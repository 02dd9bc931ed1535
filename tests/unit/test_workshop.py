"""Phantoms made to order: as drawn they are those of the data set, and their names make them again."""

import numpy as np
import pytest

import engine.data
from engine.attacks.spec import make_spec
from engine.data.workshop import KITS, SPLIT, made, order, read
from engine.errors import EngineError
from engine.experiments.sources import Source
from engine.experiments.units import unchanged, unit_of


def lesion_pixels(**knobs: object) -> int:
    found = made(order("phantom-cxr", "Pneumonia", (8, 8, 8), knobs)).lesion(0)
    return 0 if found is None else int(found.sum())


@pytest.mark.parametrize("kind", KITS)
def test_with_equal_numbers_and_as_drawn_it_is_the_phantom_of_the_test_split(kind: str) -> None:
    there = engine.data.load(kind, SPLIT)
    index = int(np.flatnonzero(there.labels)[3])
    shows = there.classes[there.labels[index]]
    wanted = order(kind, shows, (index,) * 3, {})
    alone = engine.data.load(wanted.name)
    assert np.array_equal(alone.image(0), there.image(index)) and len(alone) == 1
    assert np.array_equal(alone.lesion(0), there.lesion(index)) and alone.labels.tolist() == [there.labels[index]]
    assert alone.classes == there.classes and alone.stored_units(0) == there.stored_units(index)
    turned = {"haematoxylin": 2.0} if kind == "phantom-histology" else {"size": 2.0}
    changed = engine.data.load(order(kind, shows, (index,) * 3, turned).name)
    assert not np.array_equal(changed.image(0), there.image(index)) and changed.origin(0) != alone.origin(0)
    assert engine.data.load(wanted.name, "train").digest == engine.data.load(kind, "train").digest  # to learn from


def test_knobs_do_what_they_say() -> None:
    drawn = lesion_pixels()
    assert lesion_pixels(size=1.4) > 1.2 * drawn > 2 * lesion_pixels(size=0.5) and lesion_pixels(density=0.0) == 0
    images = {dose: made(order("phantom-cxr", "Normal", (3, 0, 0), {"dose": dose})).image(0) for dose in (4.0, 0.04)}
    rough = {dose: float(np.abs(np.diff(image, axis=1)).mean()) for dose, image in images.items()}
    assert rough[0.04] > 1.5 * rough[4.0]
    where = [float(np.nonzero(made(order("phantom-cxr", "Pneumonia", (8, 8, 8), {"down": down})).lesion(0))[0].mean())
             for down in (-2.0, 2.0)]
    assert where[1] > where[0] + 5


def test_a_run_on_it_is_found_again_by_its_name() -> None:
    name, attack = order("phantom-cxr", "Pneumonia", (8, 8, 8), {"size": 1.5}).name, make_spec("uap", eps=4 / 255)
    unit = unit_of(Source(name, SPLIT), "phantom-cxr/resnet18", attack)
    assert unchanged(unit) == unit and unit.further  # it learns from the other phantoms
    drawn = order("phantom-cxr", "Pneumonia", (8, 8, 8), {}).name
    other = unit_of(Source(drawn, SPLIT), "phantom-cxr/resnet18", attack)
    assert other.images != unit.images and other.others == unit.others


def test_a_name_is_read_and_what_is_wrong_with_it_is_said() -> None:
    wanted = order("phantom-cxr", "COVID-19", (1, 2, 3), {"size": "1.5", "hardware": "no", "dose": 1.0})
    assert wanted.name == "made:phantom-cxr,shows=COVID-19,anatomy=1,disease=2,exposure=3,size=1.5,hardware=False"
    assert read(wanted.name) == wanted and engine.data.find(wanted.name).info.name == wanted.name
    wrong = {"phantom-mri": "kind of phantom", "phantom-cxr,size": "has no =", "phantom-cxr,size=9": "between",
             "phantom-cxr,anatomy=450": "between 0 and 449", "phantom-cxr,anatomy=-1": "whole number",
             "phantom-cxr,colour=1": "unknown parameter 'colour'", "phantom-cxr,shows=x": "unknown class",
             "phantom-cxr,size=nan": "finite"}
    for text, line in wrong.items():
        with pytest.raises(EngineError, match=line):
            engine.data.find(f"made:{text}")

"""Which models have seen pictures like one that is brought along."""

import io

import numpy as np
import pytest
from PIL import Image

from engine.attacks.spec import make_spec
from engine.data import DATASETS, imaging
from engine.data.upload import take_upload
from engine.errors import EngineError
from engine.experiments.onepicture import suited
from engine.experiments.sources import Picture, Source, seen_by
from engine.experiments.units import unchanged, unit_of
from engine.zoo.registry import model_card, models
from tests import nets

NOISE = np.zeros((1, 8, 8), np.float32)
XRAY, CT = "radiograph of the chest", "CT of the lungs"


def test_every_data_set_says_how_its_pictures_were_made():
    assert all(imaging.of(entry.info) for entry in DATASETS.values())
    assert DATASETS["kermany"].info.population == DATASETS["pneumoniamnist"].info.population == "children"
    phantom, real = (imaging.of(DATASETS[name].info) for name in ("phantom-cxr", "rsna"))
    assert phantom == real == XRAY and imaging.alike(imaging.IN_DICOM["DX"], real)
    assert imaging.alike("CT", CT) and not imaging.alike(CT, XRAY) and not imaging.alike(CT, "CT of the head")


@pytest.mark.parametrize(("kind", "best"), [(XRAY, "kermany/densenet121"), ("radiograph", "kermany/densenet121"),
                                            (CT, "covid-ct/densenet121")])
def test_those_that_have_seen_real_pictures_of_its_kind_come_first(kind, best):
    entries = [entry for entry in models() if entry.bundled]
    assert suited.first(entries, kind)[0].name == best
    assert suited.first(entries, "") == entries


@pytest.mark.parametrize(("dataset", "picture", "words"), [
    ("phantom-cxr", Picture(NOISE, 0, "", synthetic=True, imaging=XRAY), ""),
    ("phantom-cxr", Picture(NOISE, None, ""), "synthetic pictures only"),
    ("made:phantom-cxr,shows=Normal,anatomy=8,disease=8,exposure=8", Picture(NOISE, None, ""), "synthetic pictures"),
    ("phantom-cxr", Picture(NOISE, None, "", imaging="CT"), "another kind only (radiograph of the chest), and none"),
    ("kermany", Picture(NOISE, 0, "", imaging=XRAY, population="children"), ""),
    ("kermany@64", Picture(NOISE, None, ""), "pictures of children only"),
    ("kermany", Picture(NOISE, 0, "", synthetic=True, imaging=XRAY), "none that are synthetic"),
    ("covid-ct", Picture(NOISE, None, "", imaging="CT"), ""),
    ("", Picture(NOISE, None, ""), "nobody said"),
    ("folder:/nowhere", Picture(NOISE, None, ""), ""),
])
def test_what_a_model_has_not_seen_is_said(dataset, picture, words):
    lines = list(suited.reservations(nets.card("resnet18", dataset=dataset), picture))
    assert (len(lines), words in " ".join(lines)) == (bool(words), True)


def test_an_upload_may_meet_a_model_that_knows_some_of_the_data_sets_classes(perturbscope_home):
    """Without the model's own data set there is no other whose classes it knows."""
    file = io.BytesIO()
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(file, "PNG")
    source = Source("phantom-cxr", "test", 0, take_upload([(file.getvalue(), ".png")]))
    chosen, dataset = seen_by("kermany/densenet121", source)
    assert chosen.label is None and dataset.classes == model_card("kermany/densenet121").classes
    unit = unit_of(source, "kermany/densenet121", make_spec("uap", eps=0.1))
    assert unchanged(unit) == unit and dict(unit.names) == {"Normal": "Normal", "Pneumonia": "Pneumonia"}
    labels = seen_by("kermany/densenet121", source)[1].labels
    assert set(labels[labels >= 0]) == {0, 1} and (labels < 0).any()
    with pytest.raises(EngineError, match="no class of it is called COVID-19"):
        seen_by("kermany/densenet121", Source("phantom-cxr", "test", 0))

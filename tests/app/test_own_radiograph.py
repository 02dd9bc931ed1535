"""A picture of one's own on Explore meets a model that has seen real ones of its kind, if there is one."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from tests import collected
from tests.app.test_pages import address, opened
from tests.app.visits import model


def brought(**query: str) -> AppTest:
    file = io.BytesIO()
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(file, "PNG")
    app = opened(attack="hopskipjump", **query)  # which does not run by itself
    app.file_uploader[0].upload("xray.png", file.getvalue(), "image/png").run()
    assert not app.exception and not app.error and address(app)["upload"]
    return app


@pytest.mark.parametrize("here", [False, True])
def test_an_uploaded_radiograph_is_offered_the_real_ones_model_first(
        here: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if here:
        for number in range(40):
            part, kind = ("train", "test")[number % 2], ("NORMAL", "PNEUMONIA")[number % 4 // 2]
            collected.save(tmp_path / "chest_xray" / part / kind / f"person{number}_x.jpeg", collected.noise(number))
    monkeypatch.setenv("PERTURBSCOPE_DATA", str(tmp_path))
    app = brought()
    control = model(app)
    assert address(app)["model"] == control.value == "kermany/densenet121"
    # Beside where the verdict will stand.
    assert "children only" in " ".join(one.value for one in app.caption)
    # Where its own pictures are here, they come with it.
    assert address(app)["dataset"] == ("kermany" if here else "phantom-cxr")
    control.set_value("phantom-cxr/resnet18").run()
    if not here:  # it knows all classes of the phantoms, and not those of children's
        assert not app.exception and address(app)["model"] == "phantom-cxr/resnet18"
        assert "synthetic pictures only" in " ".join(one.value for one in app.caption)


def test_another_kind_of_picture_is_offered_another_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERTURBSCOPE_DATA", str(tmp_path))
    assert address(brought(dataset="phantom-ct"))["model"] == "covid-ct/efficientnet_lite0"

"""A CT of one's own on Explore: slice and window in the page and its address, the verdict in the file's values, and not
a word of whose it is."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from engine.data.upload import take_upload
from tests.app.test_pages import address, opened, run_button, settled
from tests.dicoms import ALL_SECRETS, dicom, full_of_secrets, gradient

HU = {"Modality": "CT", "RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": [1024, 40],
      "WindowWidth": [4097, 400]}


def ct(height: int) -> bytes:
    return full_of_secrets(dicom(gradient(12, (256, 250)) // 2 + height, bits=12, ImagePositionPatient=[0, 0, height],
                                 ImageOrientationPatient=[1, 0, 0, 0, 1, 0], **HU))


def texts(app: AppTest) -> str:
    """Everything that the page says, and its address."""
    blocks = [str(block.proto) for kind in ("html", "markdown", "caption", "alert", "code", "selectbox", "slider",
                                            "number_input", "download_button") for block in app.get(kind)]
    return " ".join([*blocks, *address(app).values()])


@pytest.fixture(scope="module")
def upload(perturbscope_home: Path) -> str:
    return take_upload([(ct(height), ".dcm") for height in (30, 10, 20)])


def key(app: AppTest, upload: str, name: str) -> str:
    return f"explore.{name} {upload[:16]}"


def test_a_ct_is_attacked_in_its_own_values_and_nothing_says_whose_it_is(
        upload: str, perturbscope_home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    app = opened(upload=upload, frame="1", window="-200/2000", attack="fgsm", eps="8/255",
                 model="phantom-cxr/resnet18")
    run_button(app).click().run()
    settled(app)
    assert {"frame": "1", "window": "-200/2000", "upload": upload}.items() <= address(app).items() and not app.error
    said = texts(app)
    assert "Epsilon is 62.7 HU" in said and "steps of 1 HU, 7.84 times finer than 8 bits" in said
    assert "Slice 1 of 3 is shown" in said and "no value moves by more than" in said
    assert app.session_state["explore shown"].explored.in_file.rows == 256
    said += " ".join(capfd.readouterr())
    kept = b" ".join(path.read_bytes() for path in perturbscope_home.rglob("*") if path.is_file())
    assert not [secret for secret in ALL_SECRETS if secret in said or secret.encode() in kept]


def test_slice_and_window_are_chosen_on_the_page(upload: str) -> None:
    app = opened(upload=upload, attack="hopskipjump")
    window, slices = app.selectbox(key=key(app, upload, "window")), app.slider(key=key(app, upload, "frame"))
    assert (slices.min, slices.max, slices.value) == (1, 3, 2) and "frame" not in address(app)
    assert "Slice 2 of 3 is shown" in texts(app) and "of 3" in slices.proto.format
    assert window.options[:4] == \
        ["As the file says", "The file's own: 1024/4097", "The file's own: 40/400", "Lung: -600/1500"]
    before = app.session_state["explore.upload"]
    slices.set_value(3)
    window.select("lung").run()
    assert address(app)["frame"] == "3" and address(app)["window"] == "lung" and not app.error
    width = next(number for number in app.number_input if number.label == "Width, HU")
    assert width.value == 1500
    width.set_value(1600.0).run()
    assert address(app)["window"] == "-600/1600" and not app.error and not app.exception
    assert next(number for number in app.number_input if number.label == "Width, HU").value == 1600
    assert app.session_state["explore.upload"] == before
    app.button(key="explore back").click().run()
    assert not {"frame", "window", "upload"} & address(app).keys() and not app.error


@pytest.mark.parametrize(("name", "value", "line"), [
    ("frame", "4", "3 slices, counted from 1"), ("frame", "one", "counted from 1"), ("window", "40", "such as 40/400"),
    ("window", "40/0", "more than 1"), ("window", "x" * 5000, "such as 40/400")])
def test_what_an_address_gets_wrong_about_them_is_one_line(upload: str, name: str, value: str, line: str) -> None:
    app = opened(upload=upload, attack="hopskipjump", **{name: value})
    assert len(app.error) == 1 and line in app.error[0].value and name not in address(app)


def test_a_file_that_may_be_a_patients_is_not_named_when_it_cannot_be_read() -> None:
    app = opened(attack="hopskipjump")
    app.file_uploader[0].upload("Doe^Jane.dcm", ct(10)[:-200], "application/dicom").run()
    assert len(app.error) == 1 and "damaged" in app.error[0].value and "Doe" not in app.error[0].value
    app.file_uploader[0].upload("odd.txt", b"hello", "text/plain").run()
    assert "odd.txt" in app.error[0].value
    app.file_uploader[0].upload("Doe^Jane.dcm", ct(10), "application/dicom").run()
    assert not app.error and address(app)["upload"] and "Doe" not in texts(app)

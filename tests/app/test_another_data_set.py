"""Another data set is chosen: numbers of images keep their meaning, and models that suit it are offered."""

from collections.abc import Iterator

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Multiselect, Selectbox

from pages.ui.choosing import selection_of
from pages.ui.sources import _dataset_meant
from tests import collected
from tests.app.test_pages import address
from tests.app.visits import model, opened, sent, words

pytestmark = pytest.mark.usefixtures("own_home")

SYNTHETIC = "synthetic pictures only"


@pytest.fixture(scope="module")
def children(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A few pictures in the layout of children's chest X-rays."""
    root = tmp_path_factory.mktemp("data")
    for number in range(40):
        part, kind = ("train", "test")[number % 2], ("NORMAL", "PNEUMONIA")[number % 4 // 2]
        collected.save(root / "chest_xray" / part / kind / f"person{number}_x.jpeg", collected.noise(number))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERTURBSCOPE_DATA", str(root))
        yield


def box(app: AppTest, label: str) -> Selectbox[str]:
    return next(one for one in app.sidebar.selectbox if one.label.startswith(label))


def models(app: AppTest) -> Multiselect[str]:
    return next(one for one in app.multiselect if one.label == "Models")


def moved(app: AppTest, dataset: str) -> AppTest:
    box(app, "Data set").set_value(dataset).run()
    assert not app.exception and not app.error
    return app


def said(app: AppTest) -> str:
    return " ".join(one.value for one in (*app.warning, *app.caption))


@pytest.mark.usefixtures("children")
def test_a_number_of_images_stays_the_same_number_in_a_split_of_another_length() -> None:
    app = opened("evaluate")
    shown = box(app, "Images").id
    held = words(app)[shown]
    assert held == "12 of 450"
    box(app, "Split").set_value("train").run()
    sent(app, {shown: held})  # a browser goes on showing what it was not told to change
    assert not app.error and address(app)["images"] == "12"
    shown = box(app, "Images").id
    now = words(app)[shown]
    assert now.startswith("12 of ") and now != held
    sent(app, {shown: held})  # typed
    assert not app.error and address(app)["images"] == "12" and words(app)[shown] == now
    box(moved(app, "kermany"), "Split").set_value("test").run()
    assert words(app)[box(app, "Images").id] == "2 of 2" and address(app)["images"] == "12"


@pytest.mark.parametrize(("text", "same"), [
    ("12 of 450", "12"), ("1,200 of 5,216", "1200"), ("7 of every class", "each 7"), ("all 73 of the split", "all")])
def test_a_number_may_be_typed_as_it_is_shown(text: str, same: str) -> None:
    assert selection_of(text) == selection_of(same)


@pytest.mark.usefixtures("children")
def test_models_made_for_a_data_set_come_with_it_unless_one_is_chosen_there() -> None:
    app = opened("defend")
    assert models(app).value == ["phantom-cxr/resnet18"]
    assert models(moved(app, "kermany")).value == ["kermany/densenet121"]
    assert "has seen" not in said(app)
    models(app).set_value(["phantom-cxr/resnet18", "kermany/densenet121"]).run()
    app.run()
    assert models(app).value == ["phantom-cxr/resnet18", "kermany/densenet121"] and SYNTHETIC in said(app)
    assert models(moved(app, "phantom-cxr")).value == ["phantom-cxr/resnet18"]


@pytest.mark.usefixtures("children")
def test_explore_goes_on_with_the_model_made_for_a_data_set() -> None:
    app = opened("explore", attack="hopskipjump")
    assert model(moved(app, "kermany")).value == "kermany/densenet121"
    model(app).set_value("phantom-cxr/resnet18").run()
    app.run()
    assert model(app).value == "phantom-cxr/resnet18" and SYNTHETIC in said(app)


@pytest.mark.usefixtures("children")
def test_a_link_may_ask_for_the_model_of_another_data_set_and_that_is_said() -> None:
    app = opened("evaluate", dataset="kermany", models="phantom-cxr/resnet18")
    assert models(app).value == ["phantom-cxr/resnet18"] and SYNTHETIC in said(app)


def test_what_was_chosen_first_need_not_be_offered_any_more() -> None:
    app = opened("defend", defense="jpeg,jpeg", attacks="pgd", norm="linf")
    for chosen in ([], ["median"]):
        next(one for one in app.multiselect if one.label.startswith("Defense")).set_value(chosen).run()
        assert not app.exception
    for dataset, own in (("phantom-ct", "phantom-ct/mobilenet_v3_small"), ("phantom-cxr", "phantom-cxr/resnet18")):
        moved(app, dataset)
        app.run()
        assert not app.exception and models(app).value == [own]


@pytest.mark.parametrize(("typed", "meant"), [
    ("COVID-CT", "covid-ct"), ("kermany", "kermany"), (" Kermany chest", "kermany"), ("BreakHis", "breakhis"),
    ("phantom", "phantom"), ("folder:/my/Pictures", "folder:/my/Pictures"), ("nothing", "nothing"), ("", "")])
def test_a_data_set_is_known_however_its_name_is_typed(typed: str, meant: str) -> None:
    assert _dataset_meant(typed) == meant

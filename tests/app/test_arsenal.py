"""Explore with attacks that have no eps, see only decisions, or are made on another model."""

import io

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from engine.data import phantom
from engine.data.masks import NOTHING, drawn
from engine.data.upload import read_upload, save_upload
from pages.exploring import parts
from tests.app.test_pages import address, opened, run_button, settled, verdict


def run(app: AppTest) -> AppTest:
    run_button(app).click().run()
    return settled(app)


def command(app: AppTest) -> str:
    return next(block.value for block in app.code if "engine attack" in block.value)


def test_an_attack_without_eps_has_no_slider_and_a_link_keeps_its_eps() -> None:
    app = opened(attack="hopskipjump", eps="0.5/255", set__queries="120")
    assert not app.select_slider
    assert address(app)["eps"] == "0.5/255"
    app.selectbox(key="explore.attack").set_value("bim").run()
    assert app.select_slider(key="explore.eps").value == 0.5


def test_a_black_box_attack_is_shown_as_a_film_and_a_curve() -> None:
    app = run(opened(attack="hopskipjump", set__queries="150"))
    assert "The model" in verdict(app)
    film = "".join(block.proto.body for block in app.get("html"))
    assert "100 queries" in film and "L2 " in film
    assert "--eps" not in command(app) and "queries=150" in command(app)


def test_a_surrogate_is_chosen_carried_and_repeated() -> None:
    app = opened(attack="mifgsm", surrogate="phantom-cxr/densenet121", set__steps="2")
    assert app.selectbox(key="explore.surrogate").value == "phantom-cxr/densenet121"
    app = run(app)
    assert "--surrogate phantom-cxr/densenet121" in command(app)
    app.selectbox(key="explore.surrogate").set_value("").run()
    assert "surrogate" not in address(app)


def test_a_link_may_ask_for_an_ensemble_that_has_the_model_in_it() -> None:
    both = "phantom-cxr/resnet18,phantom-cxr/densenet121"
    app = run(opened(attack="fgsm", surrogate=both))
    assert not app.error and address(app)["surrogate"] == both
    assert f"--surrogate {both}" in command(app)
    wrong = opened(attack="fgsm", surrogate="phantom-cxr/densenet121,kermany/densenet121")
    assert "surrogate = phantom-cxr/densenet121,kermany" in wrong.error[0].value


def test_the_lesion_can_be_attacked_alone() -> None:
    app = run(opened(attack="bim", mask="lesion", eps="8/255"))
    assert "--mask lesion" in command(app)
    pictures = "".join(block.proto.body for block in app.get("html"))
    assert "Where it changed" in pictures


def drawing() -> str:
    """A square in the middle, as the address has it."""
    mask = np.zeros((56, 56), bool)
    mask[20:36, 20:36] = True
    return drawn(mask).removeprefix("drawn:")


def test_a_mask_drawn_by_hand_is_carried_attacked_and_repeated() -> None:
    app = opened(attack="bim", set__steps="2", mask="drawn", drawing=drawing(), eps="8/255")
    assert not app.error and address(app)["drawing"] == drawing()
    app = run(app)
    assert f"--mask drawn:{drawing()}" in command(app)
    explored = app.session_state["explore shown"].explored
    changed = (explored.adversarial != explored.clean)[0]
    assert changed.any() and not changed[:80].any() and not changed[:, 144:].any()
    app.selectbox(key="explore.mask").set_value("").run()
    assert "mask" not in address(app)


def test_a_drawn_mask_in_a_saved_run_comes_back() -> None:
    from pages.ui import runs

    app = settled(opened(attack="bim", set__steps="2", mask="drawn", drawing=drawing(), eps="8/255"))
    shown = app.session_state["explore shown"]
    texts = runs.address_of(runs.to_json(shown.settings, shown.explored).encode())
    assert (texts["mask"], texts["drawing"]) == ("drawn", drawing())


def test_an_empty_drawing_says_what_to_do_and_shows_the_picture() -> None:
    app = opened(attack="bim", mask="drawn")
    assert run_button(app).disabled
    assert [error.value.lower() for error in app.error] == [NOTHING.lower()]
    assert "Draw on the picture" in " ".join(caption.value for caption in app.caption)
    assert any("The picture is" in block.proto.body for block in app.get("html"))
    app.selectbox(key="explore.split").set_value("train").run()
    assert address(app)["split"] == "train", "a link and a reload keep what was chosen"
    assert address(app)["mask"] == "drawn"
    app.session_state["explore.drawing"] = f"drawn:{drawing()}"
    app.run()
    assert not app.error and not run_button(app).disabled


def test_a_damaged_drawing_in_the_address_is_one_line() -> None:
    app = opened(attack="bim", mask="drawn", drawing="xyz")
    assert any("drawing = xyz" in error.value and "draw it again" in error.value for error in app.error)


def test_the_lungs_are_offered_where_they_are_known() -> None:
    app = opened(attack="bim", mask="lung")
    assert not app.error and not run_button(app).disabled


def test_a_lesion_that_nobody_marked_is_told_before_the_run() -> None:
    healthy = next(i for i in range(9) if not phantom.label_of("test", i))
    app = opened(attack="bim", mask="lesion", index=str(healthy))
    assert "Nobody marked a lesion" in app.error[0].value and run_button(app).disabled
    assert any("not known here" in option for option in app.selectbox(key="explore.mask").options)


def test_the_cost_is_told_before_the_run() -> None:
    app = opened(attack="pgd", set__steps="37")
    assert any("at most 37 gradients" in caption.value for caption in app.caption)
    app.selectbox(key="explore.attack").set_value("hopskipjump").run()
    assert any("queries" in caption.value and "at most" in caption.value for caption in app.caption)


def test_the_smallest_epsilon_is_searched_and_shown() -> None:
    app = run(opened(attack="bim", set__steps="2", eps="8/255"))
    app.button(key="explore smallest").click().run()
    app = settled(app)
    assert any("The diagnosis flips from" in block.value for block in app.markdown)


@pytest.mark.slow
def test_a_learned_pattern_is_shown_alone_and_tried_on_the_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MOST", 6)
    app = run(opened(attack="uap", set__epochs="1", eps="8/255"))
    pictures = "".join(block.proto.body for block in app.get("html"))
    assert "The pattern alone" in pictures
    app.button(key="explore fooling").click().run()
    app = settled(app)
    line = next(block.value for block in app.markdown if "changes the prediction on" in block.value)
    assert "of 6 pictures of the split 'test'" in line and "95 % interval" in line
    assert {"explore file Fooling rate (.csv)", "explore file The pattern (.png)"} <= {
        button.key for button in app.get("download_button")}


def test_a_preset_fills_in_every_setting_and_quick_takes_it_back() -> None:
    app = opened(attack="cw", set__rounds="3", set__confidence="1.0")
    app.button(key="explore.preset.cw.As in the paper").click().run()
    assert not app.exception
    assert [app.number_input(key=f"explore.set.cw.{name}").value for name in ("rounds", "steps", "rate", "confidence")
            ] == [20, 10_000, 0.01, 0.0]
    assert address(app)["set.steps"] == "10000" and "set.confidence" not in address(app)
    app.button(key="explore.preset.cw.Quick").click().run()
    assert app.number_input(key="explore.set.cw.rounds").value == 6 and "set.steps" not in address(app)
    assert not [button for button in opened(attack="fgsm").button if "preset" in (button.key or "")]


def test_the_step_is_shown_in_the_unit_of_the_norm() -> None:
    app = opened(attack="pgd", set__step_size=str(0.5 / 255))
    step = app.number_input(key="explore.set.pgd.step_size")
    assert step.value == pytest.approx(0.5) and "n/255" in step.label
    app.selectbox(key="explore.norm").set_value("l2").run()
    step = app.number_input(key="explore.set.pgd.step_size.l2")
    assert not app.exception and "255" not in step.label and step.value == pytest.approx(0.5 / 255)
    step.set_value(2.0).run()
    assert address(app)["set.step_size"] == "2.0"


def test_pwp_has_the_common_epsilon_and_no_mask() -> None:
    app = opened(attack="pwp", eps="4/255")
    assert not app.error and app.select_slider(key="explore.eps").value == 4.0
    assert "explore.mask" not in [box.key for box in app.selectbox]


@pytest.mark.parametrize(("query", "line"), [
    ({"attack": "bim", "target": "Pneumonia", "index": "8"}, "this picture is Pneumonia: nothing would"),
    ({"attack": "patch", "set__size": "1.5"}, "between 0.01 and 1"),
    ({"attack": "roa", "set__width": "2"}, "between 0.01 and 1"),
    ({"attack": "bim", "surrogate": "kermany/densenet121"}, "surrogate = kermany/densenet121"),
    ({"attack": "bim", "surrogate": "phantom-cxr/resnet18"}, "surrogate = phantom-cxr/resnet18"),
])
def test_what_cannot_be_attacked_is_one_line_before_the_run(query: dict[str, str], line: str) -> None:
    app = opened(**query)
    assert len(app.error) == 1 and line in app.error[0].value and "\n" not in app.error[0].value


def test_a_query_budget_under_the_first_generation_is_one_line() -> None:
    app = opened(attack="onepixel", set__queries="50")
    assert len(app.error) == 1 and "needs at least 101 queries" in app.error[0].value
    assert run_button(app).disabled


def test_a_budget_too_small_for_a_start_is_told() -> None:
    app = run(opened(attack="hopskipjump", set__queries="1"))
    assert any(line.value.startswith("The query budget was spent before a starting point") for line in app.caption)


def test_the_true_class_is_no_goal() -> None:
    app = opened(attack="bim", index="8")
    assert phantom.CLASSES[phantom.label_of("test", 8)] == "Pneumonia"
    assert not any("Pneumonia" in option for option in app.selectbox(key="explore.target").options)


def test_a_goal_that_is_reached_already_is_told() -> None:
    """An upload's true class is unknown, so that even what the model says of it can be the goal."""
    pixels = (phantom.render("test", 8).image * 0.99).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    app = run(opened(attack="fgsm", target="Pneumonia", upload=save_upload(read_upload(file.getvalue()))))
    assert "the goal was reached already" in verdict(app)

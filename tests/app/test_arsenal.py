"""Explore with attacks that have no eps, see only decisions, or are made on another model."""

from streamlit.testing.v1 import AppTest

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


def test_the_lesion_can_be_attacked_alone() -> None:
    app = run(opened(attack="bim", mask="lesion", eps="8/255"))
    assert "--mask lesion" in command(app)
    pictures = "".join(block.proto.body for block in app.get("html"))
    assert "Where it changed" in pictures


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


def test_a_learned_pattern_is_shown_alone() -> None:
    app = run(opened(attack="uap", set__epochs="1", eps="8/255"))
    pictures = "".join(block.proto.body for block in app.get("html"))
    assert "The pattern alone" in pictures

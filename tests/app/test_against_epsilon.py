"""Explore's one picture against epsilon: at once where it costs nothing, else when asked for."""

import pytest

from engine.work.jobs import jobs
from pages.exploring import against_eps
from tests.app.test_pages import opened, run_button, settled


def asked(label: str) -> list[str]:
    return [job.task.kind for job in jobs()._jobs.values() if job.task.kind == label]


def test_a_quick_attack_is_drawn_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(against_eps, "AT_ONCE", 1000.0)  # however busy the machine is
    app = opened(attack="fgsm", eps="0.4/255", index="11")
    run_button(app).click().run()
    app = settled(app)
    said = " ".join(block.value for block in app.markdown)
    assert "The diagnosis flips between" in said or "holds at everything that was tried" in said
    assert "The eye would notice the change from about" in said


def test_a_long_one_waits_to_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(against_eps, "AT_ONCE", 0.0)
    before = len(asked("ladder"))
    app = opened(attack="bim", set__steps="40", eps="0.4/255", index="11")
    run_button(app).click().run()
    app = settled(app)
    assert len(asked("ladder")) == before
    button = next(one for one in app.button if one.label == "Draw it against epsilon")
    assert any("at most 280 gradients" in block.value for block in app.caption) and not button.disabled


def test_an_attack_without_eps_says_so() -> None:
    app = opened(attack="deepfool", index="11")
    run_button(app).click().run()
    app = settled(app)
    assert sum("has no epsilon: what it finds" in block.value for block in app.caption) == 2

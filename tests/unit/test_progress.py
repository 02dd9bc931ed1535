"""How long work tells how fast it gets on."""

import pytest

from engine import progress
from engine.cli.output import shown_progress
from engine.progress import Pace


class Clock:
    """time.monotonic, turned by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)

    def go(self, pace: Pace, until: float, done: float) -> None:
        """Second by second, evenly, up to so much."""
        start, since = pace._done, self.now
        while self.now < until:
            self.now += 1
            pace.mark(start + (done - start) * (self.now - since) / (until - since))


def test_what_was_kept_before_a_crash_says_nothing_of_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, pace = Clock(monkeypatch), Pace(1000)
    clock.go(pace, 1005, 500)  # kept: there in no time
    clock.go(pace, 1070, 565)  # computed: one a second
    assert pace.rate() == pytest.approx(1, rel=0.05)
    assert pace.left() == pytest.approx(435, rel=0.05)


def test_the_later_half_of_long_work_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, pace = Clock(monkeypatch), Pace(1.0)
    clock.go(pace, 1400, 0.4)
    clock.go(pace, 1800, 0.6)
    assert pace.left() == pytest.approx(800, rel=0.05)
    assert len(pace._marks) < 410


def test_the_command_line_tells_how_long_it_takes(monkeypatch: pytest.MonkeyPatch,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    clock, shown = Clock(monkeypatch), shown_progress()
    for second in range(11):
        shown.report(second / 40, "attacking")
        clock.now += 10
    assert "25% attacking, about 5 min left" in capsys.readouterr().err

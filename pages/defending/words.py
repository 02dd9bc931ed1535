"""Runs of this page in words."""

from engine.attacks.norms import NORMS
from engine.attacks.spec import ADAPTIVE
from engine.experiments.defending.judged import title
from engine.experiments.defending.judging import Checked
from engine.metrics.masking import HUGE


def who(run: Checked) -> str:
    """An attack and its attacker."""
    eps = "" if run.spec.eps is None else f" within {NORMS[run.spec.norm].text(run.spec.eps, '.3g')}"
    check = " (a check)" if run.spec.norm == "linf" and (run.spec.eps or 0.0) >= HUGE else ""
    knows = ", attacker knows of it" if run.spec.attacker == ADAPTIVE else ""
    return f"{title(run.spec)}{eps}{check}{knows}"

"""What defenses cost and are worth, as a figure for papers and reports, made without a browser."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from engine.attacks.norms import NORMS
from engine.experiments import plots
from engine.experiments.defending.apart import across
from engine.experiments.defending.judged import Standing
from engine.experiments.defending.watched import Watch, by_detector
from engine.experiments.defending.words import names_of
from engine.metrics.rates import Share


def trade_off(standings: Sequence[Standing]) -> Figure:
    """Accuracy unattacked against what holds under attack: filled, where the attacker knows of the defense, and hollow,
    joined to it, where he does not; bars are 95 % intervals. Points that would hide each other stand side by side."""
    figure, ((axes,),) = plots.panels(size=(6.6, 4.6 + 0.25 * max(0, len(standings) - 3)))
    places = across(standings)
    for number, (one, name, at) in enumerate(zip(standings, names_of(standings), places, strict=True)):
        colour, mark = plots.COLOURS[number % 8], plots.MARKS[number % 8]
        points = [(faced.robust, knows) for faced, knows in one.points]
        axes.plot([at] * len(points), [share.rate for share, _ in points], color=colour, linewidth=1, alpha=0.5)
        for share, filled in points:
            low, high = _bars(share)
            axes.errorbar([at], [share.rate], yerr=[[low], [high]], color=colour, marker=mark, capsize=2,
                          alpha=1.0 if filled else 0.45, markerfacecolor=colour if filled else "none",
                          label=plots.shown(name) if filled or one.adaptive is None else None, linestyle="none")
    plots.shares(axes)
    plots.shares(axes, across=True)
    first = standings[0]
    within = "" if first.eps is None else f" within {NORMS[first.norm].text(first.eps, '.3g')}"
    moved = any(at != (one.clean.rate or 0.0) for one, at in zip(standings, places, strict=True))
    axes.set(xlabel=f"accuracy unattacked{' (points of one place stand side by side)' if moved else ''}",
             ylabel=f"accuracy that holds under attack{within}",
             title="filled: the attacker knows of the defense; hollow: he does not")
    plots.legend(axes, 1)
    return figure


def _bars(share: Share) -> tuple[float, float]:
    low, high = share.interval
    rate = share.rate or 0.0
    return max(0.0, rate - low), max(0.0, high - rate)


def roc(found: Sequence[Watch]) -> Figure:
    """The ROC curves of every detector, one an attack: how many attacked pictures are refused at how many false alarms.
    A mark is where its threshold lies, the dotted line where it was meant to lie."""
    detectors = by_detector(found)
    figure, axes = plots.panels(len(detectors), size=(1.0 + 3.6 * len(detectors), 4.4))
    for own, (name, watches) in zip(axes[0], detectors.items(), strict=True):
        own.plot([0, 1], [0, 1], color=plots.FAINT, linewidth=0.8)
        own.axvline(watches[0].scores.allowed, color=plots.FAINT, linestyle=":")
        for number, one in enumerate(watches):
            if one.detection is None:
                continue
            colour = plots.COLOURS[number % 8]
            own.plot(one.detection.false_alarms, one.detection.caught, color=colour,
                     linestyle=plots.DASHES[number % 4], label=plots.shown(f"{one.attack}: {one.detection.area:.2f}"))
            own.plot([one.alarms.rate], [one.caught.rate], color=colour, marker=plots.MARKS[number % 8], markersize=8)
        plots.shares(own)
        plots.shares(own, across=True)
        own.set(xlabel="untouched pictures refused", ylabel="attacked pictures refused", title=plots.shown(name))
        plots.legend(own, 1)
    return figure

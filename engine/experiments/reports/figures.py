"""The figures of reports, made without a browser: curves, matrices, and images as PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from engine.attacks.norms import NORMS
from engine.attacks.rows import Rows
from engine.experiments.runs.comparison import Line, Matrix, success

# Okabe and Ito's colours; lines of one colour differ in their dashes.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
_DASHES = ("-", "--", ":", "-.")
_DPI = 150
_LARGEST = 512  # pixels of a side of a sample image


def both(figure: object) -> tuple[bytes, bytes]:
    """A figure as SVG and as PNG; the same one gives the same bytes."""
    from matplotlib import rc_context

    files = io.BytesIO(), io.BytesIO()
    with rc_context({"svg.hashsalt": "perturbscope"}):
        for file, form, said in zip(files, ("svg", "png"), ({"Date": None}, {"Software": None}), strict=True):
            figure.savefig(file, format=form, dpi=_DPI, metadata=said)  # type: ignore[attr-defined]
    svg, png = (file.getvalue() for file in files)
    return svg[svg.index(b"<svg"):], png  # without the address of what SVG is


def literal(text: str) -> str:
    """A text from outside as Matplotlib shows it as it is: no formula comes of it, and what cannot be seen is a
    replacement character."""
    line = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return (line if len(line) <= 60 else f"{line[:40]}...{line[-16:]}").replace("$", r"\$")


def curves(lines: Sequence[Line]) -> object:
    """Accuracy against epsilon with 95 % intervals."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 4.4), layout="constrained")
    axes = figure.subplots()
    for number, line in enumerate(lines):
        values = [point.accuracy for point in line.points]
        spread = [[point.accuracy - point.low for point in line.points],
                  [point.high - point.accuracy for point in line.points]]
        axes.errorbar([point.eps * NORMS[line.norm].factor for point in line.points], values,
                      yerr=np.maximum(spread, 0), color=_COLOURS[number % 8], linestyle=_DASHES[number // 8 % 4],
                      marker="o", markersize=4, capsize=2, linewidth=1.4, label=literal(line.name))
    nouns = dict.fromkeys(NORMS[line.norm].noun for line in lines)
    axes.set(xlabel=f"epsilon ({' / '.join(nouns)})", ylabel="accuracy", ylim=(-0.03, 1.03))
    axes.set_xlim(left=0)
    axes.yaxis.set_major_formatter(lambda value, place: f"{value:.0%}")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, frameon=False)
    return figure


def matrices(before: Matrix, after: Matrix) -> object:
    """Before and after on one scale of colour, and the change between them."""
    from matplotlib.figure import Figure

    size = len(before.classes)
    figure = Figure(figsize=(10, 1.7 + 0.6 * size), layout="constrained")
    width = max(before.counts.shape[1], after.counts.shape[1])
    first, second = (np.pad(one.counts, ((0, 0), (0, width - one.counts.shape[1]))) for one in (before, after))
    columns, change = max((before.columns, after.columns), key=len), second - first
    most = max(1, int(np.abs(change).max()))
    shares = [counts / np.maximum(counts.sum(axis=1, keepdims=True), 1) for counts in (first, second)]
    panels = (("before", shares[0], first, "Blues", 0.0, 1.6, "{:,}"), ("after", shares[1], second, "Blues", 0.0, 1.6,
                                                                         "{:,}"),
              ("change", change, change, "RdBu_r", -2.0 * most, 2.0 * most, "{:+,}"))
    for axes, (title, colours, counts, scale, low, high, form) in zip(figure.subplots(1, 3), panels, strict=True):
        axes.imshow(colours, cmap=scale, vmin=low, vmax=high, aspect="auto")
        for (row, column), count in np.ndenumerate(counts):
            axes.text(column, row, form.format(count) if count else "0", ha="center", va="center", fontsize=9)
        axes.set_title(title, fontsize=10)
        axes.set_xticks(range(width), [literal(name) for name in columns], rotation=25, ha="right", fontsize=8)
        axes.set_yticks(range(size), [literal(name) for name in before.classes], fontsize=8)
        axes.set_xlabel("the model says", fontsize=8)
    return figure


def transfers(runs: Sequence[Rows]) -> object | None:
    """Success by source and target, a panel an attack and budget; None where nothing was shown to another model."""
    from matplotlib.figure import Figure

    if not any(rows.spec.surrogate for rows in runs):
        return None
    panels: dict[tuple[str, float | None, int], dict[tuple[str, str], float]] = {}
    for rows in runs:
        target = rows.provenance.model
        value = success(rows).rate
        panel = panels.setdefault((rows.spec.attack, rows.spec.eps, rows.spec.seed), {})
        panel[rows.spec.surrogate or target, target] = np.nan if value is None else value
    sources = list(dict.fromkeys(source for panel in panels.values() for source, _ in panel))
    targets = list(dict.fromkeys(target for panel in panels.values() for _, target in panel))
    figure = Figure(figsize=(3.2 + 1.5 * len(targets), len(panels) * (1.5 + 0.55 * len(sources))), layout="constrained")
    for axes, ((attack, eps, seed), panel) in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels.items(),
                                                  strict=True):
        values = np.array([[panel.get((source, target), np.nan) for target in targets] for source in sources])
        axes.imshow(values, cmap="Blues", vmin=0, vmax=1.6, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            axes.text(column, row, "" if np.isnan(value) else f"{value:.0%}", ha="center", va="center", fontsize=9)
        norm = next(rows.spec.norm for rows in runs if rows.spec.attack == attack)
        at = "" if eps is None else f" at {NORMS[norm].text(eps)}"
        axes.set_title(f"{attack}{at}, seed {seed}", fontsize=10)
        axes.set_xticks(range(len(targets)), [literal(name) for name in targets], rotation=20, ha="right", fontsize=8)
        axes.set_yticks(range(len(sources)), [literal(name) for name in sources], fontsize=8)
        axes.set_xlabel("shown to", fontsize=8)
        axes.set_ylabel("made on", fontsize=8)
    return figure


# ---- images


def image_png(image: np.ndarray) -> bytes:
    """An image [C, H, W] in [0,1] as PNG, rounded to 8 bits."""
    return _png(np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8))


def gain(change: np.ndarray) -> float:
    """By how much a difference is amplified, so that its largest becomes half of the scale."""
    return float(0.5 / max(float(np.abs(change).max()), 1e-6))


def difference_png(change: np.ndarray, gain: float) -> bytes:
    """A difference about grey, amplified."""
    return image_png(np.clip(0.5 + change * gain, 0, 1))


def _png(pixels: np.ndarray) -> bytes:
    shown = pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1)
    image = Image.fromarray(shown)
    if max(image.size) > _LARGEST:
        image.thumbnail((_LARGEST, _LARGEST))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()

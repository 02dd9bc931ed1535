"""A sweep of 10,000 images, 12 epsilons and 3 attacks: memory, rate, and how soon its 360,000 rows are on the page.

The network is tiny, so that what is seen is what the project adds to it, and the pictures are of 64 x 64. Each part is
a process of its own (`python -m tests.bench.large`), which alone knows its largest memory.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tests import nets, serving
from tests.bench.timing import machine

IMAGES, SIZE = 10_000, 64
ATTACKS = ("fgsm", "fgnm", "mifgsm")
EPSILONS = tuple(f"{level}/255" for level in (0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 4, 8, 16, 32))
CLASSES = ("ill", "well")
MODEL = "tiny"
MEMORY, PAGE = 2.0, 1.0  # GiB above the model; seconds


def on_cpu(quick: bool) -> str:
    """One table."""
    count = 64 if quick else IMAGES
    with tempfile.TemporaryDirectory() as folder:
        pictures, home = Path(folder, "pictures"), Path(folder, "home")
        _draw(pictures, count)
        alone = _part("sweep", pictures, 16, home)
        whole = _part("sweep", pictures, count, home)
        page = _part("page", pictures, count, home)
    rows = count * len(ATTACKS) * len(EPSILONS)
    return "\n".join([
        "## Large sweeps, CPU", "",
        f"{count:,} pictures of {SIZE} x {SIZE}, {len(EPSILONS)} epsilons, {len(ATTACKS)} attacks on a tiny network: "
        f"{rows:,} rows. Memory is what the process held at most above what it holds for 16 of the pictures.", "",
        f"Machine: {machine()}.", "", "| | | wanted |", "| --- | --: | --: |",
        f"| rows a second | {rows / whole['seconds']:,.0f} | |",
        f"| memory of the sweep, GiB | {whole['memory'] - alone['memory']:.2f} | at most {MEMORY:g} |",
        f"| Evaluate shows them, seconds | {page['seconds']:.2f} | at most {PAGE:g} |",
        f"| the same, once more | {page['again']:.2f} | at most {PAGE:g} |"])


def _draw(folder: Path, count: int) -> None:
    dice = np.random.default_rng(0)
    for number in range(count):
        file = folder / "test" / CLASSES[number % 2] / f"{number:05}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(dice.integers(0, 256, (SIZE, SIZE), np.uint8)).save(file)


def _part(name: str, pictures: Path, count: int, home: Path) -> dict[str, float]:
    """What that part says of itself, from a process of its own."""
    said = subprocess.run([sys.executable, "-m", "tests.bench.large", name, str(pictures), str(count)], check=True,
                          cwd=serving.ROOT, env={**os.environ, "PERTURBSCOPE_HOME": str(home)}, stdout=subprocess.PIPE)
    found: dict[str, float] = json.loads(said.stdout.splitlines()[-1])
    return found


def _sweep(pictures: str, count: int) -> dict[str, float]:
    from engine.cli import main

    started = time.perf_counter()
    status = main(["evaluate", "--dataset", f"folder:{pictures}", "--model", MODEL, "--attack", ",".join(ATTACKS),
                   "--eps", ",".join(EPSILONS), "--limit", str(count), "--numerics", "reference"])
    assert status == 0
    return {"seconds": time.perf_counter() - started,
            "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def _page(pictures: str, count: int) -> dict[str, float]:
    from tests.app.visits import opened

    opened("evaluate")  # libraries are loaded, and the server is warm
    started = time.perf_counter()
    app = opened("evaluate", dataset=f"folder:{pictures}", models=MODEL, attacks=",".join(ATTACKS),
                 eps=",".join(EPSILONS), images=str(count), numerics="reference")
    next(button for button in app.button if button.label == "Open it").click().run()
    seconds = time.perf_counter() - started
    assert app.dataframe, "the page shows nothing"
    started = time.perf_counter()
    app.run()
    return {"seconds": seconds, "again": time.perf_counter() - started}


PARTS: dict[str, Callable[[str, int], dict[str, float]]] = {"sweep": _sweep, "page": _page}


def _process() -> None:
    from engine.home import home
    from engine.zoo.architectures import ARCHITECTURES, Architecture

    ARCHITECTURES.add("small-cnn", Architecture("small-cnn", "Small CNN", "", "", nets.small_cnn, head="head",
                                                cam_layers=("conv",)))
    if not (path := home() / "models" / f"{MODEL}.safetensors").exists():
        nets.kept(path, 2, classes=CLASSES)
    name, pictures, count = sys.argv[1:]
    print(json.dumps(PARTS[name](pictures, int(count))))


if __name__ == "__main__":
    _process()

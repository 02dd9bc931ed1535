"""One picture as it comes through to the classifier behind its defenses, and where the classifier then looks.

Does not import torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.device import load_libraries
from engine.errors import EngineError
from engine.experiments.units import Unit, images_of, images_task
from engine.work.kinds import Bench, Task, kind
from engine.work.store import Payload


@dataclass(frozen=True, eq=False)
class Through:
    """The picture before and after an attack, as it was `sent` and as it `arrived` [2, C, H, W] (one draw of a random
    defense), and where the classifier looks in what arrived for the class it says: `maps` [2, H, W], `classes` [2]."""

    sent: np.ndarray
    arrived: np.ndarray
    maps: np.ndarray
    classes: tuple[int, int]

    def payload(self) -> Payload:
        return Payload({"classes": list(self.classes)},
                       {"sent": self.sent, "arrived": self.arrived.astype(np.float16),
                        "maps": self.maps.astype(np.float16)})

    @staticmethod
    def of(payload: Payload) -> Through:
        """The one that `payload` wrote; raises EngineError for what is none."""
        try:
            before, after = payload.facts["classes"]
            sent, arrived, maps = (payload.arrays[name].astype(np.float32) for name in ("sent", "arrived", "maps"))
            return Through(sent, arrived, maps, (before, after))
        except (KeyError, TypeError, ValueError) as error:
            raise EngineError(f"this is no picture behind a defense ({type(error).__name__})") from None


def through_task(unit: Unit, device: str = "auto") -> Task:
    """The job about the shown picture of a unit, whose payload `Through.of` reads."""
    return Task("through", unit, f"{unit.title} as it arrives", device)


@kind("through", Unit, reads=Through.of)
def _through(unit: Unit, bench: Bench) -> Payload:
    """The attacked picture is the stored one, or is made again in the same batch."""
    adversarial, _ = images_of(bench.part(0.0, 0.8).result(images_task(unit.whole, bench.device)))
    bench.progress.report(0.8, "computing heatmaps")
    load_libraries()
    from engine.experiments.defending.asking import seen_through

    return seen_through(unit, adversarial[unit.shown or 0], bench.device).payload()

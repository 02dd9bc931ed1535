"""How the size of a perturbation is measured and shown: one record a norm. Does not import torch."""

from dataclasses import dataclass, replace

from engine.params import Param
from engine.registry import Registry


@dataclass(frozen=True)
class Norm:
    """A norm of images in [0,1]: the Lp norm with p = `order`, whose dual is that with `dual`.

    `largest` is the largest eps that makes sense as a budget, None where no attack takes one. People read a size as
    size * `factor` with `unit` behind it, and choose it in steps of `step`. `noun` names it in a chart.
    """

    name: str
    title: str
    noun: str
    order: float
    dual: float
    unit: str
    factor: float
    largest: float | None
    step: float

    def text(self, size: float, form: str = ".6g") -> str:
        """A size as people read and write it, such as 2/255."""
        return f"{size * self.factor:{form}}{self.unit}"

    def resolved(self, param: Param) -> Param:
        """`param` with the unit, range and step of this norm, where it is a size in the norm of the run."""
        if param.unit != IN_NORM:
            return param
        return replace(param, unit=self.unit, high=self.largest, step=self.step)


# The unit of a parameter that is a size in the norm of the run.
IN_NORM = "eps"

NORMS: Registry[Norm] = Registry("norm")
for _norm in (
    Norm("linf", "every pixel (L∞)", "L∞ distance, in n/255", float("inf"), 1.0, "/255", 255.0, 1.0, 0.1 / 255),
    Norm("l2", "whole picture (L2)", "L2 distance", 2.0, 2.0, "", 1.0, 1000.0, 0.01),
    Norm("l0", "number of pixels (L0)", "pixels changed", 0.0, 0.0, " pixels", 1.0, None, 1.0),
):
    NORMS.add(_norm.name, _norm)

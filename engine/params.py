"""Typed parameters declared once, as data-class fields; controls, options, sweeps and checks are read from them."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from engine.errors import EngineError, UnknownName, shortened

T = TypeVar("T")
Value = bool | int | float | str


@dataclass(frozen=True)
class Param:
    """What a page needs to draw a control for one parameter, and the command line to check a value.

    `low` and `high` are inclusive; `unit` is shown behind the number ("/255" means: shown times 255).
    """

    name: str
    title: str
    help: str
    kind: type
    default: Value
    low: float | None = None
    high: float | None = None
    step: float | None = None
    unit: str = ""
    choices: tuple[str, ...] = ()

    def check(self, value: object) -> Value:
        """`value` (perhaps text, perhaps a fraction like 2/255) as this parameter's type; raises EngineError."""
        converted = self._convert(value)
        if self.choices and converted not in self.choices:
            raise UnknownName(f"value for {self.name}", str(value), self.choices)
        if isinstance(converted, float) and not math.isfinite(converted):
            raise EngineError(f"{self.name} must be a finite number, not {shortened(str(value))}")
        if self.kind in (int, float):
            number = float(converted)
            if (self.low is not None and number < self.low) or (self.high is not None and number > self.high):
                raise EngineError(f"{self.name} must lie between {self.low:g} and {self.high:g}, not "
                                  f"{shortened(str(value))}")
        return converted

    def _convert(self, value: object) -> Value:
        try:
            if self.kind is bool:
                return _BOOLEANS[str(value).lower()]
            if self.kind is int:
                return _integer(value)
            if self.kind is float:
                return parse_number(value)
            return str(value)
        except (KeyError, ValueError, TypeError, ArithmeticError):
            raise EngineError(f"{self.name} must be {_KINDS[self.kind]}, not '{shortened(str(value))}'") from None


_BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
_KINDS: dict[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def _integer(value: object) -> int:
    if isinstance(value, str):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or int(value) != value:
        raise ValueError(value)
    return int(value)


def parse_number(value: object) -> float:
    """A float from a number or from text such as "0.01" or "2/255"; raises ValueError."""
    if isinstance(value, str) and value.count("/") == 1:
        over, under = value.split("/")
        return float(over) / float(under)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(value)
    return float(value)


def param(default: Value, *, title: str, help: str, low: float | None = None, high: float | None = None,
          step: float | None = None, unit: str = "", choices: tuple[str, ...] = ()) -> Any:
    """A data-class field that declares one parameter; its kind is that of `default` (so write 1.0 for a float)."""
    declared = {"kind": type(default), "default": default, "title": title, "help": help, "low": low, "high": high,
                "step": step, "unit": unit, "choices": choices}
    return dataclasses.field(default=default, metadata={"param": declared})


def params_of(cls: type) -> tuple[Param, ...]:
    """The parameters that the data class `cls` declares, in order."""
    return tuple(
        Param(name=field.name, **field.metadata["param"])
        for field in dataclasses.fields(cls)
        if "param" in field.metadata
    )


def build(cls: type[T], values: Mapping[str, object]) -> T:
    """An instance of the data class `cls` with `values` checked; raises EngineError for a bad name or value."""
    declared = {p.name: p for p in params_of(cls)}
    for name in values:
        if name not in declared:
            raise UnknownName("parameter", name, declared)
    return cls(**{name: declared[name].check(value) for name, value in values.items()})


def values_of(instance: object) -> dict[str, Value]:
    """Every declared parameter of `instance` with its value."""
    return {p.name: getattr(instance, p.name) for p in params_of(type(instance))}

"""Specs as JSON: what a piece of work is, in a form that outlives the process and can be hashed."""

import dataclasses
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from engine.errors import EngineError

S = TypeVar("S")


@cache
def _adapter(cls: type[S]) -> TypeAdapter[S]:
    return TypeAdapter(cls)


def to_json(spec: Any) -> dict[str, Any]:
    """A frozen data class as JSON-able values, every field written out."""
    written: dict[str, Any] = _adapter(type(spec)).dump_python(spec, mode="json")  # type: ignore[arg-type]
    return written


def from_json(cls: type[S], values: object) -> S:
    """The spec that `to_json` wrote; raises EngineError where the values are no such spec."""
    try:
        spec: S = _adapter(cls).validate_python(values)  # type: ignore[arg-type]
        return spec
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise EngineError(f"this is no {cls.__name__}: {place or 'it'}: {first['msg']}") from None


def canonical(value: Any) -> Any:
    """What decides a result, JSON-able: fields that have their default are left out, so that a new field does not
    orphan what was computed before it existed. A spec with rules of its own has a method `canonical`."""
    if hasattr(value, "canonical"):
        return value.canonical()
    if dataclasses.is_dataclass(value):
        chosen = [f for f in dataclasses.fields(value) if not _is_default(value, f)]
        return {f.name: canonical(getattr(value, f.name)) for f in chosen}
    if isinstance(value, Mapping):
        return {str(name): canonical(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [canonical(item) for item in value]
    return value


def _is_default(instance: Any, field: "dataclasses.Field[Any]") -> bool:
    default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    return default is not dataclasses.MISSING and bool(getattr(instance, field.name) == default)

"""Results with a form: a frozen data class for what a kind of work leaves behind, written and read in one place."""

from dataclasses import fields
from typing import ClassVar, Self

import numpy as np
from pydantic import ConfigDict

from engine.work.specs import from_json, to_json
from engine.work.store import Payload


class Result:
    """What a kind of work leaves behind. A data class that inherits this declares all of it: fields that are arrays are
    kept as arrays (and declared as no facts, with pydantic's Field(exclude=True)), all others as JSON-able facts."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(arbitrary_types_allowed=True)

    def payload(self) -> Payload:
        """As it is kept."""
        return Payload(to_json(self), self.arrays())

    def arrays(self) -> dict[str, np.ndarray]:
        """Its arrays by the names under which they are kept."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}

    @classmethod
    def of(cls, payload: Payload) -> Self:
        """The result that was kept so; raises EngineError for what is no such result, or not any more."""
        return from_json(cls, {**payload.facts, **payload.arrays})

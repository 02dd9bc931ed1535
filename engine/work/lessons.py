"""What attacks learned, in the store: the next run of the same attack on the same model finds it there."""

from collections.abc import Mapping
from typing import Any

from engine import digest
from engine.attacks.batch import Lesson
from engine.work.kinds import FORMAT
from engine.work.store import Payload, Store


class StoredLessons:
    """The memory (engine.attacks.batch.Memory) that is kept in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def recall(self, learning: Mapping[str, Any]) -> Lesson | None:
        payload = self._store.get(_key(learning), check=_lesson)
        return None if payload is None else _lesson(payload)

    def keep(self, learning: Mapping[str, Any], lesson: Lesson) -> None:
        facts = {"curves": {name: list(values) for name, values in lesson.curves.items()},
                 "gradients": list(lesson.gradients)}
        title = f"learned by {learning['attack']['attack']}"
        self._store.put(_key(learning), "learned", title, dict(learning), Payload(facts, dict(lesson.arrays)))


def _lesson(payload: Payload) -> Lesson:
    """The lesson that was kept so; raises where it is none, or not any more."""
    total, zero, bad = payload.facts["gradients"]
    return Lesson(payload.arrays, payload.facts["curves"], (total, zero, bad))


def _key(learning: Mapping[str, Any]) -> str:
    return digest.of_spec({"format": FORMAT, "kind": "learned", **learning})

"""A training's state, on the disk at the end of every epoch: one that is stopped or killed goes on from there."""

from __future__ import annotations

import contextlib
import logging
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from engine.disk import advice, replacing_all
from engine.errors import EngineError
from engine.training.unfinished import Unfinished, facts_path, forget, state_path, text_of, unfinished

State = Mapping[str, Any]  # names, and tensors, numbers or dictionaries and lists of these
log = logging.getLogger(__name__)


class Keeper:
    """Keeps the state of the one training whose settings are `spec` and whose weights depend on all that `key`
    identifies, beside the checkpoint `weights`. What another one has left there is never gone on with."""

    def __init__(self, weights: Path, spec: Mapping[str, Any], epochs: int,
                 note: Callable[[str], None] = log.warning) -> None:
        self._weights, self._spec, self._epochs, self._note = weights, spec, epochs, note
        self._state, self._facts = state_path(weights), facts_path(weights)

    def load(self, key: str) -> State | None:
        """What was kept under this key, with the history as `history`; None where there is nothing that can be used."""
        known = unfinished(self._weights)
        if known is None:
            return None
        if known.key != key:
            self._note(f"an unfinished training of that name, {len(known.history)} of {known.epochs} epochs long, has "
                       "other settings, pictures or versions; this one begins anew and takes its place")
            return None
        try:
            state = torch.load(self._state, weights_only=True, map_location="cpu")
            return {**state, "history": list(map(dict, known.history))}
        except (OSError, EOFError, RuntimeError, pickle.UnpicklingError, TypeError) as error:
            self._note(f"the state of the unfinished training cannot be read ({type(error).__name__}); it begins anew")
            return None

    def save(self, key: str, state: State, history: Sequence[Mapping[str, Any]]) -> None:
        """Keep it in place of what was kept before; raises EngineError where the disk is full or not writable, and
        then that is still there."""
        facts = Unfinished(key, self._spec, self._epochs, tuple(history))
        try:
            self._state.parent.mkdir(parents=True, exist_ok=True)
            with replacing_all([self._state, self._facts]) as (new_state, new_facts):
                _write(new_state, state)
                new_facts.write_text(text_of(facts), encoding="utf-8")
        except OSError as error:
            before = len(history) - 1
            kept = f" Started again, it goes on after epoch {before}." if before and self._state.exists() else ""
            raise EngineError(f"the training's state could not be kept in {self._state.parent} {advice(error)}.{kept}"
                              ) from None

    def remove(self) -> None:
        """It is over."""
        forget(self._weights)


def _write(path: Path, state: State) -> None:
    """Raises OSError, which PyTorch hides."""
    try:
        with path.open("wb") as file:
            torch.save(dict(state), file)
    except RuntimeError as error:
        hidden: BaseException | None = error
        while hidden is not None and not isinstance(hidden, OSError):
            hidden = hidden.__context__
        raise hidden or error from None


@contextlib.contextmanager
def claimed(weights: Path, name: str) -> Iterator[None]:
    """While this lasts nobody else trains the checkpoint `weights`; raises EngineError where somebody does.

    A process that dies claims nothing any more. Where files cannot be locked, two may train it.
    """
    path = weights.with_name(f".{weights.stem}.lock")
    lock = FileLock(path, thread_local=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout:
        raise EngineError(f"{name} is being trained already; wait for the end of that, or choose another name"
                          ) from None
    except (OSError, NotImplementedError) as error:
        log.warning("%s cannot be locked (%s); another process may train the same", path, error)
    try:
        yield
    finally:
        if lock.is_locked:
            path.unlink(missing_ok=True)
            lock.release()

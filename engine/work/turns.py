"""Whose turn it is: what somebody waits for goes first, and then everybody in turn."""

import threading
from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """What waits for one worker. Nothing patient is taken while something urgent waits; among each of the two, owners
    take turns, and an owner's own things keep their order."""

    def __init__(self) -> None:
        self._urgent: OrderedDict[str, deque[T]] = OrderedDict()
        self._patient: OrderedDict[str, deque[T]] = OrderedDict()
        self._change = threading.Condition()

    def put(self, item: T, owner: str = "", *, patient: bool = False) -> None:
        """Let `item` of `owner` wait."""
        with self._change:
            (self._patient if patient else self._urgent).setdefault(owner, deque()).append(item)
            self._change.notify()

    def take(self) -> T:
        """The next thing to be done; waits for one."""
        with self._change:
            self._change.wait_for(lambda: self._urgent or self._patient)
            return _next(self._urgent or self._patient)


def _next(waiting: "OrderedDict[str, deque[T]]") -> T:
    owner, own = next(iter(waiting.items()))
    item = own.popleft()
    del waiting[owner]
    if own:
        waiting[owner] = own  # behind all others
    return item

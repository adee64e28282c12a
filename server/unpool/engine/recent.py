"""What was found before, up to a number: the least recently used goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, ValuesView
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """A bounded memory of answers. Not locked: whoever shares it brings a lock.

    Args:
        limit: how many answers are kept.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def values(self) -> ValuesView[V]:
        """Everything that is kept, the least recently used first."""
        return self._kept.values()

    def clear(self) -> None:
        """Forgets everything."""
        self._kept.clear()

    def find(self, key: K, make: Callable[[], V]) -> V:
        """The answer kept under ``key``; made, and kept, where there is none."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        made = self._kept[key] = make()
        while len(self._kept) > self._limit:
            self._kept.popitem(last=False)
        return made

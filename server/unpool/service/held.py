"""Work together with what it borrows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from unpool.service.elsewhere import Elsewhere

T = TypeVar("T")


@dataclass
class Held(Generic[T]):
    """Pieces of work together with what they borrow, which is given back when they end, however they end.

    A generator alone would not do: closed before its first piece it runs none of its own clean-up.

    Attributes:
        pieces: the work.
        release: gives back what it borrowed; called once.
    """

    pieces: Iterator[T | Elsewhere[object] | None]
    release: Callable[[], None] | None

    def __next__(self) -> T | Elsewhere[object] | None:
        try:
            return next(self.pieces)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends the work and gives back what it borrowed."""
        release, self.release = self.release, None
        try:
            close: Callable[[], None] | None = getattr(self.pieces, "close", None)
            if close is not None:
                close()
        finally:
            if release is not None:
                release()

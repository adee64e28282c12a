"""A step of a request that is no bounded piece, such as loading another model: done aside, while others take turns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)


class Elsewhere(Generic[T_co]):
    """Yielded by a request's work in place of a result; its next piece is taken when ``run`` has returned.

    Args:
        function: the step; what it gives or raises, ``result`` gives or raises.
    """

    def __init__(self, function: Callable[[], T_co]) -> None:
        self._function = function
        self._found: list[T_co] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        """Does the step; never raises."""
        try:
            self._found.append(self._function())
        except BaseException as error:
            self._error = error

    def result(self) -> T_co:
        """What the step gave.

        Raises:
            RuntimeError: it has not been done.
        """
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
        finally:
            # Its traceback holds on to what the step had in hand.
            del error
        if not self._found:
            raise RuntimeError("a step's result was asked for before it was done")
        return self._found.pop()

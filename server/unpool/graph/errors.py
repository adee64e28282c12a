"""The server's one error hierarchy: it says what was wrong, with which field or node, and what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_COMPARED_CHARACTERS = 200


class UnpoolError(Exception):
    """Anything that is the caller's or the model's fault and that the caller may read."""


class InvalidArgumentError(UnpoolError):
    """A value that can never be right; ``field`` names it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.description = message


class OutOfRangeError(UnpoolError):
    """An index outside what the model has; ``field`` names it, the message gives the range."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.description = message


class NotFoundError(UnpoolError):
    """A name that does not exist; ``nearest`` are the likeliest ones that do."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, count: int = 5) -> None:
        lowered = {k.lower(): k for k in reversed(tuple(known))}
        # What a caller sends may be of any length, and the comparison is not linear in it.
        wanted = name.lower()[:_COMPARED_CHARACTERS]
        close = difflib.get_close_matches(wanted, lowered, n=count, cutoff=0.4)
        nearest = close or difflib.get_close_matches(wanted, lowered, n=count, cutoff=0.0)
        self.kind = kind
        self.name = name
        self.nearest = tuple(lowered[c] for c in nearest)
        listed = ", ".join(self.nearest)
        hint = f"; did you mean {listed}?" if close else f"; the nearest names are {listed}" if nearest else ""
        super().__init__(f"no {kind} '{name}'{hint}")


class ModelError(UnpoolError):
    """A model that cannot be served; ``node`` is the one at fault, where one is."""

    def __init__(self, message: str, *, node: str | None = None) -> None:
        super().__init__(message)
        self.node = node


class PreconditionError(UnpoolError):
    """A right question to a model that cannot answer it: an unreached layer, a node the policy cannot cross."""

    def __init__(self, message: str, *, node: str | None = None) -> None:
        super().__init__(message)
        self.node = node


class ExhaustedError(UnpoolError):
    """Too much at once; ``retry_seconds`` says when another try may fit, ``None`` that it never will as asked."""

    def __init__(self, message: str, *, retry_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds

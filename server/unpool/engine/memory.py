"""How much memory a question takes, estimated from shapes before any of it is taken."""

from __future__ import annotations

import math
from collections.abc import Iterable

from unpool.engine.geometry import Geometry
from unpool.engine.plan import Plan
from unpool.graph.errors import ExhaustedError

_FLOAT = 4
_INDEX = 9
"""Bytes of a switch: ONNX Runtime's Indices, and the code that is kept."""
_WORKING = 6
"""How many of the largest tensors a forward run and one unit's walk hold at once, roughly."""


def admit(plan: Plan, pools: Iterable[str], geometry: Geometry, limit: int) -> None:
    """Refuses a forward run that would take more memory than it may.

    Args:
        plan: what is to be captured.
        pools: outputs of the max pools whose switches are.
        geometry: the shapes for this input.
        limit: bytes.

    Raises:
        ExhaustedError: the estimate is above the limit; never fits as asked.
    """

    def elements(name: str) -> int:
        return math.prod(geometry.decided[name]) if name in geometry.decided else 0

    # A captured value stands twice for a moment: as the run gives it, and as it is kept.
    captured = sum(2 * _FLOAT * elements(name) for name in plan.sinks) + sum(_INDEX * elements(p) for p in pools)
    captured += sum(elements(name) for name in plan.signs)
    reached = geometry.graph.ancestors([*plan.sinks, *plan.signs, *pools])
    largest = max((elements(name) for name in reached), default=0)
    needed = captured + _WORKING * _FLOAT * largest
    if needed > limit:
        raise ExhaustedError(
            f"this input needs about {needed / 2**30:.1f} GiB inside the model, and {limit / 2**30:.1f} GiB are"
            " allowed: use a smaller picture, or ask for a shallower layer"
        )

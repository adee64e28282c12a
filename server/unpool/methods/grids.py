"""Grids of windows over a plane, and the order in which they are visited: coarse first, then ever finer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unpool.graph.errors import ExhaustedError, InvalidArgumentError

Ints = npt.NDArray[np.int64]
_COARSE = 10
"""The first pass visits at most one position in this many."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Windows of one size over a plane.

    Attributes:
        plane: extents.
        window: extents.
        stride: steps; empty where positions were given.
        shape: extents of the grid.
        origins: where each window begins, int64 (positions, axes), row by row.
    """

    plane: tuple[int, ...]
    window: tuple[int, ...]
    stride: tuple[int, ...]
    shape: tuple[int, ...]
    origins: Ints

    def __len__(self) -> int:
        return len(self.origins)


def regular(plane: Sequence[int], window: Sequence[int], stride: Sequence[int], budget: int) -> Grid:
    """Windows at ``range(0, size - window + 1, stride)`` along every axis.

    Raises:
        InvalidArgumentError: a window that is not inside the plane, a stride below 1, or of another number of axes.
        ExhaustedError: more positions than the budget; tells a stride that fits.
    """
    spans, steps = _window(plane, window), _each("stride", stride, len(plane))
    if any(s < 1 for s in steps):
        raise InvalidArgumentError("stride", f"is {_by(steps)}; give 1 or more")
    shape = _counts(plane, spans, steps)
    if math.prod(shape) > budget:
        wider = list(steps)
        while math.prod(_counts(plane, spans, wider)) > budget:
            wider = [s + 1 for s in wider]
        raise ExhaustedError(
            f"stride {_by(steps)} gives {math.prod(shape)} positions, and {budget} are allowed: "
            f"a stride of {_by(wider)} fits"
        )
    along = [np.arange(n, dtype=np.int64) * s for n, s in zip(shape, steps, strict=True)]
    origins = np.stack(np.meshgrid(*along, indexing="ij"), -1).reshape(-1, len(plane))
    return Grid(tuple(plane), spans, steps, shape, origins)


def listed(plane: Sequence[int], window: Sequence[int], positions: Sequence[Sequence[int]], budget: int) -> Grid:
    """Windows at given places.

    Raises:
        InvalidArgumentError: no position, one of another number of axes, or one whose window leaves the plane.
        ExhaustedError: more positions than the budget.
    """
    spans = _window(plane, window)
    if not positions:
        raise InvalidArgumentError("positions", "is empty; give at least one, or a stride")
    if len(positions) > budget:
        raise ExhaustedError(f"{len(positions)} positions are listed, and {budget} are allowed")
    for i, position in enumerate(positions):
        if len(position) != len(plane):
            raise InvalidArgumentError(
                f"positions[{i}]", f"{tuple(position)} has {len(position)} indices; the plane has {len(plane)} axes"
            )
        if any(not 0 <= p <= n - w for p, n, w in zip(position, plane, spans, strict=True)):
            last = _by([n - w for n, w in zip(plane, spans, strict=True)])
            raise InvalidArgumentError(f"positions[{i}]", f"{tuple(position)} is not between 0 and {last}")
    origins = np.array([tuple(p) for p in positions], np.int64).reshape(len(positions), len(plane))
    return Grid(tuple(plane), spans, (), (len(positions),), origins)


def passes(shape: Sequence[int], only: Sequence[int] | None = None) -> list[Ints]:
    """The positions' numbers pass by pass: the first has at most a tenth of them, each next halves the spacing.

    Args:
        shape: of the grid.
        only: numbers that are wanted; ``None`` is all.

    Returns:
        One array of numbers per pass, row by row; passes without a wanted position are left out.
    """
    count = math.prod(shape)
    step = 1
    while step < max(shape) and math.prod(-(-n // step) for n in shape) > max(1, count // _COARSE):
        step *= 2
    places = np.stack(np.unravel_index(np.arange(count), tuple(shape)), 1)
    level = np.zeros(count, np.int64)
    number = 0
    waiting = np.ones(count, bool)
    while step >= 1:
        due = waiting & ~(places % step).any(1)
        level[due] = number
        waiting &= ~due
        number += 1
        step //= 2
    if only is not None:
        wanted = np.zeros(count, bool)
        wanted[list(only)] = True
        level[~wanted] = -1
    found = [np.flatnonzero(level == i) for i in range(number)]
    return [numbers for numbers in found if len(numbers)]


def _window(plane: Sequence[int], window: Sequence[int]) -> tuple[int, ...]:
    if not plane:
        raise InvalidArgumentError("window", "the input has no axis beside the batch that a window could slide over")
    spans = _each("window", window, len(plane))
    if any(not 1 <= w <= n for w, n in zip(spans, plane, strict=True)):
        raise InvalidArgumentError("window", f"is {_by(spans)}; give 1 to {_by(plane)}, the input's plane")
    return spans


def _each(field: str, values: Sequence[int], axes: int) -> tuple[int, ...]:
    if len(values) == 1:
        return tuple(values) * axes
    if len(values) != axes:
        raise InvalidArgumentError(field, f"has {len(values)} entries; give one, or {axes}, one per axis of the plane")
    return tuple(values)


def _counts(plane: Sequence[int], window: Sequence[int], stride: Sequence[int]) -> tuple[int, ...]:
    return tuple((n - w) // s + 1 for n, w, s in zip(plane, window, stride, strict=True))


def _by(extents: Sequence[int]) -> str:
    return " by ".join(map(str, extents))

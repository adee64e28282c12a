"""Windows that hide parts of one input, and inputs painted with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unpool.engine.boxes import Ints
from unpool.graph.model import Array, Value


@dataclass(frozen=True, eq=False)
class Occluders:
    """Windows of one size over one input.

    Attributes:
        of: the input's name.
        origins: where each window begins, int64 (positions, axes); inside the plane.
        window: its extent along each axis.
        fill: what stands in the windows: the whole input as it looks where it is hidden, in its shape and dtype.
    """

    of: str
    origins: Ints
    window: tuple[int, ...]
    fill: Array


@dataclass(frozen=True, eq=False)
class Occluded:
    """What some occluded inputs gave.

    Attributes:
        numbers: which positions, int64 (count,).
        values: value name -> array, one example per position along its batch axis.
        sums: layer -> the sum of the asked channel's map, float64 (count,).
    """

    numbers: Ints
    values: Mapping[str, Array]
    sums: Mapping[str, npt.NDArray[np.float64]]


def hidden_axes(value: Value) -> tuple[int, ...]:
    """The axes that windows slide over: the plane's; of an input without one, a table's row, all but the batch."""
    rest = (i for i in range(len(value.axes)) if i != value.batch_axis)
    return tuple(value.spatial_axes.values()) or tuple(rest)


def repeated(array: Array, value: Value, count: int) -> Array:
    """One example as ``count`` of them; what has no batch axis stays as it is."""
    return array if value.batch_axis is None else np.repeat(array, count, value.batch_axis)


def painted(array: Array, value: Value, occluders: Occluders, numbers: Ints) -> Array:
    """The occluded inputs at some positions, one behind the other along the batch axis.

    Raises:
        ValueError: the input has no batch axis, and there are several.
    """
    if value.batch_axis is None and len(numbers) != 1:
        raise ValueError("an input without a batch axis takes one example")
    found: Array = np.array(repeated(array, value, len(numbers)))
    axes = hidden_axes(value)
    for row, number in enumerate(numbers):
        inside: list[slice | int] = [slice(None)] * found.ndim
        for axis, begin, extent in zip(axes, occluders.origins[number], occluders.window, strict=True):
            inside[axis] = slice(int(begin), int(begin) + extent)
        source = tuple(inside)
        if value.batch_axis is not None:
            inside[value.batch_axis] = slice(row, row + 1)
        found[tuple(inside)] = occluders.fill[source]
    return found

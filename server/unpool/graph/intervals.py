"""Interval arithmetic of windows along one axis: which inputs an output sees, which outputs an input touches.

Intervals are half open and signed: they may stick out of the plane, and callers clip where they need to. For a window
operator with kernel K, stride S, padding P before and dilation D (K' = (K - 1) * D + 1), outputs [a, b) are computed
from inputs [a * S - P, (b - 1) * S - P + K'), and inputs [a, b) touch outputs [ceil((a + P - K' + 1) / S), floor((b -
1 + P) / S) + 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Ints: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Intervals:
    """Half-open intervals [lower, upper) along one axis, one per unit; both arrays int64 of shape (N,)."""

    lower: Ints
    upper: Ints

    def clip(self, extent: int) -> Intervals:
        """The part inside [0, extent); an interval wholly outside becomes empty at the nearer end."""
        return Intervals(np.clip(self.lower, 0, extent), np.clip(self.upper, 0, extent))

    def union(self, other: Intervals) -> Intervals:
        """The smallest intervals that contain both."""
        return Intervals(np.minimum(self.lower, other.lower), np.maximum(self.upper, other.upper))

    @property
    def size(self) -> int:
        """The length of the longest."""
        return int((self.upper - self.lower).max(initial=0))


class AxisWindow:
    """How outputs and inputs of a node depend on each other along one spatial axis."""

    __slots__ = ()

    def inputs_of(self, outputs: Intervals) -> Intervals:
        """The inputs that outputs [a, b) are computed from, unclipped."""
        raise NotImplementedError

    def outputs_of(self, inputs: Intervals) -> Intervals:
        """The outputs that inputs [a, b) take part in, unclipped."""
        raise NotImplementedError

    def aligned(self, outputs: Intervals) -> Intervals:
        """Outputs around these such that equally many of them are computed alike, wherever they begin."""
        return outputs

    @property
    def inner(self) -> Sliding | None:
        """What slides away from the plane's borders; ``None`` where outputs move unevenly."""
        return None


@dataclass(frozen=True, slots=True)
class Sliding(AxisWindow):
    """A window that slides: convolution, pooling; with K = 1 also shifting (Pad, Slice, Concat), strided slicing.

    ``pad`` is what is put before the first input; a negative one drops inputs.
    """

    kernel: int = 1
    stride: int = 1
    pad: int = 0
    dilation: int = 1

    @property
    def extent(self) -> int:
        """Inputs from the first to the last that one output sees: (K - 1) * D + 1."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def inner(self) -> Sliding:
        return self

    def inputs_of(self, outputs: Intervals) -> Intervals:
        return Intervals(
            outputs.lower * self.stride - self.pad, (outputs.upper - 1) * self.stride - self.pad + self.extent
        )

    def outputs_of(self, inputs: Intervals) -> Intervals:
        return Intervals(
            -((-(inputs.lower + self.pad - self.extent + 1)) // self.stride),
            (inputs.upper - 1 + self.pad) // self.stride + 1,
        )


POINTWISE = Sliding()


@dataclass(frozen=True, slots=True)
class Transposed(AxisWindow):
    """A sliding window run the other way: transposed convolution, unpooling, space to depth's inverse."""

    sliding: Sliding

    def inputs_of(self, outputs: Intervals) -> Intervals:
        return self.sliding.outputs_of(outputs)

    def outputs_of(self, inputs: Intervals) -> Intervals:
        return self.sliding.inputs_of(inputs)

    def aligned(self, outputs: Intervals) -> Intervals:
        """From the first output of a step on, over whole steps."""
        stride, pad = self.sliding.stride, self.sliding.pad
        return Intervals(
            (outputs.lower + pad) // stride * stride - pad, -((-outputs.upper - pad) // stride) * stride - pad
        )


@dataclass(frozen=True, slots=True)
class Broadcast(AxisWindow):
    """An input of extent 1 that every output along the axis reads; ``extent`` is the output's."""

    extent: int

    def inputs_of(self, outputs: Intervals) -> Intervals:
        return Intervals(np.zeros_like(outputs.lower), np.ones_like(outputs.upper))

    def outputs_of(self, inputs: Intervals) -> Intervals:
        return Intervals(np.zeros_like(inputs.lower), np.full_like(inputs.upper, self.extent))


@dataclass(frozen=True, eq=False)
class Listed(AxisWindow):
    """What each output sees, listed: the inputs from ``first`` to ``last``, none where ``last`` lies before ``first``.

    An interval of outputs sees what all in it see; outside the plane the nearest output's answer stands.

    Attributes:
        first, last: int64 (outputs,), inside the plane.
        extent: how many inputs there are.
        sliding: what it is away from the plane's borders.
    """

    first: Ints
    last: Ints
    extent: int
    sliding: Sliding | None = None

    @classmethod
    def picking(cls, places: Ints, extent: int, sliding: Sliding | None = None) -> Listed:
        """One input for each output."""
        return cls(places, places, extent, sliding)

    @property
    def inner(self) -> Sliding | None:
        return self.sliding

    def inputs_of(self, outputs: Intervals) -> Intervals:
        return _hull(self._seen, self.extent, outputs)

    def outputs_of(self, inputs: Intervals) -> Intervals:
        return _hull(self._taking, len(self.first), inputs)

    @cached_property
    def _seen(self) -> tuple[Ints, Ints]:
        nothing = self.last < self.first
        return np.where(nothing, self.extent, self.first), np.where(nothing, -1, self.last)

    @cached_property
    def _taking(self) -> tuple[Ints, Ints]:
        """For every input the first and the last output that it takes part in."""
        outputs = np.arange(len(self.first))
        begin, end = np.full(self.extent, len(outputs)), np.full(self.extent, -1)
        for k in range(int((self.last - self.first).max(initial=-1)) + 1):
            taken = outputs[self.first + k <= self.last]
            np.minimum.at(begin, self.first[taken] + k, taken)
            np.maximum.at(end, self.first[taken] + k, taken)
        return begin, end


def _hull(ends: tuple[Ints, Ints], extent: int, along: Intervals) -> Intervals:
    """From the least of the firsts to the greatest of the lasts of every interval; empty where there are none."""
    first, last = ends
    lower = np.clip(along.lower, 0, len(first) - 1)
    upper = np.maximum(np.clip(along.upper, 0, len(first)), lower + 1)
    # What lies between two intervals is reduced too, and left out; no end may lie behind the last value.
    borders = np.stack([lower, upper], 1).reshape(-1)
    least = np.minimum.reduceat(np.append(first, extent), borders)[::2]
    greatest = np.maximum.reduceat(np.append(last, -1), borders)[::2] + 1
    least = np.minimum(least, extent - 1)
    return Intervals(least, np.where(along.upper > along.lower, np.maximum(greatest, least), least))

"""Broadcasting: windows of elementwise operators, and its undoing: what reached many places through one is summed."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from unpool.graph.intervals import POINTWISE, AxisWindow, Broadcast
from unpool.graph.model import AxisKind, Node
from unpool.ops.base import AxisWindows, Operand


def reduce_to(s: Tensor, shape: Sequence[int]) -> Tensor:
    """Sums a signal over the axes along which an operand of this shape was broadcast."""
    if tuple(s.shape) == tuple(shape):
        return s
    extra = s.ndim - len(shape)
    axes = [*range(extra), *(extra + i for i, n in enumerate(shape) if n == 1 and s.shape[extra + i] != 1)]
    return (s.sum(axes, keepdim=True) if axes else s).reshape(tuple(shape))


def elementwise(
    node: Node, inputs: Sequence[Operand | None], outputs: Sequence[Operand | None]
) -> Sequence[AxisWindows]:
    """Windows of an operator that broadcasts its inputs as NumPy does.

    Along an axis where some input varies without carrying the output's label (a mean picture, a slope for every place),
    boxes cannot be cut out of that input: there the whole plane is taken.
    """
    out = outputs[0]
    if out is None:
        return [{} for _ in inputs]
    rank = len(out.shape)
    blocked: set[int] = set()
    found: list[dict[int, AxisWindow]] = []
    for operand in inputs:
        windows: dict[int, AxisWindow] = {}
        for i, extent in enumerate(operand.shape if operand is not None else ()):
            assert operand is not None
            place = rank - len(operand.shape) + i
            axis = out.axes[place]
            if axis.kind is not AxisKind.SPATIAL:
                continue
            if operand.axes[i] != axis:
                if extent != 1:
                    blocked.add(axis.index)
            elif extent == out.shape[place]:
                windows[axis.index] = POINTWISE
            else:
                windows[axis.index] = Broadcast(out.shape[place])
        found.append(windows)
    return [{index: w for index, w in windows.items() if index not in blocked} for windows in found]

"""Joining, splitting and gathering."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from unpool.graph.intervals import AxisWindow, Sliding
from unpool.graph.model import AxisKind, Node
from unpool.ops.base import AxisWindows, Crossing, Operand, Rule, Signals, operator, pointwise
from unpool.ops.geometry import integer
from unpool.ops.picking import first_only, normal, rest_is_constant


def _joined_spatially(node: Node, inputs: Sequence[Operand | None], out: Operand) -> int | None:
    """The spatial index along which a Concat joins, where every input that has labels has that one there."""
    axis = normal(integer(node, "axis", 1), len(out.shape))
    label = out.axes[axis]
    if label.kind is not AxisKind.SPATIAL:
        return None
    labelled = [x for x in inputs if x is not None and any(a.kind is AxisKind.SPATIAL for a in x.axes)]
    return label.index if all(x.axes[axis] == label for x in labelled) else None


def concat_window(
    node: Node, inputs: Sequence[Operand | None], outputs: Sequence[Operand | None]
) -> Sequence[AxisWindows]:
    """Pointwise; along the axis that is joined, each input is shifted by what lies before it."""
    out = outputs[0]
    if out is None:
        return [{} for _ in inputs]
    axis = normal(integer(node, "axis", 1), len(out.shape))
    joined = _joined_spatially(node, inputs, out)
    # A constant that varies over the plane needs no boxes: no signal goes there.
    found: list[AxisWindows] = []
    offset = 0
    for operand, windows in zip(inputs, pointwise(node, inputs, outputs), strict=True):
        kept: dict[int, AxisWindow] = {
            i: w for i, w in windows.items() if out.axes[axis].index != i or out.axes[axis].kind is not AxisKind.SPATIAL
        }
        if operand is not None:
            if joined is not None and operand.axes[axis] == out.axes[axis]:
                kept[joined] = Sliding(pad=offset)
            offset += operand.shape[axis]
        found.append(kept)
    return found


def _concat_adjoint(at: Crossing, signals: Signals) -> Signals:
    s = signals[0]
    if s is None:
        return tuple(None for _ in at.wanted)
    operands = [at.input_operand(i) for i in range(len(at.node.inputs))]
    axis = normal(integer(at.node, "axis", 1), s.ndim)
    if _joined_spatially(at.node, operands, at.output_operand(0)) is not None:
        # The natural box of every input is the output's box, shifted.
        return tuple(s if wanted else None for wanted in at.wanted)
    extents = [x.shape[axis] for x in operands]
    begins = [0, *accumulate(extents)]
    return tuple(
        s.narrow(axis, begin, extent) if wanted else None
        for wanted, begin, extent in zip(at.wanted, begins, extents, strict=False)
    )


@operator("Concat", 4, 11, 13, window=concat_window, adjoint=Rule(_concat_adjoint))
def concat(*data: Tensor, axis: int = 1) -> Tensor:
    """All inputs, one behind the other along ``axis``."""
    return torch.cat(data, axis)


def _split_adjoint(at: Crossing, signals: Signals) -> Signals:
    present = next((s for s in signals if s is not None), None)
    if present is None:
        return first_only(at, None)
    parts = [present.new_zeros(at.output_shape(i)) if s is None else s for i, s in enumerate(signals)]
    axis = normal(integer(at.node, "axis"), present.ndim)
    return first_only(at, torch.cat(parts, axis))


def _split(x: Tensor, axis: int, sizes: Sequence[int], outputs: int) -> tuple[Tensor, ...]:
    if not sizes:
        # The last part is the smaller one where the extent does not divide (Split-18).
        each = -(-x.shape[axis] // outputs)
        sizes = [each] * (outputs - 1) + [x.shape[axis] - each * (outputs - 1)]
    return tuple(torch.split(x, list(sizes), axis))


@operator("Split", 2, 11, adjoint=Rule(_split_adjoint))
def split_2(x: Tensor, *, axis: int = 0, split: tuple[int, ...] = (), outputs: int = 1) -> tuple[Tensor, ...]:
    """Parts along ``axis``, equal by default; sizes as attribute, up to opset 12."""
    return _split(x, axis, split, outputs)


@operator("Split", 13, 18, adjoint=Rule(_split_adjoint))
def split(
    x: Tensor, sizes: Tensor | None = None, *, axis: int = 0, num_outputs: int = 0, outputs: int = 1
) -> tuple[Tensor, ...]:
    """Parts along ``axis``, equal by default."""
    return _split(x, axis, [] if sizes is None else sizes.tolist(), outputs)


def gather_window(
    node: Node, inputs: Sequence[Operand | None], outputs: Sequence[Operand | None]
) -> Sequence[AxisWindows]:
    """Pointwise but along the axis that is gathered."""
    x, y = inputs[0], outputs[0]
    if x is None or y is None or not x.shape:
        return [{} for _ in inputs]
    gathered = x.axes[normal(integer(node, "axis"), len(x.shape))]
    found = dict(pointwise(node, [x], [y])[0])
    if gathered.kind is AxisKind.SPATIAL:
        found.pop(gathered.index, None)
    return [found, {}]


def _gather_adjoint(at: Crossing, signals: Signals) -> Signals:
    s, indices = signals[0], at.constant(1)
    if s is None or indices is None:
        return (None, None)
    shape = at.input_shape(0)
    axis = normal(integer(at.node, "axis"), len(shape))
    places = indices.reshape(-1).to(s.device)
    flat = s.reshape(*s.shape[:axis], places.numel(), *s.shape[axis + indices.ndim :])
    return (s.new_zeros(shape).index_add(axis, places % shape[axis], flat), None)


@operator("Gather", 1, 11, 13, window=gather_window, adjoint=Rule(_gather_adjoint, holds=rest_is_constant))
def gather(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    """Entries of one axis, in the order and the shape of the indices."""
    axis = normal(axis, x.ndim)
    places = indices.reshape(-1).to(x.device, torch.int64) % x.shape[axis]
    return x.index_select(axis, places).reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))

"""Slicing: every output reads one input, along each axis from a start on in steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from unpool.graph.intervals import AxisWindow, Ints, Listed, Sliding
from unpool.graph.model import Node
from unpool.ops.base import AxisWindows, Crossing, Operand, Rule, Signals, operator, pointwise
from unpool.ops.geometry import ints, paired
from unpool.ops.picking import constant_ints, first_only, known_ints, normal, rest_is_constant, unpicked


def _spans(
    extents: Sequence[int],
    starts: Sequence[int],
    ends: Sequence[int],
    axes: Sequence[int] | None,
    steps: Sequence[int] | None,
) -> dict[int, range]:
    """Axis -> the elements that a Slice takes (ONNX, Slice-13: out-of-range bounds are clamped)."""
    found = {}
    for n, start in enumerate(starts):
        axis = normal(axes[n] if axes else n, len(extents))
        step = steps[n] if steps else 1
        end = None if step < 0 and ends[n] < -extents[axis] else ends[n]
        found[axis] = range(extents[axis])[slice(start, end, step)]
    return found


def _sliced(node: Node, extents: Sequence[int], ints_of: Sequence[tuple[int, ...] | None]) -> dict[int, range]:
    if node.version < 10:
        return _spans(extents, ints(node, "starts"), ints(node, "ends"), ints(node, "axes"), None)
    starts, ends, axes, steps = ints_of
    if starts is None or ends is None:
        raise NotImplementedError(f"{node}: starts and ends that are computed are not known here")
    return _spans(extents, starts, ends, axes, steps)


def slice_places(node: Node, inputs: Sequence[Operand | None]) -> dict[int, Ints] | None:
    """Axis -> which input each output reads, of the axes that are not kept whole; ``None`` where it is computed."""
    spans = _known(node, inputs)
    x = inputs[0]
    if spans is None or x is None:
        return None
    return {axis: np.array(span, np.int64) for axis, span in spans.items() if span != range(x.shape[axis])}


def _known(node: Node, inputs: Sequence[Operand | None]) -> dict[int, range] | None:
    if inputs[0] is None or any(
        node.inputs[i] and (operand is None or operand.value is None) for i, operand in enumerate(inputs) if i
    ):
        return None
    return _sliced(node, inputs[0].shape, [known_ints(inputs, i) for i in range(1, 5)])


def slice_window(
    node: Node, inputs: Sequence[Operand | None], outputs: Sequence[Operand | None]
) -> Sequence[AxisWindows]:
    """Pointwise; along the sliced axes shifted and strided."""
    x, y = inputs[0], outputs[0]
    nothing: list[AxisWindows] = [{} for _ in inputs[1:]]
    spans = _known(node, inputs)
    if x is None or y is None or spans is None:
        return [{}, *nothing]
    found: dict[int, AxisWindow] = dict(pointwise(node, [x], [y])[0])
    for axis, span in spans.items():
        index = paired(x, y, axis)
        if index is not None:
            found.pop(index, None)
            if span.step > 0:
                found[index] = Sliding(1, span.step, -span.start)
            elif span:
                found[index] = Listed.picking(np.array(span, np.int64), x.shape[axis])
    return [found, *nothing]


def _slice_adjoint(at: Crossing, signals: Signals) -> Signals:
    s = signals[0]
    if s is None:
        return first_only(at, None)
    extents = at.input_operand(0).shape
    spans = _sliced(at.node, extents, [constant_ints(at, i) for i in range(1, 5)])
    # An axis that is taken whole may be the batch's, where units stand in place of images.
    places = {axis: np.array(span, np.int64) for axis, span in spans.items() if span != range(extents[axis])}
    return first_only(at, unpicked(at, s, places))


@operator("Slice", 1, window=slice_window, adjoint=Rule(_slice_adjoint))
def slice_1(x: Tensor, *, starts: tuple[int, ...], ends: tuple[int, ...], axes: tuple[int, ...] = ()) -> Tensor:
    """From starts to ends along axes, as attributes, up to opset 9."""
    for axis, span in _spans(x.shape, starts, ends, axes, None).items():
        x = x.narrow(axis, span.start, len(span))
    return x


@operator("Slice", 10, 11, 13, window=slice_window, adjoint=Rule(_slice_adjoint, holds=rest_is_constant))
def slice_(x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None) -> Tensor:
    """From starts to ends in steps along axes."""
    given = [t.tolist() if t is not None else None for t in (starts, ends, axes, steps)]
    for axis, span in _spans(x.shape, given[0] or [], given[1] or [], given[2], given[3]).items():
        if not span:
            x = x.narrow(axis, 0, 0)
        elif span.step > 0:
            x = x[(slice(None),) * axis + (slice(span.start, span[-1] + 1, span.step),)]
        else:
            x = x.index_select(axis, torch.arange(len(span), device=x.device) * span.step + span.start)
    return x

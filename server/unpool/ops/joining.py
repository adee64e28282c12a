"""Joining, splitting, slicing, padding and gathering."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional

from unpool.graph.intervals import AxisWindow, Sliding
from unpool.graph.model import AxisKind, Node
from unpool.ops.base import AxisWindows, Crossing, Operand, Rule, Signals, operator, pointwise
from unpool.ops.geometry import cut, integer, ints, paired, string


def _normal(axis: int, rank: int) -> int:
    return axis + rank if axis < 0 else axis


def _first(at: Crossing, s: Tensor | None) -> Signals:
    return (s, *(None for _ in at.node.inputs[1:]))


def _joined_spatially(node: Node, inputs: Sequence[Operand | None], out: Operand) -> int | None:
    """The spatial index along which a Concat joins, where every input that has labels has that one there."""
    axis = _normal(integer(node, "axis", 1), len(out.shape))
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
    axis = _normal(integer(node, "axis", 1), len(out.shape))
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
    axis = _normal(integer(at.node, "axis", 1), s.ndim)
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
        return _first(at, None)
    parts = [present.new_zeros(at.output_shape(i)) if s is None else s for i, s in enumerate(signals)]
    axis = _normal(integer(at.node, "axis"), present.ndim)
    return _first(at, torch.cat(parts, axis))


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


def _constant_ints(at: Crossing, index: int) -> tuple[int, ...] | None:
    if index >= len(at.node.inputs) or not at.node.inputs[index]:
        return None
    found = at.constant(index)
    return tuple(int(v) for v in found.flatten().tolist()) if found is not None else None


def _known_ints(inputs: Sequence[Operand | None], index: int) -> tuple[int, ...] | None:
    operand = inputs[index] if index < len(inputs) else None
    if operand is None or operand.value is None:
        return None
    return tuple(int(v) for v in operand.value.flatten().tolist())


def _spans(
    extents: Sequence[int],
    starts: Sequence[int],
    ends: Sequence[int],
    axes: Sequence[int] | None,
    steps: Sequence[int] | None,
) -> dict[int, tuple[int, int, int]]:
    """Axis -> first element, number of elements, step of a Slice (ONNX, Slice-13: out-of-range bounds are clamped)."""
    found = {}
    for n, start in enumerate(starts):
        axis = _normal(axes[n] if axes else n, len(extents))
        step = steps[n] if steps else 1
        taken = range(extents[axis])[slice(start, None if step < 0 and ends[n] < -extents[axis] else ends[n], step)]
        found[axis] = (taken.start, len(taken), step)
    return found


def _sliced(
    node: Node, extents: Sequence[int], ints_of: Sequence[tuple[int, ...] | None]
) -> dict[int, tuple[int, int, int]]:
    if node.version < 10:
        return _spans(extents, ints(node, "starts"), ints(node, "ends"), ints(node, "axes"), None)
    starts, ends, axes, steps = ints_of
    if starts is None or ends is None:
        raise NotImplementedError(f"{node}: starts and ends that are computed are not known here")
    return _spans(extents, starts, ends, axes, steps)


def _values_are_known(node: Node, inputs: Sequence[Operand | None], first: int) -> bool:
    """Whether windows could be worked out: every input from ``first`` on is absent or has its value at hand."""
    return all(
        not node.inputs[i] or (operand is not None and operand.value is not None)
        for i, operand in enumerate(inputs)
        if i >= first
    )


def slice_window(
    node: Node, inputs: Sequence[Operand | None], outputs: Sequence[Operand | None]
) -> Sequence[AxisWindows]:
    """Pointwise; along the sliced axes shifted and strided."""
    x, y = inputs[0], outputs[0]
    nothing: list[AxisWindows] = [{} for _ in inputs[1:]]
    if x is None or y is None or not _values_are_known(node, inputs, 1):
        return [{}, *nothing]
    found: dict[int, AxisWindow] = dict(pointwise(node, [x], [y])[0])
    for axis, (start, _, step) in _sliced(node, x.shape, [_known_ints(inputs, i) for i in range(1, 5)]).items():
        index = paired(x, y, axis)
        if index is not None:
            found.pop(index, None)
            if step > 0:
                found[index] = Sliding(1, step, -start)
    return [found, *nothing]


def _slice_adjoint(at: Crossing, signals: Signals) -> Signals:
    s = signals[0]
    if s is None:
        return _first(at, None)
    x, y = at.input_operand(0), at.output_operand(0)
    operands = [x, *(at.input_operand(i) if at.node.inputs[i] else None for i in range(1, len(at.node.inputs)))]
    windows = slice_window(at.node, operands, [y])[0]
    spans = _sliced(at.node, x.shape, [_constant_ints(at, i) for i in range(1, 5)])
    for axis, (start, count, step) in spans.items():
        index = paired(x, y, axis)
        local = index is not None and index in windows
        # An axis that is taken whole may be the batch's, where units stand in place of images.
        if (local and step == 1) or (count == x.shape[axis] and step == 1):
            continue
        shape = list(s.shape)
        shape[axis] = (s.shape[axis] - 1) * step + 1 if local else x.shape[axis]
        first = 0 if local else start
        wide = s.new_zeros(shape)
        places = torch.arange(s.shape[axis] if local else count, device=s.device) * step + first
        s = wide.index_copy(axis, places, s)
    return _first(at, s)


def _rest_is_constant(node: Node, constant: tuple[bool, ...]) -> bool:
    return all(constant[1:])


@operator("Slice", 1, window=slice_window, adjoint=Rule(_slice_adjoint))
def slice_1(x: Tensor, *, starts: tuple[int, ...], ends: tuple[int, ...], axes: tuple[int, ...] = ()) -> Tensor:
    """From starts to ends along axes, as attributes, up to opset 9."""
    for axis, (start, count, _) in _spans(x.shape, starts, ends, axes, None).items():
        x = x.narrow(axis, start, count)
    return x


@operator("Slice", 10, 11, 13, window=slice_window, adjoint=Rule(_slice_adjoint, holds=_rest_is_constant))
def slice_(x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None) -> Tensor:
    """From starts to ends in steps along axes."""
    given = [t.tolist() if t is not None else None for t in (starts, ends, axes, steps)]
    for axis, (start, count, step) in _spans(x.shape, given[0] or [], given[1] or [], given[2], given[3]).items():
        if step > 0:
            x = (
                x.narrow(axis, min(start, x.shape[axis]), 0)
                if not count
                else x[(slice(None),) * axis + (slice(start, start + (count - 1) * step + 1, step),)]
            )
        else:
            x = x.index_select(axis, torch.arange(count, device=x.device) * step + start)
    return x


def _amounts(rank: int, pads: Sequence[int], axes: Sequence[int] | None) -> list[tuple[int, int]]:
    """What is put before and behind every axis."""
    found = [(0, 0)] * rank
    named = list(axes) if axes else list(range(rank))
    for n, axis in enumerate(named):
        found[_normal(axis, rank)] = (pads[n], pads[n + len(named)])
    return found


def _padding(
    node: Node, rank: int, pads: tuple[int, ...] | None, axes: tuple[int, ...] | None
) -> list[tuple[int, int]]:
    if node.version < 11:
        return _amounts(rank, ints(node, "pads"), None)
    if pads is None:
        raise NotImplementedError(f"{node}: amounts of padding that are computed are not known here")
    return _amounts(rank, pads, axes)


def pad_window(
    node: Node, inputs: Sequence[Operand | None], outputs: Sequence[Operand | None]
) -> Sequence[AxisWindows]:
    """Pointwise; along padded axes shifted, where a constant is put; other modes take the whole plane there."""
    x, y = inputs[0], outputs[0]
    nothing: list[AxisWindows] = [{} for _ in inputs[1:]]
    known = x is not None and all(
        not node.inputs[i] or (inputs[i] is not None and getattr(inputs[i], "value", None) is not None)
        for i in (1, 3)
        if i < len(inputs)
    )
    if x is None or y is None or not known:
        return [{}, *nothing]
    found: dict[int, AxisWindow] = dict(pointwise(node, [x], [y])[0])
    for axis, (begin, end) in enumerate(_padding(node, len(x.shape), _known_ints(inputs, 1), _known_ints(inputs, 3))):
        index = paired(x, y, axis)
        if index is not None and (begin or end):
            found.pop(index, None)
            if string(node, "mode", "constant") == "constant":
                found[index] = Sliding(pad=begin)
    return [found, *nothing]


def _pad_adjoint(at: Crossing, signals: Signals) -> Signals:
    s = signals[0]
    if s is None:
        return _first(at, None)
    x, y = at.input_operand(0), at.output_operand(0)
    operands = [x, *(at.input_operand(i) if at.node.inputs[i] else None for i in range(1, len(at.node.inputs)))]
    windows = pad_window(at.node, operands, [y])[0]
    amounts = _padding(at.node, s.ndim, _constant_ints(at, 1), _constant_ints(at, 3))
    for axis in range(s.ndim):
        if paired(x, y, axis) in windows:
            amounts[axis] = (0, 0)
    return _first(at, cut(s, amounts))


def _puts_a_constant(node: Node, constant: tuple[bool, ...]) -> bool:
    return string(node, "mode", "constant") == "constant" and all(constant[1:])


def _pad(x: Tensor, amounts: Sequence[tuple[int, int]], mode: str, value: float) -> Tensor:
    if mode == "constant":
        return functional.pad(x, [n for pair in reversed(amounts) for n in pair], value=value)
    for axis, (begin, end) in enumerate(amounts):
        if begin or end:
            n = x.shape[axis]
            places = torch.arange(-begin, n + end, device=x.device)
            if mode == "edge":
                places = places.clamp(0, n - 1)
            elif mode == "wrap":
                places = places % n
            elif mode == "reflect":
                period = max(2 * (n - 1), 1)
                places = places % period
                places = torch.where(places >= n, period - places, places)
            else:
                raise NotImplementedError(f"padding mode {mode} is not known here")
            x = x.index_select(axis, places)
    return x


@operator("Pad", 2, window=pad_window, adjoint=Rule(_pad_adjoint, holds=_puts_a_constant))
def pad_2(x: Tensor, *, pads: tuple[int, ...], mode: str = "constant", value: float = 0.0) -> Tensor:
    """Padding with the amounts as attributes, up to opset 10."""
    return _pad(x, _amounts(x.ndim, pads, None), mode, value)


@operator("Pad", 11, 13, 18, 19, 21, 23, 24, 25, window=pad_window, adjoint=Rule(_pad_adjoint, holds=_puts_a_constant))
def pad(
    x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None, *, mode: str = "constant"
) -> Tensor:
    """Padding with a constant, the edge, a reflection or the other end; negative amounts cut."""
    amounts = _amounts(x.ndim, pads.tolist(), axes.tolist() if axes is not None else None)
    return _pad(x, amounts, mode, float(value) if value is not None else 0.0)


def gather_window(
    node: Node, inputs: Sequence[Operand | None], outputs: Sequence[Operand | None]
) -> Sequence[AxisWindows]:
    """Pointwise but along the axis that is gathered."""
    x, y = inputs[0], outputs[0]
    if x is None or y is None or not x.shape:
        return [{} for _ in inputs]
    gathered = x.axes[_normal(integer(node, "axis"), len(x.shape))]
    found = dict(pointwise(node, [x], [y])[0])
    if gathered.kind is AxisKind.SPATIAL:
        found.pop(gathered.index, None)
    return [found, {}]


def _gather_adjoint(at: Crossing, signals: Signals) -> Signals:
    s, indices = signals[0], at.constant(1)
    if s is None or indices is None:
        return (None, None)
    shape = at.input_shape(0)
    axis = _normal(integer(at.node, "axis"), len(shape))
    places = indices.reshape(-1).to(s.device)
    flat = s.reshape(*s.shape[:axis], places.numel(), *s.shape[axis + indices.ndim :])
    return (s.new_zeros(shape).index_add(axis, places % shape[axis], flat), None)


@operator("Gather", 1, 11, 13, window=gather_window, adjoint=Rule(_gather_adjoint, holds=_rest_is_constant))
def gather(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    """Entries of one axis, in the order and the shape of the indices."""
    axis = _normal(axis, x.ndim)
    places = indices.reshape(-1).to(x.device, torch.int64) % x.shape[axis]
    return x.index_select(axis, places).reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))

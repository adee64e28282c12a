"""Padding: with a constant, or with what is there, where every output reads one input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor
from torch.nn import functional

from unpool.graph.intervals import AxisWindow, Ints, Listed, Sliding
from unpool.graph.model import Node
from unpool.ops.base import AxisWindows, Crossing, Operand, Rule, Signals, operator, pointwise
from unpool.ops.geometry import cut, ints, paired, string
from unpool.ops.picking import (
    constant_ints,
    first_only,
    known_ints,
    normal,
    operands,
    picked,
    rest_is_constant,
    unpicked,
)


def _amounts(rank: int, pads: Sequence[int], axes: Sequence[int] | None) -> list[tuple[int, int]]:
    """What is put before and behind every axis."""
    found = [(0, 0)] * rank
    named = list(axes) if axes else list(range(rank))
    for n, axis in enumerate(named):
        found[normal(axis, rank)] = (pads[n], pads[n + len(named)])
    return found


def _padding(
    node: Node, rank: int, pads: tuple[int, ...] | None, axes: tuple[int, ...] | None
) -> list[tuple[int, int]]:
    if node.version < 11:
        return _amounts(rank, ints(node, "pads"), None)
    if pads is None:
        raise NotImplementedError(f"{node}: amounts of padding that are computed are not known here")
    return _amounts(rank, pads, axes)


def _places(extents: Sequence[int], amounts: Sequence[tuple[int, int]], mode: str) -> dict[int, Ints]:
    """Padded axis -> which input each output reads, where padding is not with a constant.

    Raises:
        NotImplementedError: a mode that is not known here.
    """
    found = {}
    for axis, (n, (begin, end)) in enumerate(zip(extents, amounts, strict=True)):
        if not (begin or end):
            continue
        places = np.arange(-begin, n + end, dtype=np.int64)
        if mode == "edge":
            places = places.clip(0, n - 1)
        elif mode == "wrap":
            places = places % n
        elif mode == "reflect":
            # There and back, the ends not twice.
            period = max(2 * (n - 1), 1)
            places = places % period
            places = np.where(places >= n, period - places, places)
        else:
            raise NotImplementedError(f"padding mode {mode} is not known here")
        found[axis] = places
    return found


def _mode(node: Node) -> str:
    return string(node, "mode", "constant")


def _known(node: Node, inputs: Sequence[Operand | None]) -> list[tuple[int, int]] | None:
    """The amounts of every axis, ``None`` where they are computed."""
    x = inputs[0]
    amounts = [inputs[i] for i in (1, 3) if i < len(inputs) and node.inputs[i]]
    if x is None or any(operand is None or operand.value is None for operand in amounts):
        return None
    return _padding(node, len(x.shape), known_ints(inputs, 1), known_ints(inputs, 3))


def pad_places(node: Node, inputs: Sequence[Operand | None]) -> dict[int, Ints] | None:
    """Padded axis -> which input each output reads; ``None`` for a constant and for amounts that are computed."""
    amounts, x = _known(node, inputs), inputs[0]
    if amounts is None or x is None or _mode(node) == "constant":
        return None
    return _places(x.shape, amounts, _mode(node))


def pad_window(
    node: Node, inputs: Sequence[Operand | None], outputs: Sequence[Operand | None]
) -> Sequence[AxisWindows]:
    """Pointwise; along padded axes shifted, and folded back at the borders unless a constant is put there."""
    x, y = inputs[0], outputs[0]
    nothing: list[AxisWindows] = [{} for _ in inputs[1:]]
    amounts = _known(node, inputs)
    if x is None or y is None or amounts is None:
        return [{}, *nothing]
    found: dict[int, AxisWindow] = dict(pointwise(node, [x], [y])[0])
    places = {} if _mode(node) == "constant" else _places(x.shape, amounts, _mode(node))
    for axis, (begin, end) in enumerate(amounts):
        index = paired(x, y, axis)
        if index is not None and (begin or end):
            shifted = Sliding(pad=begin)
            found[index] = Listed.picking(places[axis], x.shape[axis], shifted) if axis in places else shifted
    return [found, *nothing]


def _pad_adjoint(at: Crossing, signals: Signals) -> Signals:
    s = signals[0]
    if s is None:
        return first_only(at, None)
    x, y = at.input_operand(0), at.output_operand(0)
    amounts = _padding(at.node, s.ndim, constant_ints(at, 1), constant_ints(at, 3))
    if _mode(at.node) != "constant":
        return first_only(at, unpicked(at, s, _places(x.shape, amounts, _mode(at.node))))
    windows = pad_window(at.node, operands(at), [y])[0]
    for axis in range(s.ndim):
        if paired(x, y, axis) in windows:
            amounts[axis] = (0, 0)
    return first_only(at, cut(s, amounts))


def _pad(x: Tensor, amounts: Sequence[tuple[int, int]], mode: str, value: float) -> Tensor:
    if mode == "constant":
        return functional.pad(x, [n for pair in reversed(amounts) for n in pair], value=value)
    return picked(x, _places(x.shape, amounts, mode))


@operator("Pad", 2, window=pad_window, adjoint=Rule(_pad_adjoint))
def pad_2(x: Tensor, *, pads: tuple[int, ...], mode: str = "constant", value: float = 0.0) -> Tensor:
    """Padding with the amounts as attributes, up to opset 10."""
    return _pad(x, _amounts(x.ndim, pads, None), mode, value)


@operator("Pad", 11, 13, 18, 19, 21, 23, 24, 25, window=pad_window, adjoint=Rule(_pad_adjoint, holds=rest_is_constant))
def pad(
    x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None, *, mode: str = "constant"
) -> Tensor:
    """Padding with a constant, the edge, a reflection or the other end; negative amounts cut."""
    amounts = _amounts(x.ndim, pads.tolist(), axes.tolist() if axes is not None else None)
    return _pad(x, amounts, mode, float(value) if value is not None else 0.0)

"""Sorting, running totals and triangles."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unpool.graph.model import AxisKind, Node
from unpool.ops.base import AxisWindows, Operand, operator, pointwise, whole
from unpool.ops.linearity import linear
from unpool.ops.normalization import flattened_axes_window, single_axis_window
from unpool.ops.types import torch_type


def _chosen(x: Tensor, k: int, axis: int, largest: bool) -> tuple[Tensor, Tensor]:
    # Ties go to the lower index, which torch.topk does not promise.
    if x.dtype in (torch.uint16, torch.uint32, torch.uint64):
        order = torch.sort(x.to(torch.int64), dim=axis, descending=largest, stable=True).indices
        values = torch.gather(x.to(torch.int64), axis, order).to(x.dtype)
    else:
        values, order = torch.sort(x, dim=axis, descending=largest, stable=True)
    return values.narrow(axis, 0, k), order.narrow(axis, 0, k)


@operator("TopK", 1, window=single_axis_window(-1))
def top_k_1(x: Tensor, *, k: int, axis: int = -1) -> tuple[Tensor, Tensor]:
    """The k largest along one axis and where they stand; k as attribute, up to opset 9."""
    return _chosen(x, k, axis, True)


@operator("TopK", 10, 11, 24, window=single_axis_window(-1))
def top_k(
    x: Tensor,
    k: Tensor,
    *,
    axis: int = -1,
    largest: int = 1,
    sorted: int = 1,  # noqa: A002
) -> tuple[Tensor, Tensor]:
    """The k largest, or smallest, along one axis and where they stand."""
    return _chosen(x, int(k.flatten()[0]), axis, bool(largest))


def _along_constant_axis(
    node: Node, inputs: Sequence[Operand | None], outputs: Sequence[Operand | None]
) -> Sequence[AxisWindows]:
    """Pointwise but along the axis that the second input names."""
    x, axis = inputs[0], inputs[1]
    if x is None or axis is None or axis.value is None:
        return whole(node, inputs, outputs)
    mixed = x.axes[int(axis.value.flatten()[0])]
    windows = dict(pointwise(node, [x], outputs)[0])
    if mixed.kind is AxisKind.SPATIAL:
        windows.pop(mixed.index, None)
    return [windows, {}]


def _shifted(x: Tensor, axis: int, first: float) -> Tensor:
    """One place further along an axis, with a constant at its beginning."""
    head = torch.full_like(x.narrow(axis, 0, 1), first)
    return torch.cat([head, x.narrow(axis, 0, x.shape[axis] - 1)], axis)


def _cumulative(x: Tensor, axis: int, exclusive: int, reverse: int, product: bool) -> Tensor:
    turned = x.flip(axis) if reverse else x
    if exclusive:
        turned = _shifted(turned, axis, 1.0 if product else 0.0)
    found = turned.cumprod(axis) if product else turned.cumsum(axis)
    found = found.to(x.dtype)
    return found.flip(axis) if reverse else found


def _cum_sum(x: Tensor, axis: Tensor, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
    """Running sums along one axis."""
    return _cumulative(x, int(axis.flatten()[0]), exclusive, reverse, False)


operator("CumSum", 11, 14, window=_along_constant_axis, adjoint=linear(_cum_sum))(_cum_sum)


@operator("CumProd", 26, window=_along_constant_axis)
def cum_prod(x: Tensor, axis: Tensor, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
    """Running products along one axis."""
    return _cumulative(x, int(axis.flatten()[0]), exclusive, reverse, True)


def _trilu(x: Tensor, k: Tensor | None = None, *, upper: int = 1) -> Tensor:
    """The upper, or lower, triangle of every matrix, from diagonal ``k`` on; zeros elsewhere."""
    rows = torch.arange(x.shape[-2], device=x.device).unsqueeze(-1)
    apart = torch.arange(x.shape[-1], device=x.device) - rows
    diagonal = int(k.flatten()[0]) if k is not None else 0
    kept = apart >= diagonal if upper else apart <= diagonal
    return torch.where(kept, x, torch.zeros((), dtype=x.dtype, device=x.device))


operator("Trilu", 14, window=whole, adjoint=linear(_trilu))(_trilu)


@operator("EyeLike", 9, 22, window=whole)
def eye_like(x: Tensor, *, dtype: int = 0, k: int = 0) -> Tensor:
    """Ones on diagonal ``k``, in the shape of x."""
    kind = torch_type(dtype) if dtype else x.dtype
    ones = torch.ones(x.shape, dtype=torch.int32, device=x.device)
    return (ones.triu(k) - ones.triu(k + 1)).to(kind)


def _first_maximum(x: Tensor, axis: int) -> Tensor:
    places = torch.arange(x.shape[axis], device=x.device)
    shape = [1] * x.ndim
    shape[axis] = -1
    return (places.reshape(shape) == x.argmax(axis, keepdim=True)).to(x.dtype)


@operator("Hardmax", 1, 11, window=flattened_axes_window(1))
def hardmax_1(x: Tensor, *, axis: int = 1) -> Tensor:
    """1 at the first maximum over all axes from ``axis`` on, else 0, up to opset 12."""
    first = axis % x.ndim if axis < 0 else axis
    return _first_maximum(x.flatten(first), -1 % (first + 1)).reshape(x.shape)


@operator("Hardmax", 13, window=single_axis_window(-1))
def hardmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """1 at the first maximum along one axis, else 0."""
    return _first_maximum(x, axis % x.ndim)

"""Quantising and dequantising, and how a signal passes what was rounded: straight through.

A signal at a whole-number tensor is the derivative by the stored number, as if nothing had been rounded (the
straight-through estimator, Bengio et al. 2013): quantising divides it by the scale, dequantising multiplies. What fell
to the lowest number gets no signal where that number stands for 0: there a rectifier is folded into the range.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unpool.graph.model import Node
from unpool.ops.base import AxisWindows, Crossing, Operand, Rule, Signals, operator, pointwise
from unpool.ops.geometry import integer
from unpool.ops.normalization import single_axis_window
from unpool.ops.types import limits, to_eight_bits, torch_type


def spread(scale: Tensor, shape: Sequence[int], axis: int, block: int) -> Tensor:
    """A scale or zero point against a tensor: of all of it, of every slice of an axis, or of blocks along it."""
    if scale.numel() == 1:
        return scale.reshape(())
    axis %= len(shape)
    if scale.ndim == 1 and not block:
        view = [1] * len(shape)
        view[axis] = -1
        return scale.reshape(view)
    each = block or -(-shape[axis] // scale.shape[axis])
    return scale.repeat_interleave(each, axis).narrow(axis, 0, shape[axis])


def saturated(x: Tensor, kind: torch.dtype, code: int = 0) -> Tensor:
    """Rounded, halves to even, and cut to what an integer type holds."""
    low, high = limits(code) if code else (torch.iinfo(kind).min, torch.iinfo(kind).max)
    return x.round().clamp(low, high).to(kind)


def _quantize(
    x: Tensor, scale: Tensor, zero_point: Tensor | None, axis: int, block: int, code: int, precision: int, saturate: int
) -> Tensor:
    kind = torch_type(code) if code else zero_point.dtype if zero_point is not None else torch.uint8
    counted = torch_type(precision) if precision else torch.promote_types(x.dtype, scale.dtype)
    if counted.itemsize < 4:
        counted = torch.float32
    wide = x.to(counted) / spread(scale.to(x.device), x.shape, axis, block).to(counted)
    if kind.is_floating_point:
        return to_eight_bits(wide, kind, saturate=bool(saturate))
    if zero_point is not None:
        wide = wide.round() + spread(zero_point.to(x.device), x.shape, axis, block).to(counted)
    return saturated(wide, kind, code)


def rectifies(zero_point: Tensor | None, kind: torch.dtype) -> bool:
    """Whether the lowest number of a quantised tensor stands for 0, so that its range cuts what is negative."""
    if kind.is_floating_point:
        return False
    low = torch.iinfo(kind).min
    return bool((zero_point == low).all()) if zero_point is not None else low == 0


def above_lowest(at: Crossing, s: Tensor, zero_point: Tensor | None) -> Tensor:
    """The signal without what fell to the lowest number of output 0, where a rectifier is folded into its range."""
    y = at.output(0)
    if not rectifies(zero_point, y.dtype):
        return s
    return s * (y.to(torch.int32) > torch.iinfo(y.dtype).min)  # torch compares no uint16


def _scale(at: Crossing, index: int, s: Tensor) -> Tensor:
    block = integer(at.node, "block_size")
    return spread(at.input(index).to(s.device), s.shape, integer(at.node, "axis", 1), block).to(s.dtype)


def _quantize_adjoint(at: Crossing, signals: Signals) -> Signals:
    s = signals[0]
    nothing = (None,) * (len(at.node.inputs) - 1)
    if s is None:
        return (None, *nothing)
    named = len(at.node.inputs) > 2 and bool(at.node.inputs[2])
    zero_point = at.constant(2) if named else None
    kept = s if named and zero_point is None else above_lowest(at, s, zero_point)
    return (kept / _scale(at, 1, s), *nothing)


def _dequantize_adjoint(at: Crossing, signals: Signals) -> Signals:
    s = signals[0]
    nothing = (None,) * (len(at.node.inputs) - 1)
    return (s * _scale(at, 1, s) if s is not None else None, *nothing)


def _window(node: Node, inputs: Sequence[Operand | None], outputs: Sequence[Operand | None]) -> Sequence[AxisWindows]:
    """Pointwise; where the scale varies, but along its axis."""
    scale = inputs[1]
    varies = scale is not None and any(n != 1 for n in scale.shape)
    return (single_axis_window(1) if varies else pointwise)(node, inputs, outputs)


_Q = Rule(_quantize_adjoint, inputs=(1,), outputs=(0,))
_DQ = Rule(_dequantize_adjoint, inputs=(1,))


@operator("QuantizeLinear", 10, 13, 19, 21, 23, 24, 25, 28, window=_window, adjoint=_Q)
@operator("QuantizeLinear", 1, domain="com.microsoft", window=_window, adjoint=_Q)
def quantize_linear(
    x: Tensor,
    y_scale: Tensor,
    y_zero_point: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    precision: int = 0,
    saturate: int = 1,
) -> Tensor:
    """X / scale + zero point, rounded and cut to the range of the zero point's type."""
    return _quantize(x, y_scale, y_zero_point, axis, block_size, output_dtype, precision, saturate)


@operator("DequantizeLinear", 10, 13, 19, 21, 23, 24, 25, 28, window=_window, adjoint=_DQ)
@operator("DequantizeLinear", 1, domain="com.microsoft", window=_window, adjoint=_DQ)
def dequantize_linear(
    x: Tensor,
    x_scale: Tensor,
    x_zero_point: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> Tensor:
    """(x - zero point) * scale."""
    kind = torch_type(output_dtype) if output_dtype else x_scale.dtype
    scale = spread(x_scale.to(x.device), x.shape, axis, block_size)
    if x_zero_point is None:
        return x.to(kind) * scale.to(kind)
    zero = spread(x_zero_point.to(x.device), x.shape, axis, block_size)
    if x.dtype.is_floating_point:
        return (x.to(kind) - zero.to(kind)) * scale.to(kind)
    return (x.to(torch.int64) - zero.to(torch.int64)).to(kind) * scale.to(kind)


def _dynamic_adjoint(at: Crossing, signals: Signals) -> Signals:
    s = signals[0]
    return (s / at.output(1).to(s.dtype) if s is not None else None,)


@operator("DynamicQuantizeLinear", 11, adjoint=Rule(_dynamic_adjoint, outputs=(1,)))
def dynamic_quantize_linear(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Quantised to uint8 over the range of x and 0; also gives scale and zero point."""
    low, high = x.amin().clamp(max=0), x.amax().clamp(min=0)
    scale = (high - low) / 255
    safe = torch.where(scale == 0, torch.ones_like(scale), scale)
    zero_point = saturated(-low / safe, torch.uint8)
    return _quantize(x, safe, zero_point, 1, 0, 0, 0, 1), safe, zero_point


_CARRIERS = frozenset({"uint8", "int8", "uint16", "int16", "int32"})
_MAKERS = frozenset(
    {
        "QuantizeLinear",
        "DynamicQuantizeLinear",
        "ConvInteger",
        "MatMulInteger",
        "QLinearConv",
        "QLinearMatMul",
        "QGemm",
    }
)
_HANDLERS = frozenset(
    {
        "Identity",
        "Reshape",
        "Flatten",
        "Transpose",
        "Squeeze",
        "Unsqueeze",
        "Concat",
        "Split",
        "Slice",
        "Pad",
        "MaxPool",
        "Expand",
        "Tile",
        "Gather",
        "Resize",
        "DepthToSpace",
        "SpaceToDepth",
        "Add",
        "Mul",
        "Dropout",
    }
)


def quantised(node: Node, output: int, dtype: str, *, reads_one: bool) -> bool:
    """Whether an output of whole numbers stands for real ones, so that a signal passes through it.

    Args:
        node: what makes it.
        output: which of its outputs.
        dtype: its type.
        reads_one: whether the node reads a tensor that stands for real numbers.
    """
    if (output and node.op_type != "Split") or dtype not in _CARRIERS or not reads_one:
        return False
    made = node.op_type in _MAKERS or (node.domain == "com.microsoft" and node.op_type.startswith("QLinear"))
    return made or node.op_type in _HANDLERS

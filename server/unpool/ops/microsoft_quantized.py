"""Quantised operators of com.microsoft: what ONNX Runtime's quantiser writes beside those of ai.onnx."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from unpool.graph.model import Node
from unpool.ops.base import AxisWindows, Crossing, Operand, Rule, Signals, WindowOf, keywords, operator, whole
from unpool.ops.broadcasting import elementwise
from unpool.ops.joining import concat_window
from unpool.ops.pooling import average_pool
from unpool.ops.quantization import above_lowest
from unpool.ops.quantized import factor_windows, real, stored

DOMAIN = "com.microsoft"
Real = Callable[..., Tensor]
"""As the operator, but in real numbers: the result in steps of its scale, not rounded, without its zero point."""


@dataclass(frozen=True)
class _Through:
    """The vector-Jacobian product of an operator in real numbers: straight through what it rounds.

    Attributes:
        real: the operator in real numbers.
        zero_point: which input is the result's zero point; ``None`` where the result is real.
        at_zero: take the derivative at zero, where the operator is linear and nothing needs to be captured.
    """

    real: Real
    zero_point: int | None
    at_zero: bool

    def __call__(self, at: Crossing, signals: Signals) -> Signals:
        node, s = at.node, signals[0]
        if s is None:
            return (None,) * len(node.inputs)
        if self.zero_point is not None:
            s = above_lowest(at, s, at.constant(self.zero_point))
        inputs: list[Tensor | None] = []
        for i, name in enumerate(node.inputs):
            value = None
            if name and self.at_zero and at.constant(i) is None:
                value = s.new_zeros(at.input_shape(i))
            elif name:
                value = at.input(i).to(s.device)
            if value is not None and at.wanted[i]:
                value = value.to(s.dtype).detach().requires_grad_()
            inputs.append(value)
        with torch.enable_grad():
            result = self.real(*inputs, **keywords(self.real, node.attributes, len(node.outputs)))
        leaves = [x for x in inputs if x is not None and x.requires_grad]
        grads = iter(torch.autograd.grad(result, leaves, s.reshape(result.shape).to(result.dtype), allow_unused=True))
        return tuple(next(grads) if x is not None and x.requires_grad else None for x in inputs)


def _quantised(
    op_type: str, *, zero_point: int, moving: Sequence[int] | None, window: WindowOf, is_linear: bool
) -> Callable[[Real], Real]:
    """Registers an operator from what it is in real numbers.

    Args:
        op_type: its type.
        zero_point: which input is the result's zero point.
        moving: which inputs carry signals; all others have to be constant. ``None`` means any.
        window: its windows.
        is_linear: it is linear in what moves.
    """

    def register(function: Real) -> Real:
        @functools.wraps(function)
        def forward(*inputs: Tensor | None, **attributes: object) -> Tensor:
            zero = inputs[zero_point] if len(inputs) > zero_point else None
            first = next(x for x in inputs if x is not None and not x.is_floating_point())
            found = function(*inputs, **attributes)
            return stored(found, zero if zero is not None else torch.zeros((), dtype=first.dtype))

        def holds(node: Node, constant: tuple[bool, ...]) -> bool:
            return moving is None or all(c for i, c in enumerate(constant) if i not in moving)

        rule = Rule(
            _Through(function, zero_point, is_linear),
            inputs=() if is_linear else None,
            outputs=(0,),
            exact=is_linear,
            holds=holds,
        )
        operator(op_type, 1, domain=DOMAIN, window=window, adjoint=rule)(forward)
        return function

    return register


def _steps(x: Tensor, scale: Tensor) -> Tensor:
    return x / scale.to(x.device, x.dtype).reshape(())


def _floats(x: Tensor, scale: Tensor, zero: Tensor | None) -> Tensor:
    return real(x, scale, zero, 1, x.dtype if x.is_floating_point() else torch.float32)


_PAIR = factor_windows(elementwise, (0, 3))


@_quantised("QLinearAdd", zero_point=7, moving=(0, 3), window=_PAIR, is_linear=True)
def qlinear_add(
    a: Tensor,
    a_scale: Tensor,
    a_zero_point: Tensor | None,
    b: Tensor,
    b_scale: Tensor,
    b_zero_point: Tensor | None,
    c_scale: Tensor,
    c_zero_point: Tensor | None = None,
) -> Tensor:
    """A + b, broadcast."""
    return _steps(_floats(a, a_scale, a_zero_point) + _floats(b, b_scale, b_zero_point), c_scale)


@_quantised("QLinearMul", zero_point=7, moving=(0, 3), window=_PAIR, is_linear=False)
def qlinear_mul(
    a: Tensor,
    a_scale: Tensor,
    a_zero_point: Tensor | None,
    b: Tensor,
    b_scale: Tensor,
    b_zero_point: Tensor | None,
    c_scale: Tensor,
    c_zero_point: Tensor | None = None,
) -> Tensor:
    """A * b, broadcast."""
    return _steps(_floats(a, a_scale, a_zero_point) * _floats(b, b_scale, b_zero_point), c_scale)


_ONE = factor_windows(elementwise, (0,))


@_quantised("QLinearSigmoid", zero_point=4, moving=(0,), window=_ONE, is_linear=False)
def qlinear_sigmoid(
    x: Tensor, x_scale: Tensor, x_zero_point: Tensor | None, y_scale: Tensor, y_zero_point: Tensor | None = None
) -> Tensor:
    """1 / (1 + exp(-x))."""
    return _steps(torch.sigmoid(_floats(x, x_scale, x_zero_point)), y_scale)


@_quantised("QLinearLeakyRelu", zero_point=4, moving=(0,), window=_ONE, is_linear=False)
def qlinear_leaky_relu(
    x: Tensor,
    x_scale: Tensor,
    x_zero_point: Tensor | None,
    y_scale: Tensor,
    y_zero_point: Tensor | None = None,
    *,
    alpha: float = 0.01,
) -> Tensor:
    """X where positive, else alpha * x."""
    return _steps(functional.leaky_relu(_floats(x, x_scale, x_zero_point), alpha), y_scale)


@_quantised("QLinearSoftmax", zero_point=4, moving=(0,), window=whole, is_linear=False)
def qlinear_softmax(
    x: Tensor,
    x_scale: Tensor,
    x_zero_point: Tensor | None,
    y_scale: Tensor,
    y_zero_point: Tensor | None = None,
    *,
    axis: int = -1,
    opset: int = 13,
) -> Tensor:
    """Softmax over one axis; before opset 13, over all from it on."""
    wide = _floats(x, x_scale, x_zero_point)
    if opset >= 13:
        return _steps(torch.softmax(wide, axis), y_scale)
    return _steps(torch.softmax(wide.flatten(axis % wide.ndim), -1).reshape(wide.shape), y_scale)


def _first(x: Tensor, channels_last: int) -> Tensor:
    return x.movedim(-1, 1) if channels_last else x


def _last(x: Tensor, channels_last: int) -> Tensor:
    return x.movedim(1, -1) if channels_last else x


@_quantised("QLinearGlobalAveragePool", zero_point=4, moving=(0,), window=whole, is_linear=True)
def qlinear_global_average_pool(
    x: Tensor,
    x_scale: Tensor,
    x_zero_point: Tensor | None,
    y_scale: Tensor,
    y_zero_point: Tensor | None = None,
    *,
    channels_last: int = 0,
) -> Tensor:
    """Mean over the plane."""
    wide = _first(_floats(x, x_scale, x_zero_point), channels_last)
    return _steps(_last(wide.mean(tuple(range(2, wide.ndim)), keepdim=True), channels_last), y_scale)


@_quantised("QLinearAveragePool", zero_point=4, moving=(0,), window=whole, is_linear=True)
def qlinear_average_pool(
    x: Tensor,
    x_scale: Tensor,
    x_zero_point: Tensor | None,
    y_scale: Tensor,
    y_zero_point: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    channels_last: int = 0,
    count_include_pad: int = 0,
    kernel_shape: tuple[int, ...],
    pads: tuple[int, ...] = (),
    strides: tuple[int, ...] = (),
) -> Tensor:
    """Average pooling."""
    found = average_pool(
        _first(_floats(x, x_scale, x_zero_point), channels_last),
        kernel_shape=kernel_shape,
        auto_pad=auto_pad,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        pads=pads,
        strides=strides,
    )
    return _steps(_last(found, channels_last), y_scale)


def _concat_window(
    node: Node, inputs: Sequence[Operand | None], outputs: Sequence[Operand | None]
) -> Sequence[AxisWindows]:
    """Pointwise but along the axis that is joined."""
    windows: list[AxisWindows] = [{} for _ in inputs]
    out = outputs[0]
    axis = node.attributes.get("axis", 1)
    if out is None or not isinstance(axis, int):
        return windows
    label = out.axes[axis % len(out.axes)]
    places = list(range(2, len(inputs), 3))
    for place, along in zip(places, concat_window(node, [inputs[p] for p in places], outputs), strict=True):
        windows[place] = {i: w for i, w in along.items() if i != label.index or str(label) != f"spatial{i}"}
    return windows


def _qlinear_concat(y_scale: Tensor, y_zero_point: Tensor, *parts: Tensor, axis: int) -> Tensor:
    """All parts, each with its own scale and zero point, one behind the other."""
    wide = [_floats(parts[i], parts[i + 1], parts[i + 2]) for i in range(0, len(parts), 3)]
    return _steps(torch.cat(wide, axis), y_scale)


_quantised("QLinearConcat", zero_point=1, moving=range(2, 1000, 3), window=_concat_window, is_linear=True)(
    _qlinear_concat
)


def _qgemm(
    a: Tensor,
    a_scale: Tensor,
    a_zero_point: Tensor | None,
    b: Tensor,
    b_scale: Tensor,
    b_zero_point: Tensor | None,
    c: Tensor | None = None,
    y_scale: Tensor | None = None,
    y_zero_point: Tensor | None = None,
    *,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    """Alpha * A' B' + C; C counts in steps of the product of the scales. Real without a scale for the result."""
    kind = a.dtype if a.is_floating_point() else torch.float64
    left = real(a, a_scale, a_zero_point, 0, kind)
    right = real(b, b_scale, b_zero_point, 0 if transB else 1, kind)
    total = (left.mT if transA else left) @ (right.mT if transB else right) * alpha
    if c is not None:
        step = (a_scale.to(total.device, kind).reshape(()) * b_scale.to(total.device, kind)) * alpha
        total = total + c.to(total.device, kind) * step
    return total if y_scale is None else _steps(total, y_scale)


@operator(
    "QGemm",
    1,
    domain=DOMAIN,
    window=whole,
    adjoint=Rule(_Through(_qgemm, None, True), holds=lambda node, constant: all(constant[1:])),
)
@functools.wraps(_qgemm)
def qgemm(*inputs: Tensor | None, **attributes: object) -> Tensor:
    """Gemm of quantised tensors."""
    found = _qgemm(*inputs, **attributes)  # type: ignore[arg-type]
    zero = inputs[8] if len(inputs) > 8 else None
    return stored(found, zero) if zero is not None else found.float()


def _matmul_integer_to_float(
    a: Tensor,
    b: Tensor,
    a_scale: Tensor,
    b_scale: Tensor,
    a_zero_point: Tensor | None = None,
    b_zero_point: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """Matrix product of quantised tensors, real."""
    kind = a.dtype if a.is_floating_point() else torch.float32
    found = real(a, a_scale, a_zero_point, -2, kind) @ real(b, b_scale, b_zero_point, -1, kind)
    return found if bias is None else found + bias


operator(
    "MatMulIntegerToFloat",
    1,
    domain=DOMAIN,
    window=whole,
    adjoint=Rule(_Through(_matmul_integer_to_float, None, False), inputs=None, exact=False),
)(_matmul_integer_to_float)


def quantised_as_it_comes(x: Tensor) -> Tensor:
    """X over its own range in 256 steps and back, as DynamicQuantizeLinear does."""
    low, high = x.detach().amin().clamp(max=0), x.detach().amax().clamp(min=0)
    scale = (high - low) / 255
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    zero = (-low / scale).round().clamp(0, 255)
    return ((x / scale).round() + zero).clamp(0, 255).sub(zero) * scale


def _dynamic_quantize_matmul(
    a: Tensor, b: Tensor, b_scale: Tensor, b_zero_point: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """Matrix product with a quantised factor; the other one is quantised as it comes."""
    found = quantised_as_it_comes(a) @ real(b, b_scale, b_zero_point, -1, a.dtype)
    return found if bias is None else found + bias


def _dynamic_real(
    a: Tensor, b: Tensor, b_scale: Tensor, b_zero_point: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    found = a @ real(b, b_scale, b_zero_point, -1, a.dtype)
    return found if bias is None else found + bias


operator(
    "DynamicQuantizeMatMul",
    1,
    domain=DOMAIN,
    window=whole,
    adjoint=Rule(_Through(_dynamic_real, None, True), holds=lambda node, constant: all(constant[1:])),
)(_dynamic_quantize_matmul)


def _nibbles(packed: Tensor, bits: int) -> Tensor:
    """Bytes (..., n) as their parts of some bits (..., n * 8 / bits), the lowest first."""
    shifts = torch.arange(0, 8, bits, device=packed.device)
    parts: Tensor = packed.to(torch.int32).unsqueeze(-1) >> shifts
    kept: Tensor = (parts & (2**bits - 1)).flatten(-2)
    return kept


@operator("MatMulNBits", 1, domain=DOMAIN, window=whole)
def matmul_n_bits(
    a: Tensor,
    b: Tensor,
    scales: Tensor,
    zero_points: Tensor | None = None,
    g_idx: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    K: int,
    N: int,
    accuracy_level: int = 0,
    bits: int = 4,
    block_size: int,
) -> Tensor:
    """Matrix product with weights of a few bits: b (N, blocks, bytes), a scale for every block."""
    if g_idx is not None or bits not in (2, 4, 8):
        raise NotImplementedError(f"weights of {bits} bits, or in an order of their own, are not known here")
    blocks = -(-K // block_size)
    weight = _nibbles(b.reshape(N, blocks, -1), bits)[..., :block_size].to(a.device, a.dtype)
    zero: Tensor | float = 2.0 ** (bits - 1)
    if zero_points is not None:
        wide = zero_points if zero_points.is_floating_point() else _nibbles(zero_points.reshape(N, -1), bits)
        zero = wide.reshape(N, -1)[:, :blocks].unsqueeze(-1).to(a.device, a.dtype)
    real_weight: Tensor = ((weight - zero) * scales.reshape(N, blocks, 1).to(a.dtype)).reshape(N, -1)[:, :K]
    found: Tensor = a @ real_weight.mT
    return found if bias is None else found + bias

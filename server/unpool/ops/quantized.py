"""Products of quantised tensors: counted in whole numbers, crossed with dequantised weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from unpool.graph.model import Node
from unpool.ops.base import AxisWindows, Condition, Crossing, Operand, Rule, Signals, operator
from unpool.ops.convolution import _conv_adjoint as conv_adjoint
from unpool.ops.convolution import conv, conv_window
from unpool.ops.linear import matmul, matmul_adjoint, matmul_window
from unpool.ops.quantization import above_lowest, saturated

Window: TypeAlias = Callable[[Node, Sequence[Operand | None], Sequence[Operand | None]], Sequence[AxisWindows]]


@dataclass(frozen=True)
class _Dequantised:
    """A crossing whose node reads two real factors: where they really stand, and the values of constant ones."""

    at: Crossing
    places: tuple[int, int]
    factors: Mapping[int, Tensor] = field(default_factory=dict)

    @property
    def node(self) -> Node:
        return self.at.node

    @property
    def wanted(self) -> tuple[bool, ...]:
        return tuple(self.at.wanted[p] for p in self.places)

    @property
    def spare(self) -> bool:
        return self.at.spare

    def constant(self, index: int) -> Tensor | None:
        return self.factors.get(index)

    def input(self, index: int) -> Tensor:
        return self.at.input(self.places[index])

    def output(self, index: int = 0) -> Tensor:
        return self.at.output(index)

    def positive(self) -> Tensor:
        return self.at.positive()

    def switches(self) -> Tensor:
        return self.at.switches()

    def input_shape(self, index: int) -> tuple[int, ...]:
        return self.at.input_shape(self.places[index])

    def output_shape(self, index: int = 0) -> tuple[int, ...]:
        return self.at.output_shape(index)

    def input_operand(self, index: int) -> Operand:
        return self.at.input_operand(self.places[index])

    def output_operand(self, index: int = 0) -> Operand:
        return self.at.output_operand(index)

    def output_origins(self, spatial_index: int) -> Tensor:
        return self.at.output_origins(spatial_index)

    def input_origins(self, index: int, spatial_index: int) -> Tensor:
        return self.at.input_origins(self.places[index], spatial_index)

    def trim(self, spatial_index: int) -> tuple[int, int]:
        return self.at.trim(spatial_index)


def factor_windows(window: Window, places: Sequence[int]) -> Window:
    """Windows of an operator whose operands stand among scales and zero points, at these places."""

    def found(node: Node, inputs: Sequence[Operand | None], outputs: Sequence[Operand | None]) -> Sequence[AxisWindows]:
        windows: list[AxisWindows] = [{} for _ in inputs]
        for place, along in zip(places, window(node, [inputs[p] for p in places], outputs), strict=True):
            windows[place] = along
        return windows

    return found


def rows(x: Tensor, rank: int, axis: int) -> Tensor:
    """A scale or zero point, of all or of every slice of an axis, against a tensor of some rank."""
    return x.reshape(()) if x.numel() == 1 else x.reshape([-1 if i == axis % rank else 1 for i in range(rank)])


def real(x: Tensor, scale: Tensor | None, zero: Tensor | None, axis: int, kind: torch.dtype) -> Tensor:
    """What a quantised tensor stands for; without a scale, what it is away from its zero point."""
    wide = x.to(kind)
    if zero is not None:
        wide = wide - rows(zero.to(x.device, kind), x.ndim, axis)
    return wide if scale is None else wide * rows(scale.to(x.device, kind), x.ndim, axis)


def _carry(
    at: Crossing,
    s: Tensor,
    operands: tuple[tuple[int, int | None, int], tuple[int, int | None, int]],
    axes: tuple[int, int],
    inner: Callable[[Crossing, Signals], Signals],
) -> Signals:
    """Carries a signal through a product with one constant factor.

    Args:
        at: the crossing.
        s: the signal by the real result.
        operands: places of each factor, its scale (``None`` without) and its zero point.
        axes: along which each factor's scale may vary.
        inner: the adjoint of the product in real numbers.
    """
    found: list[Tensor | None] = [None] * len(at.node.inputs)
    factors: dict[int, Tensor] = {}
    moving = 0
    for i, (place, scale, zero) in enumerate(operands):
        value = at.constant(place)
        if value is None:
            moving = i
            continue
        given = at.constant(scale) if scale is not None else None
        zeros = at.constant(zero) if zero < len(at.node.inputs) and at.node.inputs[zero] else None
        factors[i] = real(value.to(s.device), given, zeros, axes[i], s.dtype)
    back = inner(_Dequantised(at, (operands[0][0], operands[1][0]), factors), (s,))[moving]
    place, scale, _ = operands[moving]
    if back is not None and scale is not None:
        given = at.constant(scale)
        assert given is not None
        back = back * rows(given.to(s.device, s.dtype), back.ndim, axes[moving])
    found[place] = back
    return tuple(found)


def _output_scale(at: Crossing, s: Tensor, scale: int, zero: int) -> Tensor:
    """The signal by the real result, from the one by the stored number."""
    given = at.constant(scale)
    assert given is not None
    return above_lowest(at, s, at.constant(zero)) / given.to(s.device, s.dtype).reshape(())


def _all_but(*moving: int) -> Condition:
    """Everything is constant but exactly one of these inputs."""
    return lambda node, constant: (
        sum(not constant[i] for i in moving) == 1 and all(c for i, c in enumerate(constant) if i not in moving)
    )


def _qlinear_conv_adjoint(at: Crossing, signals: Signals) -> Signals:
    s = signals[0]
    if s is None:
        return (None,) * len(at.node.inputs)
    return _carry(at, _output_scale(at, s, 6, 7), ((0, 1, 2), (3, 4, 5)), (1, 0), conv_adjoint)


@operator(
    "QLinearConv",
    10,
    window=factor_windows(conv_window, (0, 3)),
    adjoint=Rule(_qlinear_conv_adjoint, outputs=(0,), holds=_all_but(0)),
)
def qlinear_conv(
    x: Tensor,
    x_scale: Tensor,
    x_zero_point: Tensor,
    w: Tensor,
    w_scale: Tensor,
    w_zero_point: Tensor,
    y_scale: Tensor,
    y_zero_point: Tensor,
    b: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: tuple[int, ...] = (),
    group: int = 1,
    kernel_shape: tuple[int, ...] = (),
    pads: tuple[int, ...] = (),
    strides: tuple[int, ...] = (),
) -> Tensor:
    """Convolution of quantised tensors; the bias counts in steps of both scales' product."""
    total = conv(
        real(x, None, x_zero_point, 1, torch.float64),
        real(w, None, w_zero_point, 0, torch.float64),
        b.to(x.device, torch.float64) if b is not None else None,
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        pads=pads,
        strides=strides,
    )
    step = rows((x_scale * w_scale / y_scale).to(x.device, torch.float64), total.ndim, 1)
    return stored(total * step, y_zero_point)


def stored(steps: Tensor, zero_point: Tensor) -> Tensor:
    """Steps of a scale, rounded and moved by the zero point, as the zero point's type holds them."""
    zero = zero_point.to(steps.device, steps.dtype).reshape(())
    return saturated(steps.round() + zero, zero_point.dtype)


def _conv_integer_adjoint(at: Crossing, signals: Signals) -> Signals:
    s = signals[0]
    if s is None:
        return (None,) * len(at.node.inputs)
    return _carry(at, s, ((0, None, 2), (1, None, 3)), (1, 0), conv_adjoint)


def _filter_is_constant(node: Node, constant: tuple[bool, ...]) -> bool:
    return not constant[0] and constant[1] and all(constant[3:])


@operator("ConvInteger", 10, window=conv_window, adjoint=Rule(_conv_integer_adjoint, holds=_filter_is_constant))
def conv_integer(
    x: Tensor,
    w: Tensor,
    x_zero_point: Tensor | None = None,
    w_zero_point: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: tuple[int, ...] = (),
    group: int = 1,
    kernel_shape: tuple[int, ...] = (),
    pads: tuple[int, ...] = (),
    strides: tuple[int, ...] = (),
) -> Tensor:
    """Convolution in whole numbers: int32."""
    total = conv(
        real(x, None, x_zero_point, 1, torch.float64),
        real(w, None, w_zero_point, 0, torch.float64),
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        pads=pads,
        strides=strides,
    )
    return total.to(torch.int32)


def _qlinear_matmul_adjoint(at: Crossing, signals: Signals) -> Signals:
    s = signals[0]
    if s is None:
        return (None,) * len(at.node.inputs)
    return _carry(at, _output_scale(at, s, 6, 7), ((0, 1, 2), (3, 4, 5)), (-2, -1), matmul_adjoint)


@operator(
    "QLinearMatMul",
    10,
    21,
    window=factor_windows(matmul_window, (0, 3)),
    adjoint=Rule(_qlinear_matmul_adjoint, outputs=(0,), holds=_all_but(0, 3)),
)
def qlinear_matmul(
    a: Tensor,
    a_scale: Tensor,
    a_zero_point: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero_point: Tensor,
    y_scale: Tensor,
    y_zero_point: Tensor,
) -> Tensor:
    """Matrix product of quantised tensors."""
    total = matmul(real(a, a_scale, a_zero_point, -2, torch.float64), real(b, b_scale, b_zero_point, -1, torch.float64))
    return stored(total / y_scale.to(total.device, torch.float64).reshape(()), y_zero_point)


def _matmul_integer_adjoint(at: Crossing, signals: Signals) -> Signals:
    s = signals[0]
    if s is None:
        return (None,) * len(at.node.inputs)
    return _carry(at, s, ((0, None, 2), (1, None, 3)), (-2, -1), matmul_adjoint)


def _one_factor_is_constant(node: Node, constant: tuple[bool, ...]) -> bool:
    fixed = 0 if constant[0] else 1
    zero = fixed + 2
    return constant[0] != constant[1] and (zero >= len(constant) or constant[zero])


@operator(
    "MatMulInteger",
    10,
    window=matmul_window,
    adjoint=Rule(_matmul_integer_adjoint, holds=_one_factor_is_constant),
)
def matmul_integer(
    a: Tensor, b: Tensor, a_zero_point: Tensor | None = None, b_zero_point: Tensor | None = None
) -> Tensor:
    """Matrix product in whole numbers: int32."""
    total = matmul(real(a, None, a_zero_point, -2, torch.float64), real(b, None, b_zero_point, -1, torch.float64))
    return total.to(torch.int32)

"""Matrix products."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unpool.graph.intervals import POINTWISE, AxisWindow, Broadcast
from unpool.graph.model import AxisKind, Node
from unpool.ops.base import AxisWindows, Crossing, Operand, Rule, Signals, operator, whole
from unpool.ops.broadcasting import reduce_to


def _one_factor_is_constant(node: Node, constant: tuple[bool, ...]) -> bool:
    return constant[0] != constant[1]


def matmul_window(
    node: Node, inputs: Sequence[Operand | None], outputs: Sequence[Operand | None]
) -> Sequence[AxisWindows]:
    """Pointwise but for the summed axis, where labels stay: a dense layer over channels last is a 1x1 convolution."""
    found: list[AxisWindows] = []
    out = outputs[0]
    for position, operand in enumerate(inputs):
        windows: dict[int, AxisWindow] = {}
        if operand is not None and out is not None and len(operand.shape) >= 2 and len(out.shape) >= 2:
            rank = len(operand.shape)
            summed = rank - 1 if position == 0 else rank - 2
            for i, axis in enumerate(operand.axes):
                if axis.kind is not AxisKind.SPATIAL or i == summed or axis not in out.axes:
                    continue
                place = out.axes.index(axis)
                if place - len(out.shape) != i - rank:
                    continue
                if out.shape[place] == operand.shape[i]:
                    windows[axis.index] = POINTWISE
                elif operand.shape[i] == 1:
                    windows[axis.index] = Broadcast(out.shape[place])
        found.append(windows)
    return found


def matmul_adjoint(at: Crossing, signals: Signals) -> Signals:
    """To the factor that is not constant, the signal times the other one transposed."""
    s = signals[0]
    if s is None:
        return (None, None)
    a, b = at.constant(0), at.constant(1)
    if b is not None:
        shape = at.input_shape(0)
        vector = len(shape) == 1
        grown = s.unsqueeze(-1) if b.ndim == 1 else s
        grown = grown.unsqueeze(-2) if vector else grown
        right = b.unsqueeze(-1) if b.ndim == 1 else b
        back = grown @ right.mT
        return (reduce_to(back.squeeze(-2) if vector else back, shape), None)
    if a is None:
        return (None, None)
    shape = at.input_shape(1)
    vector = len(shape) == 1
    left = a.unsqueeze(0) if a.ndim == 1 else a
    grown = s.unsqueeze(-1) if vector else s
    grown = grown.unsqueeze(-2) if a.ndim == 1 else grown
    back = left.mT @ grown
    return (None, reduce_to(back.squeeze(-1) if vector else back, shape))


@operator("MatMul", 1, 9, 13, window=matmul_window, adjoint=Rule(matmul_adjoint, holds=_one_factor_is_constant))
def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Matrix product with NumPy's rules for more and for fewer than two axes."""
    return torch.matmul(a, b)


def _gemm_holds(node: Node, constant: tuple[bool, ...]) -> bool:
    return constant[0] != constant[1]


def _gemm_adjoint(at: Crossing, signals: Signals) -> Signals:
    s = signals[0]
    nothing: list[Tensor | None] = [None] * len(at.node.inputs)
    if s is None:
        return tuple(nothing)
    alpha = float(_number(at.node, "alpha", 1.0))
    beta = float(_number(at.node, "beta", 1.0))
    turn_a, turn_b = bool(_number(at.node, "transA", 0)), bool(_number(at.node, "transB", 0))
    a, b = at.constant(0), at.constant(1)
    if at.wanted[0] and b is not None:
        back = s @ (b if turn_b else b.mT) * alpha
        nothing[0] = back.mT if turn_a else back
    if at.wanted[1] and a is not None:
        back = (a if turn_a else a.mT) @ s * alpha
        nothing[1] = back.mT if turn_b else back
    if len(nothing) > 2 and at.wanted[2]:
        nothing[2] = reduce_to(s * beta, at.input_shape(2))
    return tuple(nothing)


def _number(node: Node, name: str, default: float) -> float:
    value = node.attributes.get(name, default)
    if not isinstance(value, int | float):
        raise TypeError(f"{node}: attribute {name} is not a number")
    return value


@operator("Gemm", 1, 6, 7, 9, 11, 13, window=whole, adjoint=Rule(_gemm_adjoint, holds=_gemm_holds))
def gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
    broadcast: int = 0,
) -> Tensor:
    """Alpha * A' B' + beta * C, with A (M, K), B (K, N) before they are transposed, C broadcast to (M, N)."""
    product = (a.mT if transA else a) @ (b.mT if transB else b)
    if alpha != 1.0:
        product = product * alpha
    return product if c is None else product + (c if beta == 1.0 else c * beta)

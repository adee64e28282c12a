"""Arithmetic, comparison and logic, element by element."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from unpool.graph.model import Node
from unpool.ops.base import Crossing, Rule, Signals, operator
from unpool.ops.broadcasting import elementwise, reduce_to
from unpool.ops.types import widened


def _to_every_branch(at: Crossing, signals: Signals) -> Signals:
    s = signals[0]
    return tuple(
        reduce_to(s, at.input_shape(i)) if s is not None and wanted else None for i, wanted in enumerate(at.wanted)
    )


def _difference(at: Crossing, signals: Signals) -> Signals:
    a, b = _to_every_branch(at, signals)
    return a, -b if b is not None else None


def _mean_adjoint(at: Crossing, signals: Signals) -> Signals:
    n = len(at.node.inputs)
    return tuple(s / n if s is not None else None for s in _to_every_branch(at, signals))


def _one_factor_is_constant(node: Node, constant: tuple[bool, ...]) -> bool:
    return constant[0] != constant[1]


def _divisor_is_constant(node: Node, constant: tuple[bool, ...]) -> bool:
    return constant[1] and not constant[0]


def _product(at: Crossing, signals: Signals) -> Signals:
    s = signals[0]
    side = 0 if at.constant(1) is not None else 1
    factor = at.constant(1 - side)
    if s is None or factor is None:
        return (None, None)
    back = reduce_to(s * factor, at.input_shape(side))
    return (back, None) if side == 0 else (None, back)


def _quotient(at: Crossing, signals: Signals) -> Signals:
    s, divisor = signals[0], at.constant(1)
    if s is None or divisor is None:
        return (None, None)
    return (reduce_to(s / divisor, at.input_shape(0)), None)


def _negative(at: Crossing, signals: Signals) -> Signals:
    return (-signals[0] if signals[0] is not None else None,)


def _away_from(pole: Tensor, x: Tensor) -> Tensor:
    return torch.where(pole, torch.ones_like(x), x)


def _finitely_sloped(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The function of x; its derivative is taken as 0 at x = 0, where it is infinite.

    So it is at the kink of a norm, sqrt(x * x), and where a quantised divisor was rounded to 0. Multiplied with the
    zeros of a signal, an infinite one would make the whole answer NaN.
    """
    if not x.requires_grad:
        return function(x)
    pole = x == 0
    return torch.where(pole, function(x).detach(), function(_away_from(pole, x)))


@operator("Add", 7, 13, 14, window=elementwise, adjoint=Rule(_to_every_branch))
@widened
def add(a: Tensor, b: Tensor) -> Tensor:
    """A + b, broadcast."""
    return a + b


@operator("Sub", 7, 13, 14, window=elementwise, adjoint=Rule(_difference))
@widened
def sub(a: Tensor, b: Tensor) -> Tensor:
    """A - b, broadcast."""
    return a - b


@operator("Mul", 7, 13, 14, window=elementwise, adjoint=Rule(_product, holds=_one_factor_is_constant))
@widened
def mul(a: Tensor, b: Tensor) -> Tensor:
    """A * b, broadcast."""
    return a * b


@operator("Div", 7, 13, 14, window=elementwise, adjoint=Rule(_quotient, holds=_divisor_is_constant))
@widened
def div(a: Tensor, b: Tensor) -> Tensor:
    """A / b, broadcast; integers round towards zero."""
    if not a.is_floating_point():
        return torch.div(a, b, rounding_mode="trunc")
    if not (a.requires_grad or b.requires_grad):
        return a / b
    pole = b == 0
    return torch.where(pole, (a / b).detach(), a / _away_from(pole, b))


@operator("Sum", 6, 8, 13, window=elementwise, adjoint=Rule(_to_every_branch))
def sum_(*data: Tensor) -> Tensor:
    """Sum of all inputs, broadcast."""
    total = data[0]
    for x in data[1:]:
        total = total + x
    return total


@operator("Mean", 6, 8, 13, window=elementwise, adjoint=Rule(_mean_adjoint))
def mean(*data: Tensor) -> Tensor:
    """Mean of all inputs, broadcast."""
    return sum_(*data) / len(data)


@operator("Max", 6, 8, 12, 13, window=elementwise)
@widened
def max_(*data: Tensor) -> Tensor:
    """Largest of all inputs, broadcast."""
    found = data[0]
    for x in data[1:]:
        found = torch.maximum(found, x)
    return found


@operator("Min", 6, 8, 12, 13, window=elementwise)
@widened
def min_(*data: Tensor) -> Tensor:
    """Smallest of all inputs, broadcast."""
    found = data[0]
    for x in data[1:]:
        found = torch.minimum(found, x)
    return found


@operator("Pow", 7, 12, 13, 15, window=elementwise)
@widened
def pow_(x: Tensor, y: Tensor) -> Tensor:
    """X to the power y, in x's type."""
    # Whole exponents of real numbers are taken as real ones: autograd does not count in every whole type.
    y = y.to(x.dtype) if x.is_floating_point() else y
    if not (x.requires_grad or y.requires_grad):
        return torch.pow(x, y).to(x.dtype)
    pole = (x == 0) & (y < 1)
    return torch.where(pole, torch.pow(x, y).detach(), torch.pow(_away_from(pole, x), y))


@operator("Mod", 10, 13, 28, window=elementwise)
@widened
def mod(a: Tensor, b: Tensor, *, fmod: int = 0) -> Tensor:
    """Remainder: of C's fmod, or with the divisor's sign."""
    return torch.fmod(a, b) if fmod else torch.remainder(a, b)


@operator("Neg", 6, 13, adjoint=Rule(_negative))
def neg(x: Tensor) -> Tensor:
    """-x."""
    return -x


@operator("Abs", 6, 13)
def abs_(x: Tensor) -> Tensor:
    """Absolute value."""
    return x.abs()


@operator("Reciprocal", 6, 13)
def reciprocal(x: Tensor) -> Tensor:
    """1 / x."""
    return _finitely_sloped(torch.reciprocal, x)


@operator("Sqrt", 6, 13)
def sqrt(x: Tensor) -> Tensor:
    """Square root."""
    return _finitely_sloped(torch.sqrt, x)


@operator("Exp", 6, 13)
def exp(x: Tensor) -> Tensor:
    """E to the power x."""
    return x.exp()


@operator("Log", 6, 13)
def log(x: Tensor) -> Tensor:
    """Natural logarithm."""
    return _finitely_sloped(torch.log, x)


@operator("Sin", 7, 22)
def sin(x: Tensor) -> Tensor:
    """Sine."""
    return x.sin()


@operator("Cos", 7, 22)
def cos(x: Tensor) -> Tensor:
    """Cosine."""
    return x.cos()


@operator("Floor", 6, 13)
def floor(x: Tensor) -> Tensor:
    """Rounded down."""
    return x.floor()


@operator("Ceil", 6, 13)
def ceil(x: Tensor) -> Tensor:
    """Rounded up."""
    return x.ceil()


@operator("Round", 11, 22)
def round_(x: Tensor) -> Tensor:
    """Rounded to the nearest integer, halves to even."""
    return x.round()


@operator("Sign", 9, 13)
def sign(x: Tensor) -> Tensor:
    """-1, 0 or 1."""
    return x.sign()


@operator("IsNaN", 9, 13, 20)
def is_nan(x: Tensor) -> Tensor:
    """Whether an element is not a number."""
    return x.isnan()


@operator("Where", 9, 16, window=elementwise)
def where(condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """X where the condition holds, else y; all broadcast."""
    return torch.where(condition.to(x.device), x, y)


@operator("Equal", 7, 11, 13, 19, window=elementwise)
def equal(a: Tensor, b: Tensor) -> Tensor:
    """A == b."""
    return a == b


@operator("Less", 7, 9, 13, window=elementwise)
@widened
def less(a: Tensor, b: Tensor) -> Tensor:
    """A < b."""
    return a < b


@operator("Greater", 7, 9, 13, window=elementwise)
@widened
def greater(a: Tensor, b: Tensor) -> Tensor:
    """A > b."""
    return a > b


@operator("LessOrEqual", 12, 16, window=elementwise)
@widened
def less_or_equal(a: Tensor, b: Tensor) -> Tensor:
    """A <= b."""
    return a <= b


@operator("GreaterOrEqual", 12, 16, window=elementwise)
@widened
def greater_or_equal(a: Tensor, b: Tensor) -> Tensor:
    """A >= b."""
    return a >= b


@operator("And", 7, window=elementwise)
def and_(a: Tensor, b: Tensor) -> Tensor:
    """Both."""
    return torch.logical_and(a, b)


@operator("Or", 7, window=elementwise)
def or_(a: Tensor, b: Tensor) -> Tensor:
    """Either or both."""
    return torch.logical_or(a, b)


@operator("Xor", 7, window=elementwise)
def xor(a: Tensor, b: Tensor) -> Tensor:
    """One of the two."""
    return torch.logical_xor(a, b)


@operator("Not", 1)
def not_(x: Tensor) -> Tensor:
    """Not."""
    return torch.logical_not(x)

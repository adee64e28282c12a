"""Further functions of one element: trigonometric, hyperbolic, bitwise; and gates of two operands."""

from __future__ import annotations

import torch
from torch import Tensor

from unpool.ops.base import operator
from unpool.ops.broadcasting import elementwise
from unpool.ops.types import torch_type, widened


@operator("Tan", 7, 22)
def tan(x: Tensor) -> Tensor:
    """Tangent."""
    return x.tan()


@operator("Asin", 7, 22)
def asin(x: Tensor) -> Tensor:
    """Inverse sine."""
    return x.asin()


@operator("Acos", 7, 22)
def acos(x: Tensor) -> Tensor:
    """Inverse cosine."""
    return x.acos()


@operator("Atan", 7, 22)
def atan(x: Tensor) -> Tensor:
    """Inverse tangent."""
    return x.atan()


@operator("Sinh", 9, 22)
def sinh(x: Tensor) -> Tensor:
    """Hyperbolic sine."""
    return x.sinh()


@operator("Cosh", 9, 22)
def cosh(x: Tensor) -> Tensor:
    """Hyperbolic cosine."""
    return x.cosh()


@operator("Asinh", 9, 22)
def asinh(x: Tensor) -> Tensor:
    """Inverse hyperbolic sine."""
    return x.asinh()


@operator("Acosh", 9, 22)
def acosh(x: Tensor) -> Tensor:
    """Inverse hyperbolic cosine."""
    return x.acosh()


@operator("Atanh", 9, 22)
def atanh(x: Tensor) -> Tensor:
    """Inverse hyperbolic tangent."""
    return x.atanh()


@operator("IsInf", 10, 20)
def is_inf(x: Tensor, *, detect_negative: int = 1, detect_positive: int = 1) -> Tensor:
    """Whether an element is infinite, of one sign or of either."""
    wide = x.float() if x.element_size() == 1 else x
    positive = torch.isposinf(wide) if detect_positive else torch.zeros_like(wide, dtype=torch.bool)
    return positive | torch.isneginf(wide) if detect_negative else positive


@operator("SwiGLU", 28)
def swiglu(gate: Tensor, x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """Swish of the gate times x (Shazeer 2020)."""
    return gate * torch.sigmoid(gate * alpha) * x


@operator("BitShift", 11, 28, window=elementwise)
@widened
def bit_shift(x: Tensor, by: Tensor, *, direction: str) -> Tensor:
    """X with its bits shifted to the left or to the right."""
    return x << by if direction == "LEFT" else x >> by


@operator("BitwiseAnd", 18, window=elementwise)
@widened
def bitwise_and(a: Tensor, b: Tensor) -> Tensor:
    """Bits set in both."""
    return a & b


@operator("BitwiseOr", 18, window=elementwise)
@widened
def bitwise_or(a: Tensor, b: Tensor) -> Tensor:
    """Bits set in either."""
    return a | b


@operator("BitwiseXor", 18, window=elementwise)
@widened
def bitwise_xor(a: Tensor, b: Tensor) -> Tensor:
    """Bits set in one of the two."""
    return a ^ b


@operator("BitwiseNot", 18)
@widened
def bitwise_not(x: Tensor) -> Tensor:
    """Bits the other way round."""
    return ~x


@operator("BitCast", 26)
def bit_cast(x: Tensor, *, to: int) -> Tensor:
    """The same bits as another type of the same width."""
    return x.view(torch_type(to))

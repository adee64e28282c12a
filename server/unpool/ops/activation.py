"""Activation functions, and the rules by which policies carry a signal through rectifiers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from unpool.graph.model import Node
from unpool.ops.base import Crossing, Rule, Signals, find, keywords, operator
from unpool.ops.broadcasting import elementwise
from unpool.ops.normalization import flattened_axes_window, single_axis_window


def _only(at: Crossing, s: Tensor | None) -> Signals:
    return (s, *(None for _ in at.node.inputs[1:]))


def pass_on(at: Crossing, signals: Signals) -> Signals:
    """The signal as it is."""
    return _only(at, signals[0])


def _cut_at_zero(at: Crossing, s: Tensor) -> Tensor:
    return s.clamp_(min=0) if at.spare else s.clamp(min=0)


def rectify(at: Crossing, signals: Signals) -> Signals:
    """max(s, 0): the deconvnet's rectifier (Zeiler & Fergus 2013, section 2.1)."""
    s = signals[0]
    return _only(at, _cut_at_zero(at, s) if s is not None else None)


def masked(at: Crossing, signals: Signals) -> Signals:
    """S where the output is positive, else 0: the derivative of a rectifier."""
    s = signals[0]
    if s is None:
        return _only(at, None)
    return _only(at, s.mul_(at.positive()) if at.spare else s * at.positive())


def reapply(at: Crossing, signals: Signals) -> Signals:
    """The activation itself, with its constant operands, applied to the signal."""
    s = signals[0]
    found = find(at.node)
    if s is None or found is None:
        return _only(at, None)
    others = (at.constant(i) for i in range(1, len(at.node.inputs)))
    result = found.forward(s, *others, **keywords(found.forward, at.node.attributes, 1))
    return _only(at, result if isinstance(result, Tensor) else result[0])


@dataclass(frozen=True)
class _Rectified:
    """Rectifies the signal before another rule carries it."""

    inner: Rule

    def __call__(self, at: Crossing, signals: Signals) -> Signals:
        return self.inner.apply(at, tuple(_cut_at_zero(at, s) if s is not None else None for s in signals))


def guided(rule: Rule) -> Rule:
    """The derivative that ``rule`` stands for times s * [s > 0] (Springenberg et al. 2014, section 3.4)."""
    return replace(rule, apply=_Rectified(rule))


PASS = Rule(pass_on)
RECTIFY = Rule(rectify, by_sign=True)
MASKED = Rule(masked, mask=True, by_sign=True)
GUIDED = guided(MASKED)
REAPPLY = Rule(reapply, holds=lambda node, constant: all(constant[1:]))


def _number(node: Node, name: str, default: float) -> float:
    value = node.attributes.get(name, default)
    if not isinstance(value, int | float):
        raise TypeError(f"{node}: attribute {name} is not a number")
    return float(value)


def _leaky(at: Crossing, signals: Signals) -> Signals:
    s = signals[0]
    alpha = _number(at.node, "alpha", 0.01)
    return _only(at, torch.where(at.positive() > 0, s, s * alpha) if s is not None else None)


def _prelu_adjoint(at: Crossing, signals: Signals) -> Signals:
    s, slope = signals[0], at.constant(1)
    if s is None or slope is None:
        return (None, None)
    return (torch.where(at.input(0) > 0, s, s * slope), None)


def _bounds(at: Crossing) -> tuple[Tensor | float | None, Tensor | float | None]:
    if at.node.version < 11:
        return _number(at.node, "min", float("-inf")), _number(at.node, "max", float("inf"))
    given = [at.constant(i) if i < len(at.node.inputs) and at.node.inputs[i] else None for i in (1, 2)]
    return given[0], given[1]


def _clip_adjoint(at: Crossing, signals: Signals) -> Signals:
    s, y = signals[0], at.output()
    if s is None:
        return _only(at, None)
    low, high = _bounds(at)
    if low is not None:
        s = s * (y > low)
    if high is not None:
        s = s * (y < high)
    return _only(at, s)


@operator("Relu", 6, 13, 14, adjoint=MASKED)
def relu(x: Tensor) -> Tensor:
    """max(x, 0)."""
    return torch.relu(x)


@operator("LeakyRelu", 6, 16, adjoint=Rule(_leaky, mask=True, holds=lambda node, _: _number(node, "alpha", 0.01) > 0))
def leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
    """X where positive, else alpha * x."""
    return functional.leaky_relu(x, alpha)


@operator(
    "PRelu",
    7,
    9,
    16,
    window=elementwise,
    adjoint=Rule(_prelu_adjoint, inputs=(0,), holds=lambda _, constant: constant[1]),
)
def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """X where positive, else slope * x; the slope is broadcast to x."""
    return torch.where(x > 0, x, slope * x)


@operator("ThresholdedRelu", 10, 22, adjoint=replace(MASKED, holds=lambda node, _: _number(node, "alpha", 1.0) >= 0))
def thresholded_relu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """X where above alpha, else 0."""
    return torch.where(x > alpha, x, torch.zeros((), dtype=x.dtype, device=x.device))


@operator("Clip", 6, adjoint=Rule(_clip_adjoint, outputs=(0,)))
def clip_6(x: Tensor, *, max: float = float("inf"), min: float = float("-inf")) -> Tensor:  # noqa: A002
    """Clip with the bounds as attributes, up to opset 10."""
    return x.clamp(min, max)


@operator("Clip", 11, 12, 13, adjoint=Rule(_clip_adjoint, outputs=(0,), holds=lambda _, constant: all(constant[1:])))
def clip(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    """Clip with the bounds as optional inputs; the upper one wins where they cross."""
    bounds = [b for b in (low, high) if b is not None]
    if bounds and all(b.numel() == 1 and b.device.type == "cpu" and not b.requires_grad for b in bounds):
        # Several times faster on a CPU than by comparing with tensors.
        return x.clamp(*(None if b is None else b.item() for b in (low, high)))
    if low is not None:
        x = torch.maximum(x, low.to(x.device))
    return torch.minimum(x, high.to(x.device)) if high is not None else x


@operator("Sigmoid", 6, 13)
def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return torch.sigmoid(x)


@operator("HardSigmoid", 6, 22)
def hard_sigmoid(x: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    """Alpha * x + beta, clipped to 0 and 1."""
    return (x * alpha + beta).clamp(0, 1)


@operator("HardSwish", 14, 22)
def hard_swish(x: Tensor) -> Tensor:
    """X * HardSigmoid(x, 1/6, 1/2)."""
    return x * (x / 6 + 0.5).clamp(0, 1)


@operator("Swish", 24)
def swish(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """X * Sigmoid(alpha * x)."""
    return x * torch.sigmoid(x * alpha)


@operator("Gelu", 20)
def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    """X times the normal distribution's probability below x (Hendrycks & Gimpel 2016)."""
    return functional.gelu(x, approximate=approximate)


@operator("Tanh", 6, 13)
def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return torch.tanh(x)


@operator("Elu", 6, 22)
def elu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """X where positive, else alpha * (exp(x) - 1)."""
    return functional.elu(x, alpha)


@operator("Selu", 6, 22)
def selu(x: Tensor, *, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875) -> Tensor:
    """Gamma * Elu(x, alpha)."""
    return functional.elu(x, alpha) * gamma


@operator("Celu", 12, 28)
def celu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """X where positive, else alpha * (exp(x / alpha) - 1)."""
    return functional.celu(x, alpha)


@operator("Softplus", 1, 22)
def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x))."""
    return torch.logaddexp(x, torch.zeros((), dtype=x.dtype, device=x.device))


@operator("Softsign", 1, 22)
def softsign(x: Tensor) -> Tensor:
    """X / (1 + |x|)."""
    return functional.softsign(x)


@operator("Mish", 18, 22)
def mish(x: Tensor) -> Tensor:
    """X * tanh(softplus(x))."""
    return x * torch.tanh(softplus(x))


@operator("Erf", 9, 13)
def erf(x: Tensor) -> Tensor:
    """Gauss error function."""
    return torch.erf(x)


@operator("Shrink", 9)
def shrink(x: Tensor, *, bias: float = 0.0, lambd: float = 0.5) -> Tensor:
    """X drawn towards 0 by ``bias`` where it is beyond ``lambd``, else 0."""
    return torch.where(x < -lambd, x + bias, torch.where(x > lambd, x - bias, torch.zeros_like(x)))


def _over_trailing(function: str, x: Tensor, axis: int) -> Tensor:
    """Up to opset 12, axes from ``axis`` on were one."""
    first = axis % x.ndim if axis < 0 else axis
    flat = x.flatten(first) if first < x.ndim else x.unsqueeze(-1)
    found: Tensor = getattr(torch, function)(flat, -1)
    return found.reshape(x.shape)


@operator("Softmax", 1, 11, window=flattened_axes_window(1))
def softmax_1(x: Tensor, *, axis: int = 1) -> Tensor:
    """Softmax over all axes from ``axis`` on, up to opset 12."""
    return _over_trailing("softmax", x, axis)


@operator("Softmax", 13, window=single_axis_window(-1))
def softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """Softmax over one axis."""
    return torch.softmax(x, axis)


@operator("LogSoftmax", 1, 11, window=flattened_axes_window(1))
def log_softmax_1(x: Tensor, *, axis: int = 1) -> Tensor:
    """Logarithm of Softmax over all axes from ``axis`` on, up to opset 12."""
    return _over_trailing("log_softmax", x, axis)


@operator("LogSoftmax", 13, window=single_axis_window(-1))
def log_softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """Logarithm of Softmax over one axis."""
    return torch.log_softmax(x, axis)

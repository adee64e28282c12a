"""Normalisation: with running statistics, across channels, or over the axes of one image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from unpool.graph.model import AxisKind, Node
from unpool.ops.base import AxisWindows, Crossing, Operand, Rule, Signals, WindowOf, operator, pointwise, whole
from unpool.ops.standardising import Average, over, over_groups, standardising


def window_without(axes: Callable[[Node, int], Sequence[int]]) -> WindowOf:
    """Pointwise but along the axes that the operator mixes."""

    def window(
        node: Node, inputs: Sequence[Operand | None], outputs: Sequence[Operand | None]
    ) -> Sequence[AxisWindows]:
        x = inputs[0]
        if x is None:
            return [{} for _ in inputs]
        mixed = {x.axes[a].index for a in axes(node, len(x.axes)) if x.axes[a].kind is AxisKind.SPATIAL}
        return [{i: w for i, w in windows.items() if i not in mixed} for windows in pointwise(node, inputs, outputs)]

    return window


def _axis(node: Node, rank: int, default: int) -> int:
    value = node.attributes.get("axis", default)
    if not isinstance(value, int):
        raise TypeError(f"{node}: attribute axis is not an integer")
    return value % rank if value < 0 else value


def single_axis_window(default: int) -> WindowOf:
    """Window of an operator that mixes the axis that its attribute ``axis`` names."""
    return window_without(lambda node, rank: (_axis(node, rank, default),))


def flattened_axes_window(default: int) -> WindowOf:
    """Window of an operator that mixes all axes from its attribute ``axis`` on."""
    return window_without(lambda node, rank: range(_axis(node, rank, default), rank))


def _along_channels(weight: Tensor, rank: int) -> Tensor:
    """A weight (C,) or (C, D1 ... Dn) set against (N, C, D1 ... Dn)."""
    return weight.reshape(1, *weight.shape, *(1,) * (rank - 1 - weight.ndim))


def _running_statistics(node: Node, constant: tuple[bool, ...]) -> bool:
    return all(constant[1:]) and not node.attributes.get("training_mode", 0) and bool(node.attributes.get("spatial", 1))


def _batch_normalization_adjoint(at: Crossing, signals: Signals) -> Signals:
    s, scale, variance = signals[0], at.constant(1), at.constant(4)
    nothing = (None,) * len(at.node.inputs)
    if s is None or scale is None or variance is None:
        return nothing
    epsilon = at.node.attributes.get("epsilon", 1e-5)
    assert isinstance(epsilon, int | float)
    gain = scale / torch.sqrt(variance + float(epsilon))
    return (s * _along_channels(gain, s.ndim), *nothing[1:])


def _batch_normalization_window(
    node: Node, inputs: Sequence[Operand | None], outputs: Sequence[Operand | None]
) -> Sequence[AxisWindows]:
    alone = node.attributes.get("spatial", 1) and not node.attributes.get("training_mode", 0)
    return pointwise(node, inputs, outputs) if alone else whole(node, inputs, outputs)


@operator(
    "BatchNormalization",
    7,
    9,
    14,
    15,
    window=_batch_normalization_window,
    adjoint=Rule(_batch_normalization_adjoint, holds=_running_statistics),
)
def batch_normalization(
    x: Tensor,
    scale: Tensor,
    b: Tensor,
    mean: Tensor,
    var: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    spatial: int = 1,
    training_mode: int = 0,
    outputs: int = 1,
) -> Tensor | tuple[Tensor, Tensor, Tensor]:
    """Batch normalisation of x (N, C, D1 ... Dn) with running statistics.

    Scale, shift, mean and variance are (C,) each, or (C, D1 ... Dn) where ``spatial`` is 0 (opset 7). In training mode
    (weights that are standardised as they run) the statistics are those of x; the running ones are given as well.
    """
    if training_mode:
        return _by_own_statistics(x, scale, b, mean, var, epsilon, momentum)
    if outputs > 1:
        raise NotImplementedError("batch normalisation with statistics as outputs is not known here before opset 14")
    # Not torch's own: its derivative reads a single image's signal in the wrong order where that is a transposed view.
    gain = scale / torch.sqrt(var + epsilon)
    shift = b - mean * gain
    return torch.addcmul(_along_channels(shift, x.ndim), x, _along_channels(gain, x.ndim)).to(x.dtype)


def _by_own_statistics(
    x: Tensor, scale: Tensor, b: Tensor, mean: Tensor, var: Tensor, epsilon: float, momentum: float
) -> tuple[Tensor, Tensor, Tensor]:
    axes = [i for i in range(x.ndim) if i != 1]
    own = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    spread, centre = torch.var_mean(own, axes, correction=0)
    gain = scale / torch.sqrt(spread + epsilon)
    y = (own - _along_channels(centre, x.ndim)) * _along_channels(gain, x.ndim) + _along_channels(b, x.ndim)
    running = (old * momentum + new * (1 - momentum) for old, new in ((mean, centre), (var, spread)))
    return (y.to(x.dtype), *(r.to(old.dtype) for r, old in zip(running, (mean, var), strict=True)))  # type: ignore[return-value]


@operator("LRN", 1, 13)
def lrn(x: Tensor, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Tensor:
    """Local response normalisation across channels (Krizhevsky et al. 2012, section 3.3): x (N, C, D1 ... Dn)."""
    squares = x.square().flatten(2).unsqueeze(1) if x.ndim > 2 else x.square().reshape(x.shape[0], 1, x.shape[1], 1)
    before = (size - 1) // 2
    padded = functional.pad(squares, (0, 0, before, size - 1 - before))
    means = functional.avg_pool2d(padded, (size, 1), 1).squeeze(1).reshape(x.shape)
    return x / (means * alpha + bias) ** beta


def _behind(node: Node, rank: int) -> Average:
    return over(range(_axis(node, rank, -1), rank))


def _groups(node: Node) -> int:
    groups = node.attributes.get("num_groups")
    if not isinstance(groups, int):
        raise TypeError(f"{node}: attribute num_groups is not an integer")
    return groups


def _of_channels(node: Node, scale: Tensor, rank: int) -> Tensor:
    return _along_channels(scale, rank)


@operator(
    "InstanceNormalization",
    6,
    22,
    window=whole,
    adjoint=standardising(
        lambda node, rank: over(range(2, rank)), lambda node, scale, rank: _along_channels(scale, rank)
    ),
)
def instance_normalization(x: Tensor, scale: Tensor, b: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    """Every channel of every image to mean 0 and variance 1, then scaled and shifted: x (N, C, D1 ... Dn)."""
    axes = tuple(range(2, x.ndim))
    centred = x - x.mean(axes, keepdim=True)
    deviation = torch.sqrt(centred.square().mean(axes, keepdim=True) + epsilon)
    return centred / deviation * _along_channels(scale, x.ndim) + _along_channels(b, x.ndim)


LAYER = standardising(_behind, lambda node, scale, rank: scale)
"""How a signal crosses a layer norm over the last axes."""


@operator("LayerNormalization", 17, window=flattened_axes_window(-1), adjoint=LAYER)
def layer_normalization(
    x: Tensor,
    scale: Tensor,
    b: Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
    outputs: int = 1,
) -> Tensor | tuple[Tensor, ...]:
    """The axes from ``axis`` on to mean 0 and variance 1, scaled and shifted; also gives mean and 1 / deviation."""
    axes = tuple(range(axis % x.ndim, x.ndim))
    mean = x.mean(axes, keepdim=True)
    centred = x - mean
    inverse = torch.rsqrt(centred.square().mean(axes, keepdim=True) + epsilon)
    y = centred * inverse * scale
    y = y + b if b is not None else y
    return y if outputs == 1 else (y, mean, inverse)[:outputs]


ROOT_MEAN_SQUARE = standardising(_behind, lambda node, scale, rank: scale, centred=False)
"""How a signal crosses a root mean square norm over the last axes."""


@operator("RMSNormalization", 23, window=flattened_axes_window(-1), adjoint=ROOT_MEAN_SQUARE)
def rms_normalization(
    x: Tensor, scale: Tensor, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    """The axes from ``axis`` on to root mean square 1, then scaled."""
    axes = tuple(range(axis % x.ndim, x.ndim))
    return x * torch.rsqrt(x.square().mean(axes, keepdim=True) + epsilon) * scale


def _normalised_groups(x: Tensor, groups: int, epsilon: float) -> Tensor:
    flat = x.reshape(x.shape[0], groups, -1)
    centred = flat - flat.mean(-1, keepdim=True)
    return (centred * torch.rsqrt(centred.square().mean(-1, keepdim=True) + epsilon)).reshape(x.shape)


@operator("GroupNormalization", 18, window=whole)
def group_normalization_18(x: Tensor, scale: Tensor, bias: Tensor, *, num_groups: int, epsilon: float = 1e-5) -> Tensor:
    """Groups of channels normalised together; opset 18 scales and shifts every group."""
    each = x.shape[1] // num_groups
    wide = (scale.repeat_interleave(each), bias.repeat_interleave(each))
    return _normalised_groups(x, num_groups, epsilon) * _along_channels(wide[0], x.ndim) + _along_channels(
        wide[1], x.ndim
    )


@operator(
    "GroupNormalization",
    21,
    window=whole,
    adjoint=standardising(lambda node, rank: over_groups(_groups(node)), _of_channels),
)
def group_normalization(
    x: Tensor, scale: Tensor, bias: Tensor, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    """Groups of channels normalised together, every channel scaled and shifted: x (N, C, D1 ... Dn)."""
    return _normalised_groups(x, num_groups, epsilon) * _along_channels(scale, x.ndim) + _along_channels(bias, x.ndim)


@operator("MeanVarianceNormalization", 9, 13, window=whole)
def mean_variance_normalization(x: Tensor, *, axes: tuple[int, ...] = (0, 2, 3)) -> Tensor:
    """The given axes to mean 0 and variance 1."""
    centred = x - x.mean(axes, keepdim=True)
    return centred / (torch.sqrt(centred.square().mean(axes, keepdim=True)) + 1e-9)


@operator("LpNormalization", 1, 22, window=single_axis_window(-1))
def lp_normalization(x: Tensor, *, axis: int = -1, p: int = 2) -> Tensor:
    """One axis divided by its 1- or 2-norm; a zero norm gives 0."""
    norm = torch.linalg.vector_norm(x, p, axis, keepdim=True)
    return torch.where(norm == 0, torch.zeros_like(x), x / torch.where(norm == 0, torch.ones_like(norm), norm))

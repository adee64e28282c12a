"""What stands where a window hides an input: a constant, the blurred input, noise, or a given array."""

from __future__ import annotations

import numpy as np

from unpool.engine import hidden_axes
from unpool.graph.errors import InvalidArgumentError
from unpool.graph.model import Array, Value
from unpool.methods.occlusion_requests import Fill, FillKind

_REACH = 3.0
"""A blur looks this many standard deviations far."""


def filled(array: Array, value: Value, fill: Fill) -> Array:
    """The input as it looks where it is hidden.

    Args:
        array: the input, in the model's own layout.
        value: its axes.
        fill: what is asked for.

    Returns:
        An array of the input's shape and dtype.

    Raises:
        InvalidArgumentError: another number of channels, a shape that does not fit, a radius that is not positive.
    """
    match fill.kind:
        case FillKind.CONSTANT:
            made = np.broadcast_to(_constant(array, value, fill.values), array.shape)
        case FillKind.BLUR:
            made = _blurred(array, value, fill.radius)
        case FillKind.NOISE:
            made = _noise(array, value, fill.seed)
        case FillKind.TENSOR:
            made = _given(array, fill.tensor)
    if array.dtype.kind in "iu":
        limits = np.iinfo(array.dtype.name)
        made = np.clip(np.rint(made.astype(np.float64)), limits.min, limits.max)
    return np.ascontiguousarray(made.astype(array.dtype))


def _constant(array: Array, value: Value, values: tuple[float, ...]) -> Array:
    if not np.isfinite(values).all():
        raise InvalidArgumentError("fill", "is not finite")
    channels = 1 if value.channel_axis is None else array.shape[value.channel_axis]
    if len(values) not in (1, channels):
        raise InvalidArgumentError("fill", f"has {len(values)} values; give one, or {channels}, one per channel")
    shape = [1] * array.ndim
    if value.channel_axis is not None:
        shape[value.channel_axis] = len(values)
    return np.asarray(values, np.float64).reshape(shape)


def _blurred(array: Array, value: Value, radius: float) -> Array:
    """A normal distribution along every axis that windows slide over; the nearest border value stands beyond it."""
    if not 0 < radius <= max(array.shape):
        raise InvalidArgumentError("fill", f"a blur of radius {radius} is not between 0 and the input's extent")
    found = array.astype(np.float64)
    reach = max(1, int(_REACH * radius + 0.5))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / radius) ** 2)
    weights /= weights.sum()
    for axis in hidden_axes(value):
        extent = array.shape[axis]
        matrix = np.zeros((extent, extent))
        for offset, weight in zip(range(-reach, reach + 1), weights, strict=True):
            matrix[np.arange(extent), np.clip(np.arange(extent) + offset, 0, extent - 1)] += weight
        found = np.moveaxis(np.tensordot(matrix, found, (1, axis)), 0, axis)
    return found


def _noise(array: Array, value: Value, seed: int) -> Array:
    axes = hidden_axes(value)
    wide = array.astype(np.float64)
    drawn = np.random.default_rng(seed).standard_normal(array.shape)
    found: Array = wide.mean(axes, keepdims=True) + drawn * wide.std(axes, keepdims=True)
    return found


def _given(array: Array, tensor: Array | None) -> Array:
    if tensor is None:
        raise InvalidArgumentError("fill", "no tensor is given")
    try:
        return np.broadcast_to(tensor, array.shape)
    except ValueError:
        raise InvalidArgumentError(
            "fill", f"has shape {tensor.shape}; give the input's, {array.shape}, or one that broadcasts to it"
        ) from None

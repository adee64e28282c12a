"""Reading and writing at places that indices name."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from unpool.graph.model import Node
from unpool.ops.base import Condition, operator, whole
from unpool.ops.linearity import linear

_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _places(indices: Tensor, extent: int, x: Tensor) -> Tensor:
    """Indices counted from the beginning, where the data are."""
    found = indices.to(x.device, torch.int64)
    return torch.where(found < 0, found + extent, found)


def _gather_elements(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    """For every element of the indices, the element of ``axis`` that it names."""
    return torch.gather(x, axis, _places(indices, x.shape[axis], x))


operator("GatherElements", 11, 13, window=whole, adjoint=linear(_gather_elements))(_gather_elements)


def _rows(indices: Tensor, extents: Sequence[int], x: Tensor) -> Tensor:
    """Tuples of indices as one index into the axes of these extents, flattened."""
    flat = torch.zeros(indices.shape[:-1], dtype=torch.int64, device=x.device)
    for i, extent in enumerate(extents):
        flat = flat * extent + _places(indices[..., i], extent, x)
    return flat


def _gather_nd(x: Tensor, indices: Tensor, *, batch_dims: int = 0) -> Tensor:
    """For every tuple of the indices' last axis, the slice of x that it names."""
    depth = indices.shape[-1]
    batch, named = x.shape[:batch_dims], x.shape[batch_dims : batch_dims + depth]
    rest = x.shape[batch_dims + depth :]
    rows = _rows(indices, named, x).reshape(math.prod(batch), -1)
    offsets = torch.arange(math.prod(batch), device=x.device).unsqueeze(-1) * math.prod(named)
    taken = x.reshape(-1, math.prod(rest)).index_select(0, (rows + offsets).reshape(-1))
    return taken.reshape(*indices.shape[:-1], *rest)


operator("GatherND", 11, 12, 13, window=whole, adjoint=linear(_gather_nd))(_gather_nd)


def _indices_are_constant(*attribute: str) -> Condition:
    """Linear in data and updates where the indices are constant and updates replace or add."""

    def holds(node: Node, constant: tuple[bool, ...]) -> bool:
        return constant[1] and node.attributes.get("reduction", "none") in ("none", "add")

    return holds


def _scatter_elements(x: Tensor, indices: Tensor, updates: Tensor, *, axis: int = 0, reduction: str = "none") -> Tensor:
    """X with updates put, or reduced, at the places of ``axis`` that the indices name."""
    places = _places(indices, x.shape[axis], x)
    if reduction == "none":
        return torch.scatter(x, axis, places, updates)
    return torch.scatter_reduce(x, axis, places, updates, _REDUCTIONS[reduction], include_self=True)


_ELEMENTS = linear(_scatter_elements, _indices_are_constant())
operator("Scatter", 9, 11, window=whole, adjoint=_ELEMENTS)(_scatter_elements)
operator("ScatterElements", 11, 13, 16, 18, window=whole, adjoint=_ELEMENTS)(_scatter_elements)


def _scatter_nd(x: Tensor, indices: Tensor, updates: Tensor, *, reduction: str = "none") -> Tensor:
    """X with slices put, or reduced, where the tuples of the indices' last axis say."""
    depth = indices.shape[-1]
    rest = math.prod(x.shape[depth:])
    flat = x.reshape(-1, rest)
    rows = _rows(indices, x.shape[:depth], x).reshape(-1, 1).expand(-1, rest)
    found = _scatter_elements(flat, rows, updates.reshape(-1, rest), reduction=reduction)
    return found.reshape(x.shape)


operator("ScatterND", 11, 13, 16, 18, window=whole, adjoint=linear(_scatter_nd, _indices_are_constant()))(_scatter_nd)


def _tensor_scatter(
    past: Tensor, update: Tensor, write_indices: Tensor | None = None, *, axis: int = -2, mode: str = "linear"
) -> Tensor:
    """A cache with an update written along ``axis``, from a place of its own for every image."""
    axis %= past.ndim
    first = torch.zeros(past.shape[0], dtype=torch.int64) if write_indices is None else write_indices
    along = torch.arange(update.shape[axis], device=past.device)
    places = first.to(past.device, torch.int64).unsqueeze(-1) + along
    if mode == "circular":
        places = places % past.shape[axis]
    shape = [1] * past.ndim
    shape[0], shape[axis] = past.shape[0], update.shape[axis]
    return torch.scatter(past, axis, places.reshape(shape).expand(update.shape), update)


operator(
    "TensorScatter",
    24,
    window=whole,
    adjoint=linear(_tensor_scatter, lambda node, constant: all(constant[2:])),
)(_tensor_scatter)


@operator("OneHot", 9, 11, window=whole)
def one_hot(indices: Tensor, depth: Tensor, values: Tensor, *, axis: int = -1) -> Tensor:
    """The second of two values where an index names the place along a new axis, the first elsewhere."""
    count = int(depth.flatten()[0])
    axis %= indices.ndim + 1
    whole_numbers = indices.to(torch.int64)
    named = torch.where(whole_numbers < 0, whole_numbers + count, whole_numbers).unsqueeze(axis)
    shape = [1] * (indices.ndim + 1)
    shape[axis] = count
    chosen = named == torch.arange(count, device=indices.device).reshape(shape)
    return torch.where(chosen.to(values.device), values[1], values[0])


@operator("Compress", 9, 11, window=whole)
def compress(x: Tensor, condition: Tensor, *, axis: int | None = None) -> Tensor:
    """The slices of one axis, or the elements of all, for which the condition holds."""
    flat = x.reshape(-1) if axis is None else x
    return flat.index_select(axis or 0, condition.flatten().nonzero().flatten().to(x.device))


@operator("NonZero", 9, 13, window=whole)
def non_zero(x: Tensor) -> Tensor:
    """Where x is not zero: int64 (axes, count)."""
    return x.nonzero().mT


def _reverse_sequence(x: Tensor, lengths: Tensor, *, batch_axis: int = 1, time_axis: int = 0) -> Tensor:
    """Every sequence of a batch reversed up to its own length."""
    time = torch.arange(x.shape[time_axis], device=x.device)
    ends = lengths.to(x.device).unsqueeze(-1)
    places = torch.where(time < ends, ends - 1 - time, time)
    if batch_axis > time_axis:
        places = places.mT
    shape = [1] * x.ndim
    shape[batch_axis], shape[time_axis] = x.shape[batch_axis], x.shape[time_axis]
    return torch.gather(x, time_axis, places.reshape(shape).expand(x.shape))


operator("ReverseSequence", 10, window=whole, adjoint=linear(_reverse_sequence))(_reverse_sequence)

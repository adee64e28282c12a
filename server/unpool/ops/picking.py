"""Operators whose outputs read one input each: which one is listed along every axis; picking them, and its adjoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from unpool.graph.intervals import Ints
from unpool.graph.model import AxisKind, Node
from unpool.ops.base import Crossing, Operand, Signals
from unpool.ops.geometry import paired

Places: TypeAlias = Mapping[int, Ints]
"""Axis -> for each output along it the input that it reads, int64 (outputs,)."""


def normal(axis: int, rank: int) -> int:
    """An axis counted from the front."""
    return axis + rank if axis < 0 else axis


def first_only(at: Crossing, s: Tensor | None) -> Signals:
    """A signal for input 0, and none for the others."""
    return (s, *(None for _ in at.node.inputs[1:]))


def rest_is_constant(node: Node, constant: tuple[bool, ...]) -> bool:
    """The condition of rules that need every input but the first to be constant."""
    return all(constant[1:])


def known_ints(inputs: Sequence[Operand | None], index: int) -> tuple[int, ...] | None:
    """The value of an input, ``None`` where it is absent or not known beforehand."""
    operand = inputs[index] if index < len(inputs) else None
    if operand is None or operand.value is None:
        return None
    return tuple(int(v) for v in operand.value.flatten().tolist())


def constant_ints(at: Crossing, index: int) -> tuple[int, ...] | None:
    """The value of a constant input at a crossing, ``None`` where it is absent."""
    if index >= len(at.node.inputs) or not at.node.inputs[index]:
        return None
    found = at.constant(index)
    return tuple(int(v) for v in found.flatten().tolist()) if found is not None else None


def operands(at: Crossing) -> list[Operand | None]:
    """All inputs of a crossing; those that are constant have their values."""
    return [at.input_operand(i) if name else None for i, name in enumerate(at.node.inputs)]


def picked(x: Tensor, places: Places) -> Tensor:
    """What whole outputs read."""
    for axis, along in places.items():
        x = x.index_select(axis, torch.from_numpy(along).to(x.device))
    return x


def unpicked(at: Crossing, s: Tensor, places: Places) -> Tensor:
    """The adjoint of ``picked`` from the output's boxes to input 0's natural boxes."""
    source, result, shape = at.input_operand(0), at.output_operand(0), at.input_shape(0)
    rows: dict[int, Ints] = {}
    sizes: dict[int, int] = {}
    for axis, along in places.items():
        index = paired(source, result, axis)
        sizes[axis] = source.shape[axis] if index is None else shape[axis]
        read = along[None]
        if index is not None:
            count = np.arange(s.shape[axis])
            outputs = at.output_origins(index).numpy()[:, None] + count
            read = along[np.clip(outputs, 0, len(along) - 1)] - at.input_origins(0, index).numpy()[:, None]
            # Outside the plane the signal is zero, wherever it goes: straight on, so that even steps stay even.
            read = np.where((outputs < 0) | (outputs >= len(along)), _step(along) * count, read)
        rows[axis] = np.clip(read, 0, sizes[axis] - 1)
    batch = next((i for i, label in enumerate(result.axes) if label.kind is AxisKind.BATCH), None)
    return _added(s, batch, rows, sizes)


def _step(along: Ints) -> int:
    """How far apart neighbouring outputs read, where all do alike, else 1."""
    steps = np.unique(np.diff(along))
    return int(steps[0]) if len(steps) == 1 and steps[0] > 0 else 1


def _evenly(rows: Ints) -> slice | None:
    """Places, (units or 1, outputs), that are the same for every unit and even steps upwards; ``None`` where not."""
    first = rows[0]
    step = int(first[1] - first[0]) if len(first) > 1 else 1
    if not len(first) or step < 1 or (rows != first).any() or (np.diff(first) != step).any():
        return None
    return slice(int(first[0]), int(first[-1]) + 1, step)


def _stepped(s: Tensor, spans: Mapping[int, slice], sizes: Mapping[int, int]) -> Tensor:
    """Zeros with a signal in even steps, in the memory layout that it has."""
    order = sorted(range(s.ndim), key=s.stride, reverse=True)
    total = s.new_zeros([sizes[a] if a in spans else s.shape[a] for a in order]).permute(np.argsort(order).tolist())
    total[tuple(spans.get(a, slice(None)) for a in range(s.ndim))] = s
    return total


def _added(s: Tensor, batch: int | None, rows: Mapping[int, Ints], sizes: Mapping[int, int]) -> Tensor:
    """Adds what stands along some axes to the places that ``rows``, (units or 1, outputs), tells for each unit."""
    moved = {a: r for a, r in rows.items() if r.shape[1] != sizes[a] or (r != np.arange(sizes[a])).any()}
    if not moved:
        return s
    even = {a: _evenly(r) for a, r in moved.items()}
    if all(even.values()):
        return _stepped(s, {a: span for a, span in even.items() if span}, sizes)
    leading = [a for a in (batch,) if a is not None and a not in moved] + list(moved)
    # Runs of memory are added whole: channels innermost stay so.
    order = leading + sorted((a for a in range(s.ndim) if a not in leading), key=s.stride, reverse=True)
    values = s.permute(order)
    units = values.shape[0] if len(leading) > len(moved) else 1
    kept = values.shape[len(leading) :]
    places = np.arange(units).reshape(-1, *(1 for _ in moved))
    for k, (axis, along) in enumerate(moved.items()):
        shape = [len(along), *(1 for _ in moved)]
        shape[1 + k] = along.shape[1]
        places = places * sizes[axis] + along.reshape(shape)
    extents = [sizes[axis] for axis in moved]
    total = s.new_zeros(units * int(np.prod(extents)), *kept)
    flat = torch.from_numpy(places.reshape(-1)).to(s.device)
    total.index_put_((flat,), values.reshape(-1, *kept), accumulate=True)
    whole = total.view(*values.shape[: len(leading) - len(moved)], *extents, *kept)
    return whole.permute(np.argsort(order).tolist())

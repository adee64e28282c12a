"""A plain crossing for tests: cuts boxes unit by unit, with loops, and puts what a rule gives back into the plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from unpool.graph.intervals import AxisWindow, Broadcast, Intervals, Sliding, Transposed
from unpool.graph.model import BATCH, CHANNEL, OTHER, Axis, AxisKind, Node, spatial
from unpool.ops import Operand, Rule, backward, find
from unpool.ops.base import AxisWindows


def channels_first(rank: int) -> tuple[Axis, ...]:
    """Labels of (N, C, D1 ... Dn)."""
    return (BATCH, CHANNEL, *(spatial(i) for i in range(rank - 2)))


def operand(tensor: Tensor, axes: Sequence[Axis] | None = None) -> Operand:
    """An operand of this shape, channels first by default."""
    return Operand(tuple(tensor.shape), tuple(axes) if axes is not None else channels_first(tensor.ndim))


def constant_operand(tensor: Tensor) -> Operand:
    """The operand of a constant; its value is at hand where it is small."""
    return Operand(tuple(tensor.shape), (OTHER,) * tensor.ndim, tensor.numpy() if tensor.numel() <= 64 else None)


@dataclass
class BoxCrossing:
    """Implements ``unpool.ops.Crossing`` over whole captured tensors.

    Boxes are those of the outputs: spatial index -> origin of every unit, and one size.
    """

    node: Node
    inputs: list[Operand | None]
    outputs: list[Operand | None]
    constants: Mapping[int, Tensor]
    origins: Mapping[int, list[int]]
    sizes: Mapping[int, int]
    values: Mapping[int, Tensor] = field(default_factory=dict)
    results: Mapping[int, Tensor] = field(default_factory=dict)
    codes: Tensor | None = None
    trimming: bool = False
    units: int = 1
    exact: bool = True
    spare: bool = False

    @property
    def wanted(self) -> tuple[bool, ...]:
        return tuple(bool(name) and i not in self.constants for i, name in enumerate(self.node.inputs))

    def windows(self, index: int) -> AxisWindows:
        found = find(self.node)
        assert found is not None
        return found.window(self.node, self.inputs, self.outputs)[index]

    def usable(self, window: AxisWindow | None) -> bool:
        """Whether boxes pass a window: the vector-Jacobian product runs the forward on them, so reads no neighbours."""
        if self.exact:
            return window is not None
        return window == Sliding() or isinstance(window, Broadcast)

    def local(self, index: int) -> bool:
        """Whether boxes may be kept along one axis: every input that has it has a window there that they pass."""
        for i, known in enumerate(self.inputs):
            if known is None or not self.wanted[i] or known.extent(index) is None:
                continue
            if not self.usable(self.windows(i).get(index)):
                return False
        return True

    def box(self, index: int) -> dict[int, tuple[list[int], int]]:
        """Spatial index -> origins and size of input ``index``'s natural boxes."""
        known = self.inputs[index]
        assert known is not None
        found = {}
        for axis, extent in zip(known.axes, known.shape, strict=True):
            if axis.kind is not AxisKind.SPATIAL:
                continue
            window: AxisWindow | None = self.windows(index).get(axis.index)
            if window is None or not self.usable(window) or axis.index not in self.sizes:
                found[axis.index] = ([0] * self.units, extent)
            else:
                lower = np.array(self.origins[axis.index], dtype=np.int64)
                inside = window.inputs_of(Intervals(lower, lower + self.sizes[axis.index]))
                found[axis.index] = (inside.lower.tolist(), max(inside.size, 1))
        return found

    def constant(self, index: int) -> Tensor | None:
        return self.constants.get(index)

    def input(self, index: int) -> Tensor:
        if index in self.constants:
            return self.constants[index]
        known = self.inputs[index]
        assert known is not None
        return cut(self.values[index], known, self.box(index), self.units)

    def output(self, index: int = 0) -> Tensor:
        known = self.outputs[index]
        assert known is not None
        return cut(self.results[index], known, self._outer(), self.units)

    def positive(self) -> Tensor:
        return (self.output() > 0).to(self.output().dtype)

    def switches(self) -> Tensor:
        known = self.outputs[0]
        assert known is not None
        assert self.codes is not None
        return cut(self.codes, known, self._outer(), self.units)

    def input_shape(self, index: int) -> tuple[int, ...]:
        known = self.inputs[index]
        assert known is not None
        return _boxed(known, {i: size for i, (_, size) in self.box(index).items()}, self.units)

    def output_shape(self, index: int = 0) -> tuple[int, ...]:
        known = self.outputs[index]
        assert known is not None
        return _boxed(known, self.sizes, self.units)

    def input_operand(self, index: int) -> Operand:
        known = self.inputs[index]
        assert known is not None
        return known

    def output_operand(self, index: int = 0) -> Operand:
        known = self.outputs[index]
        assert known is not None
        return known

    def output_origins(self, spatial_index: int) -> Tensor:
        return torch.tensor(self.origins[spatial_index])

    def input_origins(self, index: int, spatial_index: int) -> Tensor:
        return torch.tensor(self.box(index)[spatial_index][0])

    def align(self, index: int) -> None:
        """Moves the boxes' ends to where a window that widens steps, so that equally many inputs belong to each."""
        for i, known in enumerate(self.inputs):
            window = self.windows(i).get(index) if known is not None and self.wanted[i] else None
            if isinstance(window, Transposed):
                stride, pad = window.sliding.stride, window.sliding.pad
                lower = [(o + pad) // stride * stride - pad for o in self.origins[index]]
                upper = [-((-o - self.sizes[index] - pad) // stride) * stride - pad for o in self.origins[index]]
                self.origins = {**self.origins, index: lower}
                self.sizes = {**self.sizes, index: max(u - o for u, o in zip(upper, lower, strict=True))}

    def trim(self, spatial_index: int) -> tuple[int, int]:
        if not self.trimming or self.inputs[0] is None:
            return (0, 0)
        extent = self.inputs[0].extent(spatial_index)
        assert extent is not None
        begins, size = self.box(0)[spatial_index]
        low = min(max(-b, 0) for b in begins)
        high = min(max(b + size - extent, 0) for b in begins)
        return (0, 0) if low + high >= size else (low, high)

    def _outer(self) -> dict[int, tuple[list[int], int]]:
        return {i: (self.origins[i], self.sizes[i]) for i in self.origins}


def _boxed(known: Operand, sizes: Mapping[int, int], units: int) -> tuple[int, ...]:
    return tuple(
        units if a == BATCH else sizes.get(a.index, n) if a.kind is AxisKind.SPATIAL else n
        for a, n in zip(known.axes, known.shape, strict=True)
    )


def cut(whole: Tensor, known: Operand, box: Mapping[int, tuple[list[int], int]], units: int) -> Tensor:
    """The boxes of a whole tensor, one unit after the other; units all look at image 0; the border repeats outside."""
    if BATCH not in known.axes:
        return whole
    batch = known.axes.index(BATCH)
    pieces = []
    for u in range(units):
        piece = whole.narrow(batch, 0, 1)
        for index, (origins, size) in box.items():
            if spatial(index) in known.axes:
                axis = known.axes.index(spatial(index))
                rows = [min(max(origins[u] + k, 0), whole.shape[axis] - 1) for k in range(size)]
                piece = piece.index_select(axis, torch.tensor(rows))
        pieces.append(piece)
    return torch.cat(pieces, batch)


def put(value: Tensor, known: Operand, box: Mapping[int, tuple[list[int], int]], units: int) -> Tensor:
    """Boxes back in their planes, one unit after the other: what sticks out of the plane is dropped."""
    batch = known.axes.index(BATCH)
    shape = list(known.shape)
    shape[batch] = units
    plane = value.new_zeros(shape)
    for u in range(units):
        source: list[slice] = [slice(None)] * value.ndim
        target: list[slice] = [slice(None)] * value.ndim
        source[batch] = target[batch] = slice(u, u + 1)
        for axis, label in enumerate(known.axes):
            if label.kind is AxisKind.SPATIAL and label.index in box:
                begin, size = box[label.index][0][u], box[label.index][1]
                assert value.shape[axis] == size, f"axis {axis}: the rule gave {value.shape[axis]} of {size}"
                low, high = max(begin, 0), min(begin + size, known.shape[axis])
                if high <= low:
                    low = high = 0
                    begin = 0
                target[axis] = slice(low, high)
                source[axis] = slice(low - begin, high - begin)
        plane[tuple(target)] += value[tuple(source)]
    return plane


def carry(at: BoxCrossing, signals: Sequence[Tensor | None], rule: Rule | None = None) -> list[Tensor | None]:
    """Carries whole-plane signals (units, ...) that are zero outside the boxes, over boxes where the node allows it.

    Args:
        at: the crossing; its boxes are widened to the plane along axes that cannot be crossed locally.
        signals: one per output.
        rule: the rule; the operator's own backward by default.

    Returns:
        One whole-plane signal per input, ``None`` where none is due.
    """
    chosen = rule or backward(at.node, tuple(not n or i in at.constants for i, n in enumerate(at.node.inputs)))
    assert chosen is not None
    at.exact = chosen.exact
    first = next(o for o in at.outputs if o is not None)
    for index in list(at.sizes):
        extent = first.extent(index)
        assert extent is not None
        if not at.local(index):
            at.origins = {**at.origins, index: [0] * at.units}
            at.sizes = {**at.sizes, index: extent}
        elif any(at.origins[index]) or at.sizes[index] != extent:
            at.align(index)
    boxed: list[Tensor | None] = []
    for s, known in zip(signals, at.outputs, strict=True):
        if s is None or known is None:
            boxed.append(None)
            continue
        pieces = [_inside(s, known, at, u) for u in range(at.units)]
        boxed.append(torch.cat(pieces, known.axes.index(BATCH)))
    found: list[Tensor | None] = []
    for i, (value, wanted) in enumerate(zip(chosen.apply(at, tuple(boxed)), at.wanted, strict=True)):
        known = at.inputs[i]
        if value is None or not wanted or known is None:
            found.append(None)
            continue
        box = at.box(i)
        if i == 0:
            box = _as_trimmed(value, known, box, at)
        found.append(put(value, known, box, at.units))
    return found


def _as_trimmed(
    value: Tensor, known: Operand, box: dict[int, tuple[list[int], int]], at: BoxCrossing
) -> dict[int, tuple[list[int], int]]:
    """The natural boxes, less what the rule left out as it may."""
    found = {}
    for index, (origins, size) in box.items():
        low, high = at.trim(index)
        if value.shape[known.axes.index(spatial(index))] == size - low - high:
            found[index] = ([o + low for o in origins], size - low - high)
        else:
            found[index] = (origins, size)
    return found


def _inside(s: Tensor, known: Operand, at: BoxCrossing, unit: int) -> Tensor:
    piece = s.narrow(known.axes.index(BATCH), unit, 1)
    for index, origins in at.origins.items():
        if spatial(index) not in known.axes:
            continue
        axis = known.axes.index(spatial(index))
        rows = [origins[unit] + k for k in range(at.sizes[index])]
        kept = piece.index_select(axis, torch.tensor([min(max(r, 0), s.shape[axis] - 1) for r in rows]))
        mask = torch.tensor([1.0 if 0 <= r < s.shape[axis] else 0.0 for r in rows], dtype=s.dtype)
        piece = kept * mask.view([-1 if a == axis else 1 for a in range(s.ndim)])
    return piece

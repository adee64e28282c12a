"""A batch of boxes of one size, one per unit, and moving tensors between boxes and planes.

Origins are signed and unclipped: a box may stick out of the plane. What sticks out holds zeros in a signal, and
anything in a captured value (it only ever meets those zeros).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unpool.graph.intervals import Intervals
from unpool.graph.model import Value

Ints: TypeAlias = npt.NDArray[np.int64]
_PASSED = 1 << 15
"""Values that a pass over a signal goes through in about the time that zeroing one unit's borders takes."""
Planes: TypeAlias = Mapping[int, int]
"""Spatial index -> extent."""


@dataclass(frozen=True)
class Boxes:
    """One box per unit in the plane of one tensor.

    Attributes:
        origins: spatial index -> where each unit's box begins, int64 (units,).
        sizes: spatial index -> the boxes' common extent.
        count: how many units.
    """

    origins: Mapping[int, Ints]
    sizes: Mapping[int, int]
    count: int

    @classmethod
    def whole(cls, plane: Planes, count: int) -> Boxes:
        """The plane itself, for every unit."""
        return cls({s: np.zeros(count, np.int64) for s in plane}, dict(plane), count)

    def on(self, plane: Planes, other: Planes) -> Boxes:
        """The same boxes in another tensor's plane, whole along an axis of another extent."""
        if other == plane:
            return self
        fresh = Boxes.whole(other, self.count)
        kept = [s for s in other if plane.get(s) == other[s]]
        return Boxes(
            {**fresh.origins, **{s: self.origins[s] for s in kept}},
            {**fresh.sizes, **{s: self.sizes[s] for s in kept}},
            self.count,
        )

    def is_whole(self, plane: Planes, index: int) -> bool:
        """Whether every box is just the plane along one axis."""
        return self.sizes[index] == plane[index] and not self.origins[index].any()

    def intervals(self, index: int) -> Intervals:
        """The boxes along one axis."""
        return Intervals(self.origins[index], self.origins[index] + self.sizes[index])

    def uniform(self, index: int) -> bool:
        """Whether all boxes begin at the same place along one axis."""
        origins = self.origins[index]
        return bool((origins == origins[0]).all()) if len(origins) else True

    def take(self, units: Ints) -> Boxes:
        """The boxes of some of the units."""
        return Boxes({s: o[units] for s, o in self.origins.items()}, self.sizes, len(units))

    def same(self, other: Boxes) -> bool:
        """Whether both are at the same places."""
        return self.sizes == other.sizes and all(np.array_equal(o, other.origins[s]) for s, o in self.origins.items())

    def union(self, other: Boxes) -> Boxes:
        """Boxes of one size that contain both."""
        if self.same(other):
            return self
        joined = {s: self.intervals(s).union(other.intervals(s)) for s in self.sizes}
        return Boxes({s: j.lower for s, j in joined.items()}, {s: j.size for s, j in joined.items()}, self.count)

    def overhang(self, plane: Planes, index: int) -> tuple[int, int]:
        """How far every box sticks out at the beginning and at the end of one axis: that much nobody needs."""
        lower = int(np.maximum(-self.origins[index], 0).min(initial=self.sizes[index]))
        upper = int(
            np.maximum(self.origins[index] + self.sizes[index] - plane[index], 0).min(initial=self.sizes[index])
        )
        # A box wholly outside keeps one row, of zeros, so that no tensor becomes empty.
        excess = max(0, lower + upper - self.sizes[index] + 1)
        return lower - min(lower, excess), upper - max(0, excess - lower)

    def trimmed(self, trims: Mapping[int, tuple[int, int]]) -> Boxes:
        """The boxes less some rows at their beginnings and ends."""
        if not any(lo or hi for lo, hi in trims.values()):
            return self
        return Boxes(
            {s: o + trims.get(s, (0, 0))[0] for s, o in self.origins.items()},
            {s: n - sum(trims.get(s, (0, 0))) for s, n in self.sizes.items()},
            self.count,
        )


def gather(tensor: Tensor, value: Value, images: Tensor | None, places: Mapping[int, Tensor]) -> Tensor:
    """``tensor`` at (image, place along every spatial axis); units stand where the batch axis stood.

    Picks whole rows of what is not indexed: with channels last in memory a row is a run of all channels, several times
    sooner than indexing axis by axis.
    """
    batch = value.batch_axis
    leading = ([] if batch is None else [batch]) + [value.spatial_axes[s] for s in places]
    rest = [i for i in range(tensor.ndim) if i not in leading]
    order = leading + rest
    moved = tensor.permute(order)
    extents, kept = moved.shape[: len(leading)], moved.shape[len(leading) :]
    units = len(images) if images is not None else 1
    sizes = [units] if batch is not None else []
    rows = (
        images.view(-1, *[1] * len(places))
        if images is not None and batch is not None
        else torch.zeros((), dtype=torch.int64)
    )
    for k, where in enumerate(places.values()):
        shape = [where.shape[0]] + [1] * len(places)
        shape[1 + k] = where.shape[1]
        rows = rows.to(where.device) * extents[k + (batch is not None)] + where.view(shape)
        sizes.append(where.shape[1])
    gathered = moved.reshape(-1, *kept).index_select(0, rows.reshape(-1)).view(*sizes, *kept)
    return gathered.permute(np.argsort(order).tolist())


def pick(tensor: Tensor, axis: int, chosen: Ints) -> Tensor:
    """Some of a tensor's units, in the memory layout that it has; runs of memory are copied whole."""
    order = [axis, *sorted((i for i in range(tensor.ndim) if i != axis), key=tensor.stride, reverse=True)]
    rows = torch.from_numpy(chosen).to(tensor.device)
    return tensor.permute(order).index_select(0, rows).permute(np.argsort(order).tolist())


def _coordinates(boxes: Boxes, index: int, extent: int, device: torch.device) -> Tensor:
    """Plane coordinates of every row of every box, clamped into the plane: int64 (units, size)."""
    rows = boxes.origins[index][:, None] + np.arange(boxes.sizes[index])
    return torch.from_numpy(np.clip(rows, 0, extent - 1)).to(device)


def cut(tensor: Tensor, value: Value, images: Ints, boxes: Boxes) -> Tensor:
    """What a whole tensor holds in every unit's box.

    Args:
        tensor: whole, images along its batch axis.
        value: its axes.
        images: the image of every unit, int64 (units,).
        boxes: where to cut; coordinates outside the plane repeat the border.

    Returns:
        The cut, units along the batch axis; a view where all units share one place of one image.
    """
    axes = {s: p for s, p in value.spatial_axes.items() if s in boxes.sizes}
    partial = {s: p for s, p in axes.items() if not boxes.is_whole({s: tensor.shape[p]}, s)}
    batch = value.batch_axis
    inside = all(
        boxes.uniform(s) and boxes.origins[s][0] >= 0 and boxes.origins[s][0] + boxes.sizes[s] <= tensor.shape[p]
        for s, p in partial.items()
    )
    same = batch is None or tensor.shape[batch] == 1 or bool((images == images[0]).all())
    if inside and same:
        for s, p in partial.items():
            tensor = tensor.narrow(p, int(boxes.origins[s][0]), boxes.sizes[s])
        if batch is not None:
            if tensor.shape[batch] > 1:
                tensor = tensor.narrow(batch, int(images[0]), 1)
            if boxes.count > 1:
                tensor = tensor.expand(*[boxes.count if i == batch else -1 for i in range(tensor.ndim)])
        return tensor
    index = None
    if batch is not None:
        index = torch.from_numpy(np.minimum(images, tensor.shape[batch] - 1)).to(tensor.device)
    places = {s: _coordinates(boxes, s, tensor.shape[p], tensor.device) for s, p in partial.items()}
    return gather(tensor, value, index, places)


def move(signal: Tensor, value: Value, source: Boxes, target: Boxes) -> Tensor:
    """A signal on other boxes: what they have in common is kept, the rest is zero.

    Args:
        signal: on ``source``.
        value: the axes of the tensor that it belongs to.
        source: where it is.
        target: where it is wanted.
    """
    shifts = {s: source.origins[s] - target.origins[s] for s in source.sizes}
    if source.sizes == target.sizes and not any(d.any() for d in shifts.values()):
        return signal
    if all((d == d[0]).all() for d in shifts.values()):
        return _shift(signal, value, {s: int(d[0]) for s, d in shifts.items()}, source, target)
    moved = {s for s, d in shifts.items() if d.any() or source.sizes[s] != target.sizes[s]}
    places: dict[int, Tensor] = {}
    masks: list[Tensor] = []
    for s in sorted(moved):
        rows = np.arange(target.sizes[s]) - shifts[s][:, None]
        outside = (rows < 0) | (rows >= source.sizes[s])
        places[s] = torch.from_numpy(np.clip(rows, 0, source.sizes[s] - 1)).to(signal.device)
        if outside.any():
            masks.append(_along(~outside, value, s, signal))
    units = torch.arange(source.count, device=signal.device)
    result = gather(signal, value, units, places)
    for mask in masks:
        result = result * mask
    return result


def _shift(signal: Tensor, value: Value, shifts: Mapping[int, int], source: Boxes, target: Boxes) -> Tensor:
    """The same for one shift of all units: padding and cropping."""
    if any(shift + source.sizes[s] <= 0 or shift >= target.sizes[s] for s, shift in shifts.items()):
        shape = list(signal.shape)
        for s, size in target.sizes.items():
            shape[value.spatial_axes[s]] = size
        return signal.new_zeros(shape)  # nothing in common
    pads = [0] * (2 * signal.ndim)
    for s, shift in shifts.items():
        axis = signal.ndim - 1 - value.spatial_axes[s]
        pads[2 * axis] = shift
        pads[2 * axis + 1] = target.sizes[s] - source.sizes[s] - shift
    if all(p <= 0 for p in pads):
        for s, shift in shifts.items():
            signal = signal.narrow(value.spatial_axes[s], -shift, target.sizes[s])
        return signal
    # Pads of the unmoved leading axes are cut off: torch pads from the last axis on.
    while len(pads) > 2 and pads[-1] == pads[-2] == 0:
        pads = pads[:-2]
    return torch.nn.functional.pad(signal, pads)


def _along(mask: npt.NDArray[np.bool_], value: Value, index: int, signal: Tensor) -> Tensor:
    """A mask (units, size) as factors 0 and 1, shaped to multiply a signal along one spatial axis."""
    shape = [1] * signal.ndim
    if value.batch_axis is not None:
        shape[value.batch_axis] = mask.shape[0]
    shape[value.spatial_axes[index]] = mask.shape[1]
    # Factors, because torch multiplies floats by booleans several times slower.
    return torch.from_numpy(mask).to(signal.device, signal.dtype).view(shape)


def zero_outside(signal: Tensor, value: Value, boxes: Boxes, plane: Planes, *, lent: bool = False) -> Tensor:
    """A signal with zeros wherever its boxes stick out of the plane; where few do, in place unless it is ``lent``.

    Args:
        signal: on ``boxes``.
        value: its axes.
        boxes: where it is.
        plane: extents.
        lent: its memory also holds a signal at other places (behind a Pad, in front of another part of a Concat).
    """
    for s in boxes.sizes:
        rows = boxes.origins[s][:, None] + np.arange(boxes.sizes[s])
        outside = (rows < 0) | (rows >= plane[s])
        units = np.flatnonzero(outside.any(1))
        if not len(units):
            continue
        if lent or value.batch_axis is None or len(units) * _PASSED > signal.numel() or 0 in signal.stride():
            signal = signal * _along(~outside, value, s, signal)
            continue
        for unit in units:
            # In place is safe: whoever else has this memory has these boxes, and holds zeros there too or is due to.
            part = signal.select(value.batch_axis, int(unit))
            axis = value.spatial_axes[s] - (value.batch_axis < value.spatial_axes[s])
            before = max(0, -int(boxes.origins[s][unit]))
            behind = max(0, int(boxes.origins[s][unit]) + boxes.sizes[s] - plane[s])
            part.narrow(axis, 0, min(before, boxes.sizes[s])).zero_()
            part.narrow(axis, max(boxes.sizes[s] - behind, 0), min(behind, boxes.sizes[s])).zero_()
    return signal

"""The patchwise forward: what windows over an input change, computed on the boxes they touch and nowhere else.

The activations of the whole input are kept. An occluded input differs from it, at every value, only inside the box that
the window touches (Nakandala, Kumar, Papakonstantinou 2019), so that box alone is computed, its context read from what
is kept. From some place of the graph on boxes stop paying: there they are laid over whole planes, and ONNX Runtime goes
on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from unpool.engine.boxable import Boxable
from unpool.engine.boxes import Ints
from unpool.engine.context import Patch
from unpool.engine.dirt import Dirt
from unpool.engine.fusing import Step, fused
from unpool.engine.geometry import Geometry
from unpool.engine.heap import large_blocks_apart
from unpool.engine.occluders import Occluded, Occluders, repeated
from unpool.engine.parties import parties
from unpool.engine.stepping import Stepper
from unpool.engine.weights import Weights
from unpool.graph.model import Array, Node

Tail = Callable[[Mapping[str, Array]], dict[str, Tensor]]
"""Runs the rest of the graph: values at the cut -> values that are wanted."""

_MOST = 32
"""The most positions that are run on boxes at once."""


@dataclass(frozen=True, eq=False)
class Cut:
    """Where a graph is cut in two.

    Attributes:
        steps: the nodes in front that the windows reach, and how each is run on boxes.
        changed: values at the cut that the windows reach.
        fixed: other values that the rest needs.
        given: wanted values that are known at the cut.
        rest: wanted values that ONNX Runtime computes behind it.
        still: wanted values that the windows do not reach.
    """

    steps: tuple[tuple[Node, Boxable], ...]
    changed: tuple[str, ...]
    fixed: tuple[str, ...]
    given: tuple[str, ...]
    rest: tuple[str, ...]
    still: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Front:
    """What boxes gave for some positions: wanted values, values at the cut, sums of maps."""

    numbers: Ints
    given: Mapping[str, Array]
    changed: Mapping[str, Array]
    sums: Mapping[str, np.ndarray[tuple[int], np.dtype[np.float64]]]

    def part(self, geometry: Geometry, first: int, last: int) -> _Front:
        """Some of the positions, one behind the other."""

        def cut(name: str, array: Array) -> Array:
            chosen = [slice(None)] * array.ndim
            chosen[geometry.value(name).batch_axis or 0] = slice(first, last)
            return array[tuple(chosen)]

        return _Front(
            self.numbers[first:last],
            {n: cut(n, a) for n, a in self.given.items()},
            {n: cut(n, a) for n, a in self.changed.items()},
            {n: s[first:last] for n, s in self.sums.items()},
        )


@dataclass(eq=False)
class Occlusion:
    """Runs occluded inputs of one question.

    Attributes:
        cut: where boxes end.
        geometry: shapes and windows for one image.
        dirt: what the windows touch.
        occluders: the windows.
        kept: value name -> the value of the whole input, as far as it is needed.
        weights: the model's constants.
        maps: layer -> the channel that is summed up.
        classes: what makes positions a party.
        tail: runs what is behind the cut.
        batch: how many positions go through the tail at once.
        batched: the tail takes several at once; else they go through it one by one.
        piece_bytes: how much of one value is computed at once.
        boxed: the share of a whole forward's multiply-adds in front of the cut.
        saved: multiply-adds of a whole forward over those of a position, on average.
    """

    cut: Cut
    geometry: Geometry
    dirt: Dirt
    occluders: Occluders
    kept: Mapping[str, Tensor]
    weights: Weights
    maps: Mapping[str, int]
    classes: Mapping[int, Ints]
    tail: Tail | None
    batch: int
    batched: bool
    piece_bytes: int
    boxed: float
    saved: float
    _boxes: dict[tuple[int, int, int], tuple[Ints, int]] = field(default_factory=dict)

    @cached_property
    def _steps(self) -> tuple[Step, ...]:
        visible = {*self.cut.changed, *self.cut.given, *self.maps, *self.kept}
        return fused(self.cut.steps, self.geometry.graph, self.weights, visible)

    @cached_property
    def _stepper(self) -> Stepper:
        return Stepper(self.geometry, self.kept, self.weights)

    def run(self, numbers: Ints) -> Iterator[Occluded | None]:
        """Runs some positions.

        Args:
            numbers: which, int64 (count,).

        Yields:
            What they gave, in pieces and in any order; ``None`` between two pieces of work.
        """
        waiting: list[_Front] = []
        for party in parties(self.dirt, self.classes, numbers):
            size = self._most(party)
            for first in range(0, len(party), size):
                front = self._front(party[first : first + size])
                yield None
                if self.tail is None:
                    yield self._behind([front])
                    continue
                # The rest of the graph takes positions of several parties at once: its weights are read once for all.
                # Always as many, since ONNX Runtime lays out memory for each number that it meets, and keeps it.
                while sum(len(w.numbers) for w in waiting) + len(front.numbers) >= self.batch:
                    most = self.batch - sum(len(w.numbers) for w in waiting)
                    yield self._behind([*waiting, front.part(self.geometry, 0, most)])
                    waiting, front = [], front.part(self.geometry, most, len(front.numbers))
                if len(front.numbers):
                    waiting.append(front)
        if waiting:
            yield self._behind(waiting)

    @torch.no_grad()
    @large_blocks_apart()
    def _front(self, numbers: Ints) -> _Front:
        """What boxes give, laid over whole planes where the graph is cut."""
        self._boxes.clear()
        patches = {self.occluders.of: self._entry(numbers)}
        sums: dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]] = {}
        last = self._last
        for i, step in enumerate(self._steps):
            origins, sizes = self._box(next(o for o in step.node.outputs if o), numbers)
            patches.update(self._stepper(step, patches, origins, sizes, len(numbers)))
            for name in step.outputs:
                if name in self.maps:
                    sums[name] = self._sum(name, patches[name])
            for name in last.get(i, ()):
                patches.pop(name, None)
        units = len(numbers)
        given = {name: self._whole(name, patches, units).numpy(force=True) for name in self.cut.given}
        changed = {n: self._whole(n, patches, units).contiguous().numpy(force=True) for n in self.cut.changed}
        return _Front(numbers, given, changed if self.tail is not None else {}, sums)

    @torch.no_grad()
    @large_blocks_apart()
    def _behind(self, fronts: Sequence[_Front]) -> Occluded:
        """What the rest of the graph makes of them."""
        numbers = np.concatenate([f.numbers for f in fronts])
        units = len(numbers)
        values = {name: self._together(name, [f.given[name] for f in fronts]) for name in self.cut.given}
        for name in self.cut.still:
            values[name] = repeated(self.kept[name].numpy(force=True), self.geometry.value(name), units)
        if self.tail is not None:
            feeds = {name: self._together(name, [f.changed[name] for f in fronts]) for name in self.cut.changed}
            for name in self.cut.fixed:
                feeds[name] = repeated(self.kept[name].numpy(force=True), self.geometry.value(name), units)
            parts = [self.tail(part) for part in self._split(feeds, units)]
            for name in self.cut.rest:
                values[name] = self._single([p[name].numpy(force=True) for p in parts], name)
        sums = {name: np.concatenate([f.sums[name] for f in fronts]) for name in self.maps if name in fronts[0].sums}
        for name, channel in self.maps.items():
            if name not in sums:
                sums[name] = self._whole_sum(values[name], name, channel)
        return Occluded(numbers, values, sums)

    def _together(self, name: str, parts: Sequence[Array]) -> Array:
        axis = self.geometry.value(name).batch_axis
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis or 0)

    def _single(self, parts: Sequence[Array], name: str) -> Array:
        """What runs of single examples give, one behind the other: a file may name a batch where an output has none."""
        axis = self.geometry.value(name).batch_axis
        if len(parts) == 1 or (axis is not None and all(p.shape[axis : axis + 1] == (1,) for p in parts)):
            return self._together(name, parts)
        return np.stack(parts)

    # -- boxes --------------------------------------------------------------------------------------------------------

    def _box(self, name: str, numbers: Ints) -> tuple[dict[int, Ints], dict[int, int]]:
        """The boxes of one value: as large as the largest that is touched, moved into the plane."""
        plane = self.geometry.plane(name)
        origins, sizes = {}, {}
        for s, along in self.dirt.intervals[name].items():
            # Values that work place by place share one interval.
            key = (s, id(along), plane[s])
            if key not in self._boxes:
                rows = self.dirt.rows[s][numbers] if s in self.dirt.rows else np.zeros(len(numbers), np.int64)
                lower, upper = along.lower[rows], along.upper[rows]
                size = max(1, int((upper - lower).max()))
                self._boxes[key] = np.minimum(lower, plane[s] - size), size
            origins[s], sizes[s] = self._boxes[key]
        return origins, sizes

    def _most(self, party: Ints) -> int:
        """How many positions of a party are run at once."""
        self._boxes.clear()
        largest = 1
        for step in self._steps:
            for name in (*step.node.inputs, *step.outputs):
                if name in self.dirt.intervals and name in self.geometry.shapes:
                    shape = self.geometry.shapes[name]
                    _, sizes = self._box(name, party)
                    area = math.prod(sizes.values()) / max(1, math.prod(self.geometry.plane(name).values()))
                    largest = max(largest, int(math.prod(shape) * area * 4))
        return max(1, min(self.piece_bytes // largest, _MOST))

    def _entry(self, numbers: Ints) -> Patch:
        """What stands in the windows."""
        name = self.occluders.of
        value = self.geometry.value(name)
        origins, sizes = self._box(name, numbers)
        axes = tuple(value.spatial_axes.values())
        fill = self._stepper.context(
            f"{name}/fill", torch.from_numpy(self.occluders.fill), name, axes, (0,) * len(axes)
        )
        at = list(origins.values())
        extents = list(sizes.values())
        return Patch(fill.shaped(fill.cut(at, extents), len(numbers), extents), origins)

    # -- behind the boxes ---------------------------------------------------------------------------------------------

    @cached_property
    def _last(self) -> dict[int, list[str]]:
        """Step -> values that nothing reads behind it."""
        uses = {n: i for i, step in enumerate(self._steps) for n in (*step.node.inputs, *step.outputs) if n}
        found: dict[int, list[str]] = {}
        for name, i in uses.items():
            if name not in self.cut.changed and name not in self.cut.given:
                found.setdefault(i, []).append(name)
        return found

    def _split(self, feeds: Mapping[str, Array], units: int) -> Iterator[dict[str, Array]]:
        """Feeds that the rest of the graph takes at once: all of them, or one by one."""
        if self.batched or units == 1:
            yield dict(feeds)
            return
        for i in range(units):
            part = {}
            for name, array in feeds.items():
                axis = self.geometry.value(name).batch_axis
                part[name] = array if axis is None else np.take(array, [i], axis)
            yield part

    def _whole(self, name: str, patches: Mapping[str, Patch], units: int) -> Tensor:
        plane = self.geometry.plane(name)
        zero = np.zeros(units, np.int64)
        return self._stepper.brought(name, patches[name], dict.fromkeys(plane, zero), dict(plane))

    def _sum(self, name: str, patch: Patch) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """The sum of a channel's map: of the whole input's, less what stood in the boxes, and what stands there now."""
        value = self.geometry.value(name)
        assert value.channel_axis is not None
        assert value.batch_axis is not None
        channel = self.maps[name]
        axes = tuple(value.spatial_axes.values())
        kept = self.kept[name].narrow(value.channel_axis, channel, 1).double()
        context = self._stepper.context(f"{name}/{channel}", kept, name, axes, (0,) * len(axes))
        sizes = [patch.value.shape[a] for a in axes]
        units = patch.value.shape[value.batch_axis]
        before = context.cut([patch.origins[s] for s in value.spatial_axes], sizes).view(units, -1).sum(1)
        now = patch.value.narrow(value.channel_axis, channel, 1).double()
        after = now.movedim(value.batch_axis, 0).reshape(units, -1).sum(1)
        found: np.ndarray[tuple[int], np.dtype[np.float64]] = (kept.sum() - before + after).numpy(force=True)
        return found

    def _whole_sum(self, values: Array, name: str, channel: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        value = self.geometry.value(name)
        assert value.channel_axis is not None
        assert value.batch_axis is not None
        chosen = np.moveaxis(np.take(values, [channel], value.channel_axis), value.batch_axis, 0)
        found: np.ndarray[tuple[int], np.dtype[np.float64]] = chosen.reshape(len(chosen), -1).sum(1, dtype=np.float64)
        return found

"""The model's shapes and windows bound to one shape of its inputs, and the receptive fields that follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from unpool.engine.boxes import Boxes, Planes
from unpool.graph.errors import PreconditionError
from unpool.graph.intervals import Broadcast, Intervals, Sliding
from unpool.graph.model import OTHER, Graph, Node, Value
from unpool.ops import AxisWindows, Operand, find
from unpool.ops.base import whole

_SMALL = 64
"""Constants of up to this many elements (amounts, axes, scales) are shown to the windows."""


@dataclass(frozen=True)
class Field:
    """What a unit sees along one spatial axis of the sink.

    Attributes:
        size: extent of the receptive field, in the sink's elements.
        stride: how far it moves from one unit to the next; 0 where it does not move evenly.
        offset: where the field of unit 0 begins; may be negative.
        whole: it covers the whole plane, wherever the unit is.
    """

    size: int
    stride: int
    offset: int
    whole: bool


@dataclass(frozen=True, eq=False)
class Geometry:
    """Concrete shapes of every value for one shape of the inputs.

    Attributes:
        graph: the model.
        shapes: value name -> extents, batch as fed.
    """

    graph: Graph
    shapes: Mapping[str, tuple[int, ...]]

    @cached_property
    def _windows(self) -> dict[Node, Sequence[AxisWindows]]:
        return {}

    def value(self, name: str) -> Value:
        """The value of a name."""
        return self.graph.values[name]

    def plane(self, name: str) -> Planes:
        """Spatial index -> extent of a value."""
        shape = self.shapes[name]
        return {s: shape[p] for s, p in self.graph.values[name].spatial_axes.items()}

    def operand(self, name: str) -> Operand | None:
        """Shape and axes of a value or constant; ``None`` for an absent input."""
        if not name:
            return None
        if name in self.graph.constants:
            constant = self.graph.constants[name]
            small = int(np.prod(constant.shape, dtype=np.int64)) <= _SMALL
            return Operand(constant.shape, (OTHER,) * len(constant.shape), constant.numpy() if small else None)
        return Operand(self.shapes[name], self.graph.values[name].axes)

    def windows(self, node: Node) -> Sequence[AxisWindows]:
        """The windows of every input of a node."""
        if node not in self._windows:
            found = find(node)
            window = found.window if found else whole
            self._windows[node] = window(
                node, [self.operand(i) for i in node.inputs], [self.operand(o) for o in node.outputs]
            )
        return self._windows[node]

    def trace(self, seed: str, boxes: Boxes, to: str) -> dict[str, Boxes]:
        """The unclipped boxes of every value, down to ``to``, that boxes of ``seed`` are computed from."""
        graph = self.graph
        active = graph.ancestors([seed]) & graph.descendants([to])
        if to not in active or seed not in active:
            return {}
        found: dict[str, Boxes] = {seed: boxes}
        for node in reversed(graph.nodes):
            arrived = [found[o] for o in node.outputs if o in found]
            if not arrived or to in node.outputs:
                continue
            for name, windows in zip(node.inputs, self.windows(node), strict=True):
                if name in active:
                    for box in arrived:
                        natural = self.natural(name, windows, box)
                        found[name] = found[name].union(natural) if name in found else natural
        return found

    def seen(self, seed: str, boxes: Boxes, to: str) -> Boxes | None:
        """The boxes of ``to`` that boxes of ``seed`` are computed from, unclipped; ``None`` where it takes no part."""
        return self.trace(seed, boxes, to).get(to)

    def natural(self, name: str, windows: AxisWindows, box: Boxes) -> Boxes:
        """The boxes of an input that boxes of the outputs are computed from, unclipped."""
        plane = self.plane(name)
        along: dict[int, Intervals] = {}
        for s, extent in plane.items():
            window = windows.get(s)
            if window is None or (s not in box.sizes and not isinstance(window, Broadcast)):
                along[s] = Intervals(np.zeros(box.count, np.int64), np.full(box.count, extent, np.int64))
            elif s in box.sizes:
                along[s] = window.inputs_of(box.intervals(s))
            else:
                along[s] = Intervals(np.zeros(box.count, np.int64), np.ones(box.count, np.int64))
        return Boxes({s: i.lower for s, i in along.items()}, {s: i.size for s, i in along.items()}, box.count)

    def receptive_field(self, layer: str, to: str) -> tuple[Field, ...]:
        """The receptive field of a layer's units, one entry per spatial axis of ``to``.

        Raises:
            PreconditionError: the layer is not computed from ``to``.
        """
        plane, sink = self.plane(layer), self.plane(to)
        probes = [0, 1, 2]
        boxes = Boxes(
            {s: np.minimum(probes, n - 1).astype(np.int64) for s, n in plane.items()}, dict.fromkeys(plane, 1), 3
        )
        seen = self.seen(layer, boxes, to)
        if seen is None:
            raise PreconditionError(f"layer '{layer}' is not computed from '{to}'")
        fields = []
        for s, extent in sink.items():
            first, second, third = (int(x) for x in seen.origins[s])
            even = s in plane and plane[s] > 1 and (plane[s] == 2 or second - first == third - second)
            full = bool((seen.origins[s] <= 0).all() and (seen.origins[s] + seen.sizes[s] >= extent).all())
            fixed = full and second == first
            fields.append(Field(seen.sizes[s], 0 if fixed or not even else second - first, first, fixed))
        return tuple(fields)


def local(windows: AxisWindows, index: int) -> bool:
    """Whether the walk can cross a node on boxes along an axis."""
    return isinstance(windows.get(index), Sliding | Broadcast)

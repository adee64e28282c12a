"""The model's shapes and windows bound to one shape of its inputs, and the receptive fields that follow."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from unpool.engine.binding import Extents, Shape
from unpool.engine.boxes import Boxes, Planes
from unpool.engine.stumbling import STUMBLES
from unpool.graph.errors import PreconditionError
from unpool.graph.evaluation import UnevaluableError, evaluate
from unpool.graph.intervals import AxisWindow, Broadcast, Intervals
from unpool.graph.model import MEASURES, OTHER, Array, Graph, Node, Value
from unpool.ops import AxisWindows, Operand, find
from unpool.ops.base import whole

_log = logging.getLogger(__name__)
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
    shapes: Extents

    @property
    def decided(self) -> Mapping[str, Shape]:
        """The shapes that the inputs' extents decide: what is known of this input without a run of it."""
        return self.shapes.decided

    @cached_property
    def _windows(self) -> dict[Node, Sequence[AxisWindows]]:
        return {}

    def value(self, name: str) -> Value:
        """The value of a name; an axis is its batch only where it is as long as there are images.

        What an exporter folded into the batch (windows, tokens) shows in the extents alone where symbols hide it. How
        many axes there are may only be known from a run, behind a Loop or a Squeeze for instance.
        """
        if name not in self._values:
            value = self.graph.values[name]
            batch, shape = value.batch_axis, self.shapes.get(name)
            if shape is not None and len(shape) != len(value.axes):
                value = replace(value, axes=(OTHER,) * len(shape))
            elif batch is not None and shape is not None and shape[batch] not in self._images:
                value = replace(value, axes=tuple(OTHER if i == batch else a for i, a in enumerate(value.axes)))
            self._values[name] = value
        return self._values[name]

    @cached_property
    def _values(self) -> dict[str, Value]:
        return {}

    @cached_property
    def _images(self) -> frozenset[int]:
        """How many images there are; inputs may disagree."""
        axes = {name: self.graph.values[name].batch_axis for name in self.graph.inputs}
        found = {self.shapes[name][axis] for name, axis in axes.items() if axis is not None}
        return frozenset(found or {1})

    def plane(self, name: str) -> Planes:
        """Spatial index -> extent of a value."""
        shape = self.shapes[name]
        return {s: shape[p] for s, p in self.value(name).spatial_axes.items()}

    def operand(self, name: str) -> Operand | None:
        """Shape and axes of a value or constant; ``None`` for an absent input."""
        if not name:
            return None
        if name in self.graph.constants:
            constant = self.graph.constants[name]
            small = int(np.prod(constant.shape, dtype=np.int64)) <= _SMALL
            return Operand(constant.shape, (OTHER,) * len(constant.shape), constant.numpy() if small else None)
        return Operand(
            self.shapes[name], self.value(name).axes, self._measured.get(name) if name in self.graph.measured else None
        )

    @cached_property
    def _measured(self) -> Mapping[str, Array]:
        """What these extents decide, as far as it is small and its operators are evaluated here: name -> array."""
        found: dict[str, Array] = {}
        for node in self.graph.measuring:
            shapes = [self.shapes.get(o) for o in node.outputs if o]
            if any(shape is None or math.prod(shape) > _SMALL for shape in shapes):
                continue
            if node.op_type in MEASURES and not node.domain and node.inputs[0] in self.shapes:
                found[node.outputs[0]] = self.extents(node)
            elif not node.domain:
                inputs = [self._small(name, found) if name else None for name in node.inputs]
                if all((array is None) == (not name) for array, name in zip(inputs, node.inputs, strict=True)):
                    with contextlib.suppress(UnevaluableError):
                        results = evaluate(node.op_type, node.attributes, inputs)
                        found.update(zip(node.outputs, results, strict=False))
        return found

    def tells_extents(self, node: Node) -> bool:
        """Whether a node gives extents that are known for any number of images: those of a value with a batch axis."""
        if node.op_type not in MEASURES or node.domain or node.inputs[0] not in self.shapes:
            return False
        return self.graph.values[node.inputs[0]].batch_axis is not None

    def extents(self, node: Node, images: int = 1) -> Array:
        """What such a node gives where there are several times as many images."""
        name = node.inputs[0]
        batch = self.graph.values[name].batch_axis  # what is folded into the batch grows with it
        shape = [n * images if i == batch else n for i, n in enumerate(self.shapes[name])]
        if node.op_type == "Size":
            return np.array(math.prod(shape), np.int64)
        begin, end = node.attributes.get("start", 0), node.attributes.get("end")
        return np.array(shape[begin if isinstance(begin, int) else 0 : end if isinstance(end, int) else None], np.int64)

    def _small(self, name: str, found: Mapping[str, Array]) -> Array | None:
        constant = self.graph.constants.get(name)
        if constant is None or int(np.prod(constant.shape, dtype=np.int64)) > _SMALL:
            return found.get(name)
        return constant.numpy()

    def windows(self, node: Node) -> Sequence[AxisWindows]:
        """The windows of every input of a node."""
        if node not in self._windows:
            found = find(node)
            window = found.window if found else whole
            inputs, outputs = [self.operand(i) for i in node.inputs], [self.operand(o) for o in node.outputs]
            try:
                self._windows[node] = window(node, inputs, outputs)
            except (NotImplementedError, TypeError, *STUMBLES) as error:
                # Refused, by name, where it is run or crossed: attributes may contradict the extents, which nobody
                # knew when the model was loaded. The rest of the model has its fields.
                _log.info("window unknown", extra={"node": str(node)}, exc_info=error)
                self._windows[node] = whole(node, inputs, outputs)
        return self._windows[node]

    def trace(self, seed: str, boxes: Boxes, to: str) -> dict[str, Boxes]:
        """The unclipped boxes of every value, down to ``to``, that boxes of ``seed`` are computed from."""
        graph = self.graph
        active = graph.ancestors([seed]) & graph.descendants([to], extents=False)
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
        # An output between two windows of a transposed convolution is computed from nothing: one row all the same.
        return Boxes({s: i.lower for s, i in along.items()}, {s: max(i.size, 1) for s, i in along.items()}, box.count)

    def receptive_field(self, layer: str, to: str) -> tuple[Field, ...]:
        """The receptive field of a layer's units, one entry per spatial axis of ``to``.

        Raises:
            PreconditionError: the layer is not computed from ``to``.
        """
        known = self._fields(to).get(layer)
        if known is None:
            raise PreconditionError(f"layer '{layer}' is not computed from '{to}'")
        if any(field is None for field in known.values()):
            return self._probed(layer, to)
        return tuple(field for field in known.values() if field is not None)

    @cached_property
    def _known_fields(self) -> dict[str, dict[str, dict[int, Field | None]]]:
        return {}

    def _fields(self, to: str) -> dict[str, dict[int, Field | None]]:
        """The fields of every value above ``to`` in one pass over the graph.

        Through sliding windows a field moves evenly: its stride, offset and size compose. ``None`` stands where it
        does not, and only probing tells.
        """
        if to in self._known_fields:
            return self._known_fields[to]
        sink = self.plane(to)
        found: dict[str, dict[int, Field | None]] = {to: {s: Field(1, 1, 0, False) for s in sink}}
        for node in self.graph.nodes:
            windows = self.windows(node)
            for output in node.outputs:
                for name, along in zip(node.inputs, windows, strict=True):
                    if name not in found or output not in self.shapes:
                        continue
                    if name in self.graph.measured and output not in self.graph.measured:
                        continue  # the extents that a Reshape is handed see no place
                    seen = {s: _through(found[name][s], s in self.plane(output), along.get(s), sink[s]) for s in sink}
                    if output in found:
                        seen = {s: _joined(found[output][s], seen[s], sink[s]) for s in sink}
                    found[output] = seen
        self._known_fields[to] = found
        return found

    def _probed(self, layer: str, to: str) -> tuple[Field, ...]:
        """The field read off three neighbouring units."""
        plane, sink = self.plane(layer), self.plane(to)
        probes = [0, 1, 2]
        boxes = Boxes(
            {s: np.minimum(probes, n - 1).astype(np.int64) for s, n in plane.items()}, dict.fromkeys(plane, 1), 3
        )
        seen = self.seen(layer, boxes, to)
        assert seen is not None
        fields = []
        for s, extent in sink.items():
            first, second, third = (int(x) for x in seen.origins[s])
            even = s in plane and plane[s] > 1 and (plane[s] == 2 or second - first == third - second)
            full = bool((seen.origins[s] <= 0).all() and (seen.origins[s] + seen.sizes[s] >= extent).all())
            if full and second == first:
                fields.append(Field(extent, 0, 0, True))
            else:
                fields.append(Field(seen.sizes[s], second - first if even else 0, first, False))
        return tuple(fields)


def _through(field: Field | None, kept: bool, window: AxisWindow | None, extent: int) -> Field | None:
    """The field behind one node, from the field before it."""
    if window is None or not kept or (field is not None and field.whole):
        return Field(extent, 0, 0, True)
    inner = window.inner
    if field is None or inner is None:
        return None
    return Field(
        field.size + (inner.extent - 1) * field.stride,
        field.stride * inner.stride,
        field.offset - inner.pad * field.stride,
        False,
    )


def _joined(first: Field | None, second: Field | None, extent: int) -> Field | None:
    """The field behind a join of two branches."""
    for field in (first, second):
        if field is not None and field.whole:
            return Field(extent, 0, 0, True)
    if first is None or second is None or first.stride != second.stride:
        return None
    offset = min(first.offset, second.offset)
    return Field(max(first.offset + first.size, second.offset + second.size) - offset, first.stride, offset, False)

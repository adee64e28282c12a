"""Networks cut down to a layer and fed with what a unit sees: the same activation and projection, for less.

A unit of a layer that only sliding windows lead to sees a box of the input. A crop that holds the box, begins at a
multiple of the layer's stride, and ends with the image wherever the box does, gives every value that the unit is
computed from as the whole image does: at the image's own borders padding is where it was, and behind every other edge
lies nothing that the unit sees.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from math import lcm, prod

import onnx_ir as ir

from unpool.engine import Engine, Feeds
from unpool.exemplars.results import Exemplar
from unpool.graph import load
from unpool.graph.errors import UnpoolError
from unpool.graph.model import Array, Graph
from unpool.methods.requests import Projection

_KEPT = 4
_WORTH = 0.7
"""A crop of a larger share of the plane than this saves too little."""
_WINDOWED = frozenset({"Conv", "MaxPool", "AveragePool"})


@dataclass(frozen=True)
class Crop:
    """A part of an input: where it begins along each spatial axis, how far it reaches, the unit's position in it."""

    lower: tuple[int, ...]
    extents: tuple[int, ...]
    position: tuple[int, ...]

    def of(self, graph: Graph, feeds: Feeds) -> dict[str, Array]:
        """The part of the looked-at input."""
        array, axes = feeds.arrays[feeds.of], graph.values[feeds.of].spatial_axes.values()
        index = [slice(None)] * array.ndim
        for axis, low, extent in zip(axes, self.lower, self.extents, strict=True):
            index[axis] = slice(low, low + extent)
        return {feeds.of: array[tuple(index)]}

    def placed(self, projection: Projection, exemplar: Exemplar) -> Projection:
        """A projection in the crop as one in the whole plane: on the receptive field, which the crop holds."""
        cut = tuple(
            slice(low - begin - mine, high - begin - mine)
            for low, high, begin, mine in zip(*exemplar.box, self.lower, projection.lower, strict=True)
        )
        return replace(
            projection,
            position=exemplar.position,
            lower=exemplar.box[0],
            upper=exemplar.box[1],
            signal=projection.signal[(slice(None), *cut)],
        )


def crop_of(engine: Engine, feeds: Feeds, exemplar: Exemplar) -> Crop | None:
    """The part of an input that a unit sees, in whole strides; ``None`` where it is no smaller part that will do."""
    graph = engine.model.graph
    if len(graph.inputs) != 1 or not exemplar.position or len(exemplar.position) != len(exemplar.plane):
        return None
    geometry = engine.geometry(feeds)
    fields = geometry.receptive_field(exemplar.layer, feeds.of)
    if any(field.whole or field.stride <= 0 for field in fields):
        return None
    steps = _steps(graph, exemplar.layer)
    if steps is None:
        return None
    lower, extents, position = [], [], []
    for i, field in enumerate(fields):
        low, high, plane = exemplar.box[0][i], exemplar.box[1][i], exemplar.plane[i]
        step = lcm(steps, field.stride)
        begin = low - low % step
        # Some more, so that a pool's last window is whole where the image goes on.
        end = min(plane, high + (-high) % step + step)
        size = field.size + (-field.size) % step + 2 * step
        if plane % step == 0 and size <= plane:
            # Crops of one size are run and walked together; one that would stick out is moved inward.
            begin = min(begin, plane - size)
            end = begin + size
        lower.append(begin)
        extents.append(end - begin)
        position.append(exemplar.position[i] - begin // field.stride)
    if prod(extents) > _WORTH * prod(exemplar.plane) or min(position) < 0:
        return None
    return Crop(tuple(lower), tuple(extents), tuple(position))


def _steps(graph: Graph, layer: str) -> int | None:
    """By what a crop's edges may move so that every window on the way moves by whole steps; ``None`` for no windows."""
    reached = graph.ancestors([layer])
    found, seen = 1, False
    for node in graph.nodes:
        if any(o in reached for o in node.outputs) and node.op_type in _WINDOWED:
            strides = node.attributes.get("strides", (1,))
            seen = True
            if isinstance(strides, tuple):
                found = max(found, *(int(s) for s in strides))
    return found if seen else None


class Cropped:
    """A few networks cut down to a layer, their planes left open; made when first asked for."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str, str], Engine | None] = OrderedDict()
        self._lock = threading.Lock()

    def engine(self, engine: Engine, layer: str) -> Engine | None:
        """The network down to a layer; ``None`` where it does not take crops."""
        key = (engine.model.digest, layer, engine.device)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = _cut(engine, layer)
                while len(self._kept) > _KEPT:
                    old = self._kept.popitem(last=False)[1]
                    if old is not None:
                        old.close()
            self._kept.move_to_end(key)
            return self._kept[key]

    def refuse(self, engine: Engine, layer: str) -> None:
        """Notes that crops did not give what whole images did."""
        with self._lock:
            self._kept[engine.model.digest, layer, engine.device] = None


def _cut(engine: Engine, layer: str) -> Engine | None:
    model = engine.model
    graph, source = model.runtime.graph, model.graph.inputs[0]
    rank = model.layers.find(layer).rank_name
    try:
        cut = ir.convenience.extract(graph, [source], list(dict.fromkeys((layer, rank))))
        for opset, version in model.runtime.opset_imports.items():
            cut.opset_imports[opset] = version
        for node in cut:
            for output in node.outputs:
                output.shape = None
        for value in cut.inputs:
            if value.name == source and value.shape is not None:
                axes = model.graph.values[source].spatial_axes.values()
                value.shape = ir.Shape(
                    [f"unpool_{i}" if i in axes else d for i, d in enumerate(value.shape)],
                )
        small = ir.Model(cut, ir_version=model.runtime.ir_version, functions=list(model.runtime.functions.values()))
        found = load(ir.to_proto(small).SerializeToString())
        if layer not in found.graph.values or not found.graph.values[layer].spatial_axes:
            return None
        return Engine(found, engine.settings)
    except (UnpoolError, ValueError, TypeError):
        return None

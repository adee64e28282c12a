"""Shapes node by node: what is said of one node's outputs, once more is known of its inputs than it was before."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper

from unpool.graph.attributes import attributes_of
from unpool.graph.evaluation import Unknown
from unpool.graph.model import Array, Dim
from unpool.graph.passes.foreign_shapes import as_standard
from unpool.graph.passes.shapes import dim_of, dims_of

_SHAPED: Final = {"Reshape": 1, "Expand": 1, "ConstantOfShape": 0}
"""Operators that are handed extents, and the input that holds them."""
_PRODUCTS: Final = frozenset({"MatMul", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"})
"""Operators that multiply their first two inputs as they stand."""


class NodeShapes:
    """Shapes that are learnt on a way through the graph from its inputs to its outputs.

    Onnx's inference of a whole model does not see what a Shape node says before opset 14, nor ever what is computed
    from an open extent: it is silent behind a Reshape to the extents of another tensor until they are folded.
    """

    def __init__(self, model: ir.Model) -> None:
        self._opsets = [onnx.helper.make_opsetid(d, v) for d, v in model.opset_imports.items()]
        self._version = next((s.version for s in self._opsets if s.domain in ("", "ai.onnx")), 0)
        self._given = {d for v in model.graph.inputs for d in dims_of(v) or () if isinstance(d, str)}
        self._learnt: set[ir.Value] = set()

    def tell(self, value: ir.Value | None) -> None:
        """Nodes that read ``value`` may say more of their outputs now."""
        if value is not None:
            self._learnt.add(value)

    def follow(self, node: ir.Node, contents: Mapping[ir.Value, Array]) -> None:
        """Sets what is new of a node's outputs, where something was learnt of its inputs or an input holds extents.

        Args:
            node: the next node of the way.
            contents: small values that are known, elements that only a run tells included.
        """
        if not self._learnt.isdisjoint(v for v in node.inputs if v is not None):
            for name, dims in self._inferred(node, contents).items():
                self._take(next(o for o in node.outputs if o.name == name), dims)
        self._demand(node)
        told = _told(node, contents)
        if told is not None:
            self._take(node.outputs[0], told)

    def _take(self, value: ir.Value, dims: Sequence[Dim]) -> None:
        before = dims_of(value)
        if before is None or len(before) != len(dims):
            after = list(dims)
        else:
            after = [self._better(old, new) for old, new in zip(before, dims, strict=True)]
        if before is None or list(before) != after:
            value.shape = ir.Shape(after)
            self.tell(value)

    def _demand(self, node: ir.Node) -> None:
        """What is multiplied by a constant matrix has as many columns as that has rows."""
        data, matrix = (*node.inputs, None, None)[:2]
        if node.op_type not in _PRODUCTS or data is None or matrix is None:
            return
        dims, extents = dims_of(data), dims_of(matrix) or ()
        if (
            data.const_value is None
            and matrix.const_value is not None
            and len(extents) > 1
            and dims
            and not isinstance(dims[-1], int)
        ):
            self._take(data, [*(None for _ in dims[1:]), extents[-2]])

    def _better(self, old: Dim, new: Dim) -> Dim:
        """Numbers before names; a name of an input's before one that onnx made up where it lost the thread."""
        if isinstance(old, int) and not isinstance(new, int):
            return old
        return old if new is None or (isinstance(new, str) and old in self._given) else new

    def _inferred(self, node: ir.Node, contents: Mapping[ir.Value, Array]) -> dict[str, list[Dim]]:
        inputs = [v for v in node.inputs if v is not None]
        if any(not v.name or v.shape is None or v.dtype is None for v in inputs):
            return {}
        if any(a.type is ir.AttributeType.GRAPH for a in node.attributes.values()):
            return {}
        call = onnx.NodeProto()
        ir.serde.serialize_node_into(call, node)
        types = {v.name or "": _type(v) for v in inputs}
        known = {v.name or "": a for v in inputs if (a := contents.get(v)) is not None and a.dtype != object}
        data = {name: numpy_helper.from_array(np.asarray(array), name) for name, array in known.items()}
        for step in as_standard(call):
            try:
                schema = onnx.defs.get_schema(step.op_type, self._version, step.domain)
                types |= onnx.shape_inference.infer_node_outputs(schema, step, types, data, opset_imports=self._opsets)
            except Exception:  # onnx raises of several kinds, and what it cannot infer stays as it was
                return {}
        outputs = {name: types[name].tensor_type for name in call.output if name in types}
        return {name: [dim_of(d) for d in t.shape.dim] for name, t in outputs.items() if t.HasField("shape")}


def _type(value: ir.Value) -> onnx.TypeProto:
    assert value.dtype is not None
    return onnx.helper.make_tensor_type_proto(value.dtype.value, dims_of(value))


def _told(node: ir.Node, contents: Mapping[ir.Value, Array]) -> list[Dim] | None:
    """The extents that a node is handed where some of them are open, but known by name."""
    if node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type == "Range":
        return _counted([contents.get(v) if v is not None else None for v in node.inputs])
    if node.op_type == "Slice":
        return _uncut(node, contents)
    place = _SHAPED.get(node.op_type)
    handed = node.inputs[place] if place is not None else None
    extents = contents.get(handed) if handed is not None else None
    if extents is None or extents.ndim != 1 or attributes_of(node).get("allowzero", 0):
        return None
    if extents.dtype != object and node.op_type != "Reshape":
        return None  # numbers alone onnx reads by itself
    dims: list[Dim] = [e.name if isinstance(e, Unknown) else int(e) for e in extents]
    data = node.inputs[0]
    source = dims_of(data) if data is not None and place else ()
    if source is None:
        return None
    if node.op_type == "Reshape":
        return _left([source[i] if d == 0 and i < len(source) else d for i, d in enumerate(dims)], source)
    if len(source) > len(dims):
        return None
    aligned = [1] * (len(dims) - len(source)) + list(source)
    return [
        wanted if own == 1 else own if wanted in (own, 1) else None for own, wanted in zip(aligned, dims, strict=True)
    ]


def _counted(bounds: Sequence[Array | None]) -> list[Dim] | None:
    """Counting from 0 in ones up to an extent gives as many numbers."""
    begin, end, step = ([None if a is None or a.size != 1 else a.reshape(-1)[0] for a in bounds] + [None] * 3)[:3]
    known = not isinstance(begin, Unknown) and not isinstance(step, Unknown) and begin == 0 and step == 1
    return [end.name] if known and isinstance(end, Unknown) and end.name is not None else None


def _uncut(node: ir.Node, contents: Mapping[ir.Value, Array]) -> list[Dim] | None:
    """A Slice leaves every axis that it does not name as it was, wherever its bounds lie."""
    data, named = (*node.inputs, None, None, None, None)[0:4:3]
    dims = dims_of(data) if data is not None else None
    axes = contents.get(named) if named is not None else None
    if not dims or axes is None or axes.dtype == object:
        return None
    cut = {int(axis) % len(dims) for axis in axes}
    return [None if i in cut else dim for i, dim in enumerate(dims)]


def _left(dims: list[Dim], source: Sequence[Dim]) -> list[Dim]:
    """Extents of a Reshape, the one that takes what is left (-1) among them where numbers and names tell it."""
    left = list(source)
    known = [d for d in dims if d != -1]
    for name in [d for d in known if not isinstance(d, int)]:
        if name is None or name not in left:
            return [None if d == -1 else d for d in dims]
        left.remove(name)
    names = [d for d in left if not isinstance(d, int)]
    whole, part = (math.prod(d for d in extents if isinstance(d, int)) for extents in (left, known))
    rest: Dim = None
    if not names and part and whole % part == 0:
        rest = whole // part
    elif len(names) == 1 and part and whole == part:
        rest = names[0]
    return [rest if d == -1 else d for d in dims]

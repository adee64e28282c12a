"""Shapes node by node: what is said of one node's outputs, once more is known of its inputs than it was before."""

from __future__ import annotations

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


class NodeShapes:
    """Shapes that are learnt on a way through the graph from its inputs to its outputs.

    Onnx's inference of a whole model does not see what a Shape node says before opset 14, nor ever what is computed
    from an open extent: it is silent behind a Reshape to the extents of another tensor until they are folded.
    """

    def __init__(self, model: ir.Model) -> None:
        self._opsets = [onnx.helper.make_opsetid(d, v) for d, v in model.opset_imports.items()]
        self._version = next((s.version for s in self._opsets if s.domain in ("", "ai.onnx")), 0)
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
        told = _told(node, contents)
        if told is not None:
            self._take(node.outputs[0], told)

    def _take(self, value: ir.Value, dims: Sequence[Dim]) -> None:
        before = dims_of(value)
        if before is None or len(before) != len(dims):
            after = list(dims)
        else:
            after = [new if isinstance(new, int) or old is None else old for old, new in zip(before, dims, strict=True)]
        if before is None or list(before) != after:
            value.shape = ir.Shape(after)
            self.tell(value)

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
    place = _SHAPED.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    handed = node.inputs[place] if place is not None else None
    extents = contents.get(handed) if handed is not None else None
    if extents is None or extents.dtype != object or extents.ndim != 1 or attributes_of(node).get("allowzero", 0):
        return None
    dims: list[Dim] = [e.name if isinstance(e, Unknown) else int(e) for e in extents]
    data = node.inputs[0]
    source = dims_of(data) if data is not None and place else ()
    if source is None:
        return None
    if node.op_type == "Reshape":
        copied = [source[i] if d == 0 and i < len(source) else d for i, d in enumerate(dims)]
        return [None if isinstance(d, int) and d < 0 else d for d in copied]
    if len(source) > len(dims):
        return None
    aligned = [1] * (len(dims) - len(source)) + list(source)
    return [
        wanted if own == 1 else own if wanted in (own, 1) else None for own, wanted in zip(aligned, dims, strict=True)
    ]

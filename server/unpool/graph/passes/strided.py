"""Strided views: the Gather that torch's exporter writes for one, where it takes everything in order, is a Reshape."""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx_ir as ir

from unpool.graph.attributes import attributes_of
from unpool.graph.model import Array, Dim
from unpool.graph.passes.folding import new_constant
from unpool.graph.passes.shapes import dims_of

_RENAMING: Final = {"Squeeze", "Unsqueeze", "Identity", "Cast"}


def straighten_views(model: ir.Model) -> bool:
    """Turns a flattened tensor's Gather at 0, 1, 2 ... into a Reshape, so that its axes keep what they stand for.

    Requires: constants lifted; shapes inferred.
    Call: in place. torch pools to one place by ``as_strided`` where the channels are innermost (behind a layer norm
        over channels, say); its exporter writes the places out: a constant, or ``Range(0, N) * C`` plus a constant.
    Ensures: such a Gather is a Reshape of the same name. What made its places is left to who removes what is unused.

    Returns:
        Whether anything changed.
    """
    changed = False
    for node in list(model.graph):
        x = _flattened(node)
        shape = _in_order(node.inputs[1], dims_of(x)) if x is not None else None
        if x is None or shape is None:
            continue
        output = node.outputs[0]
        sizes = new_constant(model.graph, f"{output.name}.shape", np.array(shape, np.int64))
        view = ir.node("Reshape", [x, sizes], name=node.name)
        model.graph.insert_before(node, view)
        replacement = view.outputs[0]
        replacement.name, replacement.type = output.name, output.type
        output.replace_all_uses_with(replacement, replace_graph_outputs=True)
        model.graph.remove(node, safe=True)
        changed = True
    return changed


def _flattened(node: ir.Node) -> ir.Value | None:
    """What a Gather takes from, when that was flattened first."""
    if node.op_type != "Gather" or node.domain or attributes_of(node).get("axis", 0) != 0:
        return None
    flat = node.inputs[0].producer() if node.inputs[0] is not None else None
    if flat is None or flat.op_type != "Reshape" or flat.domain:
        return None
    sizes = _constant(flat.inputs[1])
    return flat.inputs[0] if sizes is not None and sizes.tolist() == [-1] else None


def _in_order(places: ir.Value | None, extents: tuple[Dim, ...] | None) -> list[int] | None:
    """The shape of the places, a free first extent as 0 (as it was), if they are all of a tensor's in order."""
    if not extents or not all(isinstance(d, int) for d in extents[1:]):
        return None
    each = int(np.prod([int(d) for d in extents[1:] if isinstance(d, int)]))
    fixed = _constant(places)
    if fixed is not None:
        whole = isinstance(extents[0], int) and _counts(fixed, extents[0] * each)
        return list(fixed.shape) if whole else None
    terms = _terms(places)
    rows = [t for t in terms if _constant(t) is None]
    offset = sum((a for a in map(_constant, terms) if a is not None), np.zeros((), np.int64))
    if len(rows) != 1 or offset.ndim < 2 or offset.shape[0] != 1 or not _counts(offset, each):
        return None
    row, ones = rows[0].producer(), (dims_of(rows[0]) or ())[1:]
    if row is None or row.op_type != "Unsqueeze" or row.domain or ones != (1,) * (offset.ndim - 1):
        return None
    return [0, *offset.shape[1:]] if _steps(row.inputs[0], extents[0]) == each else None


def _counts(array: Array, count: int) -> bool:
    return array.size == count and bool((array.ravel() == np.arange(count)).all())


def _terms(value: ir.Value | None) -> list[ir.Value]:
    """What a tree of Add adds."""
    if value is None:
        return []
    node = value.producer()
    if node is None or node.op_type != "Add" or node.domain:
        return [value]
    return [t for v in node.inputs for t in _terms(v)]


def _steps(value: ir.Value | None, count: Dim) -> int | None:
    """How far one row lies from the next: c where a value is ``Range(0, count) * c``."""
    node = value.producer() if value is not None else None
    if node is not None and node.op_type == "Mul" and not node.domain:
        for first, other in (node.inputs, reversed(node.inputs)):
            factor = _constant(other)
            if factor is not None and factor.size == 1 and _steps(first, count) == 1:
                return int(factor.ravel()[0])
    if node is None or node.op_type != "Range" or node.domain or count is None:
        return None
    start, step = _constant(node.inputs[0]), _constant(node.inputs[2])
    plain = start is not None and step is not None and int(start) == 0 and int(step) == 1
    return 1 if plain and _extent(node.inputs[1]) == count else None


def _extent(value: ir.Value | None) -> Dim:
    """The extent that a value of one element holds, where it was asked of a tensor."""
    node = value.producer() if value is not None else None
    while node is not None and not node.domain and node.op_type in _RENAMING:
        value = node.inputs[0]
        node = value.producer() if value is not None else None
    if node is None or node.domain:
        return None
    if node.op_type == "Gather" and node.inputs[0] is not None:
        index, shape = _constant(node.inputs[1]), node.inputs[0].producer()
        found = _asked(shape) if shape is not None and shape.op_type == "Shape" else ()
        one = index is not None and index.size == 1 and -len(found) <= int(index.ravel()[0]) < len(found)
        return found[int(index.ravel()[0])] if one and index is not None else None
    found = _asked(node) if node.op_type == "Shape" else ()
    return found[0] if len(found) == 1 else None


def _asked(shape: ir.Node) -> tuple[Dim, ...]:
    """The extents that a Shape node gives."""
    attributes = attributes_of(shape)
    dims = dims_of(shape.inputs[0]) if shape.inputs[0] is not None else None
    start, end = attributes.get("start", 0), attributes.get("end")
    assert isinstance(start, int)
    assert end is None or isinstance(end, int)
    return (dims or ())[start:end]


def _constant(value: ir.Value | None) -> Array | None:
    """A constant's whole numbers."""
    tensor = value.const_value if value is not None and value.is_initializer() else None
    if tensor is None or tensor.dtype not in (ir.DataType.INT64, ir.DataType.INT32):
        return None
    return tensor.numpy()

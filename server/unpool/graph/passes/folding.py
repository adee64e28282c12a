"""Folding: small shape computations become constants; large tensors are never touched."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from unpool.graph.attributes import attributes_of
from unpool.graph.evaluation import EVALUABLE, UnevaluableError, Unknown, evaluate, settled
from unpool.graph.model import Array
from unpool.graph.passes.constants import replace_by_constant
from unpool.graph.passes.node_shapes import NodeShapes
from unpool.graph.passes.shapes import dims_of

# A shape computation handles extents, so integers. Floats come in between (a scale times an extent), a few at a time.
_INTEGER_ELEMENTS = 1024
_FLOAT_ELEMENTS = 16
_INTEGERS = {
    ir.DataType.INT64,
    ir.DataType.INT32,
    ir.DataType.INT16,
    ir.DataType.INT8,
    ir.DataType.UINT8,
    ir.DataType.UINT16,
    ir.DataType.UINT32,
    ir.DataType.UINT64,
    ir.DataType.BOOL,
}
_FLOATS = {ir.DataType.FLOAT, ir.DataType.DOUBLE}


def fold_shape_computations(model: ir.Model) -> bool:
    """Evaluates integer computations on constants and extents, elements that are not known before a run included.

    Requires: constants lifted; shapes inferred.
    Call: in place; nodes with outputs known in full become initialisers of the same names, and a Reshape to a shape
        known but for the batch and one other extent gets a constant shape.
    Ensures: no operator reads a shape, an amount or an index from a computation that could be done beforehand.

    Returns:
        Whether anything changed, so that shapes may be worth another inference.
    """
    contents = _constants(model)
    changed = False
    shapes = NodeShapes(model)
    for node in list(model.graph):
        shapes.follow(node, contents)
        found = _outputs(node, contents)
        if found is not None:
            contents.update(zip(node.outputs, found, strict=False))
            known = [settled(a) if a.dtype == object else a for a in found]
            if all(a is not None for a in known) and not any(o.is_graph_output() for o in node.outputs):
                tensors = [ir.tensor(_typed(a, o)) for a, o in zip(known, node.outputs, strict=True) if a is not None]
                replaced = dict(zip((o.name for o in node.outputs), found, strict=True))
                replace_by_constant(node, *tensors)
                for name, array in replaced.items():
                    if name is not None and name in model.graph.initializers:
                        contents[model.graph.initializers[name]] = array
                        shapes.tell(model.graph.initializers[name])
                changed = True
        elif node.op_type == "Reshape" and _settle_reshape(model.graph, node, contents):
            shapes.tell(node.inputs[1])
            shapes.follow(node, contents)
            changed = True
    return changed | _remove_dead(model.graph)


def follow_shapes(model: ir.Model) -> None:
    """Names open extents by what shape computations say of them.

    Requires: constants lifted; shapes inferred.
    Call: changes no node; shapes of values become more precise.
    Ensures: behind a Reshape or an Expand to extents computed from another tensor's the same names stand as there.
    """
    contents = _constants(model)
    shapes = NodeShapes(model)
    for node in model.graph:
        shapes.follow(node, contents)
        contents.update(zip(node.outputs, _outputs(node, contents) or (), strict=False))


def _constants(model: ir.Model) -> dict[ir.Value, Array]:
    """The small initialisers."""
    tensors = {value: value.const_value for value in model.graph.initializers.values()}
    return {value: tensor.numpy() for value, tensor in tensors.items() if tensor is not None and _small(tensor)}


def _small(tensor: ir.TensorProtocol) -> bool:
    if tensor.dtype in _INTEGERS:
        return tensor.size <= _INTEGER_ELEMENTS
    return tensor.dtype in _FLOATS and tensor.size <= _FLOAT_ELEMENTS


def _within(array: Array) -> bool:
    return array.size <= (_FLOAT_ELEMENTS if array.dtype.kind == "f" else _INTEGER_ELEMENTS)


def _typed(array: Array, output: ir.Value) -> Array:
    wanted = output.dtype.numpy() if output.dtype is not None else array.dtype
    return np.asarray(array.astype(wanted), order="C")


def _outputs(node: ir.Node, contents: dict[ir.Value, Array]) -> tuple[Array, ...] | None:
    """What a node gives, where that is small and can be told."""
    if node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type in ("Shape", "Size"):
        return _extents(node)
    if node.op_type not in EVALUABLE or any(v is not None and v not in contents for v in node.inputs):
        return None
    if not any(v is not None for v in node.inputs):
        return None
    # The result may be much larger than what it is made from.
    shape = dims_of(node.outputs[0])
    if node.op_type in ("Expand", "ConstantOfShape", "Range") and (
        shape is None
        or not all(isinstance(d, int) for d in shape)
        or np.prod([d for d in shape if isinstance(d, int)]) > 1024
    ):
        return None
    attributes = {**attributes_of(node), "outputs": len(node.outputs)}
    try:
        found = evaluate(node.op_type, attributes, [contents[v] if v is not None else None for v in node.inputs])
    except UnevaluableError:
        return None
    return found if len(found) == len(node.outputs) and all(_within(a) for a in found) else None


def _extents(node: ir.Node) -> tuple[Array, ...] | None:
    source = node.inputs[0]
    dims = dims_of(source) if source is not None else None
    if dims is None:
        return None
    found = np.array([d if isinstance(d, int) else Unknown(d) for d in dims], dtype=object).reshape(len(dims))
    if node.op_type == "Size":
        known = settled(found)
        return None if known is None else (np.asarray(np.prod(known), dtype=np.int64),)
    attributes = attributes_of(node)
    start, end = attributes.get("start", 0), attributes.get("end")
    assert isinstance(start, int)
    assert end is None or isinstance(end, int)
    found = found[start:end]
    known = settled(found)
    return (found if known is None else known,)


def _settle_reshape(graph: ir.Graph, node: ir.Node, contents: dict[ir.Value, Array]) -> bool:
    data, shape = node.inputs[0], node.inputs[1]
    wanted = contents.get(shape) if shape is not None else None
    if data is None or wanted is None or wanted.dtype != object or attributes_of(node).get("allowzero", 0):
        return False
    dims = dims_of(data) or ()
    settled_dims: list[int] = []
    for i, extent in enumerate(wanted):
        if not isinstance(extent, Unknown):
            settled_dims.append(int(extent))
        elif extent.name is not None and i < len(dims) and dims[i] == extent.name:
            settled_dims.append(0)
        else:
            settled_dims.append(-1)
    if settled_dims.count(-1) > 1:
        return False
    node.replace_input_with(1, new_constant(graph, f"{node.outputs[0].name}.shape", np.array(settled_dims, np.int64)))
    return True


def new_constant(graph: ir.Graph, name: str, array: Array) -> ir.Value:
    """An initialiser under ``name``, or a name like it where that is taken."""
    taken = {v.name for v in graph.inputs} | set(graph.initializers) | {o.name for n in graph for o in n.outputs}
    fresh, count = name, 1
    while fresh in taken:
        fresh, count = f"{name}.{count}", count + 1
    tensor = ir.tensor(array, name=fresh)
    value = ir.Value(name=fresh, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def _remove_dead(graph: ir.Graph) -> bool:
    removed = False
    for node in reversed(list(graph)):
        if node.op_type in EVALUABLE | {"Shape", "Size"} and not any(
            o.uses() or o.is_graph_output() for o in node.outputs
        ):
            graph.remove(node, safe=True)
            removed = True
    return removed

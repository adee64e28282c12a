"""Shapes: what onnx's inference says of every value, with the file's own word only where inference is silent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnx.numpy_helper
import onnx_ir as ir

from unpool.graph.containers import is_container
from unpool.graph.model import Dim
from unpool.graph.passes.foreign_shapes import as_standard

# Above so many bytes an initialiser matters by its shape only: shapes, amounts and indices are far below, scales
# further still.
_DATA_BYTES = 8192
_FLOAT_BYTES = 64
_DECLARED = "unpool.declared"
_NAMELESS = {"", "?", "-1", "None", "none", "unk", "unknown"}


def dims_of(value: ir.Value) -> tuple[Dim, ...] | None:
    """Extents of a value: integers, names, ``None`` where unknown; ``None`` altogether for an unknown rank."""
    if value.shape is None:
        return None
    return tuple(d if isinstance(d, int) else (d.value if isinstance(d.value, str) else None) for d in value.shape)


def declared_dims(value: ir.Value) -> tuple[Dim, ...] | None:
    """Extents of an output in the file's own words, which inference may have lost; of anything else as they are."""
    declared: tuple[Dim, ...] | None = value.meta.get(_DECLARED)
    return dims_of(value) if declared is None else declared


def declare_dims(value: ir.Value, dims: Sequence[Dim] | None) -> None:
    """Keeps what is said of an output's extents, for `declared_dims`."""
    value.meta[_DECLARED] = None if dims is None else tuple(dims)


def name_input_dims(model: ir.Model) -> None:
    """Gives every open extent of an input a name of its own.

    Requires: nothing.
    Call: in place. Exporters write -1, "?" or nothing, and some write "?" twice for two different extents.
    Ensures: each extent of an input is a natural number or a name, and a name means one extent; what the file says of
        its outputs is kept, for `declared_dims`.
    """
    for value in model.graph.outputs:
        declare_dims(value, dims_of(value))
    for value in model.graph.inputs:
        if value.shape is None:
            continue
        dims: list[int | str] = []
        for axis, dim in enumerate(dims_of(value) or ()):
            if (isinstance(dim, int) and dim >= 0) or (isinstance(dim, str) and dim not in _NAMELESS):
                dims.append(dim)
            else:
                dims.append(f"{value.name}.{axis}")
        value.shape = ir.Shape(dims)


def infer_shapes(model: ir.Model, *, forget: bool) -> None:
    """Infers dtype and shape of every value.

    Requires: functions inlined; input extents named.
    Call: in place. ``forget`` drops what the file or an earlier inference said of intermediate values and outputs,
        and takes it up again only for values that inference leaves without a rank.
    Ensures: every value that onnx can infer carries its shape, and every sequence and optional value its type and no
        shape. Weights are neither read nor copied.
    """
    graph = model.graph
    own = set(graph.inputs) | set(graph.initializers.values())
    values = [v for node in graph for v in node.outputs if v not in own]
    said = {v: v.shape for v in values}
    if forget:
        for value in values:
            value.shape = None
    inferred = _inferred(_stripped(model))
    found = {info.name: info for info in (*inferred.graph.value_info, *inferred.graph.output)}
    for value in values:
        info = found.get(value.name or "")
        if info is not None and info.type.WhichOneof("value") in ("sequence_type", "optional_type"):
            value.type = ir.serde.deserialize_type_proto_for_type(info.type)
        if is_container(value):  # what its elements have in common is not its own
            value.shape = None
            continue
        if info is not None and info.type.HasField("tensor_type"):
            kind = info.type.tensor_type
            if kind.elem_type and value.dtype is None:
                value.dtype = ir.DataType(kind.elem_type)
            if kind.HasField("shape"):
                value.shape = ir.Shape([dim_of(d) for d in kind.shape.dim])
        if value.shape is None:
            value.shape = said[value]


def _inferred(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with what onnx infers, its pools and resizings counted as they run.

    Onnx counts a last window of ``ceil_mode`` that begins behind the input; the specification and every runtime drop
    it. Such a pool is told its count by pads instead, and everything behind it is inferred anew. Where a scale is a
    broken ratio, onnx may come out one below the extent that float32 gives; such a resizing is told a scale between.
    """
    while True:
        try:
            found = onnx.shape_inference.infer_shapes(proto, check_type=False, strict_mode=False, data_prop=True)
        except Exception:
            return proto
        values = (*found.graph.input, *found.graph.value_info, *found.graph.output)
        extents = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
        if not any(_told_by_pads(n, extents) or _told_by_scales(proto, n, extents) for n in proto.graph.node):
            return found


def _told_by_pads(node: onnx.NodeProto, extents: dict[str, list[int]]) -> bool:
    """Rewrites one pool where its last window begins behind the input; says whether it did."""
    if node.op_type not in ("MaxPool", "AveragePool", "LpPool") or node.domain not in ("", "ai.onnx"):
        return False
    given = {a.name: a for a in node.attribute}
    plane = extents.get(node.input[0], [])[2:]
    padded = given["auto_pad"].s if "auto_pad" in given else b"NOTSET"
    if "ceil_mode" not in given or not given["ceil_mode"].i or padded != b"NOTSET" or not plane or not all(plane):
        return False
    rank = len(plane)
    kernel = given["kernel_shape"].ints
    strides = given["strides"].ints if "strides" in given else [1] * rank
    dilations = given["dilations"].ints if "dilations" in given else [1] * rank
    pads = list(given["pads"].ints) if "pads" in given else [0] * 2 * rank
    changed = list(pads)
    dropped = False
    for i, extent in enumerate(plane):
        span = (kernel[i] - 1) * dilations[i] + 1
        room = extent + pads[i] + pads[rank + i] - span
        count = -(-room // strides[i]) + 1
        if (count - 1) * strides[i] >= extent + pads[i]:
            dropped = True  # rounding down drops it
        else:
            changed[rank + i] += (count - 1) * strides[i] - room
    if not dropped:
        return False
    kept = [a for a in node.attribute if a.name not in ("ceil_mode", "pads")]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute("pads", changed)])
    return True


def _told_by_scales(proto: onnx.ModelProto, node: onnx.NodeProto, extents: dict[str, list[int]]) -> bool:
    """Rewrites one resizing where its extents are inferred as float32 does not give them; says whether it did."""
    if node.op_type not in ("Resize", "Upsample") or node.domain not in ("", "ai.onnx") or len(node.input) in (1, 4):
        return False
    given = {a.name: a for a in node.attribute}
    tensors = [onnx.numpy_helper.to_array(t) for t in proto.graph.initializer if t.name == node.input[-1]]
    before, after = extents.get(node.input[0], []), extents.get(node.output[0], [])
    if not tensors or len(before) != len(after):
        return False
    scales = tensors[0].astype(np.float32)
    axes = [a % len(before) for a in given["axes"].ints] if "axes" in given else list(range(len(before)))
    changed = scales.copy()
    for i, axis in enumerate(axes[: len(scales)]):
        wanted = int(np.float32(before[axis]) * scales[i])
        if before[axis] and after[axis] != wanted:
            changed[i] = (wanted + 0.5) / before[axis]
    if (changed == scales).all():
        return False
    name = f"{node.output[0]}.scales"
    proto.graph.initializer.append(onnx.numpy_helper.from_array(changed, name))
    node.input[-1] = name
    for value in [v for v in proto.graph.value_info if v.name == node.output[0]]:
        proto.graph.value_info.remove(value)
    return True


def dim_of(dim: onnx.TensorShapeProto.Dimension) -> Dim:
    """An extent as onnx writes it."""
    if dim.HasField("dim_value"):
        return dim.dim_value if dim.dim_value >= 0 else None
    return dim.dim_param or None if dim.HasField("dim_param") else None


def _stripped(model: ir.Model) -> onnx.ModelProto:
    """The model without the data of its weights: large initialisers become inputs."""
    graph = model.graph
    proto = onnx.ModelProto()
    proto.ir_version = max(model.ir_version, 4)
    for domain, version in model.opset_imports.items():
        proto.opset_import.add(domain=domain, version=version)
    proto.graph.name = "shapes"
    for value in graph.inputs:
        if value.name not in graph.initializers:
            ir.serde.serialize_value_into(proto.graph.input.add(), value)
    for value in graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and tensor.nbytes <= (_FLOAT_BYTES if tensor.dtype is ir.DataType.FLOAT else _DATA_BYTES):
            data = proto.graph.initializer.add()
            ir.serde.serialize_tensor_into(data, tensor)
            data.name = value.name or ""
        elif tensor is not None:
            info = proto.graph.input.add(name=value.name or "")
            info.type.tensor_type.elem_type = tensor.dtype.value
            info.type.tensor_type.shape.SetInParent()
            for extent in tensor.shape.numpy():
                info.type.tensor_type.shape.dim.add(dim_value=extent)
    for node in graph:
        ir.serde.serialize_node_into(call := onnx.NodeProto(), node)
        proto.graph.node.extend(as_standard(call))
        for value in node.outputs:
            if value.name and value.shape is not None and value.dtype is not None and not value.is_graph_output():
                ir.serde.serialize_value_into(proto.graph.value_info.add(), value)
    for value in graph.outputs:
        ir.serde.serialize_value_into(proto.graph.output.add(), value)
    return proto

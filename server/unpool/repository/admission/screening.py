"""Screening: what a parsed file says before anything interprets it, against limits that need no interpretation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import onnx

from unpool.graph.errors import ModelError
from unpool.graph.external import external_files, graphs_of, is_external, tensors_of
from unpool.graph.model import Graph
from unpool.graph.validation import DOMAINS
from unpool.repository.admission.limits import Limits

_Functions: TypeAlias = Mapping[tuple[str, str], onnx.FunctionProto]
# They carry code or files for accelerators, which nothing here could look into.
_CARRIERS = frozenset({"EPContext", "PyOp", "PyOpFusion", "Snpe"})
_CONTAINED: dict[int, Literal["t", "g", "sparse_tensor"]] = {
    onnx.AttributeProto.TENSOR: "t",
    onnx.AttributeProto.GRAPH: "g",
    onnx.AttributeProto.SPARSE_TENSOR: "sparse_tensor",
}
_ORT_MAGIC = b"ORTM"
_BITS_BY_NAME = {
    **dict.fromkeys(("COMPLEX128",), 128),
    **dict.fromkeys(("INT64", "UINT64", "DOUBLE", "COMPLEX64"), 64),
    **dict.fromkeys(("INT32", "UINT32", "FLOAT"), 32),
    **dict.fromkeys(("INT16", "UINT16", "FLOAT16", "BFLOAT16"), 16),
    **dict.fromkeys(("INT8", "UINT8", "BOOL", "FLOAT8E8M0"), 8),
    **dict.fromkeys(("FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ"), 8),
    **dict.fromkeys(("INT4", "UINT4", "FLOAT4E2M1"), 4),
    **dict.fromkeys(("INT2", "UINT2"), 2),
}
_BITS: dict[int, int] = {
    number: _BITS_BY_NAME[name] for name, number in onnx.TensorProto.DataType.items() if name in _BITS_BY_NAME
}
_FIELD_TYPES = {
    "float_data": ("FLOAT", "COMPLEX64"),
    "double_data": ("DOUBLE", "COMPLEX128"),
    "int64_data": ("INT64",),
    "uint64_data": ("UINT32", "UINT64"),
}
# Of the typed lists, the one that holds an element type; what is not named here is in int32_data.
_FIELDS: dict[int, str] = {
    onnx.TensorProto.DataType.Value(name): field for field, names in _FIELD_TYPES.items() for name in names
}
# Numbers of one element in the typed lists: complex numbers come in two.
_PER_ELEMENT: dict[int, int] = {onnx.TensorProto.COMPLEX64: 2, onnx.TensorProto.COMPLEX128: 2}
_COPIED_BYTES = 1 << 20


def check_file(file: Path, limits: Limits) -> None:
    """Refuses a file by its size and its first bytes.

    Raises:
        ModelError: no regular file, too large, or in ONNX Runtime's own format.
    """
    if not file.is_file():
        raise ModelError("the model file is not there, or is no regular file")
    size = file.stat().st_size
    if size > limits.file_bytes:
        raise ModelError(
            f"the model file has {size} bytes, above the limit of {limits.file_bytes}; keep weights in external data"
        )
    with file.open("rb") as stream:
        head = stream.read(8)
    if head[4:] == _ORT_MAGIC or file.suffix == ".ort":
        raise ModelError("the file is in ONNX Runtime's own format (.ort), which is not served; give the ONNX file")


def screen(model: onnx.ModelProto, folder: Path | None, limits: Limits) -> None:
    """Refuses a parsed file by what it declares; none of its weights is touched.

    Args:
        model: the file.
        folder: where it lies.
        limits: how much it may declare.

    Raises:
        ModelError: too many nodes or tensors, foreign operators, absurd extents, tensors whose data does not fit their
            extents, or external data outside the model's folder.
    """
    own = {(function.domain, function.name): function for function in model.functions}
    if _inlined(model.graph.node, own, {}) > limits.nodes:
        raise ModelError(f"the model has more than {limits.nodes} nodes, its functions inlined; that is the most")
    for nodes, graph in graphs_of(model):
        for node in nodes:
            _check_operator(node, own)
        if graph is not None:
            for value in (*graph.input, *graph.output, *graph.value_info):
                if value.type.HasField("tensor_type"):
                    _check_extents("value", value.name, _declared(value.type.tensor_type.shape), limits)
    size = sum(file.stat().st_size for file in external_files(model, folder))
    if size > limits.external_bytes:
        raise ModelError(f"the external data has {size} bytes, above the limit of {limits.external_bytes}")
    for index, tensor in enumerate(tensors_of(model)):
        if index >= limits.tensors:
            raise ModelError(f"the model has more than {limits.tensors} tensors, the most that are served")
        _check_tensor(tensor, limits)


def check_inferred(graph: Graph, limits: Limits) -> None:
    """Refuses a model one of whose tensors would be absurdly large by the shapes that were inferred.

    Raises:
        ModelError: names the tensor.
    """
    for name, value in graph.values.items():
        _check_extents("tensor", name, [d for d in value.shape or () if isinstance(d, int)], limits)
    for name, constant in graph.constants.items():
        _check_extents("constant", name, constant.shape, limits)


def _inlined(nodes: Iterable[onnx.NodeProto], own: _Functions, counted: dict[tuple[str, str], int | None]) -> int:
    """How many nodes there are once every call of a function of the model's own is its body: exponentially many."""
    total = 0
    for node in nodes:
        key = (node.domain, node.op_type)
        for attribute in node.attribute:
            graphs = [attribute.g, *attribute.graphs] if attribute.HasField("g") else attribute.graphs
            total += sum(_inlined(graph.node, own, counted) for graph in graphs)
        if key not in own:
            total += 1
            continue
        if key not in counted:
            counted[key] = None  # being counted
            counted[key] = _inlined(own[key].node, own, counted)
        below = counted[key]
        if below is None:
            raise ModelError(f"the model's function {node.domain}.{node.op_type} calls itself")
        total += 1 + below
    return total


def _check_operator(node: onnx.NodeProto, own: _Functions) -> None:
    name = node.name or (node.output[0] if node.output else "")
    for attribute in node.attribute:
        field = _CONTAINED.get(attribute.type)
        if field is not None and not attribute.HasField(field) and not attribute.ref_attr_name:
            raise ModelError(f"{node.op_type} node '{name}': the attribute '{attribute.name}' is empty", node=name)
    if (node.domain, node.op_type) in own:
        return
    if node.domain not in DOMAINS:
        raise ModelError(
            f"{node.domain}.{node.op_type} node '{name}' belongs to the operator domain '{node.domain}', which is not"
            " served; those of ai.onnx, ai.onnx.ml and com.microsoft are, and functions that the model itself defines",
            node=name,
        )
    if node.op_type in _CARRIERS and node.domain:
        raise ModelError(
            f"{node.domain}.{node.op_type} node '{name}' carries code for an accelerator; give the model before it was"
            " compiled",
            node=name,
        )


def _declared(shape: onnx.TensorShapeProto) -> list[int]:
    return [d.dim_value for d in shape.dim if d.HasField("dim_value") and d.dim_value > 0]


def _check_extents(what: str, name: str, dims: Iterable[int], limits: Limits) -> None:
    found = list(dims)
    if any(d > limits.extent for d in found) or math.prod(found) > limits.elements:
        written = " x ".join(map(str, found[:8]))
        raise ModelError(f"{what} '{name}' is declared with {written} elements; at most {limits.elements} are served")


def _check_tensor(tensor: onnx.TensorProto, limits: Limits) -> None:
    dims: Sequence[int] = tensor.dims
    if any(d < 0 for d in dims):
        raise ModelError(f"tensor '{tensor.name}' has a negative extent")
    _check_extents("tensor", tensor.name, dims, limits)
    count = math.prod(dims)
    if tensor.data_type == onnx.TensorProto.STRING:
        if len(tensor.string_data) != count:
            raise ModelError(f"tensor '{tensor.name}' has {len(tensor.string_data)} strings for {count} elements")
        return
    bits = _BITS.get(tensor.data_type)
    if bits is None:
        raise ModelError(f"tensor '{tensor.name}' has the element type {tensor.data_type}, which is not served")
    needed = -(-count * bits // 8)
    if is_external(tensor):
        given = next((int(e.value) for e in tensor.external_data if e.key == "length"), needed)
        if given != needed:
            raise ModelError(
                f"tensor '{tensor.name}' has {given} bytes of external data for {needed} bytes of elements"
            )
    elif tensor.HasField("raw_data"):
        # Looking at the bytes copies them; of a large tensor whoever reads its numbers finds out.
        if needed <= _COPIED_BYTES and len(tensor.raw_data) != needed:
            raise ModelError(f"tensor '{tensor.name}' has {len(tensor.raw_data)} bytes for {needed} bytes of elements")
    else:
        field = _FIELDS.get(tensor.data_type, "int32_data")
        lengths = {name: len(getattr(tensor, name)) for name in (*_FIELD_TYPES, "int32_data")}
        listed = lengths.pop(field)
        if any(lengths.values()):
            raise ModelError(f"tensor '{tensor.name}' has its elements in a list of another type")
        wanted = -(-count * bits // 8) if bits < 8 else count * _PER_ELEMENT.get(tensor.data_type, 1)
        if listed not in (wanted, count):
            raise ModelError(f"tensor '{tensor.name}' has {listed} numbers for {count} elements")

"""Soundness: what a parsed file must hold for anything to interpret it; refused by node or tensor."""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from unpool.graph.errors import ModelError
from unpool.graph.external import graphs_of, tensors_of

_RANK = 64
"""The most axes that NumPy knows."""
_TYPES = frozenset(onnx.TensorProto.DataType.values()) - {onnx.TensorProto.UNDEFINED}
_SPARSE = (onnx.AttributeProto.SPARSE_TENSOR, onnx.AttributeProto.SPARSE_TENSORS)
_CONSTANTS = {
    "value": onnx.AttributeProto.TENSOR,
    "value_float": onnx.AttributeProto.FLOAT,
    "value_floats": onnx.AttributeProto.FLOATS,
    "value_int": onnx.AttributeProto.INT,
    "value_ints": onnx.AttributeProto.INTS,
    "value_string": onnx.AttributeProto.STRING,
    "value_strings": onnx.AttributeProto.STRINGS,
}


def check_sound(model: onnx.ModelProto) -> None:
    """Refuses a file that no reader could make sense of.

    Args:
        model: as it was parsed.

    Raises:
        ModelError: names that are no text, a value that is made twice or, in a function, never, an attribute without a
            type, a Constant without a value, sparse tensors, unknown element types, more axes than an array may have;
            names the node.
    """
    _check_text((i.domain for i in model.opset_import), "the domain of an operator set")
    for nodes, graph in graphs_of(model):
        if graph is not None:
            _check_graph(graph)
        _check_nodes(nodes, graph)
    for function in model.functions:
        _check_text((function.name, function.domain, *function.input, *function.output), "a function")
        _check_text((i.domain for i in function.opset_import), "the domain of a function's operator set")
        _check_function(function)
    for tensor in tensors_of(model):
        if len(tensor.dims) > _RANK:
            raise ModelError(f"tensor '{tensor.name}' has {len(tensor.dims)} axes; {_RANK} are the most")


def _check_graph(graph: onnx.GraphProto) -> None:
    _check_text([graph.name], "a graph")
    _check_text([t.name for t in graph.initializer], "a tensor")
    if graph.sparse_initializer:
        name = graph.sparse_initializer[0].values.name
        raise ModelError(f"tensor '{name}' is sparse, which is not served; export it as a dense one")
    for value in (*graph.input, *graph.output, *graph.value_info):
        _check_text([value.name, *(d.dim_param for d in value.type.tensor_type.shape.dim)], "a value")
        if value.type.HasField("tensor_type"):
            kind = value.type.tensor_type
            if kind.elem_type and kind.elem_type not in _TYPES:
                raise ModelError(
                    f"value '{value.name}' has the element type {kind.elem_type}, which ONNX does not have"
                )
            if len(kind.shape.dim) > _RANK:
                raise ModelError(f"value '{value.name}' has {len(kind.shape.dim)} axes; {_RANK} are the most")


def _check_function(function: onnx.FunctionProto) -> None:
    named = f"the model's function {function.domain}.{function.name}"
    made = {output for node in function.node for output in node.output}
    if twice := sorted(made & set(function.input)):
        raise ModelError(f"{named} makes '{twice[0]}', which is an input of it as well")
    made |= set(function.input)
    read = {i for node in function.node for i in node.input if i} | set(function.output)
    if missing := sorted(read - made):
        raise ModelError(f"{named} reads or gives '{missing[0]}', which nothing in it makes")


def _check_nodes(nodes: Iterable[onnx.NodeProto], graph: onnx.GraphProto | None) -> None:
    made: dict[str, str] = {v.name: "as an input" for v in graph.input} if graph is not None else {}
    made.update({t.name: "as a tensor of the file" for t in graph.initializer} if graph is not None else {})
    for node in nodes:
        _check_text((node.name, node.op_type, node.domain, *node.input, *node.output), "a node")
        name = node.name or next((o for o in node.output if o), "")
        named = f"{node.op_type} node '{name}'"
        for output in node.output:
            if output and output in made:
                raise ModelError(f"{named} makes '{output}', which is there already, {made[output]}", node=name)
            made[output] = f"from {named}"
        for attribute in node.attribute:
            _check_text([attribute.name], "an attribute")
            if attribute.type == onnx.AttributeProto.UNDEFINED and not attribute.ref_attr_name:
                raise ModelError(f"{named}: the attribute '{attribute.name}' has no type", node=name)
            if attribute.type in _SPARSE or attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
                raise ModelError(f"{named} holds a sparse tensor, which is not served; export a dense one", node=name)
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
            _check_constant(node, named, name)


def _check_constant(node: onnx.NodeProto, named: str, name: str) -> None:
    if len(node.attribute) != 1 or node.attribute[0].name not in _CONSTANTS:
        held = ", ".join(f"'{a.name}'" for a in node.attribute) or "none"
        raise ModelError(f"{named} has one attribute of {', '.join(_CONSTANTS)}; this has {held}", node=name)
    attribute = node.attribute[0]
    wanted = _CONSTANTS[attribute.name]
    if attribute.type != wanted and not attribute.ref_attr_name:
        types = onnx.AttributeProto.AttributeType
        given = types.Name(attribute.type) if attribute.type in types.values() else str(attribute.type)
        raise ModelError(f"{named}: '{attribute.name}' is of type {types.Name(wanted)}, not {given}", node=name)


def _check_text(names: Iterable[object], what: str) -> None:
    # Protobuf gives what is no UTF-8 as bytes.
    for name in names:
        if not isinstance(name, str):
            raise ModelError(f"the name {name!r} of {what} is no text in UTF-8")

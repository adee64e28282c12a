"""Constants: one form for every value that is fixed in the file, the initialiser."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass, RemoveInitializersFromInputsPass

# From IR version 4 on an initialiser need not be an input as well.
_INITIALIZERS_APART = 4


def lift_constants(model: ir.Model) -> None:
    """Turns Constant nodes, and Identity nodes of constants, into initialisers, and takes initialisers off the inputs.

    Requires: functions inlined.
    Call: in place; tensors are shared, not copied.
    Ensures: what has to be fed is ``graph.inputs``; no Constant node is left but one that is an output of the model;
        names survive.
    """
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    for node in model.graph:
        if node.op_type == "Identity" and not node.domain and not node.outputs[0].is_graph_output():
            source = node.inputs[0]
            if source is not None and source.is_initializer() and source.const_value is not None:
                replace_by_constant(node, source.const_value)
    RemoveInitializersFromInputsPass()(model)
    model.ir_version = max(model.ir_version or 0, _INITIALIZERS_APART)


def replace_by_constant(node: ir.Node, *tensors: ir.TensorProtocol) -> None:
    """Removes a node whose outputs are fixed, and puts initialisers of the same names in their place."""
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    for output, tensor in zip(node.outputs, tensors, strict=True):
        if not output.name or not output.uses():
            continue
        initializer = ir.Value(
            name=output.name, shape=ir.Shape(tensor.shape.numpy()), type=ir.TensorType(tensor.dtype), const_value=tensor
        )
        output.replace_all_uses_with(initializer)
        graph.register_initializer(initializer)
    graph.remove(node, safe=True)


def remove_unused_initializers(model: ir.Model) -> None:
    """Drops initialisers that nobody reads, neither a node, nor a subgraph, nor an output.

    Requires: nothing.
    Call: in place.
    Ensures: every initialiser of the main graph is used.
    """
    graph = model.graph
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]

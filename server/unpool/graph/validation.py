"""What is refused: models that cannot be served, with the node that is at fault."""

from __future__ import annotations

from collections.abc import Sequence, Set

import onnx
import onnx_ir as ir

from unpool.graph.attributes import attributes_of
from unpool.graph.containers import is_container
from unpool.graph.errors import ModelError
from unpool.graph.stages import described

OLDEST_OPSET = 7
_UNNAMED_OPSET = 17
DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
"""Operator domains that ONNX Runtime's own build serves."""
_OF_THE_RUNTIME = frozenset({"LayerNormalization", "SimplifiedLayerNormalization"})
"""Operators that ONNX Runtime keeps in the standard's domain at any opset, and that its own optimiser writes."""


def check_model(model: ir.Model) -> None:
    """Refuses what cannot be served.

    Args:
        model: read from a file, functions inlined.

    Raises:
        ModelError: names the node where one is at fault.
    """
    graph = model.graph
    version = model.opset_imports.get("", model.opset_imports.get("ai.onnx"))
    if version is None and all(node.domain not in ("", "ai.onnx") for node in graph):
        # What stands alone, such as a tree of ai.onnx.ml, need not name the version of operators that it does without.
        version = model.opset_imports[""] = _UNNAMED_OPSET
    if version is None:
        raise ModelError("the model imports no version of the ai.onnx operators")
    if version < OLDEST_OPSET:
        raise ModelError(f"the model is written for opset {version}; {OLDEST_OPSET} is the oldest that is served")
    if version > onnx.defs.onnx_opset_version():
        newest = onnx.defs.onnx_opset_version()
        raise ModelError(f"the model is written for opset {version}; {newest} is the newest that is known here")
    if not any(v.name not in graph.initializers for v in graph.inputs):
        raise ModelError("the model has no inputs")
    if not graph.outputs:
        raise ModelError("the model has no outputs")
    for what, values in (("input", graph.inputs), ("output", graph.outputs)):
        for value in values:
            if value.type is not None and not isinstance(value.type, ir.TensorType):
                raise ModelError(f"{what} '{value.name}' is no tensor but {value.type}; only tensors are served")
    fed = _fed(graph)
    for node in graph:
        _check_node(node, version, fed)
    _check_wiring(graph, ())


def check_outputs(model: ir.Model) -> None:
    """Refuses an output of which only inference tells that it is no tensor.

    Args:
        model: shapes inferred.

    Raises:
        ModelError: names the output.
    """
    for value in model.graph.outputs:
        if is_container(value):
            raise ModelError(f"output '{value.name}' is no tensor but {value.type}; only tensors are served")


def _fed(graph: ir.Graph) -> set[ir.Value]:
    """What is computed from an input, in a graph of any order."""
    fed: set[ir.Value] = set()
    waiting = [v for v in graph.inputs if v.name not in graph.initializers]
    while waiting:
        value = waiting.pop()
        if value not in fed:
            fed.add(value)
            waiting += [o for use in value.uses() for o in use.node.outputs]
    return fed


def _check_node(node: ir.Node, version: int, fed: Set[ir.Value]) -> None:
    name = node.name or (node.outputs[0].name if node.outputs else None)
    if node.domain not in DOMAINS:
        raise ModelError(
            f"{described(node)} belongs to the operator domain '{node.domain}', which is not served; those of ai.onnx,"
            " ai.onnx.ml and com.microsoft are, and functions that the model itself defines",
            node=name,
        )
    standard = node.domain in ("", "ai.onnx") and node.op_type not in _OF_THE_RUNTIME
    if standard and not onnx.defs.has(node.op_type, max_inclusive_version=version):
        raise ModelError(f"{described(node)}: opset {version} of ai.onnx has no such operator", node=name)
    training = attributes_of(node).get("training_mode", 0) if node.op_type == "BatchNormalization" else 0
    # Weights may be standardised by it; there it says the same in training and in inference.
    training = training if node.inputs and node.inputs[0] in fed else 0
    if node.op_type == "Dropout" and len(node.inputs) > 2 and node.inputs[2] is not None:
        flag = node.inputs[2].const_value
        training = bool(flag.numpy().any()) if flag is not None and flag.size == 1 else 0
    if training:
        raise ModelError(f"{described(node)} is in training mode; export the model for inference", node=name)


def _check_wiring(graph: ir.Graph, around: tuple[Set[ir.Value], ...]) -> None:
    """Refuses a node that reads, or an output that is, what neither the graph nor one around it makes."""
    made = {*graph.inputs, *graph.initializers.values(), *(o for node in graph for o in node.outputs)}
    known = (made, *around)
    for node in graph:
        for value in node.inputs:
            if value is not None and not any(value in values for values in known):
                name = node.name or None
                raise ModelError(f"{described(node)} reads '{value.name}', which nothing in the model makes", node=name)
        for attribute in node.attributes.values():
            for inner in _graphs_of(attribute):
                _check_wiring(inner, known)
    for value in graph.outputs:
        if not any(value in values for values in known):
            where = f" of the graph '{graph.name}'" if around else ""
            raise ModelError(f"output '{value.name}'{where} is made by no node of the model")


def _graphs_of(attribute: ir.Attr) -> Sequence[ir.Graph]:
    if attribute.is_ref():
        return ()
    if attribute.type is ir.AttributeType.GRAPH:
        return (attribute.as_graph(),)
    return attribute.as_graphs() if attribute.type is ir.AttributeType.GRAPHS else ()

"""Loops: the condition inside a body has the rank of the one that is given from outside."""

from __future__ import annotations

import onnx_ir as ir

_CONDITION = 1


def agree_on_conditions(model: ir.Model) -> None:
    """Gives the condition that a Loop's body takes the extents of the condition that the Loop is given.

    Requires: shapes inferred.
    Call: in place. tf2onnx declares a scalar inside where one element on one axis comes from outside. ONNX Runtime
        takes that from a file that says nothing else about the one outside, and refuses it once inference is right.
    Ensures: where both are known, they have one rank.
    """
    for node in model.graph:
        if node.op_type != "Loop" or node.domain not in ("", "ai.onnx") or len(node.inputs) <= _CONDITION:
            continue
        given, body = node.inputs[_CONDITION], node.attributes.get("body")
        if given is None or given.shape is None or body is None or body.type is not ir.AttributeType.GRAPH:
            continue
        inputs = body.as_graph().inputs
        taken = inputs[_CONDITION] if len(inputs) > _CONDITION else None
        if taken is not None and taken.shape is not None and taken.shape.rank() != given.shape.rank():
            taken.shape = given.shape.copy()

"""Inlining: calls of model-local functions become their bodies."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from unpool.graph.errors import ModelError


def inline_functions(model: ir.Model) -> None:
    """Replaces each call of a model-local function by the function's nodes.

    Requires: functions do not call themselves.
    Call: in place.
    Ensures: ``model.functions`` is empty; inputs and outputs of a call keep their names, values inside get a prefix.

    Raises:
        ModelError: functions that cannot be inlined.
    """
    if not model.functions:
        return
    _check_calls(model.functions)
    for function in model.functions.values():
        for domain, version in function.opset_imports.items():
            of_model = model.opset_imports.get(domain, version)
            if of_model != version:
                raise ModelError(
                    f"the model's function {function.domain}.{function.name} is written for opset {version} of"
                    f" {domain or 'ai.onnx'}, the model for {of_model}; convert both to one version"
                )
    InlinePass()(model)
    model.functions.clear()


def _check_calls(functions: Mapping[ir.OperatorIdentifier, ir.Function]) -> None:
    """Refuses functions that call themselves, also by way of others."""
    calls = {
        key: {n.op_identifier() for n in ir.traversal.RecursiveGraphIterator(f.graph)} & functions.keys()
        for key, f in functions.items()
    }
    while ready := [key for key, called in calls.items() if calls.keys().isdisjoint(called)]:
        for key in ready:
            del calls[key]
    for domain, name, _ in calls:
        raise ModelError(f"the model's function {domain}.{name} calls itself, or one that does")

"""Inlining: calls of model-local functions become their bodies."""

from __future__ import annotations

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
    try:
        InlinePass()(model)
    except Exception as error:
        raise ModelError(f"the model's own functions cannot be inlined: {error.__cause__ or error}") from error
    model.functions.clear()

"""Name the nodes and tensors of an exported graph after the modules that made them.

The exporter calls tensors by the traced operation (`conv2d_12`), which says nothing to a reader of the source. The
names written here follow the older TorchScript exporter: node `/features/28/Conv`, tensor `/features/28/Conv_output_0`.
"""

from __future__ import annotations

import ast

import onnx_ir as ir

_SCOPES = "pkg.torch.onnx.name_scopes"
_PARAMETERS = (".weight", ".bias", ".running_mean", ".running_var")


def name_after_modules(model: ir.Model) -> None:
    """Rename, in place, every node and every inner tensor of `model` that `torch.onnx.export` made.

    Inputs, outputs and initialisers keep their names, so that a caller's `input_names` and `output_names` survive.

    Args:
        model: a model from the exporter; nodes without a recorded module are named after their operator alone.
    """
    kept = {value.name for value in (*model.graph.inputs, *model.graph.outputs)} | set(model.graph.initializers)
    taken: dict[str, int] = {}
    for node in model.graph:
        path = _module_path(node)
        stem = "/".join(["", *path.split("."), node.op_type] if path else ["", node.op_type])
        count = taken.get(stem, 0)
        taken[stem] = count + 1
        node.name = f"{stem}_{count}" if count else stem
        for index, value in enumerate(node.outputs):
            if value.name and value.name not in kept:
                value.name = f"{node.name}_output_{index}"
    for node in model.graph:
        # What the exporter noted of the source (stack traces with the paths of this machine) is no part of a model.
        node.metadata_props.clear()
        node.doc_string = None


def _module_path(node: ir.Node) -> str:
    # A node that the optimiser fused (a convolution with its batch norm) records the last module only; its weight
    # still carries the name of the module that a reader looks for.
    for value in node.inputs[1:]:
        if value is not None and value.name and value.is_initializer():
            for suffix in _PARAMETERS:
                if value.name.endswith(suffix):
                    return value.name.removesuffix(suffix)
    recorded = node.metadata_props.get(_SCOPES)
    if not recorded:
        return ""
    scopes = ast.literal_eval(recorded)
    return str(scopes[-2]) if len(scopes) > 1 else ""

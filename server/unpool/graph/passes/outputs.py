"""Outputs: only tensors of numbers are offered; lists, maps and text beside them stay out of the model."""

from __future__ import annotations

import onnx

from unpool.graph.errors import ModelError


def offer_tensors(model: onnx.ModelProto) -> tuple[str, ...]:
    """Leaves out outputs that hold no tensor of numbers; of maps from label to probability, the probabilities stay.

    Requires: a parsed file.
    Call: in place, before the file is interpreted: there is no word for a list of maps behind it. What only such
        outputs need is left over, unused.
    Ensures: no output is a list, a map, optional, or of strings; no value is said to be a list or a map.

    Returns:
        The names of the outputs left out.

    Raises:
        ModelError: no output would be left.
    """
    graph = model.graph
    left_out = tuple(value.name for value in graph.output if not _holds_numbers(value))
    if not left_out:
        return ()
    zipped = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "ZipMap" and node.input}
    instead = {zipped[name] for name in left_out if name in zipped} - {value.name for value in graph.output}
    graph.output.extend(onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in sorted(instead))
    if len(left_out) == len(graph.output):
        named = ", ".join(f"'{name}'" for name in left_out)
        raise ModelError(f"no output is a tensor of numbers ({named} hold lists, maps or text); export one that is")
    for values in (graph.output, graph.value_info):
        kept = [value for value in values if _holds_numbers(value)]
        del values[:]
        values.extend(kept)
    return left_out


def _holds_numbers(value: onnx.ValueInfoProto) -> bool:
    kind = value.type.WhichOneof("value")
    return kind is None or (kind == "tensor_type" and value.type.tensor_type.elem_type != onnx.TensorProto.STRING)

"""Optional values: where the file tells whether there is one, and which, it is the value itself."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from unpool.graph.containers import is_standard
from unpool.graph.passes.insertion import Insertion

_READERS = ("OptionalGetElement", "OptionalHasElement")


def settle_optionals(model: ir.Model) -> bool:
    """Turns what is read of optional values that are known into the values, and into whether there are any.

    Requires: functions inlined; shapes inferred.
    Call: in place. Optional nodes that nothing reads any more are left to the pass of sequences.
    Ensures: no OptionalHasElement, and no OptionalGetElement that would not fail, reads what an Optional node of the
        main graph makes; outputs keep their names. What branches and loops give stays.

    Returns:
        Whether anything changed.
    """
    graph = model.graph
    if not any(is_standard(n) and n.op_type in _READERS for n in graph):
        return False
    into = Insertion(graph)
    held: dict[ir.Value | None, ir.Value | None] = {}
    changed = False
    for node in list(graph):
        if not is_standard(node) or not node.outputs:
            continue
        source, output = node.inputs[0] if node.inputs else None, node.outputs[0]
        if node.op_type == "Optional":
            held[output] = source
        elif node.op_type == "Identity" and source in held:
            held[output] = held[source]
        elif node.op_type in _READERS and (source in held or not _may_lack(source)):
            content = held.get(source, source)
            if node.op_type == "OptionalHasElement":
                content = into.constant(f"{output.name}.known", np.array(content is not None))
            if content is not None:
                into.replace(node, into.node(node, "Identity", [content]))
                changed = True
    return changed


def _may_lack(value: ir.Value | None) -> bool:
    """Whether only a run tells what an input holds: tensors and sequences are there, and an absent input is not."""
    return value is not None and (value.type is None or isinstance(value.type, ir.OptionalType))

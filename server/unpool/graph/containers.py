"""Containers: values that are no tensors, which are sequences of tensors and optional values."""

from __future__ import annotations

from typing import Final

import onnx_ir as ir

MAKERS: Final = frozenset(
    {
        "Optional",
        "SequenceConstruct",
        "SequenceEmpty",
        "SequenceErase",
        "SequenceInsert",
        "SequenceMap",
        "SplitToSequence",
    }
)
"""Operators that give containers and nothing else."""


def is_standard(node: ir.Node) -> bool:
    """Whether a node's operator is one of ai.onnx."""
    return node.domain in ("", "ai.onnx")


def is_container(value: ir.Value) -> bool:
    """Whether a value holds no tensor, by what makes it or by what was inferred or said of it."""
    node = value.producer()
    if node is not None and is_standard(node) and node.op_type in MAKERS:
        return True
    return isinstance(value.type, ir.SequenceType | ir.OptionalType)

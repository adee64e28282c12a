"""Attributes of an onnx_ir node as plain frozen values."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, cast

import onnx_ir as ir

from unpool.graph.model import Attribute

if TYPE_CHECKING:
    from collections.abc import Mapping

_PLAIN = {ir.AttributeType.INT, ir.AttributeType.FLOAT, ir.AttributeType.STRING}
_LISTS = {ir.AttributeType.INTS, ir.AttributeType.FLOATS, ir.AttributeType.STRINGS}


def attributes_of(node: ir.Node) -> Mapping[str, Attribute]:
    """The node's attributes: scalars as they are, lists as tuples, tensors as NumPy arrays; subgraphs are left out."""
    found: dict[str, Attribute] = {}
    for name, attribute in node.attributes.items():
        if attribute.value is None:
            continue
        if attribute.type in _PLAIN:
            found[name] = attribute.value
        elif attribute.type in _LISTS:
            found[name] = cast("Attribute", tuple(attribute.value))
        elif attribute.type is ir.AttributeType.TENSOR:
            # Attr.as_tensor would check a run-time protocol each time, which takes longer than all else in a pass.
            found[name] = cast("ir.TensorProtocol", attribute.value).numpy()
    return MappingProxyType(found)


def has_subgraphs(node: ir.Node) -> bool:
    """Whether the node carries graphs of its own (If, Loop, Scan)."""
    return any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values())

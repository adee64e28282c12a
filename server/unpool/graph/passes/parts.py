"""Parts of a plane: a Split along it is a Slice for each part, so that each keeps coordinates of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import accumulate
from types import MappingProxyType
from typing import Final

import numpy as np
import onnx_ir as ir

from unpool.graph.model import AxisKind, Constant, Graph, Node
from unpool.graph.weights import Stored

# From this opset on, bounds of Slice are inputs.
_BOUNDS_ARE_INPUTS: Final = 10


def slice_planes(graph: Graph) -> Graph:
    """Turns each Split along a spatial axis into Slices, where the lengths of its parts are known.

    Requires: a frozen graph.
    Call: pure. A node's outputs have their boxes in common, and the parts of a plane have none.
    Ensures: the first Slice has the Split's name; outputs keep theirs.
    """
    nodes: list[Node] = []
    constants: dict[str, Constant] = dict(graph.constants)
    names = {*graph.values, *graph.constants, *(n.name for n in graph.nodes)}
    for node in graph.nodes:
        lengths = _lengths(graph, node)
        if lengths is None:
            nodes.append(node)
            continue
        parts = list(_parts(node, lengths, names))
        nodes += [part for part, _ in parts]
        for _, bounds in parts:
            constants |= bounds
    return replace(graph, nodes=tuple(nodes), constants=MappingProxyType(constants))


def _axis(node: Node) -> int:
    axis = node.attributes.get("axis", 0)
    assert isinstance(axis, int)
    return axis


def _lengths(graph: Graph, node: Node) -> list[int] | None:
    """How long the parts of a plane are; ``None`` for any other node, and where only a run tells."""
    if node.op_type != "Split" or node.domain or not any(node.outputs):
        return None
    value, axis = graph.values.get(node.inputs[0]), _axis(node)
    if value is None or value.shape is None or not -len(value.axes) <= axis < len(value.axes):
        return None
    if value.axes[axis].kind is not AxisKind.SPATIAL:
        return None
    extent, count = value.shape[axis], len(node.outputs)
    given = node.attributes.get("split")
    if len(node.inputs) > 1 and node.inputs[1]:
        constant = graph.constants.get(node.inputs[1])
        given = tuple(constant.numpy().ravel().tolist()) if constant is not None else None
        if given is None:
            return None
    if isinstance(given, tuple):
        found = [int(n) for n in given]
    elif isinstance(extent, int):
        # The last part is the smaller one where the extent does not divide (Split-18).
        each = -(-extent // count)
        found = [each] * (count - 1) + [extent - each * (count - 1)]
    else:
        return None
    fits = not isinstance(extent, int) or sum(found) == extent
    return found if fits and len(found) == count and min(found) >= 0 else None


def _parts(node: Node, lengths: list[int], names: set[str]) -> Iterator[tuple[Node, Mapping[str, Constant]]]:
    """A Slice for each output that is read, and the bounds that it is given."""
    axis = _axis(node)
    first = True
    for output, end, length in zip(node.outputs, accumulate(lengths), lengths, strict=True):
        if not output:
            continue
        name = node.name if first else _free(f"{node.name}.{output}", names)
        first = False
        bounds = {"starts": end - length, "ends": end, "axes": axis}
        part = replace(node, name=name, op_type="Slice", outputs=(output,))
        if node.version < _BOUNDS_ARE_INPUTS:
            yield replace(part, inputs=node.inputs[:1], attributes={k: (n,) for k, n in bounds.items()}), {}
            continue
        held = {_free(f"{output}.{k}", names): Stored(ir.tensor(np.array([n], np.int64))) for k, n in bounds.items()}
        yield replace(part, inputs=(node.inputs[0], *held), attributes={}), held


def _free(name: str, names: set[str]) -> str:
    found, number = name, 1
    while found in names:
        number += 1
        found = f"{name}.{number}"
    names.add(found)
    return found

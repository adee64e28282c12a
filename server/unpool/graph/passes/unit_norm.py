"""Vectors brought to length 1, written out: a tensor over its 2-norm, which may be bounded from below."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from unpool.graph.model import HOUSE, Attribute, Graph, Node
from unpool.graph.passes.moments import Mean, reduced_axes, square_of
from unpool.graph.patterns import Match, Trace, affine, clipped
from unpool.graph.rectifiers import scalar


def match_unit_norm(graph: Graph, node: Node) -> Match | None:
    """X / max(norm of x, epsilon), by a quotient or times one over it; the norm may be stretched to the shape of x."""
    orders = (node.inputs, tuple(reversed(node.inputs))) if node.op_type == "Mul" else (node.inputs,)
    for x, other in orders:
        trace = Trace(graph, loose=True)
        if x not in graph.values or other not in graph.values:
            continue
        offset = 0.0
        if node.op_type == "Mul":
            found = _inverse(trace, other)
        else:
            name, scale, offset = affine(trace, _stretched(trace, other, node))
            found = _length(trace, name) if scale == 1.0 and offset >= 0 else None
        if found is None or found[0][0] != x or not trace.sealed(node):
            continue
        (_, axes), epsilon = found
        attributes: Mapping[str, Attribute] = {"axes": axes, "epsilon": epsilon, "offset": offset}
        return Match(
            "L2Normalization",
            (x,),
            MappingProxyType(attributes),
            tuple(dict.fromkeys([node, *trace.nodes])),
            domain=HOUSE,
        )
    return None


def _stretched(trace: Trace, name: str, node: Node) -> str:
    """What is stretched to the shape of the dividend by an Expand; the name itself where it is not."""
    x, y = trace.graph.values[node.inputs[0]], trace.graph.values[node.outputs[0]]
    if trace.peek(name) != "Expand" or x.shape is None or y.shape is None or len(x.shape) != len(y.shape):
        return name
    pairs = enumerate(zip(x.shape, y.shape, strict=True))
    if not all((a is not None and a == b) or x.batch_axis == y.batch_axis == i for i, (a, b) in pairs):
        return name
    expanded = trace.inside(name)
    return expanded.inputs[0] if expanded is not None else name


def _length(trace: Trace, name: str) -> tuple[Mean, float] | None:
    """(what, and along which axes, ``name`` is the norm of; the least that it may be)."""
    name, epsilon = _bounded(trace, name)
    if trace.peek(name) == "ReduceL2":
        found = _reduced(trace, name, "ReduceL2")
        return (found, epsilon) if found is not None else None
    node = trace.inside(name) if trace.peek(name) == "Sqrt" else None
    if node is None:
        return None
    name, least = _bounded(trace, node.inputs[0])
    if trace.peek(name) == "ReduceSumSquare":
        found = _reduced(trace, name, "ReduceSumSquare")
    else:
        summed = _reduced(trace, name, "ReduceSum")
        squared = square_of(trace, summed[0]) if summed is not None else None
        found = (squared, summed[1]) if summed is not None and squared is not None else None
    return (found, max(epsilon, math.sqrt(least))) if found is not None else None


def _inverse(trace: Trace, name: str) -> tuple[Mean, float] | None:
    """Like ``_length`` where ``name`` is one over it, which may be bounded from above."""
    least = 0.0
    if trace.peek(name) in ("Min", "Clip"):
        bounded = clipped(trace, name)
        if bounded is None or bounded[1] > 0 or not 0 < bounded[2] < math.inf:
            return None
        name, least = bounded[0], 1 / bounded[2]
    node = trace.inside(name)
    if node is None:
        return None
    if node.op_type == "Reciprocal":
        found = _length(trace, node.inputs[0])
    elif node.op_type == "Div" and scalar(trace.graph, node.inputs[0]) == 1.0:
        found = _length(trace, node.inputs[1])
    else:
        return None
    return (found[0], max(found[1], least)) if found is not None else None


def _bounded(trace: Trace, name: str) -> tuple[str, float]:
    """What is bounded from below, and the bound; the name itself and 0 where nothing is."""
    mark = len(trace.nodes)
    found = clipped(trace, name) if trace.peek(name) in ("Clip", "Max") else None
    if found is not None and found[1] >= 0 and found[2] == math.inf:
        return found[0], found[1]
    del trace.nodes[mark:]
    return name, 0.0


def _reduced(trace: Trace, name: str, op_type: str) -> Mean | None:
    node = trace.inside(name) if trace.peek(name) == op_type else None
    axes = reduced_axes(trace, node) if node is not None else None
    return (node.inputs[0], axes) if node is not None and axes else None

"""Softmax written out, with or without the maximum taken off, and its logarithm."""

from __future__ import annotations

from types import MappingProxyType

from unpool.graph.model import Graph, Node
from unpool.graph.passes.moments import reduced_axes
from unpool.graph.patterns import Match, Trace


def match_softmax(graph: Graph, node: Node) -> Match | None:
    """exp(x) / sum of exp(x) along one axis; ``x`` may have its maximum, along any axis summed, taken off first."""
    trace = Trace(graph, loose=True)
    power, total = node.inputs
    summed = _reduced(trace, total, "ReduceSum")
    if summed is None or trace.peek(power) != "Exp":
        return None
    first, second = trace.inside(power), trace.inside(summed[0])
    if first is None or second is None or second.op_type != "Exp":
        return None
    found = [_without_maximum(trace, exponent.inputs[0], summed[1]) for exponent in (first, second)]
    return _as_match(trace, node, "Softmax", found[0], summed[1]) if found[0] == found[1] else None


def match_log_softmax(graph: Graph, node: Node) -> Match | None:
    """X - log of the sum of exp(x) along one axis, in one node or in three."""
    trace = Trace(graph, loose=True)
    x, total = node.inputs
    if trace.peek(total) == "ReduceLogSumExp":
        found = _reduced(trace, total, "ReduceLogSumExp")
    else:
        logarithm = trace.inside(total) if trace.peek(total) == "Log" else None
        summed = _reduced(trace, logarithm.inputs[0], "ReduceSum") if logarithm is not None else None
        exponent = trace.inside(summed[0]) if summed is not None and trace.peek(summed[0]) == "Exp" else None
        found = (exponent.inputs[0], summed[1]) if exponent is not None and summed is not None else None
    if found is None or found[0] != x:
        return None
    return _as_match(trace, node, "LogSoftmax", _without_maximum(trace, x, found[1]), found[1])


def _as_match(trace: Trace, node: Node, op_type: str, x: str, axis: int) -> Match | None:
    if x not in trace.graph.values or not trace.sealed(node):
        return None
    return Match(op_type, (x,), MappingProxyType({"axis": axis}), tuple(dict.fromkeys([node, *trace.nodes])))


def _reduced(trace: Trace, name: str, op_type: str) -> tuple[str, int] | None:
    """(tensor, axis) of a reduction along one axis, which is kept."""
    node = trace.inside(name) if trace.peek(name) == op_type else None
    axes = reduced_axes(trace, node) if node is not None else None
    return (node.inputs[0], axes[0]) if node is not None and axes is not None and len(axes) == 1 else None


def _without_maximum(trace: Trace, name: str, axis: int) -> str:
    """What ``name`` is but for its maximum along the axis, which changes no softmax."""
    mark = len(trace.nodes)
    node = trace.inside(name) if trace.peek(name) == "Sub" else None
    found = _reduced(trace, node.inputs[1], "ReduceMax") if node is not None else None
    if node is not None and found == (node.inputs[0], axis):
        return node.inputs[0]
    del trace.nodes[mark:]
    return name

"""A signal where it is above a number, and a function of it where it is not: ELU and softplus written out."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from unpool.graph.model import Graph, Node
from unpool.graph.patterns import Match, Trace, affine, near
from unpool.graph.rectifiers import scalar

_ABOVE: Final = {"Greater": True, "GreaterOrEqual": True, "Less": False, "LessOrEqual": False}
_LINEAR: Final = 20.0
"""Where softplus is the identity to float32's last digit."""


def choice(trace: Trace, node: Node) -> tuple[str, str, float] | None:
    """(x, what stands in its place where it is not above a number, the number) of a Where."""
    graph = trace.graph
    condition = trace.inside(node.inputs[0])
    above = _ABOVE.get(condition.op_type) if condition is not None else None
    number = scalar(graph, condition.inputs[1]) if condition is not None and above is not None else None
    if condition is None or number is None:
        return None
    x = condition.inputs[0]
    upper, lower = (node.inputs[1], node.inputs[2]) if above else (node.inputs[2], node.inputs[1])
    return (x, lower, number) if upper == x and x in graph.values else None


def match_exponential(graph: Graph, node: Node) -> Match | None:
    """ELU: Where(x > 0, x, a (exp(x) - 1)), or the other way round with <."""
    trace = Trace(graph)
    found = choice(trace, node)
    if found is None or found[2] != 0.0:
        return None
    x, lower, _ = found
    source, scale, shift = affine(trace, lower, x)
    if trace.peek(source) != "Exp" or scale <= 0 or not near(shift, -scale):
        return None
    inner = trace.inside(source)
    if inner is None or inner.inputs[0] != x:
        return None
    return Match("Elu", (x,), MappingProxyType({"alpha": scale}), tuple(dict.fromkeys([node, *trace.nodes])))


def match_softplus(graph: Graph, node: Node) -> Match | None:
    """Where(x > 20, x, softplus(x)), as PyTorch computes it and its newer exporter writes it."""
    trace = Trace(graph)
    found = choice(trace, node)
    if found is None or found[2] < _LINEAR or trace.peek(found[1]) != "Softplus":
        return None
    inner = trace.inside(found[1])
    if inner is None or inner.inputs[0] != found[0]:
        return None
    return Match("Softplus", (found[0],), MappingProxyType({}), tuple(dict.fromkeys([node, *trace.nodes])))

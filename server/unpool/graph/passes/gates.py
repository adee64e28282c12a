"""Gates: rectifiers whose value multiplies another signal, so that they rectify nothing."""

from __future__ import annotations

import math
from dataclasses import replace

from unpool.graph.model import Graph, Node
from unpool.graph.patterns import with_scalar
from unpool.graph.rectifiers import clip_bounds

_SQUASHING = frozenset({"Sigmoid", "HardSigmoid", "Softmax", "Tanh"})


def mark_gates(graph: Graph) -> Graph:
    """Marks each Relu, and each Clip from 0, that gates another signal.

    It does where all that becomes of its value, scaled by numbers or not, is to multiply another signal that is not
    computed from it. Where the other signal is the one that is squashed (a sigmoid, a clip between two bounds) that
    one is the gate, not the rectifier.

    Requires: a frozen graph with written-out activations recognised.
    Call: pure.
    Ensures: ``gate`` is set on these nodes and on no other.
    """
    nodes = tuple(replace(n, gate=True) if _rectifies(graph, n) and _gates(graph, n) else n for n in graph.nodes)
    return replace(graph, nodes=nodes)


def _rectifies(graph: Graph, node: Node) -> bool:
    if node.domain:
        return False
    bounds = clip_bounds(graph, node)
    return node.op_type == "Relu" or (bounds is not None and bounds[0] == 0.0)


def _gates(graph: Graph, node: Node) -> bool:
    carried, products = [node.outputs[0]], []
    for name in carried:
        if name in graph.outputs:
            return False
        for consumer in graph.consumers.get(name, ()):
            if consumer.domain or consumer.op_type not in ("Mul", "Div", "Cast", "Identity"):
                return False
            scaled = with_scalar(graph, consumer)
            if consumer.op_type in ("Cast", "Identity") or (
                scaled is not None and consumer.inputs[0] in (name, scaled[0])
            ):
                carried.append(consumer.outputs[0])
            elif consumer.op_type == "Mul":
                products.append((name, consumer))
            else:
                return False
    own = graph.descendants([node.outputs[0]])
    return bool(products) and all(_is_gated(graph, node, p, own - set(p.outputs), name) for name, p in products)


def _is_gated(graph: Graph, node: Node, product: Node, own: frozenset[str], name: str) -> bool:
    others = [i for i in product.inputs if i != name and i in graph.values]
    if not others or others[0] in own:
        return False
    return _bounded(graph, node) or not _squashed(graph, others[0])


def _bounded(graph: Graph, node: Node) -> bool:
    bounds = clip_bounds(graph, node)
    return bounds is not None and math.isfinite(bounds[1])


def _squashed(graph: Graph, name: str) -> bool:
    """Whether a signal, but for scaling, comes out of a function with two bounds."""
    while (node := graph.producers.get(name)) is not None:
        if node.op_type in _SQUASHING or _bounded(graph, node):
            return True
        scaled = with_scalar(graph, node) if node.op_type in ("Mul", "Div") else None
        if scaled is None:
            return False
        name = scaled[0]
    return False

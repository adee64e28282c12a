"""Which nodes of the frozen view rectify: ReLU and what is written in its place with other operators."""

from __future__ import annotations

import math

from unpool.graph.model import Graph, Node

ACTIVATIONS = frozenset(
    [
        "Relu",
        "Clip",
        "LeakyRelu",
        "PRelu",
        "ThresholdedRelu",
        "Elu",
        "Selu",
        "Celu",
        "HardSwish",
        "Swish",
        "Gelu",
        "Mish",
        "Softplus",
        "Sigmoid",
        "HardSigmoid",
        "Tanh",
    ]
)
"""Elementwise functions that end a block."""


def scalar(graph: Graph, name: str) -> float | None:
    """The one number that a constant holds; ``None`` for anything else."""
    constant = graph.constants.get(name)
    if constant is None or math.prod(constant.shape) != 1:
        return None
    return float(constant.numpy().reshape(()))


def clip_bounds(graph: Graph, node: Node) -> tuple[float, float] | None:
    """Bounds of a Clip, infinite where absent; ``None`` where they are computed or the node is no Clip."""
    if node.op_type != "Clip" or node.domain:
        return None
    found: list[float] = []
    for index, (key, default) in enumerate((("min", -math.inf), ("max", math.inf)), start=1):
        given = node.inputs[index] if index < len(node.inputs) else ""
        attribute = node.attributes.get(key, default)
        value = scalar(graph, given) if given else (attribute if isinstance(attribute, int | float) else None)
        if value is None:
            return None
        found.append(float(value))
    return found[0], found[1]


def constant_bound(graph: Graph, node: Node, op_type: str) -> tuple[str, float] | None:
    """The signal and the number of a two-operand Max or Min with a constant."""
    if node.op_type != op_type or node.domain or len(node.inputs) != 2:
        return None
    for signal, bound in (node.inputs, reversed(node.inputs)):
        number = scalar(graph, bound)
        if number is not None and signal in graph.values:
            return signal, number
    return None


def bounded_source(graph: Graph, node: Node) -> str | None:
    """What goes into the bounded rectifier (Clip from 0 to a number, or Min and Max) that ``node`` ends."""
    if node.gate:
        return None
    bounds = clip_bounds(graph, node)
    if bounds is not None:
        return node.inputs[0] if bounds[0] == 0.0 and math.isfinite(bounds[1]) else None
    upper = constant_bound(graph, node, "Min")
    if upper is not None and upper[1] > 0 and (inner := graph.producers.get(upper[0])) is not None:
        if inner.op_type == "Relu":
            return inner.inputs[0]
        lower = constant_bound(graph, inner, "Max")
        return lower[0] if lower is not None and lower[1] == 0.0 else None
    lower = constant_bound(graph, node, "Max")
    if lower is not None and lower[1] == 0.0 and (inner := graph.producers.get(lower[0])) is not None:
        upper = constant_bound(graph, inner, "Min")
        return upper[0] if upper is not None and upper[1] > 0 else None
    return None

"""Layer norm written out: mean, difference, variance, quotient, gain and bias."""

from __future__ import annotations

import math
from types import MappingProxyType

from unpool.graph.model import Graph, Node
from unpool.graph.patterns import Match, Trace, affine, near
from unpool.graph.rectifiers import scalar


def match_layer_norm(graph: Graph, node: Node) -> Match | None:
    """Layer norm that ends in ``node``: an Add of the bias, or the Mul by the gain where nothing is added."""
    trace = Trace(graph)
    bias = ""
    gained: Node | None = node
    if node.op_type == "Add":
        found = _with_weight(graph, node)
        if found is None or trace.peek(found[0]) != "Mul":
            return None
        gained, bias = trace.inside(found[0]), found[1]
    found = _with_weight(graph, gained) if gained is not None else None
    if found is None:
        return None
    name, gain = found
    source = _standardised(trace, name)
    if source is None:
        return None
    x, axis, epsilon = source
    value = graph.values.get(x)
    extents = value.shape[axis:] if value is not None and value.shape is not None else None
    if extents is None or graph.constants[gain].shape != extents or (bias and graph.constants[bias].shape != extents):
        return None
    inputs = (x, gain, bias) if bias else (x, gain)
    attributes = MappingProxyType({"axis": axis, "epsilon": epsilon})
    return Match("LayerNormalization", inputs, attributes, tuple(dict.fromkeys([node, *trace.nodes])))


def _with_weight(graph: Graph, node: Node) -> tuple[str, str] | None:
    if len(node.inputs) != 2:
        return None
    a, b = node.inputs
    for signal, weight in ((a, b), (b, a)):
        if signal in graph.values and weight in graph.constants:
            return signal, weight
    return None


def _standardised(trace: Trace, name: str) -> tuple[str, int, float] | None:
    """(x, axis, epsilon) where ``name`` is (x - mean) / sqrt(variance + epsilon)."""
    node = trace.inside(name)
    if node is None or node.op_type not in ("Div", "Mul") or len(node.inputs) != 2:
        return None
    for difference, other in (node.inputs, reversed(node.inputs)):
        if trace.peek(difference) != "Sub" or (node.op_type == "Div" and difference != node.inputs[0]):
            continue
        deviation = _deviation(trace, other, inverse=node.op_type == "Mul")
        if deviation is None:
            continue
        return _centred(trace, difference, *deviation)
    return None


def _deviation(trace: Trace, name: str, *, inverse: bool) -> tuple[str, float] | None:
    """(tensor, epsilon) where ``name`` is sqrt(tensor + epsilon), or one over it."""
    node = trace.inside(name)
    if node is not None and inverse and node.op_type == "Reciprocal":
        node, inverse = trace.inside(node.inputs[0]), False
    if node is None:
        return None
    power = scalar(trace.graph, node.inputs[1]) if node.op_type == "Pow" else (0.5 if node.op_type == "Sqrt" else None)
    if not near(power, -0.5 if inverse else 0.5):
        return None
    variance, scale, epsilon = affine(trace, node.inputs[0])
    return (variance, epsilon) if scale == 1.0 and epsilon > 0 else None


def _centred(trace: Trace, difference: str, variance: str, epsilon: float) -> tuple[str, int, float] | None:
    mean_of_squares = trace.inside(variance)
    if mean_of_squares is None or mean_of_squares.op_type != "ReduceMean":
        return None
    squares = trace.inside(mean_of_squares.inputs[0])
    if squares is None:
        return None
    # torch exports x - mean once, others once for the quotient and once for the square.
    own = squares.inputs[0]
    if squares.op_type == "Pow":
        if not near(scalar(trace.graph, squares.inputs[1]), 2.0):
            return None
    elif squares.op_type != "Mul" or squares.inputs != (own, own):
        return None
    shared = own == difference
    first = trace.inside(difference, uses=2 if shared else 1)
    second = first if shared else trace.inside(own)
    if first is None or second is None or first.op_type != "Sub" or second.inputs != first.inputs:
        return None
    x, centre = first.inputs
    mean = trace.inside(centre, uses=1 if shared else 2)
    if mean is None or mean.op_type != "ReduceMean" or mean.inputs[0] != x:
        return None
    axis = _trailing(trace.graph, mean)
    if axis is None or axis != _trailing(trace.graph, mean_of_squares):
        return None
    return x, axis, epsilon


def _trailing(graph: Graph, node: Node) -> int | None:
    """The first axis, counted from the end, that a mean is taken over, if all behind it are as well."""
    axes = node.attributes.get("axes")
    if axes is None and len(node.inputs) > 1 and node.inputs[1] in graph.constants:
        axes = tuple(int(a) for a in graph.constants[node.inputs[1]].numpy().ravel())
    value = graph.values.get(node.inputs[0])
    if not isinstance(axes, tuple) or value is None or value.shape is None or node.attributes.get("keepdims", 1) != 1:
        return None
    rank = len(value.shape)
    if not axes or not rank:
        return None
    counted = sorted(int(a) % rank - rank for a in axes)
    contiguous = counted == list(range(counted[0], 0)) and math.prod(counted) != 0
    return counted[0] if contiguous else None

"""Leaky rectifiers written out: a maximum, a choice, or the sum of a positive and a negative part."""

from __future__ import annotations

from types import MappingProxyType

from unpool.graph.model import Graph, Node
from unpool.graph.passes.choices import choice
from unpool.graph.patterns import Match, Trace, affine, clipped_by
from unpool.graph.rectifiers import scalar
from unpool.graph.weights import Computed


def match_maximum(graph: Graph, node: Node) -> Match | None:
    """max(x, a x), which is a leaky rectifier where every slope a lies between 0 and 1."""
    if len(node.inputs) != 2:
        return None
    for x, other in (node.inputs, reversed(node.inputs)):
        trace = Trace(graph)
        if x not in graph.values:
            continue
        source, number, slope = _scaled(trace, other, x)
        if source != x or other == x:
            continue
        if slope and not all(0 <= float(value) <= 1 for value in graph.constants[slope].numpy().ravel()):
            return None
        return _leaky(trace, node, x, number, slope)
    return None


def match_choice(graph: Graph, node: Node) -> Match | None:
    """Where(x > 0, x, a x), or the other way round with <; with 0 in the place of a x it is a plain rectifier."""
    trace = Trace(graph)
    found = choice(trace, node)
    if found is None or found[2] != 0.0:
        return None
    x, lower, _ = found
    if scalar(graph, lower) == 0.0 and "float" in graph.values[x].dtype:
        return Match("Relu", (x,), MappingProxyType({}), (node, *trace.nodes))
    source, number, slope = _scaled(trace, lower, x)
    return _leaky(trace, node, x, number, slope) if source == x and lower != x else None


def match_parts(graph: Graph, node: Node) -> Match | None:
    """relu(x) + a min(x, 0), where min(x, 0) may also be -relu(-x) or (x - |x|) / 2."""
    if len(node.inputs) != 2:
        return None
    orders = (node.inputs, tuple(reversed(node.inputs))) if node.op_type == "Add" else (node.inputs,)
    for positive, negative in orders:
        trace = Trace(graph)
        rectifier = trace.inside(positive)
        bounds = clipped_by(trace, rectifier) if rectifier is not None else None
        if bounds is None or bounds[1:] != (0.0, float("inf")) or bounds[0] not in graph.values:
            continue
        x = bounds[0]
        source, number, slope = _scaled(trace, negative, x)
        part = _negative_part(trace, source, x)
        if part is not None:
            return _leaky(trace, node, x, number * part * (1.0 if node.op_type == "Add" else -1.0), slope)
    return None


def _scaled(trace: Trace, name: str, stop: str) -> tuple[str, float, str]:
    """``name`` as number * slope * source, the slope a constant of several numbers (empty: none)."""
    number, slope = 1.0, ""
    while True:
        mark = len(trace.nodes)
        source, scale, shift = affine(trace, name, stop)
        if shift:
            # Something is added: that is for others to read.
            del trace.nodes[mark:]
            return name, number, slope
        name, number = source, number * scale
        if slope or name == stop or trace.peek(name) != "Mul":
            return name, number, slope
        mark = len(trace.nodes)
        node = trace.inside(name)
        found = _with_slopes(trace.graph, node) if node is not None else None
        if found is None:
            del trace.nodes[mark:]
            return name, number, slope
        name, slope = found


def _with_slopes(graph: Graph, node: Node) -> tuple[str, str] | None:
    """The signal and the constant of a product with a constant."""
    for signal, slopes in (node.inputs, reversed(node.inputs)):
        if signal in graph.values and signal not in graph.constants and slopes in graph.constants:
            return signal, slopes
    return None


def _negative_part(trace: Trace, name: str, x: str) -> float | None:
    """How many times min(x, 0) a tensor is: 1 for itself, -1 for relu(-x), 2 for x - |x|; ``None``: it is not."""
    node = trace.inside(name) if name != x else None
    if node is None:
        return None
    if node.op_type == "Sub" and node.inputs[0] == x and trace.peek(node.inputs[1]) == "Abs":
        absolute = trace.inside(node.inputs[1])
        return 2.0 if absolute is not None and absolute.inputs[0] == x else None
    bounds = clipped_by(trace, node)
    if bounds is None:
        return None
    source, lower, upper = bounds
    if (lower, upper) == (-float("inf"), 0.0):
        return 1.0 if source == x else None
    if (lower, upper) == (0.0, float("inf")) and trace.peek(source) in ("Neg", "Mul"):
        inner, scale, shift = affine(trace, source, x)
        return scale if inner == x and shift == 0.0 and scale < 0 else None
    return None


def _leaky(trace: Trace, node: Node, x: str, number: float, slope: str) -> Match | None:
    nodes = tuple(dict.fromkeys([node, *trace.nodes]))
    if "float" not in trace.graph.values[x].dtype:
        return None
    if not slope:
        if not 0 <= number < 1:
            # relu(x) + relu(-x) is |x|, relu(x) - relu(-x) is x: no rectifiers.
            return None
        return Match("LeakyRelu", (x,), MappingProxyType({"alpha": number}), nodes)
    shape = trace.graph.values[x].shape
    extents = trace.graph.constants[slope].shape
    # A slope that would make the result larger than the signal is no PRelu's.
    if number not in (1.0, -1.0) or shape is None or len(extents) > len(shape):
        return None
    behind = shape[len(shape) - len(extents) :]
    if not all(extent in (1, own) for extent, own in zip(extents, behind, strict=True)):
        return None
    if number == 1.0:
        return Match("PRelu", (x, slope), MappingProxyType({}), nodes)
    # relu(x) + b relu(-x), as Keras writes it: the slope is -b.
    name = f"{slope}:negated"
    if name in trace.graph.values or name in trace.graph.constants:
        return None
    negated = Computed("Neg", {}, [trace.graph.constants[slope]], 0, extents, trace.graph.constants[slope].dtype)
    return Match("PRelu", (x, name), MappingProxyType({}), nodes, MappingProxyType({name: negated}))

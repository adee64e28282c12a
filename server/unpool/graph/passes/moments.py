"""Moments written out: squares, means, variances, deviations and one over them, in the forms that exporters have."""

from __future__ import annotations

from typing import TypeAlias

from unpool.graph.model import Node
from unpool.graph.patterns import Trace, affine, clipped, near
from unpool.graph.rectifiers import scalar

Mean: TypeAlias = tuple[str, tuple[int, ...]]
"""A tensor, and the axes that its mean is taken over, counted from the front."""


def square_of(trace: Trace, name: str) -> str | None:
    """What ``name`` is the square of."""
    node = trace.inside(name) if trace.peek(name) in ("Pow", "Mul") else None
    if node is None:
        return None
    if node.op_type == "Pow":
        return node.inputs[0] if near(scalar(trace.graph, node.inputs[1]), 2.0) else None
    return node.inputs[0] if node.inputs[0] == node.inputs[1] else None


def mean_of(trace: Trace, name: str) -> Mean | None:
    """What ``name`` is the mean of, the axes kept."""
    node = trace.inside(name) if trace.peek(name) == "ReduceMean" else None
    axes = reduced_axes(trace, node) if node is not None else None
    return (node.inputs[0], axes) if node is not None and axes else None


def reduced_axes(trace: Trace, node: Node) -> tuple[int, ...] | None:
    """The axes of a reduction that leaves extents of 1; ``None`` where they are not known or are gone."""
    axes = node.attributes.get("axes")
    if axes is None and len(node.inputs) > 1 and node.inputs[1] in trace.graph.constants:
        axes = tuple(int(a) for a in trace.graph.constants[node.inputs[1]].numpy().ravel())
    value = trace.graph.values.get(node.inputs[0])
    if not isinstance(axes, tuple) or value is None or not value.shape or node.attributes.get("keepdims", 1) != 1:
        return None
    return tuple(sorted({int(a) % len(value.shape) for a in axes}))


def mean_square_of(trace: Trace, name: str) -> Mean | None:
    """What ``name`` is the mean of the squares of."""
    found = mean_of(trace, name)
    squared = square_of(trace, found[0]) if found is not None else None
    return (squared, found[1]) if found is not None and squared is not None else None


def variance_of(trace: Trace, name: str) -> Mean | None:
    """What ``name`` is the variance of: the mean squared difference, or that of the squares less the squared mean."""
    mark = len(trace.nodes)
    if trace.peek(name) in ("Max", "Relu", "Clip"):  # by rounding the difference may lie below 0
        bounded = clipped(trace, name)
        if bounded is None or bounded[1:] != (0.0, float("inf")) or trace.peek(bounded[0]) != "Sub":
            del trace.nodes[mark:]
            return None
        name = bounded[0]
    found = _difference_of_squares(trace, name) if trace.peek(name) == "Sub" else _mean_squared_difference(trace, name)
    if found is None:
        del trace.nodes[mark:]
    return found


def _mean_squared_difference(trace: Trace, name: str) -> Mean | None:
    found = mean_square_of(trace, name)
    if found is None:
        return None
    centred = centred_of(trace, found[0])
    return centred if centred is not None and centred[1] == found[1] else None


def _difference_of_squares(trace: Trace, name: str) -> Mean | None:
    node = trace.inside(name)
    squares = mean_square_of(trace, node.inputs[0]) if node is not None else None
    mean = square_of(trace, node.inputs[1]) if node is not None else None
    return squares if squares is not None and mean is not None and mean_of(trace, mean) == squares else None


def centred_of(trace: Trace, name: str) -> Mean | None:
    """What ``name`` is less its own mean."""
    mark = len(trace.nodes)
    node = trace.inside(name) if trace.peek(name) == "Sub" else None
    found = mean_of(trace, node.inputs[1]) if node is not None else None
    if node is not None and found is not None and found[0] == node.inputs[0]:
        return found
    del trace.nodes[mark:]
    return None


def deviation_of(trace: Trace, name: str, *, inverse: bool) -> tuple[str, float] | None:
    """(tensor, epsilon) where ``name`` is sqrt(tensor + epsilon), or one over it."""
    node = trace.inside(name)
    if node is not None and inverse and node.op_type == "Reciprocal":
        node, inverse = trace.inside(node.inputs[0]), False
    elif node is not None and inverse and node.op_type == "Div" and scalar(trace.graph, node.inputs[0]) == 1.0:
        node, inverse = trace.inside(node.inputs[1]), False
    if node is None:
        return None
    power = scalar(trace.graph, node.inputs[1]) if node.op_type == "Pow" else (0.5 if node.op_type == "Sqrt" else None)
    if not near(power, -0.5 if inverse else 0.5):
        return None
    moment, scale, epsilon = affine(trace, node.inputs[0])
    return (moment, epsilon) if scale == 1.0 and epsilon > 0 else None

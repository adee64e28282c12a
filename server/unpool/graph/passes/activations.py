"""Written-out activations: what an exporter took to pieces is one node of the frozen view again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from unpool.graph.model import Attribute, Graph, Node
from unpool.graph.passes.choices import match_exponential, match_softplus
from unpool.graph.passes.group_norm import match_group_norm
from unpool.graph.passes.leaky import match_choice, match_maximum, match_parts
from unpool.graph.passes.norms import match_norm
from unpool.graph.passes.response_norm import match_response_norm
from unpool.graph.passes.softmax import match_log_softmax, match_softmax
from unpool.graph.passes.unit_norm import match_unit_norm
from unpool.graph.patterns import (
    Match,
    Trace,
    affine,
    clipped,
    clipped_by,
    logistic,
    near,
    one_plus_exp,
    product,
    sigmoid,
    with_scalar,
)
from unpool.graph.recognising import Matcher, recognise


def recognise_activations(graph: Graph) -> Graph:
    """Puts one node in the place of each activation or normalisation that is written out in pieces.

    Requires: a frozen graph.
    Call: pure; what ONNX Runtime executes is not touched.
    Ensures: hard-swish, hard-sigmoid, SiLU, Mish, GELU (both forms), sigmoid, softplus, softsign, ELU, leaky
        rectifiers, softmax and its logarithm, layer, group, root mean square and local response normalisation and
        vectors of length 1 are single nodes, named after the last node of their pieces; a node's version is at least
        the one that introduced its operator, and norms that no standard has are of the house's domain. Pieces that
        somebody else reads, or that are outputs, are left as they are.
    """
    return recognise(recognise(graph, _MATCHERS), _GROUPS)


def _match(op_type: str, source: str, trace: Trace, node: Node, **attributes: Attribute) -> Match:
    return Match(op_type, (source,), MappingProxyType(attributes), tuple(dict.fromkeys([node, *trace.nodes])))


def _gated(graph: Graph, node: Node) -> Match | None:
    """X times a function of x: hard-swish, SiLU, Mish, GELU."""
    trace = Trace(graph)
    factors, number = product(trace, node)
    if len(factors) != 2:
        return None
    for source, gate in (factors, reversed(factors)):
        for matcher in (_hard_swish, _silu, _mish, _gelu_erf, _gelu_tanh):
            attempt = Trace(graph, list(trace.nodes))
            match = matcher(attempt, node, source, gate, number)
            if match is not None:
                return match
    return None


def _hard_swish(trace: Trace, node: Node, x: str, gate: str, number: float) -> Match | None:
    if trace.peek(gate) == "HardSigmoid":
        inner = trace.inside(gate)
        if inner is None or inner.inputs[0] != x or not near(number, 1.0):
            return None
        alpha, beta = inner.attributes.get("alpha", 0.2), inner.attributes.get("beta", 0.5)
        matches = near(_number(alpha), 1 / 6) and near(_number(beta), 0.5)
        return _match("HardSwish", x, trace, node) if matches else None
    gate, scale, shift = affine(trace, gate)
    found = clipped(trace, gate)
    if found is None or shift != 0.0:
        return None
    source, lower, upper = found
    source, slope, offset = affine(trace, source, x)
    # x * clip(a x + b, 0, u) * k is hard-swish when a k = 1/6, and the corners lie at -3 and 3.
    k = number * scale
    fits = source == x and lower == 0.0 and near(slope * k, 1 / 6) and near(offset * k, 0.5) and near(upper * k, 1.0)
    return _match("HardSwish", x, trace, node) if fits else None


def _silu(trace: Trace, node: Node, x: str, gate: str, number: float) -> Match | None:
    found = sigmoid(trace, gate)
    if found is None or found[0] != x or not near(number, 1.0):
        return None
    return _match("Swish", x, trace, node, alpha=found[1])


def _mish(trace: Trace, node: Node, x: str, gate: str, number: float) -> Match | None:
    tanh = trace.inside(gate) if trace.peek(gate) == "Tanh" and near(number, 1.0) else None
    if tanh is None:
        return None
    inner = trace.inside(tanh.inputs[0])
    if inner is None:
        return None
    if inner.op_type == "Softplus":
        return _match("Mish", x, trace, node) if inner.inputs[0] == x else None
    found = one_plus_exp(trace, inner.inputs[0]) if inner.op_type == "Log" else None
    return _match("Mish", x, trace, node) if found is not None and found[0] == x and near(found[1], -1.0) else None


def _one_plus(trace: Trace, name: str, op_type: str, number: float) -> str | None:
    """What goes into ``op_type`` where ``name`` times ``number`` is half of one plus its value."""
    source, scale, shift = affine(trace, name)
    if not near(scale * number, 0.5) or not near(shift * number, 0.5) or trace.peek(source) != op_type:
        return None
    inner = trace.inside(source)
    return inner.inputs[0] if inner is not None else None


def _gelu_erf(trace: Trace, node: Node, x: str, gate: str, number: float) -> Match | None:
    argument = _one_plus(trace, gate, "Erf", number)
    if argument is None:
        return None
    source, scale, shift = affine(trace, argument, x)
    fits = source == x and shift == 0.0 and near(scale, math.sqrt(0.5))
    return _match("Gelu", x, trace, node) if fits else None


def _gelu_tanh(trace: Trace, node: Node, x: str, gate: str, number: float) -> Match | None:
    argument = _one_plus(trace, gate, "Tanh", number)
    if argument is None:
        return None
    inner, scale, shift = affine(trace, argument)
    if shift != 0.0 or trace.peek(inner) != "Add" or not near(scale, math.sqrt(2 / math.pi)):
        return None
    summed = trace.inside(inner)
    if summed is None or x not in summed.inputs:
        return None
    cubic = summed.inputs[1] if summed.inputs[0] == x else summed.inputs[0]
    last = trace.inside(cubic)
    if last is None or last.op_type not in ("Mul", "Div"):
        return None
    factors, weight = product(trace, last)
    fits = near(weight, 0.044715) and _cube(trace, factors, x)
    return _match("Gelu", x, trace, node, approximate="tanh") if fits else None


def _cube(trace: Trace, factors: list[str], x: str) -> bool:
    power = 0
    for name in factors:
        if name == x:
            power += 1
            continue
        node = trace.inside(name)
        exponent = trace.graph.constants.get(node.inputs[1]) if node is not None and node.op_type == "Pow" else None
        if node is None or exponent is None or node.inputs[0] != x or math.prod(exponent.shape) != 1:
            return False
        power += round(float(exponent.numpy().reshape(())))
    return power == 3


def _number(value: Attribute) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _quotient(graph: Graph, node: Node) -> Match | None:
    """X / (1 + exp(-x)), which is SiLU, and 1 / (1 + exp(-x)), the sigmoid."""
    trace = Trace(graph)
    if node.op_type == "Div" and node.inputs[0] in graph.values:
        x = node.inputs[0]
        found = one_plus_exp(trace, node.inputs[1])
        return _match("Swish", x, trace, node, alpha=found[1]) if found is not None and found[0] == x else None
    found = logistic(trace, node)
    return _match("Sigmoid", found[0], trace, node) if found is not None and near(found[1], 1.0) else None


def _logarithm(graph: Graph, node: Node) -> Match | None:
    """log(1 + exp(x)), the softplus."""
    trace = Trace(graph)
    found = one_plus_exp(trace, node.inputs[0])
    return _match("Softplus", found[0], trace, node) if found is not None and near(found[1], -1.0) else None


def _hard_sigmoid(graph: Graph, node: Node) -> Match | None:
    """clip(a x + b, 0, u) / u, with or without the division."""
    trace = Trace(graph)
    found = with_scalar(graph, node) if node.op_type in ("Mul", "Div") else None
    scale = 1.0
    name = node.outputs[0]
    if found is not None:
        name = found[0]
        if node.op_type == "Div" and (name != node.inputs[0] or not found[1]):
            return None
        scale = found[1] if node.op_type == "Mul" else 1 / found[1]
        bounds = clipped(trace, name)
    elif node.op_type in ("Clip", "Min", "Max"):
        bounds = clipped_by(trace, node)
    else:
        return None
    if bounds is None or bounds[1] != 0.0 or not near(bounds[2] * scale, 1.0):
        return None
    source, slope, offset = affine(trace, bounds[0])
    # A plain clip from 0 to 1 is a bounded rectifier, not a sigmoid: the middle has to lie at one half.
    if slope * scale <= 0 or not 0 < offset * scale < 1:
        return None
    return _match("HardSigmoid", source, trace, node, alpha=slope * scale, beta=offset * scale)


def _softsign(graph: Graph, node: Node) -> Match | None:
    """X / (1 + |x|)."""
    trace = Trace(graph)
    inner, scale, shift = affine(trace, node.inputs[1])
    if not near(scale, 1.0) or not near(shift, 1.0) or trace.peek(inner) != "Abs":
        return None
    absolute = trace.inside(inner)
    fits = absolute is not None and absolute.inputs[0] == node.inputs[0] and node.inputs[0] in graph.values
    return _match("Softsign", node.inputs[0], trace, node) if fits else None


_MATCHERS: Final[Mapping[str, tuple[Matcher, ...]]] = {
    "Mul": (_gated, _hard_sigmoid, match_norm, match_unit_norm),
    "Div": (
        _gated,
        _quotient,
        _hard_sigmoid,
        match_response_norm,
        match_norm,
        match_unit_norm,
        match_softmax,
        _softsign,
    ),
    "Reciprocal": (_quotient,),
    "Log": (_logarithm,),
    "Clip": (_hard_sigmoid,),
    "Min": (_hard_sigmoid,),
    "Max": (_hard_sigmoid, match_maximum),
    "Add": (match_norm, match_parts),
    "Sub": (match_parts, match_norm, match_log_softmax),
    "Where": (match_choice, match_exponential, match_softplus),
}
_GROUPS: Final[Mapping[str, tuple[Matcher, ...]]] = dict.fromkeys(("Add", "Mul", "Reshape"), (match_group_norm,))

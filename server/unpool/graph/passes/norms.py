"""Layer norm and root mean square norm written out, over any axes: a tensor over its deviation, gain and bias."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType

from unpool.graph.model import HOUSE, Graph, Node
from unpool.graph.passes.moments import Mean, centred_of, deviation_of, mean_of, mean_square_of, variance_of
from unpool.graph.patterns import Match, Trace, is_idle, with_weight


@dataclass(frozen=True)
class _Norm:
    """What is computed: (x - mean, where ``centred``) / sqrt(moment + epsilon) * gain + bias."""

    x: str
    axes: tuple[int, ...]
    epsilon: float
    centred: bool
    gain: str = ""
    bias: str = ""


def match_norm(graph: Graph, node: Node) -> Match | None:
    """A norm that ends in ``node``: an Add of the bias, the Mul by the gain where nothing is added, or the quotient.

    Gain and bias may also be drawn into the factor of x, as TensorFlow and Keras do: x * k + (bias - mean * k). A
    norm over the last axes is the operator of ai.onnx; over others, as over the channels of a picture, the house's own.
    """
    for read in (_in_turn, _drawn_in) if node.op_type in ("Add", "Sub") else (_in_turn,):
        trace = Trace(graph, loose=True)
        found = read(trace, node)
        match = _as_match(trace, node, found) if found is not None else None
        if match is not None:
            return match
    return None


def _as_match(trace: Trace, node: Node, norm: _Norm) -> Match | None:
    graph = trace.graph
    value = graph.values.get(norm.x)
    if value is None or value.shape is None or not trace.sealed(node):
        return None
    shape = value.shape
    weights = [graph.constants[name].shape for name in (norm.gain, norm.bias) if name]
    if any(len(w) > len(shape) for w in weights):
        return None
    if any(n not in (1, own) for w in weights for n, own in zip(w, shape[len(shape) - len(w) :], strict=True)):
        return None  # it would stretch the signal
    op_type = "LayerNormalization" if norm.centred else "RMSNormalization"
    first = norm.axes[0] - len(shape)
    trailing = norm.axes == tuple(range(norm.axes[0], len(shape)))
    standard = trailing and norm.gain and all(w == shape[first:] for w in weights) and (norm.centred or not norm.bias)
    inputs = (norm.x, norm.gain, norm.bias) if norm.bias else ((norm.x, norm.gain) if norm.gain else (norm.x,))
    nodes = tuple(dict.fromkeys([node, *trace.nodes]))
    if standard:
        attributes = MappingProxyType({"axis": first, "epsilon": norm.epsilon})
        return Match(op_type, inputs, attributes, nodes)
    if norm.bias and not norm.centred:
        return None
    return Match(op_type, inputs, MappingProxyType({"axes": norm.axes, "epsilon": norm.epsilon}), nodes, domain=HOUSE)


def _in_turn(trace: Trace, node: Node) -> _Norm | None:
    """Quotient, gain, bias, one behind the other."""
    name, gain, bias = node.outputs[0], "", ""
    if node.op_type == "Sub":
        return None
    if node.op_type == "Add":
        added = with_weight(trace.graph, node)
        if added is None:
            return None
        trace.nodes.append(node)
        name, bias = added
    if trace.peek(name) == "Mul":
        gained = trace.inside(name)
        scaled = with_weight(trace.graph, gained) if gained is not None else None
        if scaled is not None:
            name, gain = scaled
    raised = trace.inside(name) if gain and trace.peek(name) == "Cast" else None
    found = _quotient(trace, raised.inputs[0] if raised is not None else name)
    if found is None or (gain and found.gain):
        return None
    found = replace(found, gain=gain or found.gain, bias=bias)
    return found if raised is None else _raised(trace, found, raised)


def _raised(trace: Trace, norm: _Norm, back: Node) -> _Norm | None:
    """The norm of half precision that is computed in float32 between two casts, as the standard's own are."""
    cast = trace.inside(norm.x) if trace.peek(norm.x) == "Cast" else None
    if cast is None or is_idle(trace.graph, cast):
        return None
    before, behind = trace.graph.values.get(cast.inputs[0]), trace.graph.values.get(back.outputs[0])
    halves = before is not None and behind is not None and before.dtype == behind.dtype in ("float16", "bfloat16")
    single = trace.graph.values[norm.x].dtype == "float32"
    return replace(norm, x=cast.inputs[0]) if halves and single else None


def _quotient(trace: Trace, name: str) -> _Norm | None:
    """A tensor over its deviation, or times one over it, which may bring the gain along."""
    node = trace.inside(name) if trace.peek(name) in ("Div", "Mul") else None
    if node is None or len(node.inputs) != 2:
        return None
    mark = len(trace.nodes)
    orders = (node.inputs, tuple(reversed(node.inputs))) if node.op_type == "Mul" else (node.inputs,)
    for upper, lower in orders:
        for read in (_centred, _uncentred):
            factor = _factor(trace, lower) if node.op_type == "Mul" else _deviation(trace, lower)
            found = read(trace, upper, factor[0]) if factor is not None else None
            if factor is not None and found is not None:
                return _Norm(*found, factor[1], centred=read is _centred, gain=factor[2])
            del trace.nodes[mark:]
    return None


def _centred(trace: Trace, name: str, moment: str) -> Mean | None:
    found = centred_of(trace, name)
    return found if found is not None and variance_of(trace, moment) == found else None


def _uncentred(trace: Trace, name: str, moment: str) -> Mean | None:
    found = mean_square_of(trace, moment)
    return found if found is not None and found[0] == name and name in trace.graph.values else None


def _deviation(trace: Trace, name: str) -> tuple[str, float, str] | None:
    found = deviation_of(trace, name, inverse=False)
    return (*found, "") if found is not None else None


def _factor(trace: Trace, name: str) -> tuple[str, float, str] | None:
    """(moment, epsilon, gain) where ``name`` is gain / sqrt(moment + epsilon); the gain may be missing."""
    gain = ""
    if trace.peek(name) == "Mul":
        node = trace.inside(name)
        scaled = with_weight(trace.graph, node) if node is not None else None
        if scaled is None:
            return None
        name, gain = scaled
    found = deviation_of(trace, name, inverse=True)
    return (*found, gain) if found is not None else None


def _drawn_in(trace: Trace, node: Node) -> _Norm | None:
    """``x * k + (bias - mean * k)``, where k is the gain over the deviation."""
    orders = (node.inputs, tuple(reversed(node.inputs))) if node.op_type == "Add" else (node.inputs,)
    for first, second in orders:
        del trace.nodes[:]
        trace.nodes.append(node)
        scaled = trace.inside(first) if trace.peek(first) == "Mul" else None
        for x, k in (scaled.inputs, tuple(reversed(scaled.inputs))) if scaled is not None else ():
            mark = len(trace.nodes)
            factor = _factor(trace, k) if k in trace.graph.values else None
            variance = variance_of(trace, factor[0]) if factor is not None else None
            if factor is not None and variance is not None and variance[0] == x:
                bias = _shift(trace, second, k, variance, negated=node.op_type == "Sub")
                if bias is not None:
                    return _Norm(*variance, factor[1], centred=True, gain=factor[2], bias=bias)
            del trace.nodes[mark:]
    return None


def _shift(trace: Trace, name: str, k: str, mean: Mean, *, negated: bool) -> str | None:
    """The bias (empty: none) where ``name`` is bias - mean * k, or mean * k where it is taken off."""
    sign, bias = (1 if negated else -1), ""
    if not negated and trace.peek(name) in ("Add", "Sub"):
        node = trace.inside(name)
        found = with_weight(trace.graph, node) if node is not None else None
        if node is None or found is None or (node.op_type == "Sub" and node.inputs[0] == found[0]):
            return None
        name, bias = found
        sign = 1 if node.op_type == "Sub" else -1
    while trace.peek(name) in ("Neg", "Mul"):
        node = trace.inside(name)
        if node is None:
            return None
        if node.op_type == "Neg":
            name, sign = node.inputs[0], -sign
        elif k in node.inputs:
            name, k = (node.inputs[1] if node.inputs[0] == k else node.inputs[0]), ""
        else:
            return None
    return bias if not k and sign == 1 and mean_of(trace, name) == mean else None

"""Local response normalisation written out: squares, their mean over neighbouring channels, power, quotient."""

from __future__ import annotations

from types import MappingProxyType

from unpool.graph.model import Graph, Node, Value
from unpool.graph.patterns import Match, Trace, affine
from unpool.graph.rectifiers import scalar

_LAYOUT = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Identity"})


def match_response_norm(graph: Graph, node: Node) -> Match | None:
    """Local response normalisation that ends in ``node``, x / (bias + alpha * mean of squares) ** beta.

    Exporters pool over the channels of (N, 1, C, ...), in front of which they pad with zeros, or the pool does. The
    window has to lie about each channel as ONNX's LRN lays it.
    """
    if node.op_type != "Div" or node.inputs[0] not in graph.values:
        return None
    trace = Trace(graph)
    found = _powered(trace, node.inputs[1])
    if found is None:
        return None
    name, beta = found
    name, alpha, bias = affine(trace, name)
    x = node.inputs[0]
    means = _moved(trace, name)
    pooled = trace.inside(means) if trace.peek(means) == "AveragePool" else None
    if pooled is None or not _alike(graph, name, x) or not _channels_third(graph, pooled.outputs[0], x):
        return None
    source, before, after = _padded(trace, pooled)
    if source is None or not _channels_third(graph, source, x):
        return None
    size = _window(pooled)
    if size is None or (before, after) != ((size - 1) // 2, size // 2):
        return None
    if not _squares(trace, _moved(trace, source), x):
        return None
    attributes = MappingProxyType({"size": size, "alpha": alpha, "beta": beta, "bias": bias})
    return Match("LRN", (x,), attributes, tuple(dict.fromkeys([node, *trace.nodes])))


def _powered(trace: Trace, name: str) -> tuple[str, float] | None:
    node = trace.inside(name)
    if node is not None and node.op_type == "Sqrt":
        return node.inputs[0], 0.5
    power = scalar(trace.graph, node.inputs[1]) if node is not None and node.op_type == "Pow" else None
    return (node.inputs[0], power) if node is not None and power is not None else None


def _moved(trace: Trace, name: str) -> str:
    """What ``name`` is but for its shape."""
    while trace.peek(name) in _LAYOUT:
        node = trace.inside(name)
        if node is None:
            break
        name = node.inputs[0]
    return name


def _padded(trace: Trace, pooled: Node) -> tuple[str | None, int, int]:
    """What is pooled, and how many zeros stand in front of the channels and behind them."""
    rank = len(_integers(pooled, "kernel_shape"))
    pads = list(_integers(pooled, "pads")) or [0] * 2 * rank
    if any(pads) and not pooled.attributes.get("count_include_pad", 0):
        return None, 0, 0
    source = pooled.inputs[0]
    if any(pads[1:rank] + pads[rank + 1 :]) or trace.peek(source) != "Pad":
        return (None if any(pads[1:rank] + pads[rank + 1 :]) else source), pads[0], pads[rank]
    node = trace.inside(source)
    amounts = node.attributes.get("pads") if node is not None else None
    if node is not None and len(node.inputs) > 1:
        constant = trace.graph.constants.get(node.inputs[1])
        amounts = tuple(int(n) for n in constant.numpy()) if constant is not None and len(node.inputs) < 4 else None
    if node is None or not isinstance(amounts, tuple) or len(amounts) != 2 * (rank + 2) or not _with_zeros(trace, node):
        return None, 0, 0
    channels = (2, rank + 4)
    if any(n for i, n in enumerate(amounts) if i not in channels):
        return None, 0, 0
    return node.inputs[0], pads[0] + int(amounts[2]), pads[rank] + int(amounts[rank + 4])


def _with_zeros(trace: Trace, node: Node) -> bool:
    given = node.inputs[2] if len(node.inputs) > 2 else ""
    value = scalar(trace.graph, given) if given else node.attributes.get("value", 0.0)
    return node.attributes.get("mode", "constant") == "constant" and value == 0.0


def _integers(node: Node, name: str) -> tuple[int, ...]:
    found = node.attributes.get(name)
    return tuple(n for n in found if isinstance(n, int)) if isinstance(found, tuple) else ()


def _window(pooled: Node) -> int | None:
    """How many channels are pooled together, if nothing else is and every channel is the middle once."""
    size, *others = _integers(pooled, "kernel_shape")
    steps = (*_integers(pooled, "strides"), *_integers(pooled, "dilations"))
    plain = pooled.attributes.get("auto_pad", "NOTSET") in ("NOTSET", "VALID")
    return size if plain and all(n == 1 for n in (*others, *steps)) else None


def _squares(trace: Trace, name: str, x: str) -> bool:
    """Whether ``name`` is x * x; who else asks for its shape does not matter, it stays for them."""
    node = trace.graph.producers.get(name)
    if node is None or node.domain:
        return False
    if len(trace.graph.consumers[name]) == 1:
        trace.inside(name)
    if node.op_type == "Pow":
        return node.inputs[0] == x and scalar(trace.graph, node.inputs[1]) == 2.0
    return node.op_type == "Mul" and node.inputs == (x, x)


def _alike(graph: Graph, name: str, x: str) -> bool:
    """Whether two values have the same images and channels, and no side that is known to be another."""
    own, other = graph.values[x], graph.values.get(name)
    if own.shape is None or other is None or other.shape is None or len(own.shape) != len(other.shape):
        return False
    pairs = zip(own.shape, other.shape, strict=True)
    if any(a != b and isinstance(a, int) and isinstance(b, int) for a, b in pairs):
        return False
    return _same_images(own, other) and own.shape[1] is not None and own.shape[1] == other.shape[1]


def _channels_third(graph: Graph, name: str, x: str) -> bool:
    """Whether a value is x as (N, 1, C, ...)."""
    own, other = graph.values[x], graph.values.get(name)
    if own.shape is None or other is None or other.shape is None or len(own.shape) < 2 or len(other.shape) < 4:
        return False
    return _same_images(own, other) and own.shape[1] is not None and other.shape[1:3] == (1, own.shape[1])


def _same_images(a: Value, b: Value) -> bool:
    assert a.shape is not None
    assert b.shape is not None
    return a.batch_axis == b.batch_axis == 0 or (a.shape[0] is not None and a.shape[0] == b.shape[0])

"""Group norm written out: groups folded together, normalised, unfolded, and every channel scaled and shifted."""

from __future__ import annotations

import math
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from unpool.graph.model import HOUSE, Constant, Graph, Node, Value
from unpool.graph.patterns import Match, Trace, with_weight
from unpool.graph.weights import Computed, Stored


def match_group_norm(graph: Graph, node: Node) -> Match | None:
    """Group norm of (N, C, ...) that ends in ``node``: an Add of the bias, the Mul by the gain, or the Reshape back.

    Between the Reshape to (N, G, ...) and the one back stands an instance norm without gain and bias, as PyTorch's
    exporters write it, or a norm over all axes behind the groups that was written out itself.
    """
    trace = Trace(graph, loose=True)
    name, bias = _weighted(trace, node.outputs[0], "Add")
    name, gain = _weighted(trace, name, "Mul")
    behind = trace.inside(name) if trace.peek(name) == "Reshape" else None
    norm = trace.inside(behind.inputs[0]) if behind is not None else None
    before = trace.inside(norm.inputs[0]) if norm is not None and _normalises_groups(graph, norm) else None
    if behind is None or norm is None or before is None or before.op_type != "Reshape" or not trace.sealed(node):
        return None
    x, folded = graph.values.get(before.inputs[0]), graph.values[before.outputs[0]]
    groups = _groups(x, folded) if x is not None else None
    if x is None or groups is None or not _alike(graph, behind, x):
        return None
    weights = {}
    for word, given, plain in (("scale", gain, 1.0), ("bias", bias, 0.0)):
        found = _per_channel(graph, x, given, plain)
        if found is None:
            return None
        weights[f"{node.outputs[0]}:{word}"] = found
    if any(name in graph.values or name in graph.constants for name in weights):
        return None
    epsilon = norm.attributes.get("epsilon", 1e-5)
    attributes = MappingProxyType({"num_groups": groups, "epsilon": epsilon})
    nodes = tuple(dict.fromkeys([node, *trace.nodes]))
    return Match("GroupNormalization", (x.name, *weights), attributes, nodes, weights)


def _weighted(trace: Trace, name: str, op_type: str) -> tuple[str, str]:
    """The signal and the weight of an Add or a Mul; the name itself and nothing where it is another node's."""
    node = trace.inside(name) if trace.peek(name) == op_type else None
    found = with_weight(trace.graph, node) if node is not None else None
    return found if found is not None else (name, "")


def _normalises_groups(graph: Graph, norm: Node) -> bool:
    """Whether a node takes everything behind axis 1 to mean 0 and variance 1, and does nothing else."""
    value = graph.values.get(norm.inputs[0])
    if value is None or value.shape is None:
        return False
    if norm.op_type == "InstanceNormalization" and not norm.domain:
        return all(_is(graph, name, number) for name, number in zip(norm.inputs[1:], (1.0, 0.0), strict=True))
    over = tuple(range(2, len(value.shape)))
    plain = len(norm.inputs) == 1 and norm.attributes.get("axes") == over
    return norm.op_type == "LayerNormalization" and norm.domain == HOUSE and plain


def _is(graph: Graph, name: str, number: float) -> bool:
    constant = graph.constants.get(name)
    return constant is not None and bool((constant.numpy().astype(np.float64) == number).all())


def _groups(x: Value, folded: Value) -> int | None:
    """How many groups the channels are folded into, each of as many."""
    if x.shape is None or folded.shape is None or len(x.shape) < 2 or len(folded.shape) < 3:
        return None
    channels, groups = x.shape[1], folded.shape[1]
    images = x.batch_axis == folded.batch_axis == 0 or (x.shape[0] is not None and x.shape[0] == folded.shape[0])
    if not images or not isinstance(channels, int) or not isinstance(groups, int) or not groups or channels % groups:
        return None
    return groups


def _alike(graph: Graph, behind: Node, x: Value) -> bool:
    """Whether a Reshape brings the shape of x back: it is handed it, or no two extents may differ."""
    measure = graph.producers.get(behind.inputs[1])
    if measure is not None and measure.op_type == "Shape" and measure.inputs == (x.name,):
        return not measure.attributes.get("start", 0) and "end" not in measure.attributes
    y = graph.values[behind.outputs[0]]
    if x.shape is None or y.shape is None or len(x.shape) != len(y.shape):
        return False
    known = [a is not None and a == b for a, b in zip(x.shape, y.shape, strict=True)]
    known[0] |= x.batch_axis == y.batch_axis == 0
    different = any(isinstance(a, int) and isinstance(b, int) and a != b for a, b in zip(x.shape, y.shape, strict=True))
    # Of one extent that is not known the others tell.
    return not different and known.count(False) <= 1


def _per_channel(graph: Graph, x: Value, name: str, plain: float) -> Constant | None:
    """A weight as (C,), from (C, 1 ...) or one number for all; ``plain`` everywhere where there is none."""
    assert x.shape is not None
    channels = x.shape[1]
    assert isinstance(channels, int)
    if not name:
        return Stored(ir.tensor(np.full(channels, plain, np.float32)))
    given = graph.constants[name]
    shape = (1,) * (len(x.shape) - len(given.shape)) + given.shape
    if len(shape) != len(x.shape) or math.prod(shape) != shape[1] or shape[1] not in (1, channels):
        return None
    extents = Stored(ir.tensor(np.array([channels], np.int64)))
    flat = Computed("Reshape", {}, [given, Stored(ir.tensor(np.array([-1], np.int64)))], 0, (shape[1],), given.dtype)
    return flat if shape[1] == channels else Computed("Expand", {}, [flat, extents], 0, (channels,), given.dtype)

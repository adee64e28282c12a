"""Steps run as one: a convolution with the batch norm behind it, and what bounds values in place."""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unpool.engine.boxable import Boxable
from unpool.engine.weights import Weights
from unpool.graph.model import Graph, Node

_FRESH = frozenset({"Conv", "Add", "Sum", "BatchNormalization"})
"""Operators whose result nobody else holds, so that it may be bounded in place."""


@dataclass(frozen=True, eq=False)
class Step:
    """One or several nodes run on boxes as one.

    Attributes:
        node: the first of them.
        how: how it is run.
        outputs: the names of what comes out of the last.
        bounds: (lowest, highest) that the result is brought into, in this order.
        weight, bias: of a convolution, with a batch norm's gain and shift in them; ``None`` for other nodes.
    """

    node: Node
    how: Boxable
    outputs: tuple[str, ...]
    bounds: tuple[tuple[float, float], ...] = ()
    weight: Tensor | None = None
    bias: Tensor | None = None


def fused(steps: Sequence[tuple[Node, Boxable]], graph: Graph, weights: Weights, visible: Set[str]) -> tuple[Step, ...]:
    """Puts nodes together where nobody but the next one reads what is between them.

    Args:
        steps: nodes in topological order.
        graph: the model.
        weights: its constants.
        visible: values that are read from outside.
    """
    found: list[Step] = []
    makers: dict[str, int] = {}
    for node, how in steps:
        maker = makers.get(node.inputs[0]) if node.inputs else None
        joined = None
        if maker is not None and node.inputs[0] not in visible and len(graph.consumers.get(node.inputs[0], ())) == 1:
            joined = _joined(found[maker], node, weights)
        if joined is not None and maker is not None:
            found[maker] = joined
            makers[node.outputs[0]] = maker
            continue
        makers[next(o for o in node.outputs if o)] = len(found)
        found.append(_first(node, how, weights))
    return tuple(found)


def _first(node: Node, how: Boxable, weights: Weights) -> Step:
    if node.op_type != "Conv":
        return Step(node, how, node.outputs)
    bias = weights[node.inputs[2]] if len(node.inputs) > 2 and node.inputs[2] else None
    return Step(node, how, node.outputs, weight=weights[node.inputs[1]], bias=bias)


def _joined(step: Step, node: Node, weights: Weights) -> Step | None:
    """A step with one node more, or ``None`` where it stays apart."""
    if step.node.op_type not in _FRESH or len(step.node.inputs) < 2:
        return None
    if node.op_type == "BatchNormalization" and step.weight is not None and not step.bounds:
        return _normalised(step, node, weights)
    bounds = _bounds(node, weights)
    return None if bounds is None else replace(step, outputs=node.outputs, bounds=(*step.bounds, bounds))


def _normalised(step: Step, node: Node, weights: Weights) -> Step | None:
    if len(node.outputs) > 1 or any(i not in weights for i in node.inputs[1:]) or step.weight is None:
        return None
    if node.attributes.get("training_mode", 0) or not node.attributes.get("spatial", 1):
        return None
    epsilon = node.attributes.get("epsilon", 1e-5)
    assert isinstance(epsilon, int | float)
    scale, shift, mean, variance = (weights[i].double() for i in node.inputs[1:5])
    gain = scale / torch.sqrt(variance + float(epsilon))
    bias = torch.zeros_like(mean) if step.bias is None else step.bias.double()
    weight = step.weight.double() * gain.reshape(-1, *(1,) * (step.weight.ndim - 1))
    return replace(
        step,
        outputs=node.outputs,
        weight=weight.float().contiguous(memory_format=_layout(weight)),
        bias=((bias - mean) * gain + shift).float(),
    )


def _layout(weight: Tensor) -> torch.memory_format:
    return torch.channels_last if weight.ndim == 4 else torch.contiguous_format


def _bounds(node: Node, weights: Weights) -> tuple[float, float] | None:
    if node.op_type == "Relu":
        return 0.0, math.inf
    if node.op_type != "Clip":
        return None
    if node.version < 11:
        low, high = node.attributes.get("min", -math.inf), node.attributes.get("max", math.inf)
        assert isinstance(low, int | float)
        assert isinstance(high, int | float)
        return float(low), float(high)
    limits = [-math.inf, math.inf]
    for i in (1, 2):
        if len(node.inputs) > i and node.inputs[i]:
            if node.inputs[i] not in weights:
                return None
            limits[i - 1] = float(weights[node.inputs[i]].reshape(-1)[0])
    return limits[0], limits[1]


def bounded(x: Tensor, bounds: Sequence[tuple[float, float]]) -> Tensor:
    """A fresh tensor brought into bounds, in place."""
    for low, high in bounds:
        if high == math.inf:
            x = x.relu_() if low == 0.0 else x.clamp_(min=low)
        else:
            x = x.clamp_(low, high)
    return x

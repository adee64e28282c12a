"""A policy is a dictionary from operator type to a backward rule; everything else is the adjoint.

Through a rectifier, with s the signal from above and x what the rectifier was given: gradient s * [x > 0]; deconvnet
max(s, 0) (Zeiler & Fergus 2013); guided s * [s > 0] * [x > 0] (Springenberg et al. 2014, section 3.4). A new
attribution method is a new dictionary.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TypeAlias

from unpool.graph.model import Graph, Node
from unpool.graph.rectifiers import clip_bounds, constant_bound
from unpool.ops import Crossing, Rule, Signals, backward
from unpool.ops.activation import GUIDED, PASS, REAPPLY, RECTIFY, guided


class Policy(enum.Enum):
    """Which signal is carried down (Zeiler & Fergus 2013; Springenberg et al. 2014)."""

    DECONVNET = "deconvnet"
    GUIDED = "guided"
    GRADIENT = "gradient"


Replacement: TypeAlias = Callable[[Node, Graph], Rule | None]
"""Gives a node's rule, or ``None`` where the adjoint holds after all."""


def _constants(node: Node, graph: Graph) -> tuple[bool, ...]:
    return tuple(not name or name in graph.constants or name in graph.measured for name in node.inputs)


def _rectifies(node: Node, graph: Graph) -> bool:
    """Whether a node cuts its input at zero: a Relu, or a Clip from 0, that is no gate."""
    if node.gate:
        return False
    bounds = clip_bounds(graph, node)
    return bounds is not None and bounds[0] == 0.0 if node.op_type == "Clip" else True


def _when_rectifying(rule: Rule) -> Replacement:
    return lambda node, graph: rule if _rectifies(node, graph) else None


def _same_function(node: Node, graph: Graph) -> Rule | None:
    return REAPPLY if REAPPLY.holds(node, _constants(node, graph)) else None


def _cuts_at_zero(node: Node, graph: Graph) -> int | None:
    """Which operand of a Max with the constant 0 is the signal: a rectifier written out."""
    found = constant_bound(graph, node, "Max")
    return node.inputs.index(found[0]) if found is not None and found[1] == 0.0 else None


def _bounds_a_rectifier(node: Node, graph: Graph) -> int | None:
    """Which operand of a Min with a constant is the signal, where the two are a bounded rectifier written out."""
    found = constant_bound(graph, node, "Min")
    if found is None or found[1] <= 0:
        return None
    before = graph.producers.get(found[0])
    behind = graph.consumers.get(node.outputs[0], ())
    rectified = before is not None and (before.op_type == "Relu" or _cuts_at_zero(before, graph) is not None)
    if rectified or (len(behind) == 1 and _cuts_at_zero(behind[0], graph) is not None):
        return node.inputs.index(found[0])
    return None


def _operand(which: Callable[[Node, Graph], int | None], rule: Rule) -> Replacement:
    """A rule for one operand of a node that ``which`` points out, none where it points at none."""

    def replacement(node: Node, graph: Graph) -> Rule | None:
        index = which(node, graph)
        if index is None:
            return None

        def apply(at: Crossing, signals: Signals) -> Signals:
            signal = rule.apply(at, signals)[0]
            return tuple(signal if i == index else None for i in range(len(at.node.inputs)))

        return replace(rule, apply=apply, by_sign=False)

    return replacement


def _guided(node: Node, graph: Graph) -> Rule | None:
    adjoint = backward(node, _constants(node, graph))
    return guided(adjoint) if adjoint is not None and _rectifies(node, graph) else None


_POLICIES: Mapping[Policy, Mapping[str, Replacement]] = MappingProxyType(
    {
        Policy.GRADIENT: {},
        Policy.DECONVNET: {
            "Relu": _when_rectifying(RECTIFY),
            "Clip": _when_rectifying(RECTIFY),
            "ThresholdedRelu": _when_rectifying(RECTIFY),
            "Max": _operand(_cuts_at_zero, RECTIFY),
            # The upper bound of a rectifier is not applied to the signal.
            "Min": _operand(_bounds_a_rectifier, PASS),
            "LeakyRelu": _same_function,
            "PRelu": _same_function,
            # The paper uses no contrast normalisation in the reconstruction path.
            "LRN": lambda node, graph: PASS,
        },
        Policy.GUIDED: {
            **dict.fromkeys(("Relu", "Clip", "ThresholdedRelu", "LeakyRelu", "PRelu"), _guided),
            "Max": _operand(_cuts_at_zero, GUIDED),
        },
    }
)


def rule_of(node: Node, graph: Graph, policy: Policy) -> Rule | None:
    """The rule by which a policy crosses a node; ``None`` where the operator is not known."""
    replacement = _POLICIES[policy].get(node.op_type) if not node.domain else None
    replaced = replacement(node, graph) if replacement else None
    return replaced or backward(node, _constants(node, graph))

"""Crossings: by which rule each policy would carry a signal through each node, from the outputs to an input."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from unpool.engine.plan import FLOATS
from unpool.engine.policies import Policy, rule_of
from unpool.graph.model import Graph, Node


@dataclass(frozen=True)
class OperatorNodes:
    """Nodes of one operator: its kind, how many, and the names of the first few."""

    kind: str
    count: int
    first: tuple[str, ...]


@dataclass(frozen=True)
class Crossings:
    """How a policy crosses the nodes between an input and the outputs.

    Attributes:
        policy: whose rules.
        exact: crossed by the rule that the policy defines; for the gradient, by the exact gradient.
        fallback: crossed by the vector-Jacobian product, for want of a rule of the policy's own.
        stops: that no signal crosses.
        switches: max pools on the way, whose switches make the picture depend on the input.
    """

    policy: Policy
    exact: tuple[OperatorNodes, ...]
    fallback: tuple[OperatorNodes, ...]
    stops: tuple[OperatorNodes, ...]
    switches: int


_FIRST = 3


def crossings(graph: Graph, to: str, policy: Policy) -> Crossings:
    """Sorts the nodes on the way from the outputs back to an input by what the policy does there.

    Args:
        graph: the model.
        to: the input that is looked at, or another value.
        policy: whose rules.
    """
    exact: list[Node] = []
    fallback: list[Node] = []
    stops: list[Node] = []
    switches = 0
    for node in on_the_way(graph, to):
        rule = rule_of(node, graph, policy)
        if rule is None:
            stops.append(node)
            continue
        switches += rule.switches
        (exact if rule.exact or policy is Policy.GRADIENT else fallback).append(node)
    return Crossings(policy, _grouped(exact), _grouped(fallback), _grouped(stops), switches)


def on_the_way(graph: Graph, to: str) -> tuple[Node, ...]:
    """The nodes through which a signal would go from any output to ``to``, in the order of the graph."""
    between = graph.ancestors(graph.outputs) & graph.descendants([to], extents=False)
    active = {name for name in between if graph.values[name].dtype in FLOATS}
    return tuple(
        node for node in graph.nodes if any(o in active for o in node.outputs) and any(i in active for i in node.inputs)
    )


def _grouped(nodes: Iterable[Node]) -> tuple[OperatorNodes, ...]:
    found: dict[str, list[str]] = {}
    for node in nodes:
        found.setdefault(node.kind, []).append(node.name)
    return tuple(
        OperatorNodes(kind, len(names), tuple(names[:_FIRST]))
        for kind, names in sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    )

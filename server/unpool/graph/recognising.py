"""Recognising: one node in the place of each pattern that a table of matchers finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final, TypeAlias

from unpool.graph.model import Graph, Node
from unpool.graph.patterns import Match

Matcher: TypeAlias = Callable[[Graph, Node], Match | None]
"""(graph, node) -> the function that ends in the node, where its pieces are the matcher's."""

_SINCE: Final = {
    "HardSwish": 14,
    "Swish": 24,
    "Gelu": 20,
    "Mish": 18,
    "LayerNormalization": 17,
    "RMSNormalization": 23,
    "GroupNormalization": 21,
    "Softmax": 13,
    "LogSoftmax": 13,
    "Relu": 6,
    "Elu": 6,
    "LeakyRelu": 6,
    "PRelu": 7,
}


def recognise(graph: Graph, matchers: Mapping[str, Sequence[Matcher]]) -> Graph:
    """Puts one node in the place of each pattern, the longest that end latest first.

    Args:
        graph: a frozen graph; it is not changed.
        matchers: operator type of a pattern's last node -> matchers, the first that matches decides.

    Returns:
        The graph with nodes named after the last of their pieces, less the extents that only pieces asked for.
    """
    found: dict[Node, Match] = {}
    gone: set[Node] = set()
    for node in reversed(graph.nodes):
        for matcher in matchers.get(node.op_type, ()) if not node.domain and node not in gone else ():
            match = matcher(graph, node)
            if match is not None and gone.isdisjoint(match.nodes):
                found[node] = match
                gone.update(match.nodes)
                break
    return _substituted(graph, found, gone) if found else graph


def _substituted(graph: Graph, found: Mapping[Node, Match], gone: set[Node]) -> Graph:
    kept = [_joined(n, found[n]) if n in found else n for n in graph.nodes if n in found or n not in gone]
    nodes = _without_idle_measures(graph, kept, gone)
    made = {o for node in nodes for o in node.outputs}
    dropped = {o for node in graph.nodes for o in node.outputs} - made
    values = MappingProxyType({name: value for name, value in graph.values.items() if name not in dropped})
    constants = dict(graph.constants)
    for match in found.values():
        constants |= match.constants
    return replace(graph, nodes=nodes, values=values, constants=MappingProxyType(constants))


def _joined(node: Node, match: Match) -> Node:
    version = 1 if match.domain else max(node.version, _SINCE.get(match.op_type, 1))
    return Node(node.name, match.domain, match.op_type, version, match.inputs, node.outputs, match.attributes)


def _without_idle_measures(graph: Graph, kept: Sequence[Node], gone: set[Node]) -> tuple[Node, ...]:
    """The nodes less those that measured extents for pieces which are gone, and for nobody else."""
    measuring = set(graph.measuring)
    read = set(graph.outputs)
    freed = {name for node in gone for name in node.inputs}
    nodes: list[Node] = []
    for node in reversed(kept):
        if node in measuring and not freed.isdisjoint(node.outputs) and read.isdisjoint(node.outputs):
            freed.update(node.inputs)
            continue
        read.update(node.inputs)
        nodes.append(node)
    return tuple(reversed(nodes))

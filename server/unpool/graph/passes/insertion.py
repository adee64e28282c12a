"""Insertion: nodes and constants that a pass puts into a graph, under names that nothing else has."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from unpool.graph.model import Array


class Insertion:
    """What one pass puts into one graph; names are gathered once."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._taken = {v.name for v in graph.inputs} | set(graph.initializers)
        self._taken |= {o.name for node in graph for o in node.outputs}
        self._made: set[ir.Value] = set()

    def constant(self, name: str, array: Array) -> ir.Value:
        """An initialiser named like ``name``."""
        free = self._free(name)
        tensor = ir.tensor(array, name=free)
        value = ir.Value(name=free, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
        self._graph.register_initializer(value)
        return value

    def value(
        self, before: ir.Node, op_type: str, inputs: Iterable[ir.Value], name: str, **attributes: int | list[int]
    ) -> ir.Value:
        """What a node in front of another gives, named like ``name``."""
        return self.node(before, op_type, inputs, name, **attributes).outputs[0]

    def node(
        self, before: ir.Node, op_type: str, inputs: Iterable[ir.Value], *names: str, **attributes: int | list[int]
    ) -> ir.Node:
        """A node in front of another, its outputs named like ``names``; one output without a name by default."""
        made = ir.node(op_type, list(inputs), attributes=attributes, num_outputs=max(1, len(names)))
        for output, name in zip(made.outputs, names, strict=False):
            output.name = self._free(name)
        made.name = made.outputs[0].name
        self._graph.insert_before(before, made)
        self._made.update(made.outputs)
        return made

    def unread(self, value: ir.Value) -> ir.Node | None:
        """The node that makes a value, where it was put in here and nothing reads it yet."""
        return value.producer() if value in self._made and not value.uses() else None

    def replace(self, node: ir.Node, by: ir.Node) -> None:
        """Puts a node with one output in the place of another, under its name and its output's."""
        output, replacement = node.outputs[0], by.outputs[0]
        by.name, replacement.name, replacement.type = node.name, output.name, output.type
        output.name = None
        output.replace_all_uses_with(replacement, replace_graph_outputs=True)
        self._graph.remove(node, safe=True)

    def _free(self, name: str) -> str:
        found, number = name, 1
        while found in self._taken:
            number += 1
            found = f"{name}.{number}"
        self._taken.add(found)
        return found

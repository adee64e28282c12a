"""Branches: an If whose condition is fixed, in the file or for an input, becomes the branch that is taken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx_ir as ir

from unpool.graph.errors import ModelError
from unpool.graph.stages import described


def conditions_of(model: ir.Model) -> tuple[ir.Value, ...]:
    """The conditions of the If nodes of the main graph that are not fixed, in the order of the graph."""
    found = [node.inputs[0] for node in model.graph if _is_if(node)]
    return tuple(v for v in found if v is not None and v.const_value is None)


def settle_conditions(model: ir.Model, values: Mapping[str, bool]) -> None:
    """Fixes conditions, for every If that reads them, within branches and loops too; other readers still compute them.

    Requires: the names are those of ``conditions_of``.
    Call: in place; ``inline_known_branches`` then takes the branches.
    Ensures: each condition is a constant where an If reads it.
    """
    for condition in dict.fromkeys(conditions_of(model)):
        if condition.name is None or condition.name not in values:
            continue
        taken = {v.name for v in _values(model.graph)} | set(model.graph.initializers)
        name = _free(f"{condition.name}/settled", taken)
        settled = ir.Value(name=name, const_value=ir.tensor(np.array(values[condition.name]), name=name))
        model.graph.register_initializer(settled)
        for use in list(condition.uses()):
            if _is_if(use.node):
                use.node.replace_input_with(use.idx, settled)


def _is_if(node: ir.Node) -> bool:
    return node.op_type == "If" and node.domain in ("", "ai.onnx") and bool(node.inputs)


def inline_known_branches(model: ir.Model) -> bool:
    """Replaces every If node of the main graph with a constant condition by the nodes of the branch it takes.

    Requires: functions inlined; constants lifted. Folding before it makes more conditions known.
    Call: in place; until nothing changes, for an If within an If.
    Ensures: outputs keep their names; names inside get the If's own name in front where another tensor has them.

    Returns:
        Whether anything changed; Constant nodes of the branch are not lifted yet, and shapes are worth an inference.

    Raises:
        ModelError: a branch that gives another number of outputs than its If.
    """
    changed = False
    for node in list(model.graph):
        if not _is_if(node):
            continue
        condition = node.inputs[0]
        if condition is None or not condition.is_initializer() or condition.const_value is None:
            continue
        if condition.const_value.size != 1:
            raise ModelError(
                f"the condition of {described(node)} has {condition.const_value.size} elements, not one", node=node.name
            )
        taken = bool(condition.const_value.numpy().item())
        attribute = node.attributes.get("then_branch" if taken else "else_branch")
        if attribute is None or attribute.type is not ir.AttributeType.GRAPH:
            raise ModelError(f"{described(node)} lacks the branch that it takes", node=node.name)
        _inline(model.graph, node, attribute.as_graph())
        changed = True
    return changed


def _inline(graph: ir.Graph, node: ir.Node, branch: ir.Graph) -> None:
    if len(branch.outputs) != len(node.outputs):
        raise ModelError(
            f"{described(node)} has {len(node.outputs)} outputs, and its branch gives {len(branch.outputs)}",
            node=node.name,
        )
    results = list(branch.outputs)
    inner = list(branch)
    weights = list(branch.initializers.values())
    own = node.name or node.outputs[0].name or node.op_type
    within = set(_within(node))  # the other branch goes, and this one's names are free where nothing else has them
    taken = {v.name for v in _values(graph) if v not in within} | set(graph.initializers)
    for value in [*weights, *(o for n in inner for o in n.outputs)]:
        if value.name in taken:
            value.name = _free(f"{own}/{value.name}", taken)
        taken.add(value.name or "")
    # Who asked for the If by its name asks for what it gives.
    named = {n.name for n in graph if n is not node} | {node.name}
    for each in inner:
        if each.name in named:
            each.name = _free(f"{own}/{each.name or each.op_type}", named)
        named.add(each.name)
    branch.outputs.clear()
    branch.initializers.clear()
    for value in weights:
        graph.register_initializer(value)
    branch.remove(inner)
    graph.insert_before(node, inner)
    for i, (output, result) in enumerate(zip(node.outputs, results, strict=True)):
        name = output.name
        output.name = None
        # What is named in the file stays to be asked for, whatever the branch calls it.
        name_of_node = node.name if node.name and not i else _free(f"{own}/{i}", named)
        through = ir.Node("", "Identity", [result], name=name_of_node)
        named.add(through.name)
        replacement = through.outputs[0]
        replacement.name, replacement.shape, replacement.type = name, output.shape, output.type
        graph.insert_before(node, through)
        output.replace_all_uses_with(replacement, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    """Every named value of a graph and of the graphs in it."""
    yield from graph.inputs
    for node in graph:
        yield from node.outputs
        yield from _within(node)


def _within(node: ir.Node) -> Iterator[ir.Value]:
    """Every value of the graphs in a node."""
    for attribute in node.attributes.values():
        if attribute.type is ir.AttributeType.GRAPH:
            inside = attribute.as_graph()
            yield from inside.initializers.values()
            yield from _values(inside)


def _free(name: str, taken: set[str | None]) -> str:
    """A name that nothing has yet."""
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name}.{number}"
    return found

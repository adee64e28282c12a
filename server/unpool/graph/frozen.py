"""The frozen view: a normalised onnx_ir model as a Graph that every room above reads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import onnx_ir as ir

from unpool.graph.attributes import attributes_of, has_subgraphs
from unpool.graph.containers import is_container
from unpool.graph.evaluation import EVALUABLE
from unpool.graph.model import Axis, BatchSupport, Constant, Graph, Node, Value
from unpool.graph.passes.shapes import dims_of
from unpool.graph.weights import Computed, Stored

# A constant computed from others may be as large as a weight, not larger than a machine's memory.
_COMPUTED_ELEMENTS = 1 << 30


def freeze(model: ir.Model, labels: Mapping[ir.Value, tuple[Axis, ...]], batch: BatchSupport) -> Graph:
    """Builds the frozen view of a normalised model.

    Nodes whose outputs are fixed leave the graph; their values become constants, made when first asked for. Sequences
    and optional values leave it as well, with the nodes that make nothing else: what reads one reads all tensors that
    it was made from, behind its own inputs, and no room above meets a value that is no tensor.

    Args:
        model: normalised: inlined, constants lifted, shapes inferred.
        labels: axis labels of every value of known rank.
        batch: whether the batch axis is free.
    """
    constants: dict[str, Constant] = {
        name: Stored(value.const_value)
        for name, value in model.graph.initializers.items()
        if value.const_value is not None
    }
    opsets = {("" if d == "ai.onnx" else d): v for d, v in model.opset_imports.items()}
    outputs = tuple(v.name or "" for v in model.graph.outputs)
    nodes: list[Node] = []
    values = {v.name: _value(v, labels) for v in model.graph.inputs if v.name}
    names: set[str] = {n.name for n in model.graph if n.name}
    taken: set[str] = set()
    contained: dict[str, tuple[str, ...]] = {}
    for index, node in enumerate(model.graph):
        computed = _computed(node, constants)
        if computed and not any(o in outputs for o in computed):
            constants.update(computed)
            continue
        inputs = _tensors_read(node, contained)
        containers = [o.name for o in node.outputs if o.name and is_container(o)]
        contained.update(dict.fromkeys(containers, tuple(i for i in inputs if i)))
        tensors = tuple("" if o.name in contained else o.name or "" for o in node.outputs)
        if containers and not any(tensors):
            continue
        name = _unique(node, index, names, taken)
        domain = "" if node.domain == "ai.onnx" else node.domain
        values.update({o.name: _value(o, labels) for o in node.outputs if o.name and o.name in tensors})
        nodes.append(
            Node(
                name=name,
                domain=domain,
                op_type=node.op_type,
                version=opsets.get(domain, 1),
                inputs=inputs,
                outputs=tensors,
                attributes=attributes_of(node),
            )
        )
    return Graph(
        nodes=tuple(nodes),
        values=MappingProxyType(values),
        inputs=tuple(v.name or "" for v in model.graph.inputs),
        outputs=outputs,
        constants=MappingProxyType(constants),
        opsets=MappingProxyType(opsets),
        batch=batch,
    )


def _value(value: ir.Value, labels: Mapping[ir.Value, tuple[Axis, ...]]) -> Value:
    dtype = "" if value.dtype is None else _dtype(value.dtype)
    return Value(name=value.name or "", dtype=dtype, shape=dims_of(value), axes=labels.get(value, ()))


def _dtype(dtype: ir.DataType) -> str:
    return "str" if dtype is ir.DataType.STRING else dtype.numpy().name


def _unique(node: ir.Node, index: int, names: set[str], taken: set[str]) -> str:
    """The file's node name; a generated one where it is missing or not the first of its kind."""
    name = node.name or ""
    if not name or name in taken:
        stem = name or f"{node.op_type}_{index}"
        name, count = (stem, 0) if stem not in names else (f"{stem}.1", 1)
        while name in taken or (count and name in names):
            count += 1
            name = f"{stem}.{count}"
    taken.add(name)
    return name


def _computed(node: ir.Node, constants: Mapping[str, Constant]) -> dict[str, Constant]:
    """The node's outputs as constants, or nothing where they are not fixed or cannot be made here."""
    if node.domain not in ("", "ai.onnx") or node.op_type not in EVALUABLE or not node.inputs:
        return {}
    inputs: list[Constant | None] = []
    for value in node.inputs:
        if value is not None and (value.name or "") not in constants:
            return {}
        inputs.append(constants[value.name or ""] if value is not None else None)
    attributes = MappingProxyType({**attributes_of(node), "outputs": len(node.outputs)})
    found: dict[str, Constant] = {}
    for index, output in enumerate(node.outputs):
        dims = dims_of(output)
        if dims is None or output.dtype is None or not output.name:
            return {}
        shape = tuple(d for d in dims if isinstance(d, int))
        if len(shape) != len(dims) or math.prod(shape) > _COMPUTED_ELEMENTS:
            return {}
        found[output.name] = Computed(node.op_type, attributes, inputs, index, shape, _dtype(output.dtype))
    return found


def _tensors_read(node: ir.Node, contained: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """A node's inputs, empty where a container stands; behind them what its subgraphs and containers read."""
    named = [(v.name or "") if v is not None else "" for v in node.inputs]
    captured = _captured(node)
    own = ["" if name in contained else name for name in named]
    behind = [i for name in (*named, *captured) for i in contained.get(name, ())]
    behind += [name for name in captured if name not in contained]
    return (*own, *(name for name in dict.fromkeys(behind) if name not in own))


def _captured(node: ir.Node) -> tuple[str, ...]:
    """What a node's subgraphs read from around it."""
    if not has_subgraphs(node):
        return ()
    found: dict[str, None] = {}

    def visit(graph: ir.Graph, inside: frozenset[ir.Value]) -> None:
        inside = inside | set(graph.inputs) | set(graph.initializers.values()) | {o for n in graph for o in n.outputs}
        for inner in graph:
            for value in inner.inputs:
                if value is not None and value not in inside and value.name:
                    found[value.name] = None
            for nested in _subgraphs(inner):
                visit(nested, inside)
        for value in graph.outputs:
            if value not in inside and value.name:
                found[value.name] = None

    for graph in _subgraphs(node):
        visit(graph, frozenset())
    own = {v.name for v in node.inputs if v is not None}
    return tuple(name for name in found if name not in own)


def _subgraphs(node: ir.Node) -> list[ir.Graph]:
    found: list[ir.Graph] = []
    for attribute in node.attributes.values():
        if attribute.type is ir.AttributeType.GRAPH:
            found.append(attribute.as_graph())
        elif attribute.type is ir.AttributeType.GRAPHS:
            found.extend(attribute.as_graphs())
    return found

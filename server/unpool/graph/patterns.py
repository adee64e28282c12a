"""Reading a frozen graph backwards: scalars, scaled products, clips and sigmoids, however an exporter wrote them down.

Each function answers what a tensor is, looking only at nodes that nobody outside the pattern reads; ``Trace``
remembers which those are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from unpool.graph.model import HOUSE, Attribute, Constant, Graph, Node
from unpool.graph.rectifiers import clip_bounds, scalar


@dataclass
class Trace:
    """The nodes that a pattern is made of, so far.

    Attributes:
        graph: what is read.
        nodes: the pattern.
        loose: a value may be read by any number of nodes while the pattern grows, and ``sealed`` tells at its end
            whether all of them belong to it.
    """

    graph: Graph
    nodes: list[Node] = field(default_factory=list)
    loose: bool = False

    def inside(self, name: str, *, uses: int = 1) -> Node | None:
        """The node that makes ``name``, if only ``uses`` nodes of the pattern read it; it joins the pattern.

        A Cast to the type that a tensor has already is looked through.
        """
        found = list(self._down(name, uses))
        if not found or is_idle(self.graph, found[-1]):
            return None
        self.nodes.extend(node for node in found if node not in self.nodes)
        return found[-1]

    def peek(self, name: str) -> str:
        """Operator type of the node that makes ``name``; empty where there is none of ai.onnx."""
        node = self.graph.producers.get(name)
        while node is not None and is_idle(self.graph, node):
            node = self.graph.producers.get(node.inputs[0])
        return node.op_type if node is not None and not node.domain else ""

    def sealed(self, final: Node) -> bool:
        """Whether nobody outside reads what the pattern makes on its way to ``final``, and none of it is an output."""
        pattern = {final, *self.nodes}
        made = [o for node in pattern if node is not final for o in node.outputs if o]
        readers = (reader for name in made for reader in self.graph.consumers.get(name, ()))
        return all(name not in self.graph.outputs for name in made) and all(r in pattern for r in readers)

    def _down(self, name: str, uses: int) -> Iterator[Node]:
        """Casts that change nothing, and the node below them, as far as they belong to the pattern."""
        while True:
            node = self.graph.producers.get(name)
            if node is None or node.domain not in ("", HOUSE) or any(o and o != name for o in node.outputs):
                return
            read = len(self.graph.consumers.get(name, ()))
            if not self.loose and (name in self.graph.outputs or read != uses):
                return
            yield node
            if not is_idle(self.graph, node):
                return
            name, uses = node.inputs[0], 1


def is_idle(graph: Graph, node: Node) -> bool:
    """Whether a node is a Cast to the type that its input has already, as Keras writes them around everything."""
    if node.op_type != "Cast" or node.domain:
        return False
    before, behind = graph.values.get(node.inputs[0]), graph.values.get(node.outputs[0])
    return before is not None and behind is not None and before.dtype == behind.dtype != ""


@dataclass(frozen=True)
class Match:
    """One recognised function: the operator that it is, what it reads, and the nodes that it is made of.

    ``constants`` are those among its inputs that the file does not hold as they are; ``domain`` is ai.onnx, or the
    house's own where the standard has no such operator.
    """

    op_type: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]
    nodes: tuple[Node, ...]
    constants: Mapping[str, Constant] = field(default_factory=dict)
    domain: str = ""


def with_weight(graph: Graph, node: Node) -> tuple[str, str] | None:
    """The signal and the constant of a two-operand node, in either order."""
    if len(node.inputs) != 2:
        return None
    a, b = node.inputs
    for signal, weight in ((a, b), (b, a)):
        if signal in graph.values and weight in graph.constants:
            return signal, weight
    return None


def near(value: float | None, wanted: float) -> bool:
    """Equality of a written-out number, which may have gone through float16, with what it stands for."""
    return value is not None and math.isclose(value, wanted, rel_tol=2e-3, abs_tol=1e-6)


def with_scalar(graph: Graph, node: Node) -> tuple[str, float] | None:
    """The signal and the number of a two-operand node, in either order."""
    if len(node.inputs) != 2:
        return None
    a, b = node.inputs
    for signal, other in ((a, b), (b, a)):
        number = scalar(graph, other) if signal in graph.values else None
        if number is not None:
            return signal, number
    return None


def affine(trace: Trace, name: str, stop: str = "") -> tuple[str, float, float]:
    """``name`` as scale * source + shift (the identity if it is no such thing), not looking behind ``stop``."""
    scale, shift = 1.0, 0.0
    while name != stop and trace.peek(name) in ("Add", "Sub", "Mul", "Div", "Neg"):
        mark = len(trace.nodes)
        node = trace.inside(name)
        found = (
            (node.inputs[0], 1.0)
            if node is not None and node.op_type == "Neg"
            else node and with_scalar(trace.graph, node)
        )
        if node is None or not found:
            del trace.nodes[mark:]
            break
        source, number = found
        first = source == node.inputs[0]
        if node.op_type == "Neg":
            scale = -scale
        elif node.op_type == "Add":
            shift += scale * number
        elif node.op_type == "Mul":
            scale *= number
        elif node.op_type == "Div" and first and number:
            scale /= number
        elif node.op_type == "Sub":
            shift += scale * (-number if first else number)
            scale = scale if first else -scale
        else:
            del trace.nodes[mark:]
            break
        name = source
    return name, scale, shift


def product(trace: Trace, final: Node) -> tuple[list[str], float]:
    """What a tree of Mul, and Div by a number, that ends in ``final`` multiplies: tensors, and one number."""
    factors: list[str] = []
    number = 1.0

    def take(node: Node) -> None:
        nonlocal number
        found = with_scalar(trace.graph, node)
        if found is not None and node.op_type == "Mul":
            number *= found[1]
            follow(found[0])
        elif found is not None and node.op_type == "Div" and found[0] == node.inputs[0] and found[1]:
            number /= found[1]
            follow(found[0])
        elif node.op_type == "Mul":
            for name in node.inputs:
                follow(name)
        else:
            factors.extend(node.outputs[:1])

    def follow(name: str) -> None:
        kind = trace.peek(name)
        if kind in ("Mul", "Div"):
            mark = len(trace.nodes)
            node = trace.inside(name)
            if node is not None and (kind == "Mul" or with_scalar(trace.graph, node) is not None):
                before = len(factors)
                take(node)
                if factors[before:] != list(node.outputs[:1]):
                    return
                del factors[before:]
            del trace.nodes[mark:]
        factors.append(name)

    trace.nodes.append(final)
    take(final)
    return factors, number


def clipped(trace: Trace, name: str) -> tuple[str, float, float] | None:
    """(source, lower, upper) of a Clip, a Relu, or Min and Max with numbers."""
    node = trace.inside(name)
    return clipped_by(trace, node) if node is not None else None


def clipped_by(trace: Trace, node: Node) -> tuple[str, float, float] | None:
    """Like ``clipped``, for the node that ends it."""
    if node.op_type == "Clip":
        bounds = clip_bounds(trace.graph, node)
        return (node.inputs[0], *bounds) if bounds is not None else None
    if node.op_type == "Relu":
        return node.inputs[0], 0.0, math.inf
    if node.op_type not in ("Min", "Max"):
        return None
    found = with_scalar(trace.graph, node)
    if found is None:
        return None
    source, number = found
    inner = clipped(trace, source) if trace.peek(source) in ("Min", "Max", "Relu") else None
    name, lower, upper = inner if inner is not None else (source, -math.inf, math.inf)
    return (name, lower, min(upper, number)) if node.op_type == "Min" else (name, max(lower, number), upper)


def sigmoid(trace: Trace, name: str) -> tuple[str, float] | None:
    """Source and scale of a logistic function: a Sigmoid node, or 1 / (1 + exp(-x))."""
    node = trace.inside(name)
    if node is None:
        return None
    if node.op_type == "Sigmoid":
        source, scale, shift = affine(trace, node.inputs[0])
        return (source, scale) if shift == 0.0 else None
    return logistic(trace, node)


def logistic(trace: Trace, node: Node) -> tuple[str, float] | None:
    """(source, scale) where ``node`` ends 1 / (1 + exp(-scale * source))."""
    if node.op_type == "Div" and near(scalar(trace.graph, node.inputs[0]), 1.0):
        return one_plus_exp(trace, node.inputs[1])
    return one_plus_exp(trace, node.inputs[0]) if node.op_type == "Reciprocal" else None


def one_plus_exp(trace: Trace, name: str) -> tuple[str, float] | None:
    """(source, scale) of 1 + exp(-scale * source)."""
    inner, scale, shift = affine(trace, name)
    node = trace.inside(inner) if near(scale, 1.0) and near(shift, 1.0) else None
    if node is None or node.op_type != "Exp":
        return None
    source, scale, shift = affine(trace, node.inputs[0])
    return (source, -scale) if shift == 0.0 else None

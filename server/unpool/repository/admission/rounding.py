"""What a model rounds on the way to an output: the precision it computes in, and roundings that fall the other way.

A sum that lies between two steps of a quantisation is rounded up by one runtime and down by the other, rightly by both;
what is computed from it then differs by as much as the network makes of a step. So every rounded tensor is compared by
itself, and where nothing more than single roundings differs, the nodes behind it go on from ONNX Runtime's numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unpool.graph.model import Array, Graph, Node

STEPS = 1
"""How far a rounded number may fall the other way."""
_SHARE = 0.01
"""Of a tensor, what may. Where more does, it is no matter of chance."""
_QUANTISED = frozenset({"QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "QGemm"})
_QUANTISED_WITHIN = frozenset({"DynamicQuantizeMatMul", "DynamicQuantizeLSTM"})
"""Their results are real numbers; what they multiply is in steps of a 255th of its range."""
_RECURRENT = frozenset({"DynamicQuantizeLSTM"})
_NOISE = 0.05
"""Of a step: what float32 alone does is far below."""
_HALVES = ("bfloat16", "float16")


def above(graph: Graph, output: str) -> tuple[Node, ...]:
    """The nodes that an output is computed from an input by."""
    below = graph.descendants(graph.inputs)
    needed = {output}
    found = []
    for node in reversed(graph.nodes):
        if not needed.isdisjoint(node.outputs):
            needed.update(node.inputs)
            if not below.isdisjoint(node.outputs):
                found.append(node)
    return tuple(found)


def precision(graph: Graph, output: str) -> str:
    """The half precision that some value on the way to an output has, the coarser where there are both; or nothing."""
    names = {output, *(name for node in above(graph, output) for name in (*node.inputs, *node.outputs))}
    found = {graph.values[name].dtype for name in names - set(graph.constants) if name in graph.values}
    return next((half for half in _HALVES if half in found), "")


def rounds(node: Node, graph: Graph) -> bool:
    """Whether a node rounds to steps: its first output, or what it multiplies."""
    if _within(node):
        return True
    value = graph.values.get(node.outputs[0])
    made = node.op_type in _QUANTISED or (node.domain == "com.microsoft" and node.op_type.startswith("QLinear"))
    return made and value is not None and value.dtype.startswith(("int", "uint"))


def _within(node: Node) -> bool:
    coarse = node.op_type == "MatMulNBits" and node.attributes.get("accuracy_level") == 4
    return coarse or node.op_type in _QUANTISED_WITHIN


@dataclass(eq=False)
class Roundings:
    """Compares rounded tensors as a forward in torch comes to them, and goes on from those of ONNX Runtime.

    Attributes:
        given: value name -> what ONNX Runtime has for it, of all outputs of the nodes that round.
        faults: node name -> how its tensor differs by more than roundings, in words.
    """

    given: Mapping[str, Array]
    faults: dict[str, str] = field(default_factory=dict)

    def settle(self, node: Node, results: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The outputs of a node as the nodes behind it are to read them."""
        if node.outputs[0] not in self.given:
            return results
        theirs = [torch.from_numpy(self.given[name].copy()) if name else None for name in node.outputs]
        fault = _difference(node, results, theirs)
        if fault:
            self.faults[node.name] = fault
            return results
        settled = zip(theirs, results, strict=False)
        return tuple(ours if other is None else other.to(ours.device, ours.dtype) for other, ours in settled)


def _difference(node: Node, ours: Sequence[Tensor], theirs: Sequence[Tensor | None]) -> str:
    """How a rounded tensor differs by more than single roundings; empty where it does not."""
    first = theirs[0]
    if first is None or not first.numel():
        return ""
    if first.shape != ours[0].shape:
        return "is of another shape"
    if _within(node):
        scale = float(first.double().abs().max())
        apart = (ours[0].double() - first.double()).abs() * 255 / (scale or 1.0)
        steps = float(_departure(node, apart) if node.op_type in _RECURRENT else apart.max())
        return "" if steps <= STEPS else f"differs by {steps:.1f} of 255 steps of its range"
    apart = (_counted(node, ours) - _counted(node, theirs)).abs()
    other = int((apart > 0).sum())
    if int(apart.max()) > STEPS:
        return f"differs by up to {int(apart.max())} steps"
    return "" if other <= max(1, _SHARE * apart.numel()) else f"is rounded another way at {other} of {apart.numel()}"


def _departure(node: Node, apart: Tensor) -> Tensor:
    """How far a recurrence is off where it first is: what one rounding changed, the steps behind go on from.

    Args:
        node: the recurrent layer.
        apart: differences of its states, (steps, directions, images, hidden).
    """
    found = []
    for i, along in enumerate(apart.unbind(1)):
        turned = i == 1 or node.attributes.get("direction") == "reverse"
        largest = (along.flip(0) if turned else along).amax(2)  # (steps, images)
        first = (largest > _NOISE).int().argmax(0, keepdim=True)
        found.append(largest.gather(0, first))
    return torch.cat(found).max()


def _counted(node: Node, results: Sequence[Tensor | None]) -> Tensor:
    """Steps; from the zero point where that is found with them, and may itself fall the other way."""
    steps, *rest = results
    assert steps is not None
    found = steps.to(torch.int64)
    if node.op_type == "DynamicQuantizeLinear" and rest[-1] is not None:
        found = found - rest[-1].to(torch.int64)
    return found

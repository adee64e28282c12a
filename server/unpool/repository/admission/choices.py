"""What a model chooses on the way to an output, where two runtimes may rightly choose otherwise.

Which of two scores is the larger that differ by float32's noise alone, on which side of a threshold a score lies that
stands on it, to which step a number goes that lies between two: a detector makes thousands of such choices, and what
it lists behind them is another box, or another number of boxes. So where the choices differ at near-ties alone, the
nodes behind go on from ONNX Runtime's, as they do of roundings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unpool.graph.model import Array, Graph, Node

NOISE = 1e-4
"""A near-tie: of the largest magnitude among what is chosen from."""
_SHARE = 0.01
"""Of thresholds and steps, how many may fall the other way. Where more do, it is no matter of chance."""

_Close = Callable[[Node, Sequence[Tensor | None], Tensor, Tensor], bool]
"""(node, its inputs, our choice, the other one) -> whether the two are a matter of noise."""


def chosen(graph: Graph) -> frozenset[str]:
    """The outputs of the nodes that choose among numbers that an input decides."""
    below = graph.descendants(graph.inputs, extents=False)
    return frozenset(
        name
        for node in graph.nodes
        if not node.domain and node.op_type in _CLOSE and node not in graph.measuring
        for name in node.outputs
        if name in below
    )


@dataclass(frozen=True, eq=False)
class Choices:
    """Goes on from ONNX Runtime's choices where a forward in torch comes to others by noise.

    Attributes:
        given: value name -> what ONNX Runtime has for it.
    """

    given: Mapping[str, Array]

    def settle(self, node: Node, inputs: Sequence[Tensor | None], results: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The outputs of a node as the nodes behind it are to read them."""
        place = 1 if node.op_type == "TopK" else 0
        name = node.outputs[place] if place < len(node.outputs) else ""
        if name not in self.given or node.domain or node.op_type not in _CLOSE:
            return results
        ours, theirs = results[place], torch.from_numpy(self.given[name].copy()).to(results[place].device)
        if ours.shape != theirs.shape or torch.equal(ours.to(theirs.dtype), theirs):
            return results
        if not _CLOSE[node.op_type](node, inputs, ours, theirs):
            return results
        if node.op_type == "TopK" and inputs[0] is not None:
            return inputs[0].gather(_axis(node, -1), theirs), theirs
        return (theirs.to(ours.dtype), *results[1:])


def _axis(node: Node, default: int) -> int:
    axis = node.attributes.get("axis", default)
    return axis if isinstance(axis, int) else default


def _near(a: Tensor, b: Tensor, among: Tensor) -> Tensor:
    finite = among[among.isfinite()].abs().double()
    largest = float(finite.max()) if finite.numel() else 0.0
    return (a == b) | ((a.double() - b.double()).abs() <= NOISE * largest)


def _as_strong(node: Node, inputs: Sequence[Tensor | None], ours: Tensor, theirs: Tensor) -> bool:
    """Whether the other list has numbers as strong as ours: order by order, whatever order they are listed in."""
    x, axis = inputs[0], _axis(node, -1)
    if x is None or not _inside(theirs, x.shape[axis]):
        return False
    if int(theirs.sort(axis).values.diff(dim=axis).eq(0).sum()):
        return False  # one of them twice
    mine, other = (x.gather(axis, found).sort(axis).values for found in (ours, theirs))
    return bool(_near(mine, other, x).all())


def _as_extreme(node: Node, inputs: Sequence[Tensor | None], ours: Tensor, theirs: Tensor) -> bool:
    x, axis = inputs[0], _axis(node, 0)
    if x is None or not _inside(theirs, x.shape[axis]):
        return False
    places = [i if node.attributes.get("keepdims", 1) else i.unsqueeze(axis) for i in (ours, theirs)]
    mine, other = (x.gather(axis, i) for i in places)
    return bool(_near(mine, other, x).all())


def _on_the_threshold(node: Node, inputs: Sequence[Tensor | None], ours: Tensor, theirs: Tensor) -> bool:
    a, b = inputs
    if a is None or b is None or not a.is_floating_point():
        return False  # whole numbers are equal or not
    other = ours != theirs
    if not _few(other):
        return False
    among = torch.cat([a.flatten().double(), b.flatten().double()])
    return bool(_near(a, b, among)[other].all())


def _between_steps(node: Node, inputs: Sequence[Tensor | None], ours: Tensor, theirs: Tensor) -> bool:
    x = inputs[0]
    if x is None or not x.is_floating_point():
        return False
    other = ours != theirs
    if not _few(other):
        return False
    apart = (ours.double() - theirs.double()).abs()[other]
    steps = x.floor() + 0.5 if node.op_type == "Round" else x.round()
    return bool((apart <= 1).all()) and bool(_near(x, steps, x)[other].all())


def _few(other: Tensor) -> bool:
    return int(other.sum()) <= max(1, _SHARE * other.numel())


def _inside(indices: Tensor, extent: int) -> bool:
    return not indices.numel() or (int(indices.min()) >= 0 and int(indices.max()) < extent)


_CLOSE: Mapping[str, _Close] = {
    "TopK": _as_strong,
    "ArgMax": _as_extreme,
    "ArgMin": _as_extreme,
    **dict.fromkeys(("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"), _on_the_threshold),
    **dict.fromkeys(("Floor", "Ceil", "Round", "Cast"), _between_steps),
}

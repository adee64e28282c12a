"""What an operator is here: a forward function, a backward rule, a window; and the registry that finds it.

The forward function is plain torch, pure (nothing in place), and its keyword parameters ARE the ONNX attributes with
their defaults.
The backward rule carries a signal from the node's outputs to its inputs, for a batch of units at once, each unit on
its own box of the plane; without one, the vector-Jacobian product of the forward is taken at the captured inputs. The
window says, along each spatial axis, which inputs an output sees.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol, TypeAlias, TypeVar

import torch
from torch import Tensor

from unpool.graph.intervals import POINTWISE, AxisWindow, Broadcast
from unpool.graph.model import Array, Attribute, Axis, AxisKind, Node

Outputs: TypeAlias = Tensor | tuple[Tensor, ...]
Forward: TypeAlias = Callable[..., Outputs]
ForwardT = TypeVar("ForwardT", bound=Callable[..., Outputs])
Signals: TypeAlias = tuple[Tensor | None, ...]


@dataclass(frozen=True)
class Operand:
    """Shape and axis labels of one input or output of a node, bound for one input of the model (batch as captured).

    Attributes:
        shape: extents; a constant has its own.
        axes: one label per axis; those of a constant are all ``OTHER``.
        value: the array of a small integer or scalar constant (amounts, axes, scales), which windows may depend on;
            else ``None``.
    """

    shape: tuple[int, ...]
    axes: tuple[Axis, ...]
    value: Array | None = field(default=None, compare=False)

    def extent(self, spatial_index: int) -> int | None:
        """The plane's extent along a spatial axis, or ``None`` where the operand has no such axis."""
        for axis, extent in zip(self.axes, self.shape, strict=True):
            if axis.kind is AxisKind.SPATIAL and axis.index == spatial_index:
                return extent
        return None


AxisWindows: TypeAlias = Mapping[int, AxisWindow]
"""Spatial index -> window. A spatial axis that is missing makes the operator take the whole plane."""
WindowOf: TypeAlias = Callable[[Node, Sequence[Operand | None], Sequence[Operand | None]], Sequence[AxisWindows]]
"""(node, inputs, outputs) -> the windows of every input; absent and constant inputs get an empty mapping."""


class Crossing(Protocol):
    """What a backward rule is handed: the node, its weights, and what was captured, cut to the units' boxes.

    Everything has a leading dimension of units where the value's batch axis stands, whatever image a unit looks at.
    """

    @property
    def node(self) -> Node:
        """The node that is crossed."""
        ...

    @property
    def wanted(self) -> tuple[bool, ...]:
        """For each input, whether a signal for it is asked for."""
        ...

    @property
    def spare(self) -> bool:
        """Whether nobody else reads the signals' memory, so that a rule may write its result there."""
        ...

    def constant(self, index: int) -> Tensor | None:
        """Input ``index`` where it is a constant, on the signal's device (integers on the CPU), else ``None``."""
        ...

    def input(self, index: int) -> Tensor:
        """Captured value of input ``index``, cut to its boxes (the rule's ``inputs`` lists it); a constant as it is."""
        ...

    def output(self, index: int = 0) -> Tensor:
        """Captured value of output ``index``, cut to its boxes (the rule's ``outputs`` must list it)."""
        ...

    def positive(self) -> Tensor:
        """Output 0 above zero as factors 1.0 and 0.0, cut to its boxes (the rule's ``mask`` must be set)."""
        ...

    def switches(self) -> Tensor:
        """Max-pool switches, cut to the output's boxes: the maximum's place in its window, row-major."""
        ...

    def input_shape(self, index: int) -> tuple[int, ...]:
        """Shape that input ``index``'s signal has to have: units along the batch axis, box sizes along spatial ones."""
        ...

    def output_shape(self, index: int = 0) -> tuple[int, ...]:
        """Shape of the signal at output ``index``."""
        ...

    def input_operand(self, index: int) -> Operand:
        """Whole shape and axis labels of input ``index``."""
        ...

    def output_operand(self, index: int = 0) -> Operand:
        """Whole shape and axis labels of output ``index``."""
        ...

    def output_origins(self, spatial_index: int) -> Tensor:
        """Where each unit's box at output 0 begins along a spatial axis: int64 (units,), may be negative."""
        ...

    def input_origins(self, index: int, spatial_index: int) -> Tensor:
        """Where each unit's natural box at input ``index`` begins along a spatial axis: int64 (units,)."""
        ...

    def trim(self, spatial_index: int) -> tuple[int, int]:
        """How much of input 0's natural box nobody needs at its beginning and end; a rule may leave it out."""
        ...


Condition: TypeAlias = Callable[[Node, tuple[bool, ...]], bool]
"""(node, which of its inputs are constant) -> whether a rule is right for it."""


def always(node: Node, constant: tuple[bool, ...]) -> bool:
    """The condition of a rule that is right for every node of its operator."""
    return True


@dataclass(frozen=True)
class Rule:
    """How a signal crosses a node from its outputs to its inputs.

    Attributes:
        apply: takes the crossing and one signal per output (``None`` where none arrived) and gives one per input
            (``None`` where none is due). A signal for an input covers the natural box: what ``window.inputs_of`` gives
            for the output's box, unclipped.
        inputs: indices of the inputs whose captured values it needs; ``None`` means all that are not constant.
        outputs: indices of the outputs whose captured values it needs.
        mask: needs the sign of output 0.
        switches: needs the max-pool switches.
        exact: the rule is the one its policy defines for this operator; ``False`` for the vector-Jacobian fall-back.
        holds: whether the rule is right for a node; where it is not, ``backward`` takes the vector-Jacobian product.
        by_sign: looks at each value of the signal alone, and at the sign of output 0 at most.
    """

    apply: Callable[[Crossing, Signals], Signals]
    inputs: tuple[int, ...] | None = ()
    outputs: tuple[int, ...] = ()
    mask: bool = False
    switches: bool = False
    exact: bool = True
    holds: Condition = always
    by_sign: bool = False


@dataclass(frozen=True)
class Operator:
    """One operator from one opset version on.

    Attributes:
        domain: operator domain; empty for ai.onnx.
        op_type: ONNX operator type.
        since: the first version of the domain in which this definition holds.
        forward: the function in torch.
        window: windows of every input; pointwise with broadcasting by default.
        adjoint: hand-written adjoint of a linear operator, or an equivalent cheap exact one; ``None`` takes the
            vector-Jacobian product.
    """

    domain: str
    op_type: str
    since: int
    forward: Forward
    window: WindowOf
    adjoint: Rule | None = None


def pointwise(node: Node, inputs: Sequence[Operand | None], outputs: Sequence[Operand | None]) -> Sequence[AxisWindows]:
    """Windows of an elementwise operator: each output reads the same place of each input; extent 1 is broadcast."""
    out = outputs[0]
    found: list[AxisWindows] = []
    for operand in inputs:
        windows: dict[int, AxisWindow] = {}
        if operand is not None and out is not None:
            for axis, extent in zip(operand.axes, operand.shape, strict=True):
                if axis.kind is AxisKind.SPATIAL:
                    whole = out.extent(axis.index)
                    if whole == extent:
                        windows[axis.index] = POINTWISE
                    elif extent == 1 and whole is not None:
                        windows[axis.index] = Broadcast(whole)
        found.append(windows)
    return found


def whole(node: Node, inputs: Sequence[Operand | None], outputs: Sequence[Operand | None]) -> Sequence[AxisWindows]:
    """Windows of an operator that mixes the plane: every output may read every input."""
    return [{} for _ in inputs]


_REGISTRY: dict[tuple[str, str], dict[int, Operator]] = {}


def operator(
    op_type: str,
    *since: int,
    domain: str = "",
    window: WindowOf = pointwise,
    adjoint: Rule | None = None,
) -> Callable[[ForwardT], ForwardT]:
    """Registers a forward function as operator ``op_type`` for the versions ``since`` (1 where none is given).

    A function whose signature has the keyword ``outputs`` is told how many outputs the node has.
    """

    def register(forward: ForwardT) -> ForwardT:
        for version in since or (1,):
            _REGISTRY.setdefault((domain, op_type), {})[version] = Operator(
                domain, op_type, version, forward, window, adjoint
            )
        return forward

    return register


def find(node: Node) -> Operator | None:
    """The operator that ``node`` calls, at the newest definition that its opset version reaches, or ``None``."""
    versions = _REGISTRY.get((node.domain, node.op_type), {})
    reached = [v for v in versions if v <= node.version]
    return versions[max(reached)] if reached else None


def registered() -> tuple[Operator, ...]:
    """Every operator known, ordered by domain, type and version."""
    return tuple(_REGISTRY[key][v] for key in sorted(_REGISTRY) for v in sorted(_REGISTRY[key]))


def keywords(forward: Forward, attributes: Mapping[str, Attribute], outputs: int) -> dict[str, object]:
    """The keyword arguments for ``forward``: the attributes it knows, and ``outputs`` if it asks for it.

    Raises:
        TypeError: an attribute that the function does not know.
    """
    known = _keywords_of(forward)
    if not known.issuperset(attributes):
        unknown = set(attributes) - known
        raise TypeError(f"attribute {', '.join(sorted(unknown))} is not known here")
    found: dict[str, object] = dict(attributes)
    if "outputs" in known:
        found["outputs"] = outputs
    return found


@cache
def _keywords_of(forward: Forward) -> frozenset[str]:
    parameters = inspect.signature(forward).parameters
    return frozenset(name for name, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY)


def run(node: Node, inputs: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
    """Runs a node forward in torch.

    Args:
        node: the node.
        inputs: one tensor per input; ``None`` for an absent one. Shape-like integer inputs are on the CPU.

    Raises:
        NotImplementedError: no forward for this operator.
    """
    found = find(node)
    if found is None:
        raise NotImplementedError(
            f"{node}: {node.domain or 'ai.onnx'}.{node.op_type}-{node.version} has no forward in torch"
        )
    result = found.forward(*inputs, **keywords(found.forward, node.attributes, len(node.outputs)))
    return result if isinstance(result, tuple) else (result,)


@dataclass(frozen=True)
class Derivative:
    """The vector-Jacobian product of a forward at its captured inputs."""

    forward: Forward = field()

    def __call__(self, at: Crossing, signals: Signals) -> Signals:
        """Signals at the outputs -> signals at the inputs, through autograd."""
        node = at.node
        inputs: list[Tensor | None] = []
        for i, name in enumerate(node.inputs):
            value = at.input(i) if name else None
            if value is not None and at.wanted[i] and value.is_floating_point():
                value = value.detach().requires_grad_()
            inputs.append(value)
        with torch.enable_grad():
            result = self.forward(*inputs, **keywords(self.forward, node.attributes, len(node.outputs)))
        results = result if isinstance(result, tuple) else (result,)
        arrived = [(r, s) for r, s in zip(results, signals, strict=False) if s is not None and r.requires_grad]
        leaves = [x for x in inputs if x is not None and x.requires_grad]
        if not arrived or not leaves:
            return tuple(None for _ in inputs)
        grads = torch.autograd.grad(
            [r for r, _ in arrived], leaves, [s.reshape(r.shape) for r, s in arrived], allow_unused=True
        )
        found = iter(grads)
        return tuple(next(found) if x is not None and x.requires_grad else None for x in inputs)


def derivative(found: Operator) -> Rule:
    """The default backward of an operator: exact for the gradient, and what a policy falls back on."""
    return Rule(Derivative(found.forward), inputs=None, exact=False)


def backward(node: Node, constant: tuple[bool, ...]) -> Rule | None:
    """The adjoint of a node: the hand-written one where it holds, else the vector-Jacobian product.

    ``None`` without a forward. The vector-Jacobian product runs the forward on the captured boxes, so it may be local
    only where every window is pointwise or
    broadcast: on any other window it needs whole planes.

    Args:
        node: the node.
        constant: for each input, whether it is a constant (or absent).
    """
    found = find(node)
    if found is None:
        return None
    if found.adjoint is not None and found.adjoint.holds(node, constant):
        return found.adjoint
    return derivative(found)

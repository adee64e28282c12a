"""Reductions over axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from unpool.graph.model import Node
from unpool.ops.base import Crossing, Rule, Signals, operator, whole
from unpool.ops.geometry import integer, ints

_Reduction = Callable[[Tensor, tuple[int, ...], bool], Tensor]


def _axes(axes: Sequence[int], rank: int, empty_is_nothing: bool) -> tuple[int, ...]:
    """The axes to reduce; none named means all, or nothing where the node says so."""
    if not axes:
        return () if empty_is_nothing else tuple(range(rank))
    return tuple(sorted(a + rank if a < 0 else a for a in axes))


def _named(at: Crossing) -> tuple[int, ...]:
    rank = len(at.input_operand(0).shape)
    listed = ints(at.node, "axes")
    if len(at.node.inputs) > 1 and at.node.inputs[1]:
        given = at.constant(1)
        listed = tuple(int(a) for a in given.tolist()) if given is not None else ()
    return _axes(listed, rank, bool(integer(at.node, "noop_with_empty_axes")))


def _spread(at: Crossing, s: Tensor | None, mean: bool) -> Signals:
    nothing = tuple(None for _ in at.node.inputs[1:])
    if s is None:
        return (None, *nothing)
    axes = _named(at)
    shape = at.input_shape(0)
    if not integer(at.node, "keepdims", 1):
        for axis in axes:
            s = s.unsqueeze(axis)
    if mean:
        s = s / math.prod(shape[a] for a in axes)
    return (s.expand(shape), *nothing)


def _axes_are_constant(node: Node, constant: tuple[bool, ...]) -> bool:
    return all(constant[1:])


_SUM = Rule(lambda at, signals: _spread(at, signals[0], False), holds=_axes_are_constant)
_MEAN = Rule(lambda at, signals: _spread(at, signals[0], True), holds=_axes_are_constant)


def _register(
    op_type: str, by_attribute: Sequence[int], by_input: Sequence[int], reduce: _Reduction, rule: Rule | None
) -> None:
    """Registers a reduction with its axes as attribute and, in later versions, as input."""

    @operator(op_type, *by_attribute, adjoint=rule)
    def with_attribute(x: Tensor, *, axes: tuple[int, ...] = (), keepdims: int = 1) -> Tensor:
        return _run(reduce, x, _axes(axes, x.ndim, False), bool(keepdims))

    @operator(op_type, *by_input, adjoint=rule)
    def with_input(
        x: Tensor, axes: Tensor | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
    ) -> Tensor:
        named = axes.tolist() if axes is not None else ()
        return _run(reduce, x, _axes(named, x.ndim, bool(noop_with_empty_axes)), bool(keepdims))


def _run(reduce: _Reduction, x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    return reduce(x, axes, keep)


def _guarded(function: Callable[[Tensor, tuple[int, ...], bool], Tensor]) -> _Reduction:
    """Torch takes an empty list of axes for all of them, ONNX for none."""

    def reduce(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
        return function(x, axes, keep) if axes else function(x.unsqueeze(0), (0,), False)

    return reduce


def _prod(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    for axis in reversed(axes):
        x = x.prod(axis, keepdim=keep)
    return x


def _extreme(x: Tensor, axes: tuple[int, ...], keep: bool, sign: int) -> Tensor:
    # Unsigned and boolean values have no negative: the two directions are written out.
    as_bool = x.dtype == torch.bool
    values = x.to(torch.uint8) if as_bool else x
    if not all(x.shape[a] for a in axes):
        return _of_nothing(x, axes, keep, sign)
    found = values.amax(axes, keepdim=keep) if sign > 0 else values.amin(axes, keepdim=keep)
    return found.to(torch.bool) if as_bool else found


def _of_nothing(x: Tensor, axes: tuple[int, ...], keep: bool, sign: int) -> Tensor:
    """The extreme of an empty set: the least value that there is, or the greatest."""
    if x.dtype == torch.bool:
        least: float | bool = sign < 0
    elif x.is_floating_point():
        least = -math.inf * sign
    else:
        least = torch.iinfo(x.dtype).min if sign > 0 else torch.iinfo(x.dtype).max
    shape = [1 if a in axes else n for a, n in enumerate(x.shape) if keep or a not in axes]
    return torch.full(shape, least, dtype=x.dtype, device=x.device)


_EARLY, _LATE = (1, 11, 13), (18,)
_register("ReduceSum", (1, 11), (13,), _guarded(lambda x, a, k: x.sum(a, keepdim=k).to(x.dtype)), _SUM)
_register("ReduceMean", _EARLY, _LATE, _guarded(lambda x, a, k: x.mean(a, keepdim=k)), _MEAN)
_register("ReduceMax", (1, 11, 12, 13), (18, 20), _guarded(lambda x, a, k: _extreme(x, a, k, 1)), None)
_register("ReduceMin", (1, 11, 12, 13), (18, 20), _guarded(lambda x, a, k: _extreme(x, a, k, -1)), None)
_register("ReduceProd", _EARLY, _LATE, _guarded(_prod), None)
_register("ReduceL1", _EARLY, _LATE, _guarded(lambda x, a, k: x.abs().sum(a, keepdim=k).to(x.dtype)), None)
_register(
    "ReduceL2", _EARLY, _LATE, _guarded(lambda x, a, k: torch.sqrt(x.square().sum(a, keepdim=k)).to(x.dtype)), None
)
_register("ReduceSumSquare", _EARLY, _LATE, _guarded(lambda x, a, k: x.square().sum(a, keepdim=k).to(x.dtype)), None)
_register("ReduceLogSum", _EARLY, (18, 28), _guarded(lambda x, a, k: x.sum(a, keepdim=k).log().to(x.dtype)), None)
_register("ReduceLogSumExp", _EARLY, (18, 28), _guarded(lambda x, a, k: torch.logsumexp(x, a, keepdim=k)), None)


def _arg(x: Tensor, axis: int, keep: bool, last: bool, sign: int) -> Tensor:
    choose = torch.argmax if sign > 0 else torch.argmin
    if not last:
        return choose(x, axis, keepdim=keep)
    return x.shape[axis] - 1 - choose(x.flip(axis), axis, keepdim=keep)


@operator("ArgMax", 1, 11, 12, 13, window=whole)
def arg_max(x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    """Where the largest value along one axis stands; ties to the first, or to the last."""
    return _arg(x, axis, bool(keepdims), bool(select_last_index), 1)


@operator("ArgMin", 1, 11, 12, 13, window=whole)
def arg_min(x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    """Where the smallest value along one axis stands; ties to the first, or to the last."""
    return _arg(x, axis, bool(keepdims), bool(select_last_index), -1)

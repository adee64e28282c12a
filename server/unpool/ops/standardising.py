"""How a signal crosses what brings a tensor to mean 0 and variance 1, or to root mean square 1, and scales it.

With u the tensor once it is standardised, d its deviation, g the signal times the gain, and means over what is
standardised together, the signal is (g - mean(g) - u * mean(g * u)) / d; without centring, mean(g) stays away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from unpool.graph.model import Node
from unpool.ops.base import Crossing, Rule, Signals

Average: TypeAlias = Callable[[Tensor], Tensor]
"""The means over what is standardised together, in a shape that stretches to the tensor's."""


def over(axes: Sequence[int]) -> Average:
    """Means over axes."""
    return lambda x: x.mean(tuple(axes), keepdim=True)


def over_groups(groups: int) -> Average:
    """Means over the plane and over groups of the channels of (N, C, D1 ... Dn)."""

    def average(x: Tensor) -> Tensor:
        each = x.mean(tuple(range(2, x.ndim))) if x.ndim > 2 else x
        means = each.reshape(x.shape[0], groups, -1).mean(2).repeat_interleave(x.shape[1] // groups, 1)
        return means.reshape(*means.shape, *(1,) * (x.ndim - 2))

    return average


def standardising(
    average_of: Callable[[Node, int], Average], gain_of: Callable[[Node, Tensor, int], Tensor], *, centred: bool = True
) -> Rule:
    """The rule of a norm whose gain and bias are constant; it needs the input, and no autograd.

    Args:
        average_of: (node, rank) -> the means.
        gain_of: (node, the constant, rank) -> the gain in a shape that stretches to the tensor's.
        centred: whether the mean is taken off.
    """

    def apply(at: Crossing, signals: Signals) -> Signals:
        nothing = (None,) * len(at.node.inputs)
        s = signals[0]
        if s is None or not at.wanted[0]:
            return nothing
        x = _shared(at.input(0))
        average = average_of(at.node, s.ndim)
        epsilon = at.node.attributes.get("epsilon", 1e-5)
        assert isinstance(epsilon, int | float)
        scale = at.constant(1) if len(at.node.inputs) > 1 else None
        g = s if scale is None else s * gain_of(at.node, scale, s.ndim)
        x = x - average(x) if centred else x
        inverse = torch.rsqrt(average(x.square()) + epsilon)
        unit = x * inverse
        below = torch.addcmul(g - average(g) if centred else g, unit, average(g * unit), value=-1)
        return (below.mul_(inverse), *nothing[1:])

    return Rule(apply, inputs=(0,), exact=False, holds=_by_constants)


def _by_constants(node: Node, constant: tuple[bool, ...]) -> bool:
    return all(constant[1:]) and not any(node.outputs[1:])


def _shared(x: Tensor) -> Tensor:
    """One image where every unit looks at the same."""
    return x[:1] if x.ndim and x.shape[0] > 1 and x.stride(0) == 0 else x

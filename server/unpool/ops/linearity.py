"""The adjoint of a linear operator from its forward: the vector-Jacobian product at zero, with nothing captured."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unpool.graph.model import Node
from unpool.ops.base import Condition, Crossing, Forward, Rule, Signals, keywords


def rest_is_constant(node: Node, constant: tuple[bool, ...]) -> bool:
    """Whether every input but the first is a constant or absent."""
    return all(constant[1:])


@dataclass(frozen=True)
class _AtZero:
    """Runs the forward on zeros, where a linear operator has the derivative that it has everywhere."""

    forward: Forward

    def __call__(self, at: Crossing, signals: Signals) -> Signals:
        node = at.node
        present = next((s for s in signals if s is not None), None)
        if present is None:
            return (None,) * len(node.inputs)
        inputs: list[Tensor | None] = []
        for i, name in enumerate(node.inputs):
            value = at.constant(i) if name else None
            if name and value is None:
                value = present.new_zeros(at.input_shape(i)).requires_grad_(at.wanted[i])
            inputs.append(value)
        with torch.enable_grad():
            result = self.forward(*inputs, **keywords(self.forward, node.attributes, len(node.outputs)))
        results = result if isinstance(result, tuple) else (result,)
        arrived = [(r, s) for r, s in zip(results, signals, strict=False) if s is not None and r.requires_grad]
        leaves = [x for x in inputs if x is not None and x.requires_grad]
        if not arrived or not leaves:
            return (None,) * len(inputs)
        grads = iter(
            torch.autograd.grad(
                [r for r, _ in arrived], leaves, [s.reshape(r.shape) for r, s in arrived], allow_unused=True
            )
        )
        return tuple(next(grads) if x is not None and x.requires_grad else None for x in inputs)


def linear(forward: Forward, holds: Condition = rest_is_constant) -> Rule:
    """The adjoint of an operator that is linear in all of its inputs that are not constant.

    Args:
        forward: the operator; it may add something constant.
        holds: for which nodes this is so; by default where only the first input is not constant.
    """
    return Rule(_AtZero(forward), holds=holds)

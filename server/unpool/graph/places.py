"""What a node can say about axes: which are one axis, which are labelled, which a Reshape regroups."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import onnx_ir as ir

from unpool.graph.attributes import attributes_of
from unpool.graph.model import Attribute, Axis
from unpool.graph.passes.shapes import dims_of

Place: TypeAlias = tuple[ir.Value, int]
"""A value and one of its axes."""


class Strength(enum.IntEnum):
    """How sure an operator is of a label; the surer come first, the others only fill what is left."""

    WEAK = 0
    SEQUENCE = 1  # only of an axis of an input, (N, T), that nothing else has named
    CERTAIN = 2


@dataclass(frozen=True)
class Group:
    """Axes of an input that a Reshape multiplies and splits into axes of its output."""

    inputs: tuple[Place, ...]
    outputs: tuple[Place, ...]


@dataclass
class Relations:
    """What one node says: equal axes, labels, regrouped axes.

    ``layout`` marks a node that only moves axes about: on its two sides one axis may stand for two things
    (frequencies are channels of one convolution and the plane of the next), which in any other node is a
    contradiction.
    """

    layout: bool = False
    equal: list[tuple[Place, Place]] = field(default_factory=list)
    labels: list[tuple[Place, Axis, Strength]] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)


@dataclass(frozen=True)
class Call:
    """One node with the ranks and constants that its relations depend on; inputs that are constants count as absent."""

    node: ir.Node
    inputs: tuple[ir.Value | None, ...]
    outputs: tuple[ir.Value, ...]
    said: Relations

    def attribute(self, name: str, default: Attribute) -> Attribute:
        return attributes_of(self.node).get(name, default)

    def integer(self, name: str, default: int) -> int:
        value = attributes_of(self.node).get(name, default)
        return value if isinstance(value, int) else default

    def constant(self, index: int) -> tuple[int, ...] | None:
        """Integers of a constant input, flat."""
        if index >= len(self.node.inputs):
            return None
        value = self.node.inputs[index]
        if value is None or value.const_value is None or value.const_value.size > 1024:
            return None
        return tuple(int(v) for v in value.const_value.numpy().ravel())

    def axes_argument(self, index: int) -> tuple[int, ...] | None:
        """The axes that an operator takes as attribute in older versions and as input in newer ones."""
        found = attributes_of(self.node).get("axes")
        return found if isinstance(found, tuple) else self.constant(index)  # type: ignore[return-value]

    def input(self, index: int) -> ir.Value | None:
        return self.inputs[index] if index < len(self.inputs) else None

    def same(self, a: ir.Value, i: int, b: ir.Value, j: int) -> None:
        self.said.equal.append(((a, i), (b, j)))

    def is_(self, value: ir.Value, axis: int, label: Axis, strength: Strength = Strength.CERTAIN) -> None:
        self.said.labels.append(((value, axis), label, strength))


Relate: TypeAlias = Callable[[Call], None]


def rank(value: ir.Value) -> int:
    """Number of axes; the value's rank must be known."""
    dims = dims_of(value)
    assert dims is not None
    return len(dims)

"""Axis labels: what every axis of every tensor stands for, spread from the operators that know."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from unpool.graph.model import BATCH, CHANNEL, OTHER, Axis, AxisKind
from unpool.graph.passes.shapes import dims_of
from unpool.graph.relations import Group, Place, Relations, Strength, relations_of


def label_axes(model: ir.Model) -> Mapping[ir.Value, tuple[Axis, ...]]:
    """Labels the axes of every value that is not a constant.

    Axes that an operator carries through unchanged are one axis: they are joined into classes, so that a label holds for a whole class or
    not at all and no two ends of an edge can disagree. Convolutions, pools and normalisations label classes with certainty; labels then
    cross every Reshape that splits or merges axes of one kind; inputs' first axes and the operands of MatMul and Gemm fill what is left.

    Requires: shapes inferred; constants lifted.
    Call: changes nothing.
    Ensures: every value of known rank has one label per axis; at most one axis of a value is the batch, one the channel, one each
        spatial axis; a class that was claimed for two things is OTHER.
    """
    said = [relations_of(node) for node in model.graph]
    labels = _Classes()
    for relations in said:
        for a, b in relations.equal:
            labels.join(a, b)
    groups = [group for relations in said for group in relations.groups]
    _claim(labels, said, Strength.CERTAIN)
    _cross(labels, groups)
    for value in model.graph.inputs:
        _offer_batch(labels, value)
    _cross(labels, groups)
    for relations in said:
        for place, label, strength in relations.labels:
            if strength is Strength.WEAK and labels.get(place) is None and label not in _of(labels, place[0]):
                labels.claim(place, label)
        _cross(labels, relations.groups)
    _cross(labels, groups)
    found = {}
    values = [*model.graph.inputs, *(o for node in model.graph for o in node.outputs)]
    _one_of_each(labels, values)
    for value in values:
        if value.shape is not None:
            found[value] = tuple(label or OTHER for label in _of(labels, value))
    return found


class _Classes:
    """Axes that are one axis (union-find), and the label of each class."""

    def __init__(self) -> None:
        self._parent: dict[Place, Place] = {}
        self._label: dict[Place, Axis] = {}

    def root(self, place: Place) -> Place:
        at = place
        while (up := self._parent.get(at, at)) != at:
            at = up
        while (up := self._parent.get(place, place)) != at:
            self._parent[place] = at
            place = up
        return at

    def join(self, a: Place, b: Place) -> None:
        ra, rb = self.root(a), self.root(b)
        if ra != rb:
            self._parent[rb] = ra

    def get(self, place: Place) -> Axis | None:
        return self._label.get(self.root(place))

    def claim(self, place: Place, label: Axis) -> None:
        """Labels a class; two different claims make it OTHER."""
        root = self.root(place)
        have = self._label.get(root)
        self._label[root] = label if have is None or have == label else OTHER

    def give_up(self, place: Place) -> None:
        self._label[self.root(place)] = OTHER


def _of(labels: _Classes, value: ir.Value) -> list[Axis | None]:
    return [labels.get((value, i)) for i in range(len(dims_of(value) or ()))]


def _claim(labels: _Classes, said: list[Relations], strength: Strength) -> None:
    for relations in said:
        for place, label, how in relations.labels:
            if how is strength:
                labels.claim(place, label)


def _offer_batch(labels: _Classes, value: ir.Value) -> None:
    dims = dims_of(value)
    if not dims or BATCH in _of(labels, value) or labels.get((value, 0)) is not None:
        return
    if dims[0] == 1 or not isinstance(dims[0], int):
        labels.claim((value, 0), BATCH)


def _cross(labels: _Classes, groups: list[Group]) -> None:
    """Carries labels over splits and merges until nothing more is learnt."""
    learning = True
    while learning:
        learning = False
        for group in groups:
            for near, far in ((group.inputs, group.outputs), (group.outputs, group.inputs)):
                learning |= _carry(labels, near, far)


def _carry(labels: _Classes, near: tuple[Place, ...], far: tuple[Place, ...]) -> bool:
    known = [labels.get(p) for p in near]
    open_ = [p for p in far if labels.get(p) is None]
    if not open_ or CHANNEL not in known:
        return False
    if any(k is not None and k.kind in (AxisKind.BATCH, AxisKind.SPATIAL) for k in known):
        return False
    # Channels stay channels when split or merged; of several parts the last is called the channel, the others are OTHER.
    have = any(labels.get(p) == CHANNEL for p in far)
    for place in reversed(open_):
        if have and len(near) > 1:
            break
        labels.claim(place, OTHER if have else CHANNEL)
        have = True
    return True


def _one_of_each(labels: _Classes, values: list[ir.Value]) -> None:
    """A label that two axes of one value carry names neither of them: both classes lose it."""
    again = True
    while again:
        again = False
        for value in values:
            found = _of(labels, value)
            for i, label in enumerate(found):
                if label is not None and label != OTHER and label in found[:i]:
                    labels.give_up((value, i))
                    labels.give_up((value, found.index(label)))
                    again = True
                    break

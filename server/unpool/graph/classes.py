"""Axes that are one axis: disjoint sets of (value, axis) places, each with at most one label."""

from __future__ import annotations

from unpool.graph.model import OTHER, Axis, AxisKind
from unpool.graph.places import Place


class Classes:
    """Disjoint sets with path compression; a set's label is ``None`` until it is claimed."""

    def __init__(self) -> None:
        self._parent: dict[Place, Place] = {}
        self._label: dict[Place, Axis] = {}

    def root(self, place: Place) -> Place:
        """The place that stands for its set."""
        at = place
        while (up := self._parent.get(at)) is not None:
            at = up
        while place != at:
            up = self._parent[place]
            self._parent[place] = at
            place = up
        return at

    def join(self, a: Place, b: Place) -> None:
        """Makes two sets one; the label of the first holds."""
        root, other = self.root(a), self.root(b)
        if root != other:
            self._parent[other] = root
            label = self._label.pop(other, None)
            if label is not None:
                self._label.setdefault(root, label)

    def get(self, place: Place) -> Axis | None:
        """The label of a place's set."""
        return self._label.get(self.root(place))

    def claim(self, place: Place, label: Axis) -> None:
        """Labels a set. Two claims for different things make it OTHER; of two spatial numbers the first holds."""
        root = self.root(place)
        have = self._label.get(root)
        if have is not None and have != label and have.kind is label.kind is AxisKind.SPATIAL:
            return
        self._label[root] = label if have is None or have == label else OTHER

    def put(self, place: Place, label: Axis) -> None:
        """Labels a set, whatever it was."""
        self._label[self.root(place)] = label

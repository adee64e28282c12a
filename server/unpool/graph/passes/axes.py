"""Axis labels: what every axis of every tensor stands for, spread from the operators that know."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from itertools import chain

import onnx_ir as ir

from unpool.graph.classes import Classes
from unpool.graph.model import BATCH, CHANNEL, OTHER, Axis, AxisKind, Dim, spatial
from unpool.graph.passes.shapes import declared_dims, dims_of
from unpool.graph.places import Group, Place, Relations, Strength
from unpool.graph.relations import relations_of

_WORDS = spatial(0)
"""Of an input (N, T) that is looked up in a table."""


def label_axes(model: ir.Model) -> Mapping[ir.Value, tuple[Axis, ...]]:
    """Labels the axes of every value that is not a constant.

    Axes that an operator carries through unchanged are one axis: they are joined into classes, and a label holds for
    a class or not at all. Convolutions, pools and normalisations label classes with certainty. Labels then cross
    operators that only move axes about, and every Reshape that splits or merges channels; first axes of inputs, extents
    that bear the batch's name, words that are looked up one by one, and operands of MatMul and Gemm, fill what is left.

    Requires: shapes inferred; constants lifted.
    Call: changes nothing.
    Ensures: every value of known rank has one label per axis; at most one axis of a value is the batch, one the
        channel, one each spatial axis; a class that was claimed for two things is OTHER; where two values of one node
        carry the same spatial or batch label it is the same axis. Spatial axes are numbered as where they first
        occur, so that a Transpose of rows and columns keeps them apart.
    """
    spread = _Spread(model)
    spread.certain()
    spread.number_planes()
    spread.keep_apart()
    spread.settle()
    for value in _beginning_with_images(model):
        spread.offer_batch(value)
    spread.settle()
    for value in [*model.graph.inputs, *model.graph.outputs]:
        spread.name_batch(value)
    spread.settle()
    spread.sequences()
    spread.settle()
    for value in model.graph.outputs:
        spread.name_sequence(value)
    spread.settle()
    spread.guesses()
    spread.settle()
    spread.check_batch()
    spread.keep_apart()
    spread.check_layouts()
    return {v: tuple(label or OTHER for label in spread.of(v)) for v in spread.values if v.shape is not None}


def _beginning_with_images(model: ir.Model) -> list[ir.Value]:
    """Inputs whose first axis may be the batch.

    Where a file names extents and means it, as a graph network's atoms, edges and residues, which stand more than once,
    images are what outputs have as many of.
    """
    named = Counter(dim for value in model.graph.inputs for dim in dims_of(value) or () if isinstance(dim, str))
    first = {value: (dims_of(value) or (None,))[0] for value in [*model.graph.inputs, *model.graph.outputs]}
    told = {dim for dim, times in named.items() if times > 1}
    images = named.keys() & {first[value] for value in model.graph.outputs}
    return [v for v in model.graph.inputs if not images or first[v] not in told or first[v] in images]


class _Spread:
    """One labelling in progress."""

    def __init__(self, model: ir.Model) -> None:
        self.said = [relations_of(node) for node in model.graph]
        self._inputs = [v for v in model.graph.inputs if v.name not in model.graph.initializers]
        self.values = [*model.graph.inputs, *(o for node in model.graph for o in node.outputs)]
        self.labels = Classes()
        self._rank = {v: len(dims_of(v) or ()) for v in self.values}
        for relations in self.said:
            if not relations.layout:
                for a, b in relations.equal:
                    self.labels.join(a, b)
        self._layouts = [relations for relations in self.said if relations.layout]
        self._split_again()
        # Layout operators that may have something new to say, forwards and backwards.
        self._pending = {True: set(range(len(self._layouts))), False: set(range(len(self._layouts)))}

    def _split_again(self) -> None:
        """Axes that one Reshape folds together and a later one unfolds to the same extents come back as they were."""
        folded: defaultdict[tuple[Place, ...], list[tuple[Place, ...]]] = defaultdict(list)
        for group in (group for relations in self._layouts for group in relations.groups):
            for parts in folded[tuple(map(self.labels.root, group.inputs))]:
                if _same_parts(parts, group.outputs):
                    for before, after in zip(parts, group.outputs, strict=True):
                        self.labels.join(before, after)
            folded[tuple(map(self.labels.root, group.outputs))].append(group.inputs)

    def of(self, value: ir.Value) -> list[Axis | None]:
        return [self.labels.get((value, i)) for i in range(self._rank[value])]

    def certain(self) -> None:
        for relations in self.said:
            for place, label, strength in relations.labels:
                if strength is Strength.CERTAIN:
                    self.labels.claim(place, label)

    @cached_property
    def _images(self) -> set[Dim]:
        """The batch extents of the inputs, as they are before anything is guessed."""
        return self._fed()

    def _fed(self) -> set[Dim]:
        """The batch extents of the inputs."""
        labelled = ((dims_of(value) or (), self.of(value)) for value in self._inputs)
        return {dims[labels.index(BATCH)] for dims, labels in labelled if BATCH in labels}

    def sequences(self) -> None:
        """What an input of words has behind its batch is a plane of one axis: each is looked up by itself."""
        fed = self._carried({self.labels.root((value, 1)) for value in self._inputs if self._rank[value] == 2})
        for place, label, strength in chain.from_iterable(relations.labels for relations in self.said):
            if strength is not Strength.SEQUENCE or self.labels.root(place) not in fed:
                continue
            if self.labels.get(place) is None and self.labels.get((place[0], 0)) == BATCH:
                self._claim(place, label)

    def _carried(self, roots: set[Place]) -> set[Place]:
        """The classes, and those that layout operators behind make of them: words are often put in rows first."""
        found = set(roots)
        for relations in self._layouts:  # in the order of the graph
            found |= {self.labels.root(after) for before, after in relations.equal if self.labels.root(before) in found}
        return found

    def guesses(self) -> None:
        for relations in self.said:
            found = False
            for place, label, strength in relations.labels:
                if label == BATCH and not self._counts_images(*place):
                    continue
                if strength is Strength.WEAK and self.labels.get(place) is None and label not in self.of(place[0]):
                    if label == BATCH and not self._as_many_as_images(place):
                        continue
                    self._claim(place, label)
                    found = True
            if found:
                self.settle()

    def _as_many_as_images(self, place: Place) -> bool:
        """Whether rows may be guessed to be images: where tokens were put one below the other, there are more."""
        found = (dims_of(place[0]) or ())[place[1]]
        return found is not None and found in self._images

    def offer_batch(self, value: ir.Value) -> None:
        dims = dims_of(value)
        if not dims or BATCH in self.of(value) or self.labels.get((value, 0)) is not None:
            return
        if dims[0] == 1 or not isinstance(dims[0], int):
            self._claim((value, 0), BATCH)

    def name_batch(self, value: ir.Value) -> None:
        """An extent that bears the name of the inputs' batch is the batch, wherever it stands."""
        self._name(value, self._images, BATCH)

    def name_sequence(self, value: ir.Value) -> None:
        """An output's extent that bears the name of the inputs' words counts them."""
        words = [v for v in self._inputs if self._rank[v] == 2 and self.labels.get((v, 1)) == _WORDS]
        self._name(value, {(dims_of(v) or ())[1] for v in words}, _WORDS)

    def _name(self, value: ir.Value, names: Collection[Dim], label: Axis) -> None:
        """Labels the one axis whose extent bears one of the names, in the file's own words where inference lost it."""
        dims, told = dims_of(value) or (), declared_dims(value) or ()
        told = told if len(told) == len(dims) else dims
        named = [
            i for i, dim in enumerate(told) if isinstance(dim, str) and dim in names and not isinstance(dims[i], int)
        ]
        if len(named) == 1 and label not in self.of(value) and self.labels.get((value, named[0])) is None:
            self._claim((value, named[0]), label)

    def number_planes(self) -> None:
        """Where a plane goes on behind a layout operator under another number, the number of its beginning holds."""
        for relations in self._layouts:
            for a, b in relations.equal:
                near, far = self.labels.get(a), self.labels.get(b)
                if near is not None and far is not None and near.kind is far.kind is AxisKind.SPATIAL:
                    self.labels.join(a, b)

    def settle(self) -> None:
        """Carries labels over layout operators until nothing more is learnt.

        It goes one step per round, so that the nearer word wins. What comes down from the input is heard first; what
        comes up from the output fills what that leaves.
        """
        while self._learn(forward=True) or self._learn(forward=False):
            pass

    def _learn(self, *, forward: bool) -> bool:
        proposals: dict[Place, Axis] = {}
        for place, label in self._proposed(forward):
            proposals.setdefault(self.labels.root(place), label)
        for place, label in proposals.items():
            self._claim(place, label)
        return bool(proposals)

    @cached_property
    def _touching(self) -> Mapping[Place, list[int]]:
        """The root of a class -> the layout operators that it touches; asked for once all classes are joined."""
        found: defaultdict[Place, list[int]] = defaultdict(list)
        for i, relations in enumerate(self._layouts):
            places = [*chain(*relations.equal), *chain(*(g.inputs + g.outputs for g in relations.groups))]
            for root in {self.labels.root(place) for place in places}:
                found[root].append(i)
        return found

    def _claim(self, place: Place, label: Axis) -> None:
        """Labels a class; the layout operators that it touches have to be heard again."""
        self.labels.claim(place, label)
        touched = self._touching.get(self.labels.root(place), ())
        for pending in self._pending.values():
            pending.update(touched)

    def _proposed(self, forward: bool) -> Iterator[tuple[Place, Axis]]:
        heard = sorted(self._pending[forward])
        self._pending[forward].clear()
        for relations in (self._layouts[i] for i in heard):
            for a, b in relations.equal:
                near, far = (a, b) if forward else (b, a)
                label = self.labels.get(near)
                if label is not None and label != OTHER and self.labels.get(far) is None:
                    yield far, label
            for group in relations.groups:
                near_side, far_side = (group.inputs, group.outputs) if forward else (group.outputs, group.inputs)
                yield from self._regrouped(near_side, far_side)

    def _regrouped(self, near: tuple[Place, ...], far: tuple[Place, ...]) -> Iterator[tuple[Place, Axis]]:
        """Channels stay channels when split or merged; of several parts the last is the channel, the others OTHER."""
        known = [self.labels.get(p) for p in near]
        if CHANNEL not in known or any(k is not None and k.kind in (AxisKind.BATCH, AxisKind.SPATIAL) for k in known):
            return
        have = any(self.labels.get(p) == CHANNEL for p in far)
        for place in reversed(far):
            if self.labels.get(place) is None:
                yield place, OTHER if have else CHANNEL
                have = True

    def check_batch(self) -> None:
        """No axis is the batch that is known to have another extent than the inputs' batch has."""
        for value in self.values:
            for axis, label in enumerate(self.of(value)):
                if label == BATCH and not self._counts_images(value, axis):
                    self.labels.put((value, axis), OTHER)

    def _counts_images(self, value: ir.Value, axis: int) -> bool:
        extent = (dims_of(value) or ())[axis]
        return not isinstance(extent, int) or extent in self._batches()

    def _batches(self) -> set[Dim]:
        """The extents that a batch may have: the inputs' own, or 1 where they leave it open or have none."""
        found = self._fed()
        return found if found and all(isinstance(d, int) for d in found) else found | {1}

    def keep_apart(self) -> None:
        """A label that two axes of one value carry names neither of them.

        Of two spatial ones the axis that occurs later in the graph is given another number: the channels that a pool
        takes for a plane, as in a written-out response normalisation, are not to renumber the picture's own.
        """
        occurs: dict[Place, int] = {}
        for place in ((value, i) for value in self.values for i in range(self._rank[value])):
            occurs.setdefault(self.labels.root(place), len(occurs))
        fresh = 1 + max((a.index for v in self.values for a in self.of(v) if a is not None), default=0)
        again = True
        while again:
            again = False
            for value in self.values:
                found = self.of(value)
                for i, label in enumerate(found):
                    if label is None or label == OTHER or label not in found[:i]:
                        continue
                    first = (value, found.index(label))
                    both = (self.labels.root(first), self.labels.root((value, i)))
                    if label.kind is AxisKind.SPATIAL and both[0] != both[1]:
                        self.labels.put(max(both, key=occurs.__getitem__), spatial(fresh))
                        fresh += 1
                    else:
                        self.labels.put((value, i), OTHER)
                        self.labels.put(first, OTHER)
                    again = True
                    break

    def check_layouts(self) -> None:
        """Across a layout operator the same spatial or batch label has to be the same axis."""
        again = True
        while again:
            again = False
            for relations in self._layouts:
                ends = [(a[0], b[0]) for a, b in relations.equal]
                ends += [(g.inputs[0][0], g.outputs[0][0]) for g in relations.groups]
                for x, y in dict.fromkeys(ends):
                    again |= self._disagrees(relations, x, y)

    def _disagrees(self, relations: Relations, x: ir.Value, y: ir.Value) -> bool:
        partners = dict(relations.equal)
        for group in relations.groups:
            if _may_be_same(group):
                partners |= zip(group.inputs, group.outputs, strict=True)
        wrong = False
        for i, label in enumerate(self.of(x)):
            if label is None or label.kind not in (AxisKind.SPATIAL, AxisKind.BATCH):
                continue
            after = self.of(y)
            if label in after and partners.get((x, i)) != (y, after.index(label)):
                self.labels.put((y, after.index(label)), OTHER)
                wrong = True
        return wrong


def _may_be_same(group: Group) -> bool:
    """Whether a Reshape may leave a group of axes as it is: as many of them, and no extent known to be another."""
    if len(group.inputs) != len(group.outputs):
        return False
    ends = (
        ((dims_of(a) or ())[i], (dims_of(b) or ())[j])
        for (a, i), (b, j) in zip(group.inputs, group.outputs, strict=True)
    )
    return not any(isinstance(x, int) and isinstance(y, int) and x != y for x, y in ends)


def _same_parts(parts: tuple[Place, ...], others: tuple[Place, ...]) -> bool:
    """Whether two lists of axes have the same extents, of which one may be open."""
    if len(parts) != len(others):
        return False
    extents = [((dims_of(a) or ())[i], (dims_of(b) or ())[j]) for (a, i), (b, j) in zip(parts, others, strict=True)]
    known = sum(x is not None and x == y for x, y in extents)
    contrary = any(isinstance(x, int) and isinstance(y, int) and x != y for x, y in extents)
    return not contrary and known >= len(extents) - 1

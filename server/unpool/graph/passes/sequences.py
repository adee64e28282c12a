"""Sequences: what is taken from lists that the file tells becomes plain tensors; only what a run decides stays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from unpool.graph.attributes import attributes_of
from unpool.graph.containers import MAKERS, is_container, is_standard
from unpool.graph.lists import MOST, Element, Elements, Piece, Splitting, evenly, unevenly
from unpool.graph.passes.insertion import Insertion
from unpool.graph.passes.shapes import dims_of

# From this opset on, axes of Squeeze and Unsqueeze and lengths of Split are inputs.
_AXES_ARE_INPUTS = 13


def untangle_sequences(model: ir.Model) -> bool:
    """Turns what is read of a sequence whose elements are known into tensors.

    Requires: functions inlined; constants lifted; shapes inferred.
    Call: in place. An element of a split tensor is a Slice, which keeps boxes along a plane; joined elements are a
        Concat; all pieces of a tensor joined again are the tensor, or, where they were stacked, a Transpose of it.
        As ONNX Runtime has it, ``keepdims`` of a SplitToSequence holds beside a scalar ``split`` of 1 too, which is
        left out. Where an extent is open, a position behind the last element gives an empty tensor instead of failing.
    Ensures: no SequenceAt with a fixed position, ConcatFromSequence or SequenceLength reads a sequence whose elements
        are known; their outputs keep their names; sequences that nothing reads are gone. What a run decides, and what
        subgraphs read, stays.

    Returns:
        Whether anything changed, so that shapes are worth another inference.
    """
    if not any(is_standard(n) and (n.op_type in MAKERS or n.op_type in _READERS) for n in model.graph):
        return False
    untangling = _Untangling(model)
    changed = [untangling.look_at(node) for node in list(model.graph)]
    return any(changed) | _remove_unread(model.graph)


class _Untangling:
    """One way through a graph, from its inputs to its outputs."""

    def __init__(self, model: ir.Model) -> None:
        self._version = model.opset_imports.get("", model.opset_imports.get("ai.onnx", 0))
        self._held: dict[ir.Value, Elements] = {}
        self._into = Insertion(model.graph)
        self._written: dict[int, ir.Value] = {}

    def look_at(self, node: ir.Node) -> bool:
        """Learns what a node puts into a sequence, and rewrites it where it reads one; says whether it did."""
        if not is_standard(node) or not node.outputs:
            return False
        changed = False
        if node.op_type == "SplitToSequence":
            changed = _without_needless_length(node)
            if (several := self._split_at_run_time(node)) is not None:
                node, changed = several, True
        if node.op_type in _HELD and (found := _HELD[node.op_type](self, node)) is not None:
            self._held[node.outputs[0]] = found
        elements = self._of(node, 0) if node.op_type in _READERS else None
        result = _READERS[node.op_type](self, node, elements) if elements is not None else None
        if result is None:
            return changed
        self._into.replace(node, self._into.unread(result) or self._into.node(node, "Identity", [result]))
        return True

    # -- what sequences hold ------------------------------------------------------------------------------------------

    def same(self, node: ir.Node) -> Elements | None:
        return self._of(node, 0)

    def _of(self, node: ir.Node, index: int) -> Elements | None:
        value = _input(node, index)
        return self._held.get(value) if value is not None else None

    def constructed(self, node: ir.Node) -> Elements | None:
        elements = [v for v in node.inputs if v is not None]
        return Elements(tuple(elements)) if len(elements) == len(node.inputs) else None

    def inserted(self, node: ir.Node) -> Elements | None:
        before, element, position = self._of(node, 0), _input(node, 1), _whole(_input(node, 2))
        if before is None or element is None or (position is None and _input(node, 2) is not None):
            return None
        return before.inserted(element, position)

    def erased(self, node: ir.Node) -> Elements | None:
        before, position = self._of(node, 0), _whole(_input(node, 1))
        if before is None or (position is None and _input(node, 1) is not None):
            return None
        return before.erased(position)

    def split(self, node: ir.Node) -> Elements | None:
        x, given = _input(node, 0), _input(node, 1)
        if x is None:
            return None
        attributes = attributes_of(node)
        axis, keeps = attributes.get("axis", 0), bool(attributes.get("keepdims", 1))
        assert isinstance(axis, int)
        extent = _extent(x, axis)
        if given is None:
            return evenly(Splitting(x, axis, 1, not keeps), extent)
        lengths, dims = _numbers(given), dims_of(given)
        rank = None if dims is None else len(dims)
        if rank == 0:
            step: int | ir.Value = given if lengths is None else int(lengths)
            if isinstance(step, int) and step < 1:
                return None
            if not keeps:  # ONNX Runtime fails where pieces of another length are to lose their axis
                return evenly(Splitting(x, axis, 1, True), extent) if step == 1 else None
            return evenly(Splitting(x, axis, step, False), extent)
        if lengths is None or rank != 1 or lengths.size > MOST or (lengths < 0).any():
            return None
        if extent not in (None, int(lengths.sum())):
            return None
        return unevenly(x, axis, tuple(int(n) for n in lengths))

    def _split_at_run_time(self, node: ir.Node) -> ir.Node | None:
        """A Split in the place of a node whose lengths a run computes, where it is known of how many pieces."""
        x, lengths = _input(node, 0), _input(node, 1)
        if x is None or lengths is None or lengths.dtype is None or _numbers(lengths) is not None:
            return None
        count = _extent(lengths, 0)
        if not count or count > MOST or len(dims_of(lengths) or ()) != 1 or self._version < _AXES_ARE_INPUTS:
            return None
        stem, axis = node.outputs[0].name, attributes_of(node).get("axis", 0)
        assert isinstance(axis, int)
        if lengths.dtype is not ir.DataType.INT64:
            lengths = self._into.value(node, "Cast", [lengths], f"{stem}.split", to=ir.DataType.INT64.value)
        pieces = self._into.node(node, "Split", [x, lengths], *(f"{stem}.{i}" for i in range(count)), axis=axis)
        sequence = self._into.node(node, "SequenceConstruct", pieces.outputs)
        self._into.replace(node, sequence)
        return sequence

    # -- what is read of them -----------------------------------------------------------------------------------------

    def element(self, node: ir.Node, elements: Elements) -> ir.Value | None:
        position = _whole(_input(node, 1))
        found = elements.at(position) if position is not None else None
        return self._tensor(node, found, f"{node.outputs[0].name}.element") if found is not None else None

    def length(self, node: ir.Node, elements: Elements) -> ir.Value | None:
        if elements.known is None:
            return None
        return self._into.constant(f"{node.outputs[0].name}.count", np.array(len(elements.known), np.int64))

    def joined(self, node: ir.Node, elements: Elements) -> ir.Value | None:
        attributes = attributes_of(node)
        axis, stacked = attributes.get("axis", 0), bool(attributes.get("new_axis", 0))
        assert isinstance(axis, int)
        stem = node.outputs[0].name
        if elements.whole is not None and (again := self._whole_again(node, elements.whole, axis, stacked)) is not None:
            return again
        if not elements.known:
            return None
        tensors = [self._tensor(node, e, f"{stem}.{i}") for i, e in enumerate(elements.known)]
        if stacked:
            tensors = [self._with_axis("Unsqueeze", node, t, axis, f"{stem}.{i}") for i, t in enumerate(tensors)]
        return self._into.value(node, "Concat", tensors, f"{stem}.all", axis=axis)

    def _whole_again(self, node: ir.Node, whole: Splitting, axis: int, stacked: bool) -> ir.Value | None:
        """The tensor that all pieces are of, where they are joined along the axis of which they were cut."""
        rank = len(dims_of(whole.x) or ())
        if stacked != whole.squeezed or not all(-rank <= a < rank for a in (whole.axis, axis)):
            return None
        before, after = whole.axis % rank, axis % rank
        if before == after:
            return whole.x
        if not stacked:
            return None
        order = [i for i in range(rank) if i != before]
        order.insert(after, before)
        return self._into.value(node, "Transpose", [whole.x], f"{node.outputs[0].name}.turned", perm=order)

    # -- writing ------------------------------------------------------------------------------------------------------

    def _tensor(self, node: ir.Node, element: Element, stem: str) -> ir.Value:
        """An element as a tensor that is made in front of a node."""
        if isinstance(element, ir.Value):
            return element
        start, end = (self._bound(node, element, place, stem) for place in (element.start, element.end))
        found = self._into.value(node, "Slice", [element.x, start, end, self._places(element.axis)], f"{stem}.cut")
        return self._with_axis("Squeeze", node, found, element.axis, stem) if element.squeezed else found

    def _bound(self, node: ir.Node, piece: Piece, place: int, stem: str) -> ir.Value:
        if piece.times is None:
            return self._places(place)
        times = self._into.value(node, "Reshape", [piece.times, self._places(1)], f"{stem}.length")
        if piece.times.dtype is not ir.DataType.INT64:
            times = self._into.value(node, "Cast", [times], f"{stem}.length", to=ir.DataType.INT64.value)
        return self._into.value(node, "Mul", [times, self._places(place)], f"{stem}.place")

    def _with_axis(self, op_type: str, node: ir.Node, x: ir.Value, axis: int, stem: str) -> ir.Value:
        name = f"{stem}.{op_type.lower()}d"
        if self._version < _AXES_ARE_INPUTS:
            return self._into.value(node, op_type, [x], name, axes=[axis])
        return self._into.value(node, op_type, [x, self._places(axis)], name)

    def _places(self, place: int) -> ir.Value:
        if place not in self._written:
            self._written[place] = self._into.constant(f"places.{place}", np.array([place], np.int64))
        return self._written[place]


_HELD: Final[Mapping[str, Callable[[_Untangling, ir.Node], Elements | None]]] = {
    "Identity": _Untangling.same,
    "SequenceConstruct": _Untangling.constructed,
    "SequenceEmpty": lambda untangling, node: Elements(()),
    "SequenceErase": _Untangling.erased,
    "SequenceInsert": _Untangling.inserted,
    "SplitToSequence": _Untangling.split,
}
_READERS: Final[Mapping[str, Callable[[_Untangling, ir.Node, Elements], ir.Value | None]]] = {
    "ConcatFromSequence": _Untangling.joined,
    "SequenceAt": _Untangling.element,
    "SequenceLength": _Untangling.length,
}


def _without_needless_length(node: ir.Node) -> bool:
    """Leaves out a scalar length of 1, beside which onnx's inference lets the axis stay and ONNX Runtime does not."""
    given = _input(node, 1)
    lengths = _numbers(given)
    if lengths is None or lengths.ndim or int(lengths) != 1 or attributes_of(node).get("keepdims", 1):
        return False
    node.replace_input_with(1, None)
    return True


def _remove_unread(graph: ir.Graph) -> bool:
    removed = False
    for node in reversed(list(graph)):
        if not is_standard(node) or not (node.op_type in MAKERS or node.op_type == "Identity"):
            continue
        if all(is_container(o) and not o.uses() and not o.is_graph_output() for o in node.outputs):
            graph.remove(node, safe=True)
            removed = True
    return removed


def _input(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _extent(value: ir.Value, axis: int) -> int | None:
    dims = dims_of(value) or ()
    found = dims[axis] if -len(dims) <= axis < len(dims) else None
    return found if isinstance(found, int) else None


def _numbers(value: ir.Value | None) -> npt.NDArray[np.int64] | None:
    """A constant's whole numbers."""
    tensor = value.const_value if value is not None and value.is_initializer() else None
    if tensor is None or tensor.dtype not in (ir.DataType.INT64, ir.DataType.INT32):
        return None
    return tensor.numpy().astype(np.int64)


def _whole(value: ir.Value | None) -> int | None:
    """A constant's one whole number."""
    numbers = _numbers(value)
    return int(numbers.ravel()[0]) if numbers is not None and numbers.size == 1 else None

"""Batch: the batch extent becomes a symbol, and the constants that had it written out are rewritten."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from unpool.graph.attributes import attributes_of
from unpool.graph.model import BATCH, Axis, BatchSupport, Dim
from unpool.graph.passes.axes import label_axes
from unpool.graph.passes.folding import follow_shapes, new_constant
from unpool.graph.passes.shapes import declare_dims, declared_dims, dims_of, infer_shapes
from unpool.graph.relations import STATES

_Labels = Mapping[ir.Value, tuple[Axis, ...]]
_Undo = list[Callable[[], None]]
_SYMBOL = "batch"


def free_batch(model: ir.Model, labels: _Labels) -> tuple[BatchSupport, _Labels]:
    """Lets a model take several images at once, where its axis labels show how.

    Requires: small shape computations folded; axes labelled.
    Call: in place. The batch extent of every input becomes one symbol; where a Reshape writes the batch out as a
        number, the number becomes 0 (as in the input) or -1; where an Expand or Resize does, its sizes are put
        together from the input's own extent; first states of zeros are left out. Shapes and labels are then made
        anew, and if an output does not carry the symbol the model is put back as it was.
    Ensures: SYMBOLIC, and every value whose batch extent was known has the symbol there; or FIXED, and the model is
        unchanged. Where the batch extent stays unknown (other axes may be folded into it) a run tells.
        That batch 2 equals two runs of batch 1 is not shown here: whoever runs the model first with a batch checks it.

    Returns:
        Whether the batch is free, and the labels that hold now.
    """
    undo: _Undo = []
    extent = _batch_extent(model, labels)
    if extent is None:
        return BatchSupport.FIXED, labels
    said = {v: v.shape for v in _values(model)}
    declared = {v: declared_dims(v) for v in model.graph.outputs}
    known = {v: _at_batch(v, labels) for v in _values(model)}
    own = {known[v] for v in model.graph.inputs if known[v] is not None}
    # An output's own extents are what is left to go by where inference is silent.
    for value in (*model.graph.inputs, *model.graph.outputs):
        axes = labels.get(value, ())
        if BATCH in axes:
            dims: list[int | str | None] = list(dims_of(value) or ())
            dims[axes.index(BATCH)] = _SYMBOL
            value.shape = ir.Shape(dims)
            if value in declared:
                declare_dims(value, dims)
    if isinstance(extent, int):
        for node in list(model.graph):
            _REWRITES.get(node.op_type, _leave)(model.graph, node, labels, extent, undo)
    infer_shapes(model, forget=True)
    follow_shapes(model)
    fresh = label_axes(model)
    if _carried(model, fresh) and not _left_behind(model, labels, {v for v, d in known.items() if d in own}):
        _name({v: axes for v, axes in fresh.items() if known.get(v) in own})
        return BatchSupport.SYMBOLIC, fresh
    for step in reversed(undo):
        step()
    for value, shape in said.items():
        value.shape = shape
    for value, told in declared.items():
        declare_dims(value, told)
    return BatchSupport.FIXED, labels


def _values(model: ir.Model) -> list[ir.Value]:
    return [*model.graph.inputs, *(o for node in model.graph for o in node.outputs)]


def _batch_extent(model: ir.Model, labels: _Labels) -> int | str | None:
    """The batch extent that is written out; 1 where the inputs leave it open, as an exporter then traced one."""
    found = set()
    for value in model.graph.inputs:
        axes = labels.get(value, ())
        if BATCH in axes:
            found.add((dims_of(value) or ())[axes.index(BATCH)])
    numbers = {d for d in found if isinstance(d, int)}
    if not found or len(numbers) > 1:
        return None
    return numbers.pop() if numbers else 1


def _carried(model: ir.Model, labels: _Labels) -> bool:
    for value in model.graph.outputs:
        axes = labels.get(value)
        if not axes or BATCH not in axes:
            return False
    for value, axes in labels.items():
        if BATCH in axes and isinstance((dims_of(value) or ())[axes.index(BATCH)], int):
            return False
    return True


def _left_behind(model: ir.Model, labels: _Labels, batched: set[ir.Value]) -> bool:
    """Whether something computed from the inputs still has a number where it had as many as there were images."""
    fed = set(model.graph.inputs)
    for node in model.graph:
        if node.op_type not in ("Shape", "Size") and not fed.isdisjoint(v for v in node.inputs if v is not None):
            fed.update(node.outputs)
    return any(isinstance((dims_of(v) or ())[labels[v].index(BATCH)], int) for v in fed & batched)


def _at_batch(value: ir.Value, labels: _Labels) -> Dim:
    axes, dims = labels.get(value, ()), dims_of(value) or ()
    return dims[axes.index(BATCH)] if BATCH in axes else None


def _name(labels: _Labels) -> None:
    """Inference loses the symbol where it cannot follow, in what it saw to be the batch while that was a number."""
    for value, axes in labels.items():
        if BATCH in axes:
            dims: list[int | str | None] = list(dims_of(value) or ())
            dims[axes.index(BATCH)] = _SYMBOL
            value.shape = ir.Shape(dims)


def _leave(graph: ir.Graph, node: ir.Node, labels: _Labels, extent: int, undo: _Undo) -> None:
    return


def _replace(node: ir.Node, index: int, value: ir.Value | None, undo: _Undo) -> None:
    before = node.inputs[index]
    node.replace_input_with(index, value)
    undo.append(lambda: node.replace_input_with(index, before))


def _numbers(node: ir.Node, index: int) -> list[int] | None:
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None or value.const_value is None or value.const_value.size > 64:
        return None
    return [int(v) for v in value.const_value.numpy().ravel()]


def _reshape(graph: ir.Graph, node: ir.Node, labels: _Labels, extent: int, undo: _Undo) -> None:
    data, output = node.inputs[0], node.outputs[0]
    shape = _numbers(node, 1)
    place = _place(labels, output)
    if shape is None or place is None or data is None or place >= len(shape) or shape[place] != extent:
        return
    if attributes_of(node).get("allowzero", 0) and 0 in shape:
        return
    if _place(labels, data) == place and not attributes_of(node).get("allowzero", 0):
        shape[place] = 0
    else:
        if -1 in shape:
            dims = dims_of(output) or ()
            known = dims[shape.index(-1)] if len(dims) == len(shape) else None
            if not isinstance(known, int):
                return
            shape[shape.index(-1)] = known
        shape[place] = -1
    _replace(node, 1, new_constant(graph, f"{output.name}.shape", np.array(shape, np.int64)), undo)


def _sizes(index: int) -> Callable[[ir.Graph, ir.Node, _Labels, int, _Undo], None]:
    def rewrite(graph: ir.Graph, node: ir.Node, labels: _Labels, extent: int, undo: _Undo) -> None:
        data, output = node.inputs[0], node.outputs[0]
        sizes = _numbers(node, index)
        place = _place(labels, output)
        if sizes is None or place is None or data is None or "axes" in attributes_of(node):
            return
        dims = dims_of(output)
        if dims is None or len(dims) != len(sizes) or sizes[place] != extent or _place(labels, data) != place:
            return
        if node.op_type == "Expand":
            # Stretching by 1 leaves the batch as it comes.
            if extent != 1:
                sizes[place] = 1
                _replace(node, index, new_constant(graph, f"{output.name}.shape", np.array(sizes, np.int64)), undo)
            return
        value = _composed(graph, node, data, place, sizes, undo)
        _replace(node, index, value, undo)

    return rewrite


def _states(graph: ir.Graph, node: ir.Node, labels: _Labels, extent: int, undo: _Undo) -> None:
    """First states of zeros are what a recurrent operator begins with where it is handed none, for any batch."""
    for index in range(STATES.start, min(STATES.stop, len(node.inputs))):
        state = node.inputs[index]
        maker = state.producer() if state is not None else None
        source = maker.inputs[0] if maker is not None and maker.op_type == "Expand" else state
        constant = source.const_value if source is not None else None
        if constant is not None and not constant.numpy().any():
            _replace(node, index, None, undo)


def _composed(graph: ir.Graph, node: ir.Node, data: ir.Value, place: int, sizes: list[int], undo: _Undo) -> ir.Value:
    """Sizes with the extent of ``data`` at ``place``, computed at run time."""
    stem = f"{node.outputs[0].name}.sizes"
    pieces: list[ir.Value] = []
    added: list[ir.Node] = []

    def add(
        op_type: str, inputs: list[ir.Value], attributes: dict[str, int], name: str, extents: list[int]
    ) -> ir.Value:
        made = ir.node(op_type, inputs, attributes=attributes, name=f"{stem}.{name}")
        made.outputs[0].name = f"{stem}.{name}"
        made.outputs[0].type = ir.TensorType(ir.DataType.INT64)
        made.outputs[0].shape = ir.Shape(extents)
        added.append(made)
        return made.outputs[0]

    whole = add("Shape", [data], {}, "shape", [len(sizes)])
    index = new_constant(graph, f"{stem}.index", np.array([place], np.int64))
    own = add("Gather", [whole, index], {"axis": 0}, "batch", [1])
    if sizes[:place]:
        pieces.append(new_constant(graph, f"{stem}.before", np.array(sizes[:place], np.int64)))
    pieces.append(own)
    if sizes[place + 1 :]:
        pieces.append(new_constant(graph, f"{stem}.after", np.array(sizes[place + 1 :], np.int64)))
    result = add("Concat", pieces, {"axis": 0}, "all", [len(sizes)])
    graph.insert_before(node, added)

    def remove() -> None:
        for made in reversed(added):
            graph.remove(made, safe=True)

    undo.append(remove)
    return result


def _place(labels: _Labels, value: ir.Value) -> int | None:
    axes = labels.get(value, ())
    return axes.index(BATCH) if BATCH in axes else None


_REWRITES: dict[str, Callable[[ir.Graph, ir.Node, _Labels, int, _Undo], None]] = {
    "Reshape": _reshape,
    "Expand": _sizes(1),
    "Resize": _sizes(3),
    **dict.fromkeys(("RNN", "GRU", "LSTM"), _states),
}

"""Which nodes can be run forward on boxes, and how: place by place, through a window, or not."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Set
from dataclasses import dataclass, field

import numpy as np

from unpool.engine.boxes import Ints
from unpool.engine.geometry import Geometry
from unpool.graph.intervals import POINTWISE, Broadcast, Sliding
from unpool.graph.model import BATCH, CHANNEL, Node
from unpool.ops import find
from unpool.ops.convolution import transposed_geometry
from unpool.ops.geometry import Geometry as Windows
from unpool.ops.geometry import node_geometry, paired, string
from unpool.ops.padding import pad_places
from unpool.ops.resize import Floats, node_matrices
from unpool.ops.slicing import slice_places

_WINDOWED = frozenset({"Conv", "MaxPool", "AveragePool"})
_RESIZING = frozenset({"Resize", "Upsample"})
_BLOCKS = frozenset({"DepthToSpace", "SpaceToDepth"})
_RESHAPING = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten"})
_SIZED = frozenset({"Expand", "Shape", "Size", "ConstantOfShape"})
"""Operators that are told, or tell, the plane's extents, and would be wrong about a box."""


_LOWEST = float(np.finfo(np.float32).min)
"""What ONNX Runtime takes for the maximum of a window that lies in the padding altogether."""


class How(enum.Enum):
    """How a node is run on boxes."""

    POINTWISE = "place by place"
    WINDOW = "through a window"
    PAD = "by putting a constant around"
    RESHAPE = "by giving another shape"
    TRANSPOSED = "through a window, the other way"
    RESIZE = "by weights along each axis"
    PICK = "by picking an input for each output"
    JOIN = "by laying inputs side by side"
    BLOCKS = "by moving blocks between plane and channels"


@dataclass(frozen=True)
class Boxable:
    """A node that can be run on boxes.

    Attributes:
        how: the way.
        windows: of a window operator, one entry per axis behind batch and channel.
        spatial: for each of these axes the spatial index that boxes have along it; ``None`` takes the whole axis.
        outside: what stands outside the plane.
        around: of padding: spatial index -> how much of it is put before and behind.
        matrices: of resizing: spatial index -> weights (out, in).
        places: of picking: axis -> which input each output reads.
    """

    how: How
    windows: Windows | None = None
    spatial: tuple[int | None, ...] = ()
    outside: float = 0.0
    around: Mapping[int, tuple[int, int]] = field(default_factory=dict, compare=False)
    matrices: Mapping[int, Floats] = field(default_factory=dict, compare=False)
    places: Mapping[int, Ints] = field(default_factory=dict, compare=False)


def boxable(node: Node, geometry: Geometry, dirty: Set[str]) -> Boxable | None:
    """How a node is run on boxes, or ``None`` where only whole planes are right.

    Args:
        node: the node.
        geometry: shapes and windows.
        dirty: the values that windows over the input reach.
    """
    operator = find(node)
    if operator is None or node.op_type in _SIZED:
        return None
    touched = touched_inputs(node, geometry, dirty)
    for name in (*(node.inputs[i] for i in touched), *(o for o in node.outputs if o)):
        value = geometry.graph.values.get(name)
        # What is not float32 would be computed here in another precision than ONNX Runtime's.
        if value is None or name not in geometry.shapes or value.batch_axis is None or not value.spatial_axes:
            return None
        if value.dtype not in ("float32", ""):
            return None
    if node.op_type in _WINDOWED:
        return _windowed(node, geometry, touched)
    if node.op_type == "ConvTranspose":
        return _transposed(node, geometry, touched)
    if node.op_type in _RESIZING:
        return _resizing(node, geometry, touched)
    if node.op_type == "Pad" and string(node, "mode", "constant") == "constant":
        return _padding(node, geometry, touched)
    if node.op_type in _BLOCKS:
        return Boxable(How.BLOCKS) if _in_place(node, geometry, touched) else None
    found = _pointwise(node, geometry, touched)
    if found is None and node.op_type in _PLACES:
        return _picking(node, geometry, touched)
    return _joining(node, geometry, touched) if found is None and node.op_type == "Concat" else found


_PLACES = {"Pad": pad_places, "Slice": slice_places}


def touched_inputs(node: Node, geometry: Geometry, dirty: Set[str]) -> list[int]:
    """Which inputs the windows reach; what is told by extents alone, as sizes are, they do not."""
    measured = geometry.graph.measured
    return [i for i, name in enumerate(node.inputs) if name in dirty and name not in measured]


def _pointwise(node: Node, geometry: Geometry, touched: list[int]) -> Boxable | None:
    if node.op_type in _RESHAPING:
        return _reshaping(node, geometry, touched)
    windows = geometry.windows(node)
    plane = geometry.plane(node.outputs[0])
    if any(geometry.plane(o) != plane for o in node.outputs if o):
        return None
    for i, name in enumerate(node.inputs):
        if name not in geometry.graph.values:
            continue
        own = geometry.plane(name)
        if i in touched:
            if own != plane or any(windows[i].get(s) != POINTWISE for s in plane):
                return None
        elif any(windows[i].get(s) != POINTWISE and not isinstance(windows[i].get(s), Broadcast) for s in own):
            return None
    return Boxable(How.POINTWISE)


def _reshaping(node: Node, geometry: Geometry, touched: list[int]) -> Boxable | None:
    """Another shape that keeps every axis of the plane, but for those of extent 1 that come or go."""
    if touched != [0]:
        return None
    before, behind = geometry.plane(node.inputs[0]), geometry.plane(node.outputs[0])
    along = geometry.windows(node)[0]
    for s in before.keys() | behind.keys():
        if s in before and s in behind:
            if before[s] != behind[s] or along.get(s) != POINTWISE:
                return None
        elif before.get(s, 1) != 1 or behind.get(s, 1) != 1:
            return None
    return Boxable(How.RESHAPE)


def _windowed(node: Node, geometry: Geometry, touched: list[int]) -> Boxable | None:
    """Convolution by constant filters, and pooling, of (N, C, D1 ... Dn)."""
    if touched != [0] or sum(map(bool, node.outputs)) != 1:
        return None
    if any(name not in geometry.graph.constants for name in node.inputs[1:] if name):
        return None
    source, result = geometry.operand(node.inputs[0]), geometry.operand(node.outputs[0])
    if source is None or result is None or source.axes[:2] != (BATCH, CHANNEL) or result.axes[:2] != (BATCH, CHANNEL):
        return None
    kernel = None
    if node.op_type == "Conv":
        weight = geometry.operand(node.inputs[1])
        assert weight is not None
        kernel = weight.shape[2:]
    elif node.attributes.get("storage_order", 0):
        return None
    known = node_geometry(node, source.shape[2:], kernel)
    if known.outputs != result.shape[2:] or len(known.kernel) > 3:
        return None
    outside = _LOWEST if node.op_type == "MaxPool" else 0.0
    return Boxable(How.WINDOW, known, _spatial(source.axes, geometry, node, range(2, len(source.shape))), outside)


def _transposed(node: Node, geometry: Geometry, touched: list[int]) -> Boxable | None:
    """Transposed convolution by constant filters of (N, C, D1 ... Dn)."""
    if touched != [0] or any(name not in geometry.graph.constants for name in node.inputs[1:] if name):
        return None
    source, result, weight = (geometry.operand(n) for n in (node.inputs[0], node.outputs[0], node.inputs[1]))
    if source is None or result is None or weight is None:
        return None
    if source.axes[:2] != (BATCH, CHANNEL) or result.axes[:2] != (BATCH, CHANNEL):
        return None
    known = transposed_geometry(node, source.shape[2:], weight.shape[2:])
    if known.outputs != result.shape[2:] or len(known.kernel) > 3:
        return None
    return Boxable(How.TRANSPOSED, known, _spatial(source.axes, geometry, node, range(2, len(source.shape))))


def _in_place(node: Node, geometry: Geometry, touched: list[int]) -> bool:
    """Whether the one input that windows reach has its plane where the output has it, with a window along each axis."""
    value, result = geometry.value(node.inputs[0]), geometry.value(node.outputs[0])
    same = value.spatial_axes == result.spatial_axes and value.batch_axis == result.batch_axis
    along = geometry.windows(node)[0]
    return touched == [0] and same and all(s in along for s in value.spatial_axes)


def _resizing(node: Node, geometry: Geometry, touched: list[int]) -> Boxable | None:
    """Resizing along axes of the plane alone, without what stands outside of a region."""
    # ONNX Runtime leaves an axis of scale 1 uncropped, and rounds places of a region in float32.
    if string(node, "coordinate_transformation_mode", "") == "tf_crop_and_resize":
        return None
    if not _in_place(node, geometry, touched):
        return None
    source, *rest = (geometry.operand(n) for n in node.inputs)
    found = node_matrices(node, source, rest, geometry.operand(node.outputs[0]))
    indices = {axis: s for s, axis in geometry.value(node.inputs[0]).spatial_axes.items()}
    if found is None or any(a not in indices for a in found):
        return None
    return Boxable(How.RESIZE, matrices={indices[axis]: matrix for axis, matrix in found.items()})


def _picking(node: Node, geometry: Geometry, touched: list[int]) -> Boxable | None:
    """Slicing, and padding with what is there, of whatever axes but the batch's, to something."""
    if not _in_place(node, geometry, touched) or 0 in geometry.shapes[node.outputs[0]]:
        return None
    places = _PLACES[node.op_type](node, [geometry.operand(n) for n in node.inputs])
    if places is None or geometry.value(node.inputs[0]).batch_axis in places:
        return None
    return Boxable(How.PICK, places=places)


def _joining(node: Node, geometry: Geometry, touched: list[int]) -> Boxable | None:
    """Joining along the plane: every input that windows reach lies somewhere in the output."""
    result, along = geometry.value(node.outputs[0]), geometry.windows(node)
    for i in touched:
        value = geometry.value(node.inputs[i])
        if value.spatial_axes != result.spatial_axes or value.batch_axis != result.batch_axis:
            return None
        windows = [along[i].get(s) for s in result.spatial_axes]
        if not all(isinstance(w, Sliding) and w.extent == w.stride == 1 for w in windows):
            return None
    return Boxable(How.JOIN)


def _spatial(axes: object, geometry: Geometry, node: Node, positions: range) -> tuple[int | None, ...]:
    source, result = geometry.operand(node.inputs[0]), geometry.operand(node.outputs[0])
    assert source is not None
    assert result is not None
    along = geometry.windows(node)[0]
    found = []
    for position in positions:
        index = paired(source, result, position)
        found.append(index if index in along else None)
    return tuple(found)


def _padding(node: Node, geometry: Geometry, touched: list[int]) -> Boxable | None:
    """A constant put around the plane, and nowhere else."""
    if not _in_place(node, geometry, touched):
        return None
    spatial = geometry.value(node.inputs[0]).spatial_axes
    before, behind = geometry.shapes[node.inputs[0]], geometry.shapes[node.outputs[0]]
    if any(n != m for i, (n, m) in enumerate(zip(before, behind, strict=True)) if i not in spatial.values()):
        return None
    around = {}
    for s, axis in spatial.items():
        window = geometry.windows(node)[0][s]
        if not isinstance(window, Sliding) or window.extent != 1 or window.stride != 1:
            return None
        around[s] = (window.pad, behind[axis] - before[axis] - window.pad)
    outside = _pad_value(node, geometry)
    return None if outside is None else Boxable(How.PAD, outside=outside, around=around)


def _pad_value(node: Node, geometry: Geometry) -> float | None:
    if node.version < 11:
        value = node.attributes.get("value", 0.0)
        return float(value) if isinstance(value, int | float) else None
    if len(node.inputs) < 3 or not node.inputs[2]:
        return 0.0
    constant = geometry.graph.constants.get(node.inputs[2])
    return None if constant is None else float(constant.numpy().reshape(-1)[0])

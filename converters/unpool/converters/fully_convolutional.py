"""Fully connected heads as convolutions (Long et al. 2015), so that a classifier takes pictures of any size.

A matrix that reads a flattened plane is a convolution whose kernel is that plane; the matrices behind it are 1x1
convolutions; a mean over the plane is an average pool of its size. At the size that the network was made for the
outputs are the same, with two axes of extent 1 more; on a larger picture each class becomes a map.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from unpool.converters.errors import ConversionError, ParityError
from unpool.converters.parity import OutputParity, open_session

Array = npt.NDArray[Any]

_SAME_FOR_EACH = frozenset(
    {"Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Softplus", "Softsign"}
    | {"Gelu", "Erf", "Clip", "Abs", "Neg", "Exp", "Log", "Sqrt", "Dropout", "Identity", "Cast"}
)
_ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div"})
_SOFTMAX = frozenset({"Softmax", "LogSoftmax"})
_SINGLE_AXIS_SOFTMAX = 13
"""Opset from which Softmax means one axis."""
_WEIGHTS_APART = 4
"""IR version from which an initialiser need not be an input as well."""


@dataclass(frozen=True)
class _Flat:
    """What stands behind a flattened tensor: a tensor (N, C, H, W) of the new graph, and those extents."""

    carrier: str
    channels: int
    height: int
    width: int

    @property
    def size(self) -> int:
        return self.channels * self.height * self.width


@dataclass
class _Rewriting:
    """A graph while it is rewritten."""

    model: onnx.ModelProto
    opset: int
    shapes: dict[str, list[int]]
    constants: dict[str, Array]
    flat: dict[str, _Flat] = field(default_factory=dict)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)

    def weight(self, like: str, values: Array) -> str:
        """A new initialiser."""
        name = f"{like}/as_convolution"
        taken = {w.name for w in self.weights} | set(self.constants)
        while name in taken:
            name += "_"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name


def fully_convolutional(model: onnx.ModelProto) -> onnx.ModelProto:
    """Turns the fully connected head of a classifier into convolutions, and frees its input's height and width.

    Args:
        model: with one picture input (N, C, H, W) of known size; weights in the file.

    Returns:
        A new model; inputs, outputs and layers keep their names, flat outputs (N, K) become (N, K, height, width).

    Raises:
        ConversionError: no head of this form: nothing is flattened or averaged, a node behind it mixes places (it is
            named), or the size of the plane is not known.
    """
    new = onnx.ModelProto()
    new.CopyFrom(model)
    try:
        inferred = onnx.shape_inference.infer_shapes(new, data_prop=True)
    except Exception as error:
        raise ConversionError(f"the shapes of the model cannot be inferred: {error}") from error
    constants = {w.name: numpy_helper.to_array(w) for w in new.graph.initializer}
    for node in new.graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    known = [*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output]
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in known}
    opset = next((o.version for o in new.opset_import if o.domain in ("", "ai.onnx")), 0)
    work = _Rewriting(new, opset, shapes, constants)
    pooled = _closing_means(new.graph, shapes, constants)
    for node in new.graph.node:
        _rewrite(work, node, pooled)
    if not work.flat and not pooled:
        raise ConversionError("the model has no fully connected head: nothing in it flattens or averages a plane")
    _finish(work)
    return new


def check(model: onnx.ModelProto, new: onnx.ModelProto, *, tolerance: float = 1e-4) -> tuple[OutputParity, ...]:
    """Runs a model and its fully convolutional form on random input, and the latter on a larger one.

    Args:
        model: as it was.
        new: what ``fully_convolutional`` made of it.
        tolerance: largest difference of an output, relative to its largest magnitude.

    Returns:
        How far each output is from what it was, at the size that the model was made for.

    Raises:
        ParityError: an output differs at the size that the model was made for.
        ConversionError: the model takes no larger picture: something in it holds on to its size.
    """
    before, after = (open_session(m.SerializeToString()) for m in (model, new))
    rng = np.random.default_rng(0)
    feeds, larger = {}, {}
    for value in before.get_inputs():
        shape = [extent if isinstance(extent, int) else 1 for extent in value.shape]
        feeds[value.name] = rng.standard_normal(shape, np.float32)
        grown = [*shape[:2], *(extent + extent // 2 for extent in shape[2:])] if len(shape) == 4 else shape
        larger[value.name] = rng.standard_normal(grown, np.float32)
    names = [value.name for value in before.get_outputs()]
    compared = []
    for name, expected, found in zip(names, before.run(names, feeds), after.run(names, feeds), strict=True):
        difference = float(np.abs(found.reshape(expected.shape) - expected).max() / max(np.abs(expected).max(), 1e-30))
        if not difference <= tolerance:
            raise ParityError(name, difference, tolerance, "of the fully convolutional form differs")
        compared.append(OutputParity(name, difference, 1))
    try:
        after.run(names, larger)
    except Exception as error:
        raise ConversionError(
            f"the model has a convolutional head now, but takes no larger picture, because of something before: {error}"
        ) from error
    return tuple(compared)


def _rewrite(work: _Rewriting, node: onnx.NodeProto, pooled: set[str]) -> None:
    """Appends a node, or what takes its place, to the new graph."""
    source = node.input[0] if node.input else ""
    if node.output[0] in pooled:
        _average(work, node)
    elif any(name in work.flat for name in node.input):
        _behind(work, node)
    elif node.op_type in ("Reshape", "Flatten", "Squeeze") and (found := _flattened(work, node)) is not None:
        work.flat[node.output[0]] = _Flat(source, *found)
    else:
        if node.op_type == "Reshape" and all(name in work.constants for name in node.input):
            # A matrix that is stored in another shape.
            extents = work.constants[node.input[1]].tolist()
            work.constants[node.output[0]] = work.constants[source].reshape(extents)
        work.nodes.append(node)


def _closing_means(graph: onnx.GraphProto, shapes: dict[str, list[int]], constants: dict[str, Array]) -> set[str]:
    """Outputs of the means over whole planes that lead to the end alone: not those of squeeze-and-excitation."""
    found = set()
    for i, node in enumerate(graph.node):
        whole = node.op_type == "GlobalAveragePool" or (
            node.op_type == "ReduceMean" and _axes(node, constants) in ({2, 3}, {-1, -2})
        )
        if not whole or len(shapes.get(node.input[0], ())) != 4:
            continue
        below = {node.output[0]}
        closing = True
        for later in graph.node[i + 1 :]:
            if not below.isdisjoint(later.input):
                below.update(later.output)
                closing &= all(name in below or name in constants or not name for name in later.input)
        if closing:
            found.add(node.output[0])
    return found


def _axes(node: onnx.NodeProto, constants: dict[str, Array]) -> set[int]:
    given = _attribute(node, "axes", None)
    if given is None and len(node.input) > 1 and node.input[1] in constants:
        given = constants[node.input[1]].tolist()
    return set(given or ())


def _plane(work: _Rewriting, node: onnx.NodeProto) -> tuple[int, int, int]:
    shape = work.shapes.get(node.input[0], [])
    if len(shape) != 4 or not all(shape[1:]):
        raise ConversionError(
            f"{node.op_type} '{node.name or node.output[0]}' reads a tensor of shape {shape or 'unknown'}; its"
            " channels, height and width must be known: give the model's input a fixed size first"
        )
    return shape[1], shape[2], shape[3]


def _average(work: _Rewriting, node: onnx.NodeProto) -> None:
    channels, height, width = _plane(work, node)
    output = node.output[0]
    work.nodes.append(
        helper.make_node(
            "AveragePool", [node.input[0]], [output], name=node.name, kernel_shape=[height, width], strides=[1, 1]
        )
    )
    if node.op_type == "ReduceMean" and not _attribute(node, "keepdims", 1):
        work.flat[output] = _Flat(output, channels, 1, 1)


def _flattened(work: _Rewriting, node: onnx.NodeProto) -> tuple[int, int, int] | None:
    """Extents (C, H, W) of what a node makes a row of for each picture; ``None`` where it does something else."""
    before, after = work.shapes.get(node.input[0], []), work.shapes.get(node.output[0], [])
    if len(before) != 4 or len(after) != 2:
        return None
    if node.op_type == "Flatten" and _attribute(node, "axis", 1) not in (1, -3):
        return None
    channels, height, width = _plane(work, node)
    if after[1] not in (0, channels * height * width):
        return None
    if node.op_type == "Reshape" and before[0] and after[0] and before[0] != after[0]:
        return None
    return channels, height, width


def _behind(work: _Rewriting, node: onnx.NodeProto) -> None:
    """A node that reads something flattened."""
    kind, output = node.op_type, node.output[0]
    source = work.flat.get(node.input[0])
    others = [name for name in node.input if name not in work.flat]
    if source is not None and kind in ("Gemm", "MatMul"):
        _convolution(work, node, source)
        work.flat[output] = _Flat(output, work.shapes[output][-1], 1, 1)
        return
    if (
        source is not None
        and kind in ("Reshape", "Flatten", "Squeeze")
        and work.shapes.get(output, [])[1:] == [source.size]
    ):
        work.flat[output] = source
        return
    alone = source is not None and source.height == source.width == 1
    if source is not None and alone and kind in _SOFTMAX:
        _softmax(work, node, source)
        work.flat[output] = _Flat(output, source.channels, 1, 1)
        return
    if kind in _SAME_FOR_EACH and source is not None:
        _append(work, node, [source.carrier, *node.input[1:]])
    elif kind in _ARITHMETIC and all(name in work.constants or name in work.flat for name in node.input):
        flat = [work.flat[name] for name in node.input if name in work.flat]
        if any((f.channels, f.height, f.width) != (flat[0].channels, flat[0].height, flat[0].width) for f in flat):
            raise _refusal(node)
        inputs = [work.flat[n].carrier if n in work.flat else _row(work, node, n, flat[0]) for n in node.input]
        _append(work, node, inputs)
        source = flat[0]
    elif kind == "BatchNormalization" and source is not None and alone and all(n in work.constants for n in others):
        _append(work, node, [source.carrier, *node.input[1:]])
    else:
        raise _refusal(node)
    work.flat[output] = _Flat(output, source.channels, source.height, source.width)


def _append(work: _Rewriting, node: onnx.NodeProto, inputs: Iterable[str]) -> None:
    same = onnx.NodeProto()
    same.CopyFrom(node)
    del same.input[:]
    same.input.extend(inputs)
    work.nodes.append(same)


def _convolution(work: _Rewriting, node: onnx.NodeProto, source: _Flat) -> None:
    matrix = work.constants.get(node.input[1])
    if matrix is None or matrix.ndim != 2 or _attribute(node, "transA", 0):
        raise _refusal(node)
    if not _attribute(node, "transB", 0):
        matrix = matrix.T
    if matrix.shape[1] != source.size:
        raise _refusal(node)
    kernel = matrix * matrix.dtype.type(_attribute(node, "alpha", 1.0))
    inputs = [
        source.carrier,
        work.weight(node.input[1], kernel.reshape(-1, source.channels, source.height, source.width)),
    ]
    if len(node.input) > 2 and node.input[2]:
        bias = work.constants.get(node.input[2])
        if bias is None or bias.size not in (1, len(matrix)):
            raise _refusal(node)
        values = np.broadcast_to(bias.reshape(-1), (len(matrix),)) * bias.dtype.type(_attribute(node, "beta", 1.0))
        inputs.append(work.weight(node.input[2], values))
    work.nodes.append(helper.make_node("Conv", inputs, [node.output[0]], name=node.name))


def _softmax(work: _Rewriting, node: onnx.NodeProto, source: _Flat) -> None:
    axis = _attribute(node, "axis", 1 if work.opset < _SINGLE_AXIS_SOFTMAX else -1)
    if axis not in (1, -1):
        raise _refusal(node)
    output = node.output[0]
    if work.opset >= _SINGLE_AXIS_SOFTMAX:
        work.nodes.append(helper.make_node(node.op_type, [source.carrier], [output], name=node.name, axis=1))
        return
    # Before opset 13 the axes from the given one on are taken together: channels go last for it.
    turned, found = f"{output}/channels_last", f"{output}/of_channels_last"
    work.nodes += [
        helper.make_node("Transpose", [source.carrier], [turned], name=f"{output}/turn", perm=[0, 2, 3, 1]),
        helper.make_node(node.op_type, [turned], [found], name=node.name, axis=3),
        helper.make_node("Transpose", [found], [output], name=f"{output}/back", perm=[0, 3, 1, 2]),
    ]


def _row(work: _Rewriting, node: onnx.NodeProto, name: str, source: _Flat) -> str:
    """A constant that goes with every picture's row, as one that goes with its channels."""
    values = work.constants[name]
    if values.size == 1:
        return work.weight(name, values.reshape(1, 1, 1, 1))
    if values.ndim > 2 or values.size != source.size or source.height * source.width > 1:
        raise _refusal(node)
    return work.weight(name, values.reshape(1, source.channels, 1, 1))


def _refusal(node: onnx.NodeProto) -> ConversionError:
    return ConversionError(
        f"{node.op_type} '{node.name or node.output[0]}' stands behind the flattened plane and is no layer that a"
        " convolution can take the place of: matrices with their constants, activations and a softmax can"
    )


def _finish(work: _Rewriting) -> None:
    graph = work.model.graph
    work.model.ir_version = max(work.model.ir_version, _WEIGHTS_APART)
    for output in graph.output:
        found = work.flat.get(output.name)
        if found is not None and found.carrier != output.name:
            work.nodes.append(helper.make_node("Identity", [found.carrier], [output.name]))
    free = {v.name for v in graph.output if v.name in work.flat or len(work.shapes.get(v.name, ())) == 4}
    del graph.node[:]
    graph.node.extend(work.nodes)
    read = {name for node in graph.node for name in node.input} | {v.name for v in graph.output}
    kept = [w for w in [*graph.initializer, *work.weights] if w.name in read]
    held = {w.name for w in kept}
    inputs = [v for v in graph.input if v.name not in work.constants or v.name in held]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    for value in inputs:
        dims = value.type.tensor_type.shape.dim
        if value.name not in held and len(dims) == 4:
            dims[2].dim_param, dims[3].dim_param = "height", "width"
    del graph.input[:]
    graph.input.extend(inputs)
    for value in graph.output:
        if value.name not in free:
            continue
        shape = value.type.tensor_type.shape
        channels = work.flat[value.name].channels if value.name in work.flat else shape.dim[1].dim_value
        del shape.dim[1:]
        shape.dim.add().dim_value = channels
        shape.dim.add().dim_param = "map_height"
        shape.dim.add().dim_param = "map_width"
    del graph.value_info[:]


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    for attribute in node.attribute:
        if attribute.name == name:
            return helper.get_attribute_value(attribute)
    return default

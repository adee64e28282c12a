"""The scan's forward run: the maximum of every channel is reduced inside the graph, which is cut at the deepest layer.

Activations never leave the graph, so that a scan costs hardly more than the bare forward run.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnxruntime as ort

from unpool.engine import Engine
from unpool.engine.devices import Device, resolve
from unpool.engine.geometry import Geometry
from unpool.engine.runtime_words import runtime_words
from unpool.graph import Layer, Value
from unpool.graph.errors import InvalidArgumentError, ModelError, PreconditionError
from unpool.graph.model import Array
from unpool.graph.rectifiers import ACTIVATIONS

Floats = npt.NDArray[np.float32]

_RECTIFIERS = frozenset({"Relu", "LeakyRelu", "PRelu", "ThresholdedRelu"})
_AXES_AS_INPUT = 18
"""From this opset on ReduceMax takes its axes as an input."""
_BLOCKED = frozenset({"x86_64", "amd64"})
"""Machines on which ONNX Runtime's CPU kernels work on blocks of channels (NCHWc)."""
_TOLERANCE = 1e-3
_MOST_IMAGES = 32
_IMAGE_BYTES = 256 << 20


def chosen_layers(engine: Engine, names: Sequence[str]) -> tuple[Layer, ...]:
    """The layers that names mean, each once, in topological order; without names the outputs of all rectifiers.

    Raises:
        NotFoundError: a name that no layer answers to.
        InvalidArgumentError: a layer without channels.
        PreconditionError: nothing is named, and the model has neither rectifiers nor other activations.
    """
    layers = engine.model.layers
    if names:
        wanted = {layers.find(name).name for name in names}
        found = tuple(layer for layer in layers if layer.name in wanted)
        for layer in found:
            if layer.channels is None:
                raise InvalidArgumentError("layers", f"'{layer.name}' has no fixed number of channels")
        return found
    producers = engine.model.graph.producers
    known = [layer for layer in layers if layer.channels is not None and not producers[layer.name].gate]
    found = tuple(layer for layer in known if layer.op_type in _RECTIFIERS or layer.rank_name != layer.name)
    found = found or tuple(layer for layer in known if layer.op_type in ACTIVATIONS)
    if not found:
        raise PreconditionError("the model has neither rectifiers nor other activations; name the layers to scan")
    return found


def batch_size(geometry: Geometry, layers: Sequence[Layer], operations: float) -> int:
    """How many images are fed at once, so that a piece of the scan is bounded in work and memory.

    Args:
        geometry: the shapes for one image.
        layers: the scanned layers, which tell where the graph ends.
        operations: the multiply-adds that a piece may take.
    """
    graph = geometry.graph
    reached = graph.ancestors([layer.rank_name for layer in layers])
    total, largest = 1.0, 1
    for node in graph.nodes:
        if not any(o in reached for o in node.outputs):
            continue
        made = math.prod(geometry.shapes.get(node.outputs[0], ()))
        largest = max(largest, made)
        weight = graph.constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
        if weight is None or node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            continue
        shape = weight.shape
        total += made * (math.prod(shape[1:]) if node.op_type.startswith("Conv") else math.prod(shape) / min(shape))
    return max(1, min(_MOST_IMAGES, int(operations / total), _IMAGE_BYTES // (4 * largest)))


@dataclass(frozen=True, eq=False)
class Reduction:
    """A session that gives channel maxima.

    Attributes:
        layers: the layers, in the order of the outputs.
        widths: channels of each.
    """

    layers: tuple[Layer, ...]
    widths: tuple[int, ...]
    _session: ort.InferenceSession
    _outputs: tuple[str, ...]

    @property
    def width(self) -> int:
        """Channels of all layers together."""
        return sum(self.widths)

    def run(self, arrays: dict[str, Array], images: int) -> Floats:
        """The maxima of every channel of every layer, by the value before a bounded rectifier's clip.

        Args:
            arrays: the inputs, ``images`` of them along the batch axis.
            images: how many.

        Returns:
            float32 (images, width), layer after layer.

        Raises:
            PreconditionError: ONNX Runtime fails on these inputs.
        """
        try:
            found = self._session.run(list(self._outputs), arrays)
        except Exception as error:  # ONNX Runtime raises a private type per status code
            raise PreconditionError(f"ONNX Runtime fails on this input: {runtime_words(error)}") from error
        return np.concatenate([np.asarray(f, np.float32).reshape(images, -1) for f in found], 1)


def open_reduction(engine: Engine, layers: Sequence[Layer], example: dict[str, Array]) -> Reduction:
    """Makes the session of a scan, and tries it on one image against one that may not fuse anything.

    Args:
        engine: the model.
        layers: as ``chosen_layers`` gives them.
        example: one image's inputs.

    Raises:
        ModelError: ONNX Runtime does not take the reduced model.
    """
    device = resolve(engine.settings.device)
    blocked = device.providers[0] == "CPUExecutionProvider" and platform.machine().lower() in _BLOCKED
    model, outputs = _reduced(engine, layers, blocked)
    data = ir.to_proto(model).SerializeToString()
    widths = tuple(layer.channels or 0 for layer in layers)

    def opened(optimised: bool) -> Reduction:
        return Reduction(
            tuple(layers), widths, _session(data, device, engine.settings.thread_count, optimised), outputs
        )

    found = opened(True)
    if engine.settings.verify:
        plain = opened(False)
        mine, expected = found.run(example, 1), plain.run(example, 1)
        scale = max(float(np.abs(expected).max(initial=0)), 1e-12)
        if not float(np.abs(mine - expected).max(initial=0)) <= _TOLERANCE * scale:
            return plain
    return found


def _session(data: bytes, device: Device, threads: int, optimised: bool) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Pictures are decoded on the same cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = ort.InferenceSession(data, options, providers=device.providers)
    except Exception as error:  # ONNX Runtime raises a private type per status code
        if optimised:
            return _session(data, device, threads, False)
        raise ModelError(f"ONNX Runtime does not take the model: {runtime_words(error)}") from error
    device.confirm(session)
    return session


def _reduced(engine: Engine, layers: Sequence[Layer], blocked: bool) -> tuple[ir.Model, tuple[str, ...]]:
    """The model up to the deepest layer, its outputs replaced by the maxima.

    Args:
        engine: the model.
        layers: the layers.
        blocked: ONNX Runtime runs convolutions on blocks of channels.
    """
    runtime, values = engine.model.runtime, engine.model.graph.values
    graph = runtime.graph
    sources = [i.name or "" for i in graph.inputs if i.name not in graph.initializers]
    ranked = list(dict.fromkeys(layer.rank_name for layer in layers))
    cut = ir.convenience.extract(graph, sources, ranked)
    tapped = {v.name: v for node in cut for v in node.outputs} | {v.name: v for v in cut.inputs}
    for output in list(cut.outputs):
        cut.outputs.remove(output)
    for opset, version in runtime.opset_imports.items():
        cut.opset_imports[opset] = version
    made: dict[str, str] = {}
    for name in ranked:
        if blocked:
            _keep_blocked(cut, tapped[name], values[name])
        result = _maximum(cut, tapped[name], values[name], runtime.opset_imports.get("", 17))
        cut.outputs.append(result)
        made[name] = result.name or ""
    functions = list(runtime.functions.values())
    return ir.Model(cut, ir_version=runtime.ir_version, functions=functions), tuple(made[x.rank_name] for x in layers)


def _keep_blocked(graph: ir.Graph, tensor: ir.Value, value: Value) -> None:
    """Puts a convolution by 1 between a convolution's output and its Clip, where the output is to be tapped.

    ONNX Runtime clips inside a convolution whose output nobody else reads, on blocks of channels. Tapped, the Clip
    would stand alone, and both its sides would be reordered for it. Behind the convolution by 1, which changes no bit,
    it is inside one again: this costs a pass over the tensor in place of three.
    """
    clips = [(use.node, use.idx) for use in tensor.uses() if use.node.op_type == "Clip" and use.idx == 0]
    producer = tensor.producer()
    if not clips or producer is None or producer.op_type not in ("Conv", "BatchNormalization"):
        return
    if (value.batch_axis, value.channel_axis) != (0, 1) or len(value.axes) != 4 or value.dtype != "float32":
        return
    channels = value.shape[1] if value.shape is not None else None
    if not isinstance(channels, int):
        return
    ones = np.ones((channels, 1, 1, 1), np.float32)
    weight = ir.Value(name=f"unpool/one/{value.name}", const_value=ir.tensor(ones))
    graph.register_initializer(weight)
    same = ir.node("Conv", [tensor, weight], attributes={"group": channels, "kernel_shape": [1, 1]})
    same.outputs[0].name = f"unpool/same/{value.name}"
    same.outputs[0].type = tensor.type
    same.outputs[0].shape = tensor.shape
    graph.insert_after(producer, same)
    for node, index in clips:
        node.replace_input_with(index, same.outputs[0])


def _maximum(graph: ir.Graph, tensor: ir.Value, value: Value, opset: int) -> ir.Value:
    reduced = [i for i in range(len(value.axes)) if i not in (value.batch_axis, value.channel_axis)]
    name = f"unpool/maximum/{value.name}"
    if not reduced:
        node = ir.node("Identity", [tensor])
    elif (value.batch_axis, value.channel_axis) == (0, 1):
        node = ir.node("GlobalMaxPool", [tensor])
    elif opset >= _AXES_AS_INPUT:
        axes = ir.Value(name=f"{name}/axes", const_value=ir.tensor(reduced, dtype=ir.DataType.INT64))
        graph.register_initializer(axes)
        node = ir.node("ReduceMax", [tensor, axes], attributes={"keepdims": 0})
    else:
        node = ir.node("ReduceMax", [tensor], attributes={"axes": reduced, "keepdims": 0})
    node.outputs[0].name = name
    node.outputs[0].type = tensor.type
    graph.append(node)
    if value.batch_axis is not None and value.channel_axis is not None and value.batch_axis > value.channel_axis:
        turned = ir.node("Transpose", [node.outputs[0]], attributes={"perm": [1, 0]})
        turned.outputs[0].name = f"{name}/turned"
        turned.outputs[0].type = tensor.type
        graph.append(turned)
        return turned.outputs[0]
    return node.outputs[0]

"""The light graphs of the `onnx` package with seeded random weights in place of their constants.

A constant weight makes every channel the same and a random one lets activations die or explode with depth, so the
weights are calibrated while the graph is run node by node on one photograph: He initialisation with the fan-in, scaled
to outputs of unit spread ("All you need is a good init", Mishkin & Matas 2015), biases and batch norms centred so that
each rectifier passes a real mask.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

Array = npt.NDArray[np.float32]

FILES = {
    "alexnet": "light_bvlc_alexnet.onnx",
    "zfnet512": "light_zfnet512.onnx",
    "vgg19": "light_vgg19.onnx",
    "inception_v1": "light_inception_v1.onnx",
    "inception_v2": "light_inception_v2.onnx",
    "resnet50": "light_resnet50.onnx",
    "densenet121": "light_densenet121.onnx",
    "squeezenet": "light_squeezenet.onnx",
    "shufflenet": "light_shufflenet.onnx",
}


def source(name: str) -> Path:
    """The package's own file of a light graph, weights constant."""
    return Path(onnx.__file__).parent / "backend/test/data/light" / FILES[name]


def write(name: str, picture: Array, target: Path) -> None:
    """Write the graph `name` with weights calibrated on `picture`, float32 `(1, 3, 224, 224)`.

    Nodes, names, opset and IR version stay the file's; its `ConstantOfShape` nodes become initialisers.
    """
    model = onnx.load(source(name))
    seed = sorted(FILES).index(name) + 20131112  # the date of the deconvnet paper
    weights = _Calibration(model, picture, np.random.default_rng(seed)).run()
    _replace(model.graph, weights)
    onnx.checker.check_model(model)
    onnx.save(model, target)


class _Calibration:
    """One pass over the graph that gives every float weight a value as soon as its node's input is known."""

    def __init__(self, model: onnx.ModelProto, picture: Array, rng: np.random.Generator) -> None:
        self.model, self.rng = model, rng
        graph = model.graph
        self.values: dict[str, npt.NDArray[np.generic]] = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        made = {n.output[0]: self.values[n.input[0]] for n in graph.node if n.op_type == "ConstantOfShape"}
        self.shapes = {name: tuple(int(d) for d in shape) for name, shape in made.items()}
        read = {name for node in graph.node for name in node.input}
        # Weights that the package kept were trained beside others that it dropped: they go as well.
        for tensor in graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT and tensor.name in read:
                self.shapes[tensor.name] = tuple(tensor.dims)
        self.weights: dict[str, Array] = {}
        (data,) = [value.name for value in graph.input if value.name not in self.values]
        self.values[data] = picture

    def run(self) -> dict[str, Array]:
        for node in self.model.graph.node:
            if node.op_type == "ConstantOfShape":
                continue
            if node.op_type == "Conv":
                self._convolution(node)
            elif node.op_type == "Gemm":
                self._gemm(node)
            elif node.op_type == "BatchNormalization":
                self._batch_norm(node)
            elif any(name in self.shapes for name in node.input):
                self._reshaped_weight(node)
            self._evaluate(node)
        assert set(self.weights) == set(self.shapes)
        return self.weights

    def _set(self, name: str, value: npt.NDArray[np.floating]) -> None:
        self.weights[name] = np.ascontiguousarray(value.reshape(self.shapes[name]), dtype=np.float32)
        self.values[name] = self.weights[name]

    def _normal(self, shape: tuple[int, ...], std: float) -> Array:
        return self.rng.standard_normal(shape, dtype=np.float32) * np.float32(std)

    def _convolution(self, node: onnx.NodeProto) -> None:
        shape = self.shapes[node.input[1]]
        weight = self._normal(shape, float(np.sqrt(2 / np.prod(shape[1:]))))
        self._set(node.input[1], weight)
        if len(node.input) > 2:
            self._set(node.input[2], np.zeros(shape[0], np.float32))
        raw = self._evaluate(node)
        plane = raw.shape[2] * raw.shape[3]
        spread = raw.std(axis=(0, 2, 3)).mean() if plane > 1 else raw.std()
        scale = _rounded(1 / float(spread))
        self._set(node.input[1], weight * np.float32(scale))
        if len(node.input) > 2:
            centre = -scale * raw.mean(axis=(0, 2, 3)) if plane > 1 else np.zeros(shape[0])
            self._set(node.input[2], np.round(centre, 3) + self._normal((shape[0],), 0.3))

    def _gemm(self, node: onnx.NodeProto) -> None:
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        if node.input[1] in self.shapes:
            shape = self.shapes[node.input[1]]
            weight = self._normal(shape, float(np.sqrt(2 / shape[1 if transposed else 0])))
            self._set(node.input[1], weight)
        self._set(node.input[2], np.zeros(self.shapes[node.input[2]], np.float32))
        if node.input[1] in self.shapes:
            self._set(node.input[1], weight * np.float32(_rounded(1 / float(self._evaluate(node).std()))))
        self._set(node.input[2], self._normal(self.shapes[node.input[2]], 0.1))

    def _batch_norm(self, node: onnx.NodeProto) -> None:
        data = np.asarray(self.values[node.input[0]], np.float64)
        channels = data.shape[1]
        mean, variance = data.mean(axis=(0, 2, 3)), data.var(axis=(0, 2, 3))
        variance = np.maximum(variance, 1e-2 * variance.mean())
        gain, bias, centre, spread = node.input[1:5]
        self._set(gain, self.rng.uniform(0.7, 1.3, channels))
        self._set(bias, self._normal((channels,), 0.2))
        self._set(centre, np.round(mean, 3) + self._normal((channels,), 0.1) * np.sqrt(variance))
        self._set(spread, np.round(variance * self.rng.uniform(0.7, 1.4, channels), 4) + 1e-4)

    def _reshaped_weight(self, node: onnx.NodeProto) -> None:
        # A weight that reaches its operator through a shape operator: a Caffe scale layer, or a classifier's matrix.
        (name,) = [i for i in node.input if i in self.shapes]
        (user,) = {n.op_type for n in self.model.graph.node if node.output[0] in n.input}
        shape = self.shapes[name]
        if user == "Mul":
            self._set(name, self.rng.uniform(0.7, 1.3, shape))
        elif user == "Add":
            self._set(name, self._normal(shape, 0.2))
        else:
            self._set(name, self._normal(shape, float(np.sqrt(2 / shape[-1]))))

    def _evaluate(self, node: onnx.NodeProto) -> Array:
        inputs = {name: self.values[name] for name in node.input if name}
        graph = helper.make_graph(
            [node],
            "one node",
            [
                helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
                for k, v in inputs.items()
            ],
            [helper.make_empty_tensor_value_info(node.output[0])],
        )
        model = helper.make_model(graph, opset_imports=self.model.opset_import, ir_version=8)
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 2
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        (result,) = session.run([node.output[0]], inputs)
        self.values[node.output[0]] = result
        return np.asarray(result)


def _rounded(scale: float) -> float:
    # Three digits, so that machines whose convolutions differ in the last bits write the same file.
    return float(f"{scale:.3g}")


def _replace(graph: onnx.GraphProto, weights: dict[str, Array]) -> None:
    nodes = [node for node in graph.node if node.op_type != "ConstantOfShape"]
    dropped = {node.input[0] for node in graph.node if node.op_type == "ConstantOfShape"}
    kept = [t for t in graph.initializer if t.name not in weights and t.name not in dropped]
    inputs = [i for i in graph.input if i.name not in dropped]
    known = {i.name for i in inputs}
    # IR version 3 wants every initialiser listed among the inputs.
    inputs += [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, value.shape)
        for name, value in weights.items()
        if name not in known
    ]
    kept += [numpy_helper.from_array(value, name) for name, value in weights.items()]
    for field, values in ((graph.node, nodes), (graph.initializer, kept), (graph.input, inputs)):
        del field[:]
        field.extend(values)

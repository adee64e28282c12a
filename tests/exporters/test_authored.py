"""Files that spox, onnxscript, Keras, tf2onnx, jax2onnx and ONNX Runtime write, beside differences in float64."""

from __future__ import annotations

import functools
import logging
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from tests.engine.support import FORWARD, arrived, close, seed, units_at
from tests.exporters.networks import NETWORKS
from tests.exporters.scripted import scripted
from tests.exporters.support import Exported
from tests.exporters.test_torch import EXPORTERS

from unpool.engine import Policy
from unpool.graph import load
from unpool.graph.errors import ModelError, PreconditionError
from unpool.methods import Projection, ProjectionHeader, ProjectionRequest, project


def _weight(seed_: int, *shape: int) -> npt.NDArray[np.float32]:
    fan_in = max(1, int(np.prod(shape[1:])))
    return (np.random.default_rng(seed_).normal(size=shape) / np.sqrt(fan_in)).astype(np.float32)


def _picture(*shape: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(7).normal(size=shape).astype(np.float32)


def _spox() -> onnx.ModelProto:
    """A residual network of spox's, which names values itself and infers their shapes while it builds."""
    import spox
    import spox.opset.ai.onnx.v18 as op

    def filters(number: int, *shape: int) -> spox.Var:
        return op.const(_weight(number, *shape))

    x = spox.argument(spox.Tensor(np.float32, ("N", 3, "H", "W")))
    first = op.relu(op.conv(x, filters(1, 8, 3, 3, 3), filters(2, 8), pads=[1, 1, 1, 1]))
    pooled, _ = op.max_pool(first, kernel_shape=[2, 2], strides=[2, 2])
    branch = op.leaky_relu(op.conv(pooled, filters(3, 8, 8, 3, 3), pads=[1, 1, 1, 1]), alpha=0.1)
    joined = op.relu(op.add(op.conv(branch, filters(4, 8, 8, 1, 1)), pooled))
    halves = op.split(joined, num_outputs=2, axis=1)
    both = op.concat([op.sigmoid(halves[0]), halves[1]], axis=1)
    mean = op.reduce_mean(both, op.const(np.array([2, 3])), keepdims=0)
    scores = op.softmax(op.gemm(mean, filters(5, 5, 8), filters(6, 5), transB=1), axis=1)
    return spox.build({"image": x}, {"scores": scores})


_FIRST, _SECOND = _weight(11, 6, 3, 5, 5), _weight(12, 9, 6, 3, 3)
_GAIN, _HEAD = np.abs(_weight(13, 1, 6, 1, 1)) + 0.5, _weight(14, 9, 4)


def _onnxscript() -> onnx.ModelProto:
    model = scripted.to_model_proto()
    for name, array in (("first", _FIRST), ("second", _SECOND), ("gain", _GAIN), ("head", _HEAD)):
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


def _keras() -> onnx.ModelProto:
    """Keras on torch: channels last, a Transpose around every convolution, paddings computed from shapes."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    keras.utils.set_random_seed(3)
    layers = keras.layers
    x = layers.Input((16, 20, 3))
    h = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    h = layers.BatchNormalization(beta_initializer="random_normal", moving_mean_initializer="random_normal")(h)
    h = layers.MaxPooling2D()(h)
    h = layers.SeparableConv2D(12, 3, padding="same", strides=2, activation="relu")(h)
    h = layers.GroupNormalization(4, beta_initializer="random_normal")(h)
    h = layers.Concatenate()([layers.LeakyReLU()(h), layers.Activation("swish")(h)])
    h = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(h))
    network = keras.Model(x, layers.Dense(5, activation="softmax")(h))
    network(_picture(1, 16, 20, 3))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "keras.onnx"
        network.export(path, format="onnx", verbose=False)
        return onnx.load(path)


def _optimised(level: ort.GraphOptimizationLevel) -> onnx.ModelProto:
    """What ONNX Runtime writes when it is told to keep its optimised graph: fused convolutions of com.microsoft."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = level
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        ort.InferenceSession(EXPORTERS["torchscript"]("plain"), options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)


def _extended() -> onnx.ModelProto:
    return _optimised(ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED)


def _from_text(name: str) -> onnx.ModelProto:
    """A network as an exporter wrote it whose packages cannot live beside torch's; the weights are seeded."""
    text = (Path(__file__).parent / "files" / f"{name}.txt").read_text()
    model = onnx.parser.parse_model("\n".join(line for line in text.splitlines() if not line.startswith("#")))
    first, *weights = model.graph.input
    for number, weight in enumerate(weights):
        shape = [d.dim_value for d in weight.type.tensor_type.shape.dim]
        model.graph.initializer.append(numpy_helper.from_array(_weight(number, *shape), weight.name))
    del model.graph.input[:]
    model.graph.input.append(first)
    return model


WRITTEN: dict[str, tuple[Callable[[], onnx.ModelProto], npt.NDArray[np.float32]]] = {
    "spox": (_spox, _picture(1, 3, 18, 14)),
    "onnxscript": (_onnxscript, _picture(1, 3, 20, 24)),
    "keras": (_keras, _picture(1, 16, 20, 3)),
    "onnxruntime": (_extended, NETWORKS["plain"].example().numpy()),
    "tf2onnx": (lambda: _from_text("tf_cnn"), _picture(1, 20, 24, 3)),
    "jax2onnx": (lambda: _from_text("jax_cnn"), _picture(1, 16, 20, 3)),
}
"""Writer -> the model and an input."""


@functools.cache
def _exported(name: str) -> Exported:
    write, array = WRITTEN[name]
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporters, about themselves
        model = write()
    source = next(i.name for i in model.graph.input if i.name not in {t.name for t in model.graph.initializer})
    return Exported(name, model.SerializeToString(), {source: array})


@pytest.fixture(scope="module", params=WRITTEN)
def exported(request: pytest.FixtureRequest) -> Exported:
    return _exported(request.param)


def test_forward_equals_onnx_runtime(exported: Exported) -> None:
    exported.check_forward()


@pytest.mark.parametrize("policy", Policy, ids=lambda p: p.value)
def test_every_layer_is_projected(exported: Exported, policy: Policy) -> None:
    exported.check_projections(policy)


@pytest.mark.parametrize("name", ["keras", "jax2onnx"])
def test_group_norm_of_channels_last_is_one_norm_between_two_reshapes(name: str) -> None:
    graph = _exported(name).engine.model.graph
    (norm,) = [n for n in graph.nodes if n.op_type == "LayerNormalization"]
    assert norm.attributes["axes"] == (1, 2, 4)
    assert "Sqrt" not in {n.op_type for n in graph.nodes}


def _double(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model in float64: what is declared, stored and cast to float32 becomes double."""
    double = onnx.ModelProto()
    double.CopyFrom(model)
    del double.graph.value_info[:]
    for value in (*double.graph.input, *double.graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    for tensor in double.graph.initializer:
        _widen(tensor)
    for nodes in (double.graph.node, *(f.node for f in double.functions)):
        for node in nodes:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    _widen(attribute.t)
                if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                    attribute.i = TensorProto.DOUBLE
                if node.op_type == "Constant" and attribute.name == "value_float":
                    wide = numpy_helper.from_array(np.array(attribute.f, np.float64))
                    attribute.CopyFrom(onnx.helper.make_attribute("value", wide))
    return double


def _widen(tensor: onnx.TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))


def test_gradient_equals_differences_in_float64(exported: Exported) -> None:
    """Along random directions, by the reference evaluator, which shares no line with either of our runtimes."""
    engine, feeds = exported.engine, exported.feeds
    top, to = engine.model.graph.outputs[0], feeds.of
    route = engine.route([top], [to], Policy.GRADIENT)
    capture = engine.captured_for(feeds, route, [top])
    units = units_at(capture.values[top].numpy())
    ours = arrived(engine, route, capture, {top: seed(engine, feeds, top, units, [1.0] * len(units))})
    source = exported.data
    if exported.name == "onnxruntime":  # the evaluator knows no com.microsoft; the file before it was optimised
        source = EXPORTERS["torchscript"]("plain")
    evaluator = ReferenceEvaluator(_double(onnx.load_model_from_string(source)))
    x = exported.arrays[to].astype(np.float64)
    rng, step = np.random.default_rng(5), 1e-6
    found, expected = [], []
    for _ in range(4):
        along = rng.normal(size=x.shape)
        above, below = (evaluator.run(None, {to: x + sign * step * along})[0] for sign in (1, -1))
        assert above.dtype == np.float64
        expected.append([(above[(0, *u)] - below[(0, *u)]) / (2 * step) for u in units])
        found.append([float((ours[i] * along[0]).sum()) for i in range(len(units))])
    assert np.abs(expected).max() > 1e-3
    close(np.array(found), np.array(expected), FORWARD)


def test_what_lies_below_a_loop_is_served_and_what_lies_above_is_refused_by_its_name() -> None:
    """tf2onnx writes Keras' GRU as a Loop, whose condition is a scalar inside and one element outside."""
    exported = Exported("recurrent", _from_text("tf_rnn").SerializeToString(), {"series": _picture(1, 40, 6)})
    engine, feeds = exported.engine, exported.feeds
    (output,) = engine.model.graph.outputs
    close(engine.run(feeds)[output], exported.expected[output], FORWARD)
    (loop,) = (node for node in engine.model.graph.nodes if node.op_type == "Loop")
    with pytest.raises(PreconditionError, match=loop.name) as refused:
        list(project(engine, feeds, ProjectionRequest(output, top=1)))
    assert refused.value.node == loop.name
    below = next(n for n in engine.model.graph.nodes if n.op_type == "LSTM").outputs[0]
    header, found = (r for r in project(engine, feeds, ProjectionRequest(below, top=1)) if r is not None)
    assert isinstance(header, ProjectionHeader)
    assert isinstance(found, Projection)
    assert found.signal.any()


def test_a_graph_laid_out_for_one_processor_is_refused_by_name() -> None:
    """At its highest level ONNX Runtime writes operators that only run where it wrote them."""
    model = _optimised(ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
    foreign = {node.domain for node in model.graph.node} - {"", "com.microsoft"}
    if not foreign:
        pytest.skip("this processor gets no layout of its own")
    with pytest.raises(ModelError, match=r"com\.microsoft\.nchwc"):
        load(model.SerializeToString())

"""Sessions that are given their weights by reference run what a bare session of the file does."""

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests import zoo
from tests.graph.builders import run, text_model

from unpool.engine import Engine, EngineSettings
from unpool.engine.feeds import Feeds
from unpool.graph import load


@pytest.mark.parametrize("name", ["basic_pitch", "crepe_tiny", "alexnet", "imagenet_vgg16", "shufflenet"])
def test_a_session_with_shared_weights_equals_a_bare_one(name: str) -> None:
    """ONNX Runtime transposes some weights in place (Basic Pitch's), and then must not be given the file's instead."""
    path = zoo.path(name)
    engine = Engine(load(path), EngineSettings(device="cpu", threads=1))
    (source,) = engine.model.graph.inputs
    array = zoo.tensor(name)
    found = engine.run(Feeds({source: array}, source))
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    for output, expected in zip(names, session.run(names, {source: array}), strict=True):
        scale = float(np.abs(expected).max())
        np.testing.assert_allclose(found[output], expected, rtol=0, atol=1e-4 * scale)


def test_weights_of_half_precision_are_read_as_they_are() -> None:
    """ONNX Runtime widens them for kernels that it lacks, and does not find them where they are shared."""
    rng = np.random.default_rng(0)
    weights = {
        "k": rng.normal(size=(16, 8, 3, 3)) * 0.1,
        "m": rng.normal(size=(64, 16)) * 0.1,
        "b": rng.normal(size=64),
        "n": rng.normal(size=(10, 64)) * 0.1,
        "c": rng.normal(size=10),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "k"], ["convolved"], pads=[1, 1, 1, 1]),
            helper.make_node("GlobalAveragePool", ["convolved"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("Gemm", ["flat", "m", "b"], ["hidden"], transB=1),
            helper.make_node("Relu", ["hidden"], ["positive"]),
            helper.make_node("Gemm", ["positive", "n", "c"], ["y"], transB=1),
        ],
        "half",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, ["n", 8, 9, 9])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, ["n", 10])],
        [numpy_helper.from_array(value.astype(np.float16), name) for name, value in weights.items()],
    )
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    array = rng.normal(size=(1, 8, 9, 9)).astype(np.float16)
    found = Engine(load(data), EngineSettings(device="cpu", threads=1)).run(Feeds({"x": array}, "x"))["y"]
    (expected,) = ort.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"x": array})
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-2)


def test_a_product_that_is_folded_while_loading_reads_its_weight() -> None:
    """Swin's table of distances goes through a small network of its own, which reads no input."""
    rng = np.random.default_rng(0)
    weights = {"table": (50, 3), "first": (3, 128), "second": (128, 4), "w": (4, 4)}
    graph = """g (float[n, 50, 4] x) => (float[n, 50, 4] y) {
        hidden = MatMul (table, first)
        positive = Relu (hidden)
        bias = MatMul (positive, second)
        added = Add (x, bias)
        y = MatMul (added, w)
    }"""
    data = text_model(graph, {n: rng.normal(size=s).astype(np.float32) for n, s in weights.items()})
    array = rng.normal(size=(2, 50, 4)).astype(np.float32)
    found = Engine(load(data), EngineSettings(device="cpu", threads=1)).run(Feeds({"x": array}, "x"))["y"]
    (expected,) = run(data, {"x": array})
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)

"""The graph that a scan runs gives the maxima of the graph as it stands, bit for bit."""

import platform
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests import zoo

from unpool.engine import Engine, EngineSettings
from unpool.exemplars.reduction import _reduced, chosen_layers, open_reduction
from unpool.graph import load


def clipped(channels: int, *, attributes: bool) -> onnx.ModelProto:
    """Three convolutions, each with a Clip from 0 to 6 behind; the second is depthwise."""
    rng = np.random.default_rng(channels)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)

    weights = [
        weight("w0", channels, 3, 3, 3),
        weight("w1", channels, 1, 3, 3),
        weight("w2", 10, channels, 1, 1),
        weight("b", channels),
    ]
    bounds = [numpy_helper.from_array(np.float32(x), name) for x, name in ((0.0, "low"), (6.0, "high"))]
    nodes, last = [], "x"
    for i, group in enumerate((1, channels, 1)):
        inputs = [last, f"w{i}"] + (["b"] if i < 2 else [])
        pads = [1] * 4 if i < 2 else [0] * 4
        nodes.append(helper.make_node("Conv", inputs, [f"c{i}"], name=f"conv{i}", pads=pads, group=group))
        last = f"r{i}"
        limits = {"min": 0.0, "max": 6.0} if attributes else {}
        nodes.append(
            helper.make_node("Clip", [f"c{i}", *(() if attributes else ("low", "high"))], [last], f"clip{i}", **limits)
        )
    graph = helper.make_graph(
        nodes,
        "clipped",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 12, 12])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["n", 10, 12, 12])],
        weights + ([] if attributes else bounds),
    )
    opset = helper.make_opsetid("", 10 if attributes else 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=9)


@pytest.mark.parametrize(("channels", "attributes"), [(32, False), (13, False), (16, True)])
def test_maxima_before_the_clip_are_those_of_the_graph_unfused(tmp_path: Path, channels: int, attributes: bool) -> None:
    path = tmp_path / "model.onnx"
    model = clipped(channels, attributes=attributes)
    onnx.save(model, path)
    engine = Engine(load(path), EngineSettings(device="cpu", threads=1))
    layers = chosen_layers(engine, ())
    assert [layer.rank_name for layer in layers] == ["c0", "c1", "c2"]
    images = 3 * np.random.default_rng(1).normal(size=(5, 3, 12, 12)).astype(np.float32)
    model.graph.output.extend(
        helper.make_tensor_value_info(f"c{i}", TensorProto.FLOAT, ["n", None, None, None]) for i in range(2)
    )
    model.graph.output.append(helper.make_tensor_value_info("c2", TensorProto.FLOAT, ["n", None, None, None]))
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = plain.run(["c0", "c1", "c2"], {"x": images})
    expected = np.concatenate([value.max((2, 3)) for value in values], 1)
    assert (expected > 6).any()
    found = open_reduction(engine, layers, {"x": images[:1]}).run({"x": images}, 5)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="blocks of channels are x86's")
def test_tapping_before_a_clip_leaves_no_clip_to_stand_alone(tmp_path: Path) -> None:
    engine = Engine(load(zoo.path("efficientnet_lite0")), EngineSettings(device="cpu", threads=1))
    layers = chosen_layers(engine, ())
    source, array = engine.model.graph.inputs[0], zoo.tensor("efficientnet_lite0")
    kinds, maxima = {}, {}
    for blocked in (False, True):
        model, outputs = _reduced(engine, layers, blocked)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.optimized_model_filepath = str(tmp_path / f"{blocked}.onnx")
        session = ort.InferenceSession(
            ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        kinds[blocked] = Counter(node.op_type for node in onnx.load(tmp_path / f"{blocked}.onnx").graph.node)
        maxima[blocked] = session.run(list(outputs), {source: array})
    assert kinds[False]["Clip"] > 20
    assert kinds[True]["Clip"] == kinds[True]["ReorderInput"] == 0
    for mine, plain in zip(maxima[True], maxima[False], strict=True):
        assert np.array_equal(mine, plain)

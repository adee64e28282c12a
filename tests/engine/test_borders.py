"""Borders and slices under the walk: pads wider than boxes, units at corners, several images; equal to ONNX Runtime."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from tests.engine.support import arrived, close, seed, whole

from unpool.engine import Engine, EngineSettings, Feeds, Policy
from unpool.graph import load

_RUN = settings(deadline=None, max_examples=80, suppress_health_check=list(HealthCheck))
_SETTINGS = EngineSettings(device="cpu", threads=1, verify=False)


@st.composite
def _lines(draw: st.DrawFn) -> tuple[bytes, int, int]:
    """Convolutions with a border or a slice in front of each, along one axis: (file, extent, extent of the output)."""
    extent = size = draw(st.integers(20, 40))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    nodes, weights = [], []
    current, channels = "x", 2
    for i in range(draw(st.integers(1, 3))):
        kernel = draw(st.integers(1, 5))
        if size > 12 and draw(st.integers(0, 2)) == 0:
            step = draw(st.sampled_from([1, 2, -1, -2]))
            bounds = (draw(st.integers(0, 3)), size - draw(st.integers(0, 3)))
            start, end = bounds if step > 0 else (bounds[1] - 1, -size - 1)
            lists = {"s": [start], "e": [end], "a": [2], "t": [step]}
            size = len(range(size)[start : None if end < -size else end : step])
            op_type, attributes = "Slice", {}
        else:
            before, behind = (draw(st.integers(0, min(size - 1, 30))) for _ in range(2))
            lists = {"p": [0, 0, before, 0, 0, behind]}
            size += before + behind
            op_type, attributes = "Pad", {"mode": draw(st.sampled_from(["reflect", "edge", "wrap"]))}
        weights += [numpy_helper.from_array(np.array(v, np.int64), f"{k}{i}") for k, v in lists.items()]
        nodes.append(helper.make_node(op_type, [current, *(f"{k}{i}" for k in lists)], [f"b{i}"], **attributes))
        weights.append(numpy_helper.from_array(rng.normal(0, 0.7, (3, channels, kernel)).astype(np.float32), f"w{i}"))
        nodes.append(helper.make_node("Conv", [f"b{i}", f"w{i}"], [f"c{i}"]))
        current, channels, size = f"c{i}", 3, size - kernel + 1
    graph = helper.make_graph(
        nodes,
        "line",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2, extent])],
        [helper.make_tensor_value_info(current, TensorProto.FLOAT, ["n", 3, size])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model).SerializeToString(), extent, size


def _jacobian(source: bytes, extent: int) -> npt.NDArray[np.float64]:
    """Of a linear network, from ONNX Runtime: (channels, outputs, 2, extent)."""
    session = ort.InferenceSession(source, providers=["CPUExecutionProvider"])
    basis = np.eye(2 * extent, dtype=np.float32).reshape(-1, 2, extent)
    (columns,) = session.run(None, {"x": basis})
    return np.moveaxis(np.asarray(columns, np.float64).reshape(2, extent, 3, -1), (2, 3), (0, 1))


@_RUN
@given(line=_lines(), data=st.data())
def test_local_equals_whole_and_the_jacobian(line: tuple[bytes, int, int], data: st.DataObject) -> None:
    source, extent, size = line
    engine = Engine(load(source), _SETTINGS)
    name = engine.model.graph.outputs[0]
    feeds = Feeds({"x": np.random.default_rng(1).standard_normal((2, 2, extent)).astype(np.float32)}, "x")
    place = st.one_of(st.sampled_from([0, size - 1]), st.integers(0, size - 1))
    units = data.draw(st.lists(st.tuples(st.integers(0, 2), place), min_size=1, max_size=4))
    starts, images = [1.0] * len(units), [i % 2 for i in range(len(units))]
    route = engine.route([name], ["x"], Policy.GRADIENT)
    assert not any(not step.rule.exact for step in route.steps)
    capture = engine.captured_for(feeds, route)
    local = arrived(engine, route, capture, {name: seed(engine, feeds, name, units, starts)}, images)
    wanted = _jacobian(source, extent)[tuple(np.transpose(units))]
    close(local, wanted)
    signal = np.zeros((len(units), 3, size))
    signal[(np.arange(len(units)), *np.transpose(units))] = 1
    close(arrived(engine, route, capture, {name: whole(engine, feeds, name, signal)}, images), wanted)
    engine.close()

"""Extents of pools with ceil_mode, and of resizing by broken ratios, are those that a runtime gives."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from unpool.graph import load

_PAIR = st.tuples(st.integers(1, 4), st.integers(1, 4))


@settings(max_examples=60, deadline=None)
@given(
    op_type=st.sampled_from(["MaxPool", "AveragePool"]),
    size=st.tuples(st.integers(5, 14), st.integers(5, 14)),
    kernel=_PAIR,
    strides=_PAIR,
    padded=st.booleans(),
    opset=st.sampled_from([12, 17, 22]),
)
def test_ceil_mode_counts_the_windows_that_a_runtime_counts(
    op_type: str,
    size: tuple[int, int],
    kernel: tuple[int, int],
    strides: tuple[int, int],
    padded: bool,
    opset: int,
) -> None:
    pads = [k // 2 for k in kernel] * 2 if padded else [0] * 4
    nodes = [
        helper.make_node(op_type, ["x"], ["y"], kernel_shape=kernel, strides=strides, pads=pads, ceil_mode=1),
        helper.make_node("Relu", ["y"], ["z"]),
    ]
    graph = helper.make_graph(
        nodes,
        "pool",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, *size])],
        [helper.make_empty_tensor_value_info("z")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    source = onnx.shape_inference.infer_shapes(model).SerializeToString()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (given_,) = session.run(None, {"x": np.zeros((1, 2, *size), np.float32)})
    shape = load(source).graph.values["z"].shape
    assert shape is not None
    assert shape[1:] == given_.shape[1:]


@settings(max_examples=40, deadline=None)
@given(extent=st.integers(3, 60), wanted=st.integers(1, 90), opset=st.sampled_from([10, 13, 19]))
def test_resizing_by_a_broken_ratio_counts_as_a_runtime_does(extent: int, wanted: int, opset: int) -> None:
    scales = numpy_helper.from_array(np.array([1, 1, 1, wanted / extent], np.float32), "scales")
    inputs = ["x", "scales"] if opset == 10 else ["x", "", "scales"]
    nodes = [helper.make_node("Resize", inputs, ["y"], mode="nearest"), helper.make_node("Relu", ["y"], ["z"])]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2, 3, extent])
    graph = helper.make_graph(nodes, "g", [x], [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)], [scales])
    source = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7).SerializeToString()
    session = ort.InferenceSession(source, providers=["CPUExecutionProvider"])
    (z,) = session.run(None, {"x": np.zeros((1, 2, 3, extent), np.float32)})
    values = load(source).graph.values
    assert (values["y"].shape or ())[3] == (values["z"].shape or ())[3] == z.shape[3]
